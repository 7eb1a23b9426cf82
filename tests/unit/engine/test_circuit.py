"""When an endpoint is left alone; see :mod:`autoscaler.engine.circuit`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.engine.circuit import (
    CLOSED,
    FIRST_REST,
    LONGEST_REST,
    OPENS_AFTER,
    PROBED,
    REMEMBERED,
    Circuit,
    Circuits,
    Outcome,
)

ANSWERED, SILENT, UNKNOWN = Outcome.ANSWERED, Outcome.SILENT, Outcome.UNKNOWN
OPEN = Circuit(rests=1, until=105.0)
TRYING = Circuit(rests=1, until=105.0, probing=True)


@pytest.mark.parametrize(
    ("circuit", "now", "wait"),
    [
        pytest.param(CLOSED, 100.0, 0.0, id="closed"),
        pytest.param(Circuit(failures=4), 100.0, 0.0, id="failing"),
        pytest.param(OPEN, 100.0, 5.0, id="open"),
        pytest.param(OPEN, 105.0, 0.0, id="rested"),
        pytest.param(OPEN, 200.0, 0.0, id="long-rested"),
        pytest.param(TRYING, 105.0, PROBED, id="tried-by-another"),
    ],
)
def test_how_long_a_call_waits(circuit: Circuit, now: float, wait: float) -> None:
    assert circuit.wait(now) == wait


@pytest.mark.parametrize(
    ("circuit", "outcome", "probe", "after"),
    [
        pytest.param(CLOSED, ANSWERED, False, CLOSED, id="answered"),
        pytest.param(CLOSED, SILENT, False, Circuit(failures=1), id="first-silence"),
        pytest.param(Circuit(failures=3), SILENT, False, Circuit(failures=4), id="another"),
        pytest.param(Circuit(failures=3), ANSWERED, False, CLOSED, id="answered-in-between"),
        pytest.param(Circuit(failures=3), UNKNOWN, False, Circuit(failures=3), id="unknown"),
        pytest.param(Circuit(failures=4), SILENT, False, Circuit(rests=1, until=205.0), id="opens"),
        pytest.param(OPEN, SILENT, False, OPEN, id="began-before"),
        pytest.param(TRYING, SILENT, False, TRYING, id="began-before-the-try"),
        pytest.param(OPEN, ANSWERED, False, CLOSED, id="began-before-and-answered"),
        pytest.param(TRYING, SILENT, True, Circuit(rests=2, until=210.0), id="still-silent"),
        pytest.param(Circuit(rests=9, until=1.0), SILENT, True, Circuit(rests=10, until=260.0), id="long"),
        pytest.param(TRYING, ANSWERED, True, CLOSED, id="closes"),
        pytest.param(TRYING, UNKNOWN, True, OPEN, id="the-try-came-to-nothing"),
    ],
)  # fmt: skip
def test_what_a_call_says_of_its_endpoint(circuit: Circuit, outcome: Outcome, probe: bool, after: Circuit) -> None:  # noqa: FBT001
    assert circuit.after(outcome, 200.0, probe=probe) == after


def told(changes: list[tuple[str, bool]]) -> Circuits[str]:
    return Circuits(lambda key, is_open: changes.append((key, is_open)))


def test_one_at_a_time_tries_whether_there_is_an_answer_again() -> None:
    changes: list[tuple[str, bool]] = []
    circuits = told(changes)
    for _ in range(OPENS_AFTER):
        assert circuits.begin("dead", 0.0) == (0.0, False)
        circuits.end("dead", SILENT, 0.0, probe=False)
    waits = [circuits.begin("dead", now) for now in (0.0, 4.0, 5.0, 5.0, 6.0)]
    circuits.end("dead", SILENT, 7.0, probe=True)
    later = [circuits.begin("dead", now) for now in (7.0, 17.0, 17.0)]
    circuits.end("dead", ANSWERED, 18.0, probe=True)

    assert waits == [(5.0, True), (1.0, True), (0.0, True), (PROBED, True), (PROBED, True)]
    assert later == [(10.0, True), (0.0, True), (PROBED, True)]
    assert circuits.begin("dead", 18.0) == (0.0, False)
    assert circuits.begin("other", 6.0) == (0.0, False)
    assert changes == [("dead", True), ("dead", False)]


def test_their_number_is_bounded_and_what_is_forgotten_is_told() -> None:
    changes: list[tuple[str, bool]] = []
    circuits = told(changes)
    for _ in range(OPENS_AFTER):
        circuits.end("first", SILENT, 0.0, probe=False)
    for number in range(REMEMBERED):
        circuits.end(f"host-{number}", SILENT, 0.0, probe=False)

    assert changes == [("first", True), ("first", False)]
    assert circuits.begin("first", 0.0) == (0.0, False)


@given(st.lists(st.tuples(st.sampled_from(Outcome), st.booleans(), st.floats(0, 100))))
def test_a_rest_is_bounded_and_an_answer_always_ends_it(calls: list[tuple[Outcome, bool, float]]) -> None:
    circuit, now = CLOSED, 0.0
    for outcome, probe, passed in calls:
        now += passed
        circuit = circuit.begun().after(outcome, now, probe=probe and circuit.is_open)
        assert 0 <= circuit.wait(now) <= max(LONGEST_REST, PROBED)
        assert circuit.until is None or now - 1e-9 <= circuit.until - FIRST_REST or outcome is not SILENT or not probe
        assert circuit.failures < OPENS_AFTER
    assert circuit.after(ANSWERED, now, probe=circuit.probing) == CLOSED
