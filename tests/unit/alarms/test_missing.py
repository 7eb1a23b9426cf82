from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.alarms.alarm import AlarmState
from autoscaler.alarms.missing import Judgement, judged
from autoscaler.alarms.rules import TreatMissingData

KEEP = None
ALARM, OK, INSUFFICIENT = AlarmState.ALARM, AlarmState.OK, AlarmState.INSUFFICIENT_DATA
TREATMENTS = [TreatMissingData.MISSING, TreatMissingData.IGNORE, TreatMissingData.BREACHING, TreatMissingData.OK]

# the published tables for N = 3, five periods looked at, newest on the right; one column for each of TREATMENTS
THREE_OF_THREE = {
    "0 - X - X": (OK, OK, OK, OK),
    "0 - - - -": (OK, OK, OK, OK),
    "- - - - -": (INSUFFICIENT, KEEP, ALARM, OK),
    "0 X X - X": (ALARM, ALARM, ALARM, ALARM),
    "- - X - -": (ALARM, KEEP, ALARM, OK),
}
TWO_OF_THREE = {
    "0 - X - X": (ALARM, ALARM, ALARM, ALARM),
    "0 0 X 0 X": (ALARM, ALARM, ALARM, ALARM),
    "0 - X - -": (OK, OK, ALARM, OK),
    "- - - - 0": (OK, OK, ALARM, OK),
    "- - - X -": (ALARM, KEEP, ALARM, OK),
}
CELLS = [
    pytest.param(slots, datapoints, treatment, expected, id=f"{datapoints}-of-3-{slots.replace(' ', '')}-{treatment}")
    for datapoints, table in ((3, THREE_OF_THREE), (2, TWO_OF_THREE))
    for slots, row in table.items()
    for treatment, expected in zip(TREATMENTS, row, strict=True)
]


def read(slots: str) -> list[bool | None]:
    return [{"X": True, "0": False, "-": None}[slot] for slot in slots.split()]


@pytest.mark.parametrize(("slots", "datapoints", "treatment", "expected"), CELLS)
def test_every_cell_of_the_published_tables_is_met(
    slots: str, datapoints: int, treatment: TreatMissingData, expected: AlarmState | None
) -> None:
    judgement = judged(read(slots), periods=3, datapoints=datapoints, treatment=treatment)

    assert judgement.state is expected


def test_the_tables_have_forty_cells() -> None:
    assert len(CELLS) == 40


@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        pytest.param("- - X - -", ALARM, id="as-old-as-m-periods"),
        pytest.param("- - - X -", KEEP, id="one-period-too-young"),
        pytest.param("- - - - X", KEEP, id="newest-only"),
        pytest.param("- - - X X", KEEP, id="two-of-three-and-both-new"),
        pytest.param("- - X X -", ALARM, id="two-of-three-and-one-is-old"),
        pytest.param("X - - - -", ALARM, id="oldest-only"),
    ],
)
def test_an_alarm_is_not_raised_prematurely(slots: str, expected: AlarmState | None) -> None:
    judgement = judged(read(slots), periods=3, datapoints=3, treatment=TreatMissingData.MISSING)

    assert judgement == Judgement(expected, rests_on_missing=True)


@pytest.mark.parametrize(
    ("slots", "datapoints", "expected"),
    [
        pytest.param("0 X X - X", 3, False, id="older-values-stand-in"),
        pytest.param("- - - 0 -", 3, False, id="one-inside-already-forbids-three-of-three"),
        pytest.param("- - - X X", 2, False, id="enough-breach-already"),
        pytest.param("- - - 0 -", 2, True, id="the-two-that-are-missing-could-breach"),
        pytest.param("- - - X -", 2, True, id="one-more-would-decide"),
        pytest.param("- - - - -", 1, True, id="nothing-came"),
    ],
)
def test_it_is_said_whether_missing_data_decides(slots: str, datapoints: int, *, expected: bool) -> None:
    for treatment in TREATMENTS:
        judgement = judged(read(slots), periods=3, datapoints=datapoints, treatment=treatment)

        assert judgement.rests_on_missing is expected


@st.composite
def questions(draw: st.DrawFn) -> tuple[list[bool | None], int, int]:
    periods = draw(st.integers(1, 6))
    slots = draw(st.lists(st.sampled_from([True, False, None]), min_size=periods, max_size=periods + 2))
    return slots, periods, draw(st.integers(1, periods))


@given(questions())
def test_with_enough_values_no_treatment_is_asked(question: tuple[list[bool | None], int, int]) -> None:
    slots, periods, datapoints = question
    whole = [bool(slot) for slot in slots]
    expected = ALARM if sum(whole[-periods:]) >= datapoints else OK

    for treatment in TREATMENTS:
        judgement = judged(whole, periods=periods, datapoints=datapoints, treatment=treatment)

        assert judgement == Judgement(expected, rests_on_missing=False)


@given(questions(), st.lists(st.booleans(), min_size=6, max_size=6), st.sampled_from(TREATMENTS))
def test_what_does_not_rest_on_missing_data_is_what_any_data_would_have_said(
    question: tuple[list[bool | None], int, int], fillers: list[bool], treatment: TreatMissingData
) -> None:
    slots, periods, datapoints = question
    judgement = judged(slots, periods=periods, datapoints=datapoints, treatment=treatment)
    came = [slot for slot in slots if slot is not None][-periods:]
    filled = came + fillers[: periods - len(came)]

    if not judgement.rests_on_missing:
        told = judged(filled, periods=periods, datapoints=datapoints, treatment=treatment)
        assert judgement.state in {told.state, KEEP}
