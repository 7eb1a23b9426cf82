"""What the granules of a window say, and the next state that follows.

Source: aodh/evaluator/threshold.py and gnocchi.py, 23.0.0: the last ``evaluation_periods`` present values count; all
outside is ``alarm``, all inside ``ok``, mixed keeps the state (or takes the trend out of ``insufficient data``).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, assert_never

import msgspec

from autoscaler.alarms.alarm import AlarmState, Evidence
from autoscaler.alarms.missing import Judgement, judged
from autoscaler.alarms.observation import PoolMembers, Samples, Unknown
from autoscaler.alarms.rules import COMPARISONS, TreatMissingData

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.alarms.granules import Granule
    from autoscaler.alarms.observation import Observation
    from autoscaler.alarms.rules import PrometheusRule, Rule


class Certain(msgspec.Struct, frozen=True):
    """Every value that counts is on the same side."""

    state: AlarmState


class Mixed(msgspec.Struct, frozen=True):
    """Values on both sides; ``trend`` is the newest one's."""

    trend: AlarmState


class TooFew(msgspec.Struct, frozen=True):
    """Not enough values to judge; ``reason`` is Aodh's text for it."""

    reason: str


class Keep(msgspec.Struct, frozen=True):
    """Missing data is treated so that the state stays as it is."""


Verdict = Certain | Mixed | TooFew | Keep


class Assessment(msgspec.Struct, frozen=True):
    """A verdict with what it rests on.

    Attributes:
        outside: how many of the values that count are outside the threshold.
        values: the values that count, oldest first.
        evidence: for the guards of scaling; None where there was nothing to judge.
        missing: the verdict rests on data that did not come.
    """

    verdict: Verdict
    outside: int
    values: Sequence[float]
    evidence: Evidence | None
    missing: bool

    def is_full(self, rule: Rule) -> bool:
        """Whether every evaluation period has a value of its own."""
        return len(self.values) >= rule.evaluation_periods


def assess(rule: Rule, granules: Sequence[Granule], state: AlarmState) -> Assessment:
    """What ``granules`` (oldest first) mean for an alarm that is in ``state``. Total."""
    if rule.datapoints_to_alarm is None and rule.treat_missing_data is None:
        return _as_aodh(rule, granules, state)
    return _with_missing_treated(rule, granules, state)


def _as_aodh(rule: Rule, granules: Sequence[Granule], state: AlarmState) -> Assessment:
    present = [granule for granule in granules if granule.value is not None]
    counting = present[-rule.evaluation_periods :]
    values = [granule.value for granule in counting if granule.value is not None]
    evidence = _evidence(counting, granules, resting_on_missing=len(values) < rule.evaluation_periods)
    if not values:
        return Assessment(TooFew(f"No datapoint for granularity {_plain(rule.granularity)}"), 0, (), None, missing=True)
    if len(values) < rule.evaluation_periods:
        too_few = TooFew(f"{rule.evaluation_periods} datapoints are unknown")
        return Assessment(too_few, 0, values, evidence, missing=True)
    outside = [is_outside(rule, value, state) for value in values]
    return Assessment(agreement(outside), sum(outside), values, evidence, missing=False)


def assess_observation(rule: PrometheusRule, seen: Observation, now: float) -> Assessment:
    """What all the values that a Prometheus server answers with mean together. Total; NaN differs from everything.

    Source:
        aodh/evaluator/prometheus.py, 23.0.0. There an alarm whose server does not answer keeps its state and nobody
        is told.
    """
    match seen:
        case Unknown(reason):
            return Assessment(TooFew(reason), 0, (), None, missing=True)
        case Samples(()):
            return Assessment(TooFew("datapoints are unknown"), 0, (), None, missing=True)
        case Samples(samples):
            values = [sample.value for sample in samples]
            outside = [bool(COMPARISONS[rule.comparison_operator](value, rule.threshold)) for value in values]
            evidence = Evidence(begins=now, ends=now, reporting=(len(values),), fullest=len(values))
            return Assessment(agreement(outside), sum(outside), values, evidence, missing=False)
        case PoolMembers():
            raise AssertionError("a load balancer was asked in place of a Prometheus server")
        case _:
            assert_never(seen)


def agreement(outside: Sequence[bool]) -> Verdict:
    """What values mean of which each is outside the threshold or not, oldest first, at least one."""
    newest = AlarmState.ALARM if outside[-1] else AlarmState.OK
    return Certain(newest) if len(set(outside)) == 1 else Mixed(newest)


