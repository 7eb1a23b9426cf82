from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.alarms.time_constraints import TimeConstraint, next_edge, within

MORNINGS = TimeConstraint(name="mornings", start="0 8 * * mon-fri", duration=4 * 3600, timezone="Europe/Berlin")
NIGHTS = TimeConstraint(name="nights", start="0 22 * * *", duration=8 * 3600)
NEVER = TimeConstraint(name="never", start="0 0 30 2 *", duration=3600)


def berlin(day: int, hour: int, minute: int = 0, second: float = 0, *, month: int = 6) -> float:
    return datetime(2026, month, day, hour, minute, tzinfo=ZoneInfo("Europe/Berlin")).timestamp() + second


def utc(day: int, hour: int, minute: int = 0, second: float = 0) -> float:
    return datetime(2026, 6, day, hour, minute, tzinfo=UTC).timestamp() + second


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param(berlin(3, 7, 59), False, id="a-minute-before"),
        pytest.param(berlin(3, 7, 59, 0.001), True, id="less-than-a-minute-before"),
        pytest.param(berlin(3, 8), True, id="at-the-start"),
        pytest.param(berlin(3, 10, 30), True, id="inside"),
        pytest.param(berlin(3, 12), True, id="at-the-end"),
        pytest.param(berlin(3, 12, 0, 0.001), False, id="just-after-the-end"),
        pytest.param(berlin(6, 10), False, id="on-a-saturday"),
        pytest.param(berlin(2, 8, month=12), True, id="by-the-clock-of-the-zone-in-winter"),
    ],
)
def test_an_alarm_is_evaluated_while_a_span_lasts(now: float, *, expected: bool) -> None:
    assert within([MORNINGS], now) is expected


def test_without_constraints_an_alarm_is_always_evaluated() -> None:
    assert within([], 0.0)
    assert next_edge([], 0.0) is None


def test_one_of_several_spans_is_enough() -> None:
    assert within([MORNINGS, NIGHTS], utc(3, 23))
    assert within([NIGHTS, MORNINGS], berlin(3, 9))
    assert not within([MORNINGS, NIGHTS], utc(3, 15))


def test_a_cron_without_any_start_has_no_span() -> None:
    assert not within([NEVER], utc(3, 0))
    assert next_edge([NEVER], utc(3, 0)) is None
    assert within([NEVER, NIGHTS], utc(3, 23))


def test_a_cron_whose_years_are_over_ends_with_its_last_span() -> None:
    once = TimeConstraint(name="once", start="0 12 * * * 0 2026", duration=3600)
    last = datetime(2026, 12, 31, 12, tzinfo=UTC).timestamp()

    assert within([once], last + 3600)
    assert next_edge([once], last + 1) == pytest.approx(last + 3600, abs=2e-6)
    assert not within([once], last + 3601)


def test_the_next_edge_is_the_end_of_the_span_or_the_minute_before_the_next() -> None:
    assert next_edge([MORNINGS], berlin(3, 10)) == pytest.approx(berlin(3, 12), abs=2e-6)
    assert next_edge([MORNINGS], berlin(5, 13)) == pytest.approx(berlin(8, 7, 59), abs=2e-6)


def test_the_earliest_edge_of_several_spans_counts() -> None:
    assert next_edge([MORNINGS, NIGHTS], utc(3, 23)) == pytest.approx(utc(4, 5, 59), abs=2e-6)


def test_edges_can_be_followed_one_after_another() -> None:
    now, changes = utc(1, 0), []
    while (edge := next_edge([MORNINGS, NIGHTS], now)) is not None and edge < utc(8, 0):
        assert edge > now
        if within([MORNINGS, NIGHTS], edge) is not within([MORNINGS, NIGHTS], now):
            changes.append(edge)
        now = edge

    # a week of nights from 21:59 to 06:00 UTC, and five mornings from 05:59 to 10:00 UTC that join on to them
    assert len(changes) == 2 * 7


CONSTRAINTS = st.builds(
    TimeConstraint,
    name=st.just("drawn"),
    start=st.sampled_from(["0 8 * * *", "*/10 * * * *", "30 2 * * 0", "0 0 1 * *", "15 3 * 3,10 * 20", "0 12 29 2 *"]),
    duration=st.sampled_from([0, 60, 300, 3600, 86400]),
    timezone=st.sampled_from(["", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
)
INSTANTS = st.one_of(
    st.floats(1_767_225_600, 1_798_761_600),
    st.integers(-7200, 7200).map(lambda seconds: datetime(2026, 10, 25, 1, tzinfo=UTC).timestamp() + seconds),
    st.integers(-7200, 7200).map(lambda seconds: datetime(2026, 3, 29, 1, tzinfo=UTC).timestamp() + seconds),
)


@given(st.lists(CONSTRAINTS, min_size=1, max_size=3), INSTANTS, st.floats(0, 1))
def test_nothing_changes_before_the_next_edge(constraints: list[TimeConstraint], now: float, share: float) -> None:
    edge = next_edge(constraints, now)

    assert edge is not None
    assert edge > now
    between = now + share * max(0.0, edge - 2e-6 - now)
    assert within(constraints, between) is within(constraints, now)


@given(CONSTRAINTS, st.lists(INSTANTS, min_size=2, max_size=6))
def test_what_was_asked_before_does_not_matter(constraint: TimeConstraint, instants: list[float]) -> None:
    forth = {now: within([constraint], now) for now in instants}
    back = {now: within([constraint], now) for now in reversed(instants)}

    assert forth == back
