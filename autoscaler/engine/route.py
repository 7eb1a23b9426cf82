"""Which alarms there are, the windows that they look at, and the way of a measure to them.

Alarms come and go one by one while measures stream. Adding or removing one costs what its own windows cost, and the way
of a measure is a look-up or two, however many alarms there are.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from autoscaler.alarms.alarm import Alarm
from autoscaler.alarms.rules import CompositeRule, EventRule, PoolHealthRule, PrometheusRule, Rule, leaves_of
from autoscaler.engine.index import Index, Scope
from autoscaler.measures.derived import Derivation, series_name
from autoscaler.measures.match import holds
from autoscaler.measures.measure import Measure
from autoscaler.measures.window import ANY_PROJECT, WindowSpec

if TYPE_CHECKING:
    from typing import Final

REMEMBERED_SERIES = 200_000
"""How many series' places are remembered; beyond it they are worked out again."""
SILENT_ROUNDS = 10
"""How often all others have reported, on average, when a series counts as gone and its place is forgotten."""
LEAST_ROUND = 2000
"""Measures of a round at least, so that no place is forgotten within the batch that brought it."""

NONE_STATED: Final[Mapping[str, float]] = MappingProxyType({})
"""Of measures that state no divisor: nearly all, so they share it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A measure's place in one window.

    Attributes:
        name: of the series that its value is a point of.
        stated: divisors that its metadata states, by the name of their series.
    """

    name: str
    stated: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Route:
    """Where a measure goes.

    Attributes:
        entries: by id of the windows that it belongs to.
        before: ids of the windows that its series belonged to until just now, with other metadata.
    """

    entries: Mapping[str, Entry]
    before: Sequence[str] = ()

    @property
    def windows(self) -> Sequence[str]:
        """Ids of the windows that it belongs to, in order."""
        return list(self.entries)


NOWHERE: Final = Route({})


