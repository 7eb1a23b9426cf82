"""M of N evaluation periods, and what a period without data stands for.

Source:
    Amazon CloudWatch, "Configuring how CloudWatch alarms treat missing data": its two published tables and the
    examples in its prose. What it leaves open is decided here: one breaching period alone in the newest slot, and any
    other premature alarm, keeps the state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from autoscaler.alarms.alarm import AlarmState
from autoscaler.alarms.rules import TreatMissingData

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the periods come to.

    Attributes:
        state: the state they ask for; None keeps the present one.
        rests_on_missing: the missing periods, had they come, could have decided otherwise.
    """

    state: AlarmState | None
    rests_on_missing: bool


def judged(slots: Sequence[bool | None], *, periods: int, datapoints: int, treatment: TreatMissingData) -> Judgement:
    """The judgement on the last periods. Total.

    Args:
        slots: oldest first: whether the period's value is beyond the threshold, None where it has no value. May be
            more than ``periods``: then older values stand in for missing newer ones.
        periods: N, how many values are judged.
        datapoints: M, how many of them must be beyond the threshold, 1 <= M <= N.
        treatment: consulted only where fewer than N values came.
    """
    real = [slot for slot in slots if slot is not None][-periods:]
    breaching = sum(1 for slot in real if slot)
    missing = periods - len(real)
    if missing == 0:
        return Judgement(_alarm_if(breaching >= datapoints), rests_on_missing=False)
    undecided = breaching < datapoints <= breaching + missing
    return Judgement(_treated(slots, real, periods, datapoints, treatment), undecided)


def _treated(
    slots: Sequence[bool | None], real: Sequence[bool], periods: int, datapoints: int, treatment: TreatMissingData
) -> AlarmState | None:
    breaching = sum(1 for slot in real if slot)
    match treatment:
        case TreatMissingData.BREACHING:
            return _alarm_if(breaching + periods - len(real) >= datapoints)
        case TreatMissingData.OK:
            return _alarm_if(breaching >= datapoints)
        case TreatMissingData.IGNORE | TreatMissingData.MISSING:
            if breaching >= datapoints:
                return AlarmState.ALARM
            if breaching < len(real):
                return AlarmState.OK
            return None if treatment is TreatMissingData.IGNORE else _premature(slots, datapoints)
        case _:
            assert_never(treatment)


def _premature(slots: Sequence[bool | None], datapoints: int) -> AlarmState | None:
    """Too few values, all of them breaching: an alarm once the oldest is as old as M periods."""
    oldest = next((index for index, slot in enumerate(slots) if slot is not None), None)
    if oldest is None:
        return AlarmState.INSUFFICIENT_DATA
    return AlarmState.ALARM if len(slots) - oldest >= datapoints else None


def _alarm_if(breaching: bool) -> AlarmState:  # noqa: FBT001 - the question is its only argument
    return AlarmState.ALARM if breaching else AlarmState.OK
