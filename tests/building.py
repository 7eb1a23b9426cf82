"""Short ways to say what a test is about."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from autoscaler.alarms.alarm import Alarm, AlarmRecord
from autoscaler.alarms.evaluation import Happening, Outcome, Sources, evaluate
from autoscaler.alarms.granules import Granule, aligned
from autoscaler.alarms.rules import ComparisonOperator, Rule, WindowKind
from autoscaler.measures.match import EVERYTHING
from autoscaler.measures.series import Series
from autoscaler.measures.window import WindowView

Points = Iterable[tuple[float, float]]


def a_rule(**fields: Any) -> Rule:
    """A rule that says alarm above 50, over two aligned granules of ten seconds, unless told otherwise."""
    plain: dict[str, Any] = {
        "metric": "cpu_util",
        "match": EVERYTHING,
        "single": True,
        "aggregation_method": "mean",
        "threshold": 50.0,
        "comparison_operator": ComparisonOperator.GT,
        "granularity": 10.0,
        "evaluation_periods": 2,
        "window": WindowKind.ALIGNED,
    }
    return Rule(**(plain | fields))


def an_alarm(rule: Rule | None = None, **fields: Any) -> Alarm:
    plain: dict[str, Any] = {"alarm_id": "a", "name": "busy", "type": "threshold", "rule": rule or a_rule()}
    return Alarm(**(plain | fields))


def a_series(points: Points) -> Series:
    by_time = dict(points)
    return Series(array("d", sorted(by_time)), array("d", (by_time[time] for time in sorted(by_time))))


def a_view(series: Mapping[str, Points], *, now: float, version: int = 1, late: float | None = None) -> WindowView:
    """A window in which these series have reported, newest and all."""
    built = {name: a_series(points) for name, points in series.items()}
    newest = max((each.times[-1] for each in built.values() if len(each)), default=None)
    return WindowView(version, now, newest, built, late)


def granules(values: Sequence[float | None], *, reporting: int = 1, granularity: float = 10.0) -> list[Granule]:
    """One granule per value, oldest first; None where nothing was reported."""
    return [
        Granule(aligned(index, granularity), value, 0 if value is None else reporting)
        for index, value in enumerate(values)
    ]


class Watch:
    """One alarm whose window is looked at again and again."""

    def __init__(self, alarm: Alarm, sources: Sources | None = None) -> None:
        self.alarm = alarm
        self.sources = sources or Sources()
        self.record = AlarmRecord()
        self.points: dict[str, dict[float, float]] = {}
        self.happened: list[Happening] = []
        self.outcome = Outcome(self.record)

    def report(self, value: float, *, at: float, by: str = "r") -> None:
        self.points.setdefault(by, {})[at] = value

    def look(self, now: float, *, late: float | None = None) -> Sequence[Happening]:
        """What happened at this look."""
        view = a_view({name: points.items() for name, points in self.points.items()}, now=now, late=late)
        self.outcome = evaluate(self.alarm, self.record, view, self.sources)
        self.record = self.outcome.record
        self.happened += self.outcome.happenings
        return self.outcome.happenings

    def sleep(self, *, until: float) -> int:
        """Look only when it is due; how often that was."""
        looks = 0
        while (due := self.outcome.next_due) is not None and due <= until:
            self.look(due)
            looks += 1
        return looks