@dataclass(frozen=True, slots=True)
class Touched:
    """What a change did to windows.

    Attributes:
        grown: ids of those that are new, or look further back than before.
        vanished: ids of those that nobody looks at any more.
    """

    grown: tuple[str, ...] = ()
    vanished: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the series goes whose measures say ``metadata``."""

    metadata: Mapping[str, str]
    route: Route


@dataclass(slots=True)
class _Metric:
    """The windows that keep one metric, by the project they see, and the places of its series that are known.

    Attributes:
        places: of series that were heard of lately.
        older: of those that were not, to be forgotten next.
    """

    scopes: dict[str, Scope] = field(default_factory=dict)
    places: dict[tuple[str, str], _Place] = field(default_factory=dict)
    older: dict[tuple[str, str], _Place] = field(default_factory=dict)

    def place(self, key: tuple[str, str]) -> _Place | None:
        """The place of a series that is heard of now, where it is known."""
        known = self.places.get(key)
        if known is None and self.older:
            known = self.older.pop(key, None)
            if known is not None:
                self.places[key] = known
        return known

    def forget_older(self) -> int:
        """Forget what was not heard of since the last time; how many places."""
        forgotten = len(self.older)
        self.older, self.places = self.places, {}
        return forgotten

    def forget_places(self) -> int:
        """Forget all; how many."""
        forgotten = len(self.places) + len(self.older)
        self.places.clear()
        self.older.clear()
        return forgotten


class Router:
    """A set of alarms with the windows that they look at.

    Attributes:
        by_id: all alarms.
        windows: by id, as wide as the widest alarm that has looked at it since it is there.
        watchers: window id -> alarm id -> alarm; enabled ones.
        leaf_windows: alarm id -> window id of each leaf of its condition, None for one that asks Prometheus; enabled
            ones.
    """

    def __init__(self, alarms: Iterable[Alarm] = ()) -> None:
        self.by_id: dict[str, Alarm] = {}
        self.windows: dict[str, WindowSpec] = {}
        self.watchers: dict[str, dict[str, Alarm]] = {}
        self.leaf_windows: dict[str, tuple[str | None, ...]] = {}
        self._watching: dict[str, list[Alarm]] = {}
        self._ordered: dict[str, bool] = {}
        self._derivations: defaultdict[str, Counter[Derivation]] = defaultdict(Counter)
        self._metrics: dict[str, _Metric] = {}
        self._remembered = 0
        self._routed = 0  # since places were last forgotten for their age
        self._probed: dict[str, None] = {}
        self._urls = Index()
        self._waiting: defaultdict[str, dict[str, Alarm]] = defaultdict(dict)
        self._waiting_in_order: dict[str, list[Alarm]] = {}
        for alarm in alarms:
            self.put(alarm)

    # --- alarms ------------------------------------------------------------------------------------------------------

    def put(self, alarm: Alarm) -> Touched:
        """Add an alarm, or let it take the place of the one with its id."""
        former = self.by_id.get(alarm.alarm_id)
        if former == alarm:
            return Touched()
        left = self.leaf_windows.pop(alarm.alarm_id, ())
        if former is not None:
            self._unlist(former)
        self._list(alarm)
        # the new windows before the old ones go, so that one that stays is never gone
        grown = self._watch(alarm) if alarm.enabled else ()
        vanished = () if former is None else self._unwatch(former, left)
        return Touched(grown, vanished)

    def remove(self, alarm_id: str) -> Touched:
        """Take an alarm out, if it is there."""
        former = self.by_id.get(alarm_id)
        if former is None:
            return Touched()
        left = self.leaf_windows.pop(alarm_id, ())
        self._unlist(former)
        return Touched(vanished=self._unwatch(former, left))

    def _list(self, alarm: Alarm) -> None:
        self.by_id[alarm.alarm_id] = alarm
        for url in _urls_of(alarm):
            self._urls.add(url, alarm.alarm_id)
        if alarm.enabled and isinstance(alarm.rule, EventRule):
            self._waiting[alarm.sees][alarm.alarm_id] = alarm
            self._waiting_in_order.pop(alarm.sees, None)
        if alarm.enabled and _is_probed(alarm):
            self._probed[alarm.alarm_id] = None

    def _unlist(self, alarm: Alarm) -> None:
        del self.by_id[alarm.alarm_id]
        for url in _urls_of(alarm):
            self._urls.drop(url, alarm.alarm_id)
        self._probed.pop(alarm.alarm_id, None)
        waiting = self._waiting.get(alarm.sees, {})
        if waiting.pop(alarm.alarm_id, None) is not None:
            self._waiting_in_order.pop(alarm.sees, None)
            if not waiting:
                del self._waiting[alarm.sees]

    def event_alarms(self, project_id: str) -> list[Alarm]:
        """Alarms that wait for events and see those of a project, in order of id."""
        own, everybodys = (self._in_order(scope) for scope in (project_id, ANY_PROJECT))
        if project_id == ANY_PROJECT or not own:
            return everybodys
        return sorted([*own, *everybodys], key=_alarm_id) if everybodys else own

    def _in_order(self, scope: str) -> list[Alarm]:
        if scope not in self._waiting:
            return []
        known = self._waiting_in_order.get(scope)
        if known is None:
            known = self._waiting_in_order[scope] = sorted(self._waiting[scope].values(), key=_alarm_id)
        return known

    def naming(self, url: str) -> list[Alarm]:
        """Alarms that have ``url`` among their actions, also those that are not enabled, in order of id."""
        return [self.by_id[alarm_id] for alarm_id in sorted(self._urls.of(url))]

    def probed(self) -> list[str]:
        """Ids of the enabled alarms that rest on something that must be asked, in order."""
        return sorted(self._probed)

    # --- windows -----------------------------------------------------------------------------------------------------

    def watching(self, window_id: str) -> list[Alarm]:
        """Alarms that look at a window, in order of id."""
        known = self._watching.get(window_id)
        if known is None:
            watchers = self.watchers.get(window_id)
            if watchers is None:
                return []
            known = self._watching[window_id] = sorted(watchers.values(), key=_alarm_id)
        return known

    def window_of(self, alarm_id: str) -> str | None:
        """Id of the first window of an alarm, None where it has none or is not enabled."""
        return next((found for found in self.leaf_windows.get(alarm_id, ()) if found is not None), None)

    def is_in_order(self, window_id: str) -> bool:
        """Whether some alarm that looks at a window has every boundary evaluated in order."""
        known = self._ordered.get(window_id)
        if known is None:
            known = self._ordered[window_id] = any(map(_is_in_order, self.watching(window_id)))
        return known

    def _watch(self, alarm: Alarm) -> tuple[str, ...]:
        """Have an alarm look at its windows; ids of those that are new or grew by it."""
        found: list[str | None] = []
        wanted: dict[str, WindowSpec] = {}
        for leaf in leaves_of(alarm.rule):
            if isinstance(leaf, Rule):
                spec = window_spec(alarm, leaf)
                known = wanted.get(spec.window_id)
                wanted[spec.window_id] = spec if known is None else known.widened(spec)
                found.append(spec.window_id)
            else:
                found.append(None)
        self.leaf_windows[alarm.alarm_id] = tuple(found)
        grown = tuple([spec.window_id for spec in wanted.values() if self._watch_window(alarm, spec)])
        for window_id, derivation in _derivations(alarm, found):
            self._derivations[window_id][derivation] += 1
            if self._derivations[window_id][derivation] == 1:
                self._forget_places(self.windows[window_id])
        return grown

    def _watch_window(self, alarm: Alarm, spec: WindowSpec) -> bool:
        """Whether the window is new or grew by it."""
        window_id = spec.window_id
        known = self.windows.get(window_id)
        watchers = self.watchers.get(window_id)
        if watchers is None:
            watchers = self.watchers[window_id] = {}
        alone = not watchers or watchers.keys() == {alarm.alarm_id}
        watchers[alarm.alarm_id] = alarm
        self._watching.pop(window_id, None)
        self._ordered.pop(window_id, None)
        self.windows[window_id] = spec if known is None or alone else known.widened(spec)
        if known is not None:
            return known.horizon < spec.horizon
        for name in set(spec.metrics):
            metric = self._metrics.get(name)
            if metric is None:
                metric = self._metrics[name] = _Metric()
            scope = metric.scopes.get(spec.project_id)
            if scope is None:
                scope = metric.scopes[spec.project_id] = Scope()
            scope.add(spec)
            self._remembered -= metric.forget_places()
        return True

    def _unwatch(self, alarm: Alarm, left: Sequence[str | None]) -> tuple[str, ...]:
        """Have an alarm look no longer where it did and does not any more; ids of the windows that vanish by it."""
        for window_id, derivation in _derivations(alarm, left):
            known = self._derivations[window_id]
            known[derivation] -= 1
            if not known[derivation]:
                del known[derivation]
                self._forget_places(self.windows[window_id])
            if not known:
                del self._derivations[window_id]
        stays = self.leaf_windows.get(alarm.alarm_id, ())
        gone = [window_id for window_id in dict.fromkeys(left) if window_id is not None and window_id not in stays]
        return tuple([window_id for window_id in gone if self._unwatch_window(alarm.alarm_id, window_id)])

    def _unwatch_window(self, alarm_id: str, window_id: str) -> bool:
        """Whether the window vanishes by it."""
        self._watching.pop(window_id, None)
        self._ordered.pop(window_id, None)
        del self.watchers[window_id][alarm_id]
        if self.watchers[window_id]:
            return False
        del self.watchers[window_id]
        spec = self.windows.pop(window_id)
        self._forget_places(spec)
        for name in set(spec.metrics):
            metric = self._metrics[name]
            scope = metric.scopes[spec.project_id]
            scope.drop(spec)
            if scope.is_empty:
                del metric.scopes[spec.project_id]
            if not metric.scopes:
                del self._metrics[name]
        return True

    # --- measures ----------------------------------------------------------------------------------------------------

    @property
    def series_known(self) -> int:
        """Of how many series it is remembered where they go."""
        return self._remembered

    def route(self, measure: Measure) -> Route:
        """Where ``measure`` goes; nowhere when no alarm asks for it."""
        metric = self._metrics.get(measure.metric)
        if metric is None:
            return NOWHERE
        self._routed += 1
        if self._routed > SILENT_ROUNDS * LEAST_ROUND and self._routed > SILENT_ROUNDS * self._remembered:
            self._forget_older_places()
        key = (measure.project_id, measure.resource_id)
        # nearly always here, so this is all there is to most measures
        known = metric.places.get(key)
        if known is not None and known.metadata == measure.metadata:
            return known.route
        known = metric.place(key)
        if known is None:
            if self._remembered >= REMEMBERED_SERIES:
                self._forget_all_places()
            self._remembered += 1
        elif known.metadata == measure.metadata:
            return known.route
        found = self._find(metric, measure)
        metric.places[key] = _Place(measure.metadata, found)
        if known is None:
            return found
        return Route(found.entries, [window_id for window_id in known.route.entries if window_id not in found.entries])

    def leaving(self, window_id: str, measure: Measure) -> Sequence[str]:
        """Names of the series that leave a window, since ``measure`` does not belong to it.

        None where it is not for this measure to say: it is of another project, or of a divisor, which goes where the
        series goes that it divides.
        """
        spec = self.windows.get(window_id)
        if spec is None or measure.metric not in spec.metrics:
            return ()
        if spec.project_id not in (ANY_PROJECT, measure.project_id):
            return ()
        derivations = self._derivations.get(window_id, ())
        if any(derivation.divisor == measure.metric for derivation in derivations):
            return ()
        divisors = [derivation.divisor for derivation in derivations if derivation.base == measure.metric]
        metrics = dict.fromkeys([measure.metric, *filter(None, divisors)])
        return [series_name(measure.resource_id, metric, spec.metrics[0]) for metric in metrics]

    def _find(self, metric: _Metric, measure: Measure) -> Route:
        found: dict[str, Entry] = {}
        for project_id in {measure.project_id, ANY_PROJECT}:
            scope = metric.scopes.get(project_id)
            for window_id in () if scope is None else scope.candidates(measure):
                spec = self.windows[window_id]
                if window_id not in found and holds(spec.match, measure):
                    found[window_id] = self._entry(spec, measure)
        return Route(dict(sorted(found.items()))) if found else NOWHERE

    def _entry(self, spec: WindowSpec, measure: Measure) -> Entry:
        first = spec.metrics[0]
        stated: dict[str, float] = {}
        for derivation in self._derivations.get(spec.window_id, ()):
            value = _stated(derivation, measure)
            if value is not None:
                name = series_name(measure.resource_id, derivation.divisor, first)
                # where two of them read different keys, all replicas take the same
                stated[name] = max(value, stated.get(name, value))
        return Entry(series_name(measure.resource_id, measure.metric, first), stated or NONE_STATED)

    def _forget_places(self, spec: WindowSpec) -> None:
        """Work the places of all series out again that a window may keep."""
        for name in set(spec.metrics):
            self._remembered -= self._metrics[name].forget_places()

    def _forget_all_places(self) -> None:
        self._remembered -= sum(metric.forget_places() for metric in self._metrics.values())

    def _forget_older_places(self) -> None:
        """Forget where series belong that are gone: servers come and go, and each has an id of its own."""
        self._remembered -= sum(metric.forget_older() for metric in self._metrics.values())
        self._routed = 0


def window_spec(alarm: Alarm, leaf: Rule) -> WindowSpec:
    """The window that one of an alarm's conditions looks at."""
    return WindowSpec(alarm.sees, leaf.metrics, leaf.match, leaf.horizon)


