"""The short way of a look: what nearly every look comes to, told without all that could be the case and is not.

Measures enough, and they say what the state says: the record stays, and the next look is at the granule's end. Whatever
differs in any of it goes the long way (:func:`autoscaler.alarms.evaluation.evaluate`), which is the only one that
concludes anything; where this one answers, that one comes to the same.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from autoscaler.alarms.alarm import AlarmState
from autoscaler.alarms.course import calls_policies
from autoscaler.alarms.definition import SET_BY_HAND
from autoscaler.alarms.granules import aggregates, aligned, newest_counting, parsed
from autoscaler.alarms.present import next_boundary
from autoscaler.alarms.rules import COMPARISONS, Rule
from autoscaler.alarms.verdict import limit_in
from autoscaler.measures.aggregation import Differences

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autoscaler.alarms.alarm import Alarm, AlarmRecord
    from autoscaler.measures.window import WindowView

OK, ALARM = AlarmState.OK, AlarmState.ALARM


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

    __slots__ = ("_compare", "_quiet_record", "_quiet_states", "rule")

    def __init__(self, alarm: Alarm, rule: Rule) -> None:
        super().__init__(alarm)
        self.of_whole_window = rule.group is None
        self.rule = rule
        self._compare = COMPARISONS[rule.comparison_operator]
        # policies are considered anew while their state lasts, and no measure that counts leaves this one as it is
        self._quiet_states = tuple([each for each in (OK, ALARM) if not calls_policies(alarm, each)])
        self._quiet_record: AlarmRecord | None = None  # the one that was found to be quiet last; records do not change

    def due(self, record: AlarmRecord, view: WindowView) -> float | None:
        """See :class:`ShortWay`."""
        if record is not self._quiet_record:
            if not self._is_quiet(record):
                return None
            self._quiet_record = record
        if view.newest is None or view.newest > view.asof or not self._stays(record.state, view):
            return None
        return next_boundary(self.rule, view.asof)

    def _is_quiet(self, record: AlarmRecord) -> bool:
        """Whether nothing of the alarm waits for a time, or for anything but what its window says."""
        return (
            record.state in self._quiet_states
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

    def _stays(self, state: AlarmState, view: WindowView) -> bool:
        """Whether there are values enough, and one of them at least says what the state says."""
        rule, compare = self.rule, self._compare
        newest = newest_counting(rule, view, view.asof)
        first = newest - rule.granules + 1
        if view.late is not None and view.late <= first * rule.granularity:
            return False
        limit, alarming = limit_in(rule, state), state is ALARM
        agrees = False
        for count, value in enumerate(self._values(view, newest, first), 1):
            agrees = agrees or bool(compare(value, limit)) is alarming
            if count == rule.evaluation_periods:
                return agrees
        return False

    def _values(self, view: WindowView, newest: int, first: int) -> Iterator[float]:
        """Of the granules that have one, from the newest back to the first."""
        for index in range(newest, first - 1, -1):
            (granule,) = aggregates(self.rule, view, [aligned(index, self.rule.granularity)])
            if granule.value is not None:
                yield granule.value


class _OfOneSeries(_OfSeries):
    """Of a rule over one resource: no values of several series, and nothing to be made of them first."""

    __slots__ = ("_reduced",)

    def __init__(self, alarm: Alarm, rule: Rule) -> None:
        super().__init__(alarm, rule)
        self._reduced = parsed(rule.aggregation_method).reduced

    def _values(self, view: WindowView, newest: int, first: int) -> Iterator[float]:
        if len(view.series) != 1:
            yield from super()._values(view, newest, first)
            return
        (series,) = view.series.values()
        times, measured, granularity = series.times, series.values, self.rule.granularity
        end = bisect_left(times, (newest + 1) * granularity)
        for index in range(newest, first - 1, -1):
            begin = bisect_left(times, index * granularity, 0, end)
            value = self._reduced(measured[begin:end]) if begin < end else None
            if value is not None:
                yield value
            end = begin
