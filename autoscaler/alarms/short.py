"""The short way of a look: what nearly every look comes to, told without all that could be the case and is not.

Measures enough, and they say what the state says: the record stays, and the next look is at the granule's end. Whatever
differs in any of it goes the long way (:func:`autoscaler.alarms.evaluation.evaluate`), which is the only one that
concludes anything; where this one answers, that one comes to the same.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING

from autoscaler.alarms.alarm import AlarmState
from autoscaler.alarms.course import calls_policies
from autoscaler.alarms.definition import SET_BY_HAND
from autoscaler.alarms.granules import MICROSECOND, aggregates, aligned, newest_counting, parsed
from autoscaler.alarms.rules import COMPARISONS, EvaluateWhen, Rule
from autoscaler.alarms.verdict import is_outside
from autoscaler.measures.aggregation import Differences

if TYPE_CHECKING:
    from autoscaler.alarms.alarm import Alarm, AlarmRecord
    from autoscaler.measures.series import Series
    from autoscaler.measures.window import WindowView


def short_way(alarm: Alarm) -> ShortWay:
    """The short way of an alarm's looks; one that never answers where each of them has to go the long one."""
    rule = alarm.rule
    if (
        not (isinstance(rule, Rule) and rule.is_plain and alarm.enabled)
        or alarm.time_constraints
        or alarm.repeat_actions
    ):
        return ShortWay(alarm)
    if rule.single and rule.derivation is None and parsed(rule.aggregation_method).differences is Differences.NONE:
        return _OfOneSeries(alarm, rule)
    return _OfSeries(alarm, rule)


class ShortWay:
    """See :func:`short_way`.

    Attributes:
        alarm: whose looks these are.
        of_whole_window: whether it answers, and looks at a window as it is: not at a group's members alone.
    """

    __slots__ = ("alarm", "of_whole_window")

    def __init__(self, alarm: Alarm) -> None:
        self.alarm = alarm
        self.of_whole_window = False

    def due(self, record: AlarmRecord, view: WindowView) -> float | None:  # noqa: ARG002 - for those that answer
        """When to look again, Unix seconds, where ``record`` stays as it is; None where that is not said.

        Args:
            view: as :func:`autoscaler.alarms.evaluation.evaluate` takes it.
        """
        return None


class _OfSeries(ShortWay):
    """Of any rule that is plain."""

    __slots__ = ("_lasting", "_settled", "rule")

    def __init__(self, alarm: Alarm, rule: Rule) -> None:
        super().__init__(alarm)
        self.of_whole_window = rule.group is None
        self.rule = rule
        # policies are considered anew while their state lasts, and no measure that counts leaves this one as it is
        self._lasting = tuple([each for each in (AlarmState.OK, AlarmState.ALARM) if not calls_policies(alarm, each)])
        self._settled: AlarmRecord | None = None  # the one that was found to be settled last; records are not changed

    def due(self, record: AlarmRecord, view: WindowView) -> float | None:
        """See :class:`ShortWay`."""
        if record is not self._settled:
            if not self._is_settled(record):
                return None
            self._settled = record
        if view.newest is None or view.newest > view.asof:
            return None
        over = math.floor((view.asof - self.rule.lateness + MICROSECOND) / self.rule.granularity) - 1
        if not self._lasts(record.state, view, over):
            return None
        return (over + 2) * self.rule.granularity + self.rule.lateness

    def _is_settled(self, record: AlarmRecord) -> bool:
        """Whether nothing of the alarm waits for a time, or for anything but what its window says."""
        return (
            record.state in self._lasting
            and record.definition == self.alarm.definition
            and record.revision == self.alarm.revision
            and not (
                record.repeat_at is not None
                or record.held_since is not None
                or record.breaching_since is not None
                or record.clear_since is not None
                or record.outage is not None
                or record.imported
                or record.note
                or record.reason == SET_BY_HAND
            )
        )

    def _lasts(self, state: AlarmState, view: WindowView, over: int) -> bool:  # noqa: ARG002 - for who is quicker
        """Whether there are values enough, and they leave the state as it is.

        Args:
            over: the number of the newest granule that is over.
        """
        rule = self.rule
        newest = newest_counting(rule, view, view.asof)
        first = newest - rule.granules + 1
        if view.late is not None and view.late <= first * rule.granularity:
            return False
        values = 0
        agrees = False
        for index in range(newest, first - 1, -1):
            (granule,) = aggregates(rule, view, [aligned(index, rule.granularity)])
            if granule.value is not None:
                values += 1
                agrees = agrees or is_outside(rule, granule.value, state) is (state is AlarmState.ALARM)
                if values == rule.evaluation_periods:
                    return agrees
        return False


class _OfOneSeries(_OfSeries):
    """Of a rule over one resource: no values of several series, and nothing to be made of them first."""

    __slots__ = ("_compare", "_reduced")

    def __init__(self, alarm: Alarm, rule: Rule) -> None:
        super().__init__(alarm, rule)
        self._reduced = parsed(rule.aggregation_method).reduced
        self._compare = COMPARISONS[rule.comparison_operator]

    def _lasts(self, state: AlarmState, view: WindowView, over: int) -> bool:
        if len(view.series) != 1 or view.newest is None:
            return False
        (series,) = view.series.values()
        rule = self.rule
        granularity, periods = rule.granularity, rule.evaluation_periods
        newest = over
        for index in range(math.floor((view.newest + MICROSECOND) / granularity), over, -1):
            if rule.evaluate is EvaluateWhen.MEASURE or _has_reported(series, index, granularity):
                newest = index
                break
        first = newest - rule.granules + 1
        if view.late is not None and view.late <= first * granularity:
            return False
        alarming = state is AlarmState.ALARM
        limit = rule.recovery_threshold if alarming and rule.recovery_threshold is not None else rule.threshold
        times, measured = series.times, series.values
        values, agrees = 0, False
        end = bisect_left(times, (newest + 1) * granularity)
        for index in range(newest, first - 1, -1):
            begin = bisect_left(times, index * granularity, 0, end)
            value = self._reduced(measured[begin:end]) if begin < end else None
            end = begin
            if value is not None:
                values += 1
                agrees = agrees or bool(self._compare(value, limit)) is alarming
                if values == periods:
                    return agrees
        return False


def _has_reported(series: Series, index: int, granularity: float) -> bool:
    """Whether a granule that is not over has as many points as the one before it, which has some."""
    times = series.times
    end = bisect_left(times, (index + 1) * granularity)
    begin = bisect_left(times, index * granularity, 0, end)
    before = begin - bisect_left(times, (index - 1) * granularity, 0, begin)
    return end - begin >= before > 0
