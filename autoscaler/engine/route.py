"""Which windows a measure belongs to: a look-up or two, however many alarms there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from autoscaler.alarms.alarm import Alarm
from autoscaler.measures.match import Match, attribute_of, holds, required
from autoscaler.measures.measure import Measure
from autoscaler.measures.window import ANY_PROJECT, WindowSpec

REMEMBERED_SERIES = 200_000
"""How many series' places are remembered; beyond it they are worked out again."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a measure goes.

    Attributes:
        windows: ids of the windows that it belongs to.
        leaves: ids of the windows that its series may have belonged to with other metadata.
    """

    windows: Sequence[str]
    leaves: Sequence[str] = ()


@dataclass(slots=True)
class _Metric:
    """The windows over one metric."""

    by_attribute: dict[str, dict[str, list[str]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    others: list[str] = field(default_factory=list)
    by_metadata: list[str] = field(default_factory=list)


class Router:
    """Windows of a set of alarms, and the way to them.

    Attributes:
        windows: by id, as wide as their widest alarm needs.
        alarms: by window id, in order of alarm id.
        by_id: all alarms.
    """

    def __init__(self, alarms: Iterable[Alarm]) -> None:
        self.by_id: Mapping[str, Alarm] = {alarm.alarm_id: alarm for alarm in alarms}
        self.windows: dict[str, WindowSpec] = {}
        self.alarms: dict[str, list[Alarm]] = defaultdict(list)
        self.window_of: dict[str, str] = {}
        self._metrics: dict[str, _Metric] = defaultdict(_Metric)
        self._places: dict[tuple[str, str, str], tuple[Mapping[str, str], Route]] = {}
        for _, alarm in sorted(self.by_id.items()):
            if alarm.enabled:
                self._add(alarm)

    def _add(self, alarm: Alarm) -> None:
        spec = window_of(alarm)
        window_id = spec.window_id
        self.window_of[alarm.alarm_id] = window_id
        self.alarms[window_id].append(alarm)
        if window_id in self.windows:
            self.windows[window_id] = self.windows[window_id].widened(spec)
            return
        self.windows[window_id] = spec
        metric = self._metrics[spec.metric]
        equality = required(spec.match)
        if equality is None:
            metric.others.append(window_id)
        else:
            metric.by_attribute[equality.attribute][equality.value].append(window_id)
        if equality is None or equality.attribute != "resource_id":
            metric.by_metadata.append(window_id)

    def route(self, measure: Measure) -> Route:
        """Where ``measure`` goes; nowhere when no alarm asks for it."""
        if measure.metric not in self._metrics:
            return Route(())
        key = (measure.project_id, measure.metric, measure.resource_id)
        known = self._places.get(key)
        if known is not None and known[0] == measure.metadata:
            return known[1]
        windows = self._find(measure)
        before = self._metrics[measure.metric].by_metadata if known is None else known[1].windows
        leaves = [window_id for window_id in before if window_id not in windows and self._in_scope(window_id, measure)]
        if len(self._places) >= REMEMBERED_SERIES:
            self._places.clear()
        # the leaves are told once; from then on only the windows matter
        self._places[key] = (measure.metadata, Route(windows))
        return Route(windows, leaves)

    def forget_place(self, measures: Iterable[Measure]) -> None:
        """Work places out again, since what was told of these series did not arrive."""
        for measure in measures:
            self._places.pop((measure.project_id, measure.metric, measure.resource_id), None)

    def _find(self, measure: Measure) -> list[str]:
        metric = self._metrics[measure.metric]
        candidates = list(metric.others)
        for attribute, by_value in metric.by_attribute.items():
            value = attribute_of(measure, attribute)
            if value is not None and value in by_value:
                candidates += by_value[value]
        return [
            window_id
            for window_id in candidates
            if self._in_scope(window_id, measure) and holds(self.windows[window_id].match, measure)
        ]

    def _in_scope(self, window_id: str, measure: Measure) -> bool:
        scope = self.windows[window_id].project_id
        return scope in (ANY_PROJECT, measure.project_id)


def window_of(alarm: Alarm) -> WindowSpec:
    """The window that an alarm looks at."""
    match: Match = alarm.rule.match
    return WindowSpec(alarm.project_id, alarm.rule.metric, match, alarm.rule.horizon)