def _with_missing_treated(rule: Rule, granules: Sequence[Granule], state: AlarmState) -> Assessment:
    slots = [None if granule.value is None else is_outside(rule, granule.value, state) for granule in granules]
    judgement = judged(
        slots,
        periods=rule.evaluation_periods,
        datapoints=rule.datapoints_to_alarm or rule.evaluation_periods,
        treatment=rule.treat_missing_data or TreatMissingData.MISSING,
    )
    present = [granule for granule in granules if granule.value is not None]
    counting = present[-rule.evaluation_periods :]
    complete = len(counting) == rule.evaluation_periods
    decisive = counting if complete else granules[-rule.evaluation_periods :]
    # where a treatment lets silence speak it is as new as the clock, elsewhere only what was measured is
    speaks = rule.treat_missing_data in {TreatMissingData.BREACHING, TreatMissingData.OK}
    newest = decisive if complete or speaks else present
    return Assessment(
        _verdict(judgement, rule),
        sum(1 for slot in [slot for slot in slots if slot is not None][-rule.evaluation_periods :] if slot),
        [granule.value for granule in counting if granule.value is not None],
        _evidence(decisive, granules, newest=newest, resting_on_missing=judgement.rests_on_missing),
        judgement.rests_on_missing,
    )


def _verdict(judgement: Judgement, rule: Rule) -> Verdict:
    match judgement.state:
        case None:
            return Keep()
        case AlarmState.INSUFFICIENT_DATA:
            return TooFew(f"{rule.evaluation_periods} datapoints are unknown")
        case state:
            return Certain(state)


def is_outside(rule: Rule, value: float, state: AlarmState) -> bool:
    """Whether a value is beyond the threshold, or, in ``alarm``, has not yet come back past the recovery threshold."""
    return bool(COMPARISONS[rule.comparison_operator](value, limit_in(rule, state)))


def limit_in(rule: Rule, state: AlarmState) -> float:
    """What values are compared with while an alarm is in ``state``."""
    if state is AlarmState.ALARM and rule.recovery_threshold is not None:
        return rule.recovery_threshold
    return rule.threshold


def _evidence(
    counting: Sequence[Granule],
    looked_at: Sequence[Granule],
    *,
    resting_on_missing: bool,
    newest: Sequence[Granule] | None = None,  # None means those that count
) -> Evidence | None:
    dated = counting if newest is None else newest
    if not dated:
        return None
    return Evidence(
        begins=dated[-1].span.begins,
        ends=dated[-1].span.ends,
        reporting=tuple(granule.reporting for granule in counting),
        fullest=max(granule.reporting for granule in looked_at),
        resting_on_missing=resting_on_missing,
    )


def _plain(number: float) -> str:
    """A number as Aodh writes it: whole ones without a fraction."""
    return str(int(number)) if number == int(number) else str(number)


def next_state(current: AlarmState, verdict: Verdict) -> AlarmState:
    """The state that follows from ``current``. Total."""
    match verdict:
        case Certain(state):
            return state
        case TooFew():
            return AlarmState.INSUFFICIENT_DATA
        case Mixed(trend):
            return trend if current is AlarmState.INSUFFICIENT_DATA else current
        case Keep():
            return current
        case _:
            assert_never(verdict)


class Explanation(msgspec.Struct, frozen=True):
    """Aodh's ``reason`` and ``reason_data``, byte for byte."""

    reason: str
    data: dict[str, Any]


def explained(expected: int, current: AlarmState, state: AlarmState, assessment: Assessment) -> Explanation:
    """Why an alarm that was in ``current`` is in ``state``.

    Args:
        expected: how many values there should be.

    Source:
        aodh/evaluator/threshold.py, ``_reason``, ``_reason_data`` and ``_unknown_reason_data``, 23.0.0.
    """
    most_recent = assessment.values[-1] if assessment.values else None
    if isinstance(assessment.verdict, TooFew) and state is not current:
        data = _reason_data("unknown", expected, most_recent)
        return Explanation(assessment.verdict.reason, data)
    inside = state is AlarmState.OK
    count = len(assessment.values) - assessment.outside if inside else assessment.outside
    disposition = "inside" if inside else "outside"
    verb = "Remaining as" if state is current else "Transition to"
    text = f"{verb} {state} due to {count} samples {disposition} threshold, most recent: {most_recent}"
    return Explanation(text, _reason_data(disposition, count, most_recent))


def _reason_data(disposition: str, count: int, most_recent: float | None) -> dict[str, Any]:
    # JSON has no word for what is not finite, which Prometheus may answer
    told = most_recent if most_recent is None or math.isfinite(most_recent) else None
    return {"type": "threshold", "disposition": disposition, "count": count, "most_recent": told}