def _is_in_order(alarm: Alarm) -> bool:
    return any(isinstance(leaf, Rule) and leaf.in_order for leaf in leaves_of(alarm.rule))


def _alarm_id(alarm: Alarm) -> str:
    return alarm.alarm_id


def _urls_of(alarm: Alarm) -> set[str]:
    return {*alarm.ok_actions, *alarm.alarm_actions, *alarm.insufficient_data_actions}


def _is_probed(alarm: Alarm) -> bool:
    rule = alarm.rule
    if isinstance(rule, CompositeRule):
        return any(isinstance(leaf, PrometheusRule) for leaf in rule.leaves)
    return isinstance(rule, PoolHealthRule | PrometheusRule)


def _derivations(alarm: Alarm, leaf_windows: Sequence[str | None]) -> Iterator[tuple[str, Derivation]]:
    """The windows of an alarm's leaves whose metric is made of others, with how."""
    if leaf_windows:
        for leaf, window_id in zip(leaves_of(alarm.rule), leaf_windows, strict=True):
            if window_id is not None and isinstance(leaf, Rule) and leaf.derivation is not None:
                yield window_id, leaf.derivation


def _stated(derivation: Derivation, measure: Measure) -> float | None:
    """The divisor that a sample's metadata states; None where it states none that divides."""
    if derivation.base != measure.metric or not derivation.divisor:
        return None
    for key in derivation.divisor_metadata:
        try:
            value = float(measure.metadata.get(key, ""))
        except ValueError:
            continue
        if math.isfinite(value) and value > 0:
            return value
    return None
