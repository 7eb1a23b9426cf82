"""Windows of imported alarms filled with stored aggregates, so that their first full window is there at once.

One point per series and granule says what the alarm's own aggregation makes of all points of that granule, where one
can. Granules that a window has points of already are left to these.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from autoscaler.alarms.alarm import Alarm
from autoscaler.alarms.rules import CompositeRule, Rule, leaves_of
from autoscaler.engine.ingest import Ingest
from autoscaler.engine.listen import Silence
from autoscaler.engine.moved import Remark, Summary, pieces
from autoscaler.engine.route import Router
from autoscaler.errors import PermanentError
from autoscaler.measures.aggregation import Differences, parse
from autoscaler.measures.derived import PART
from autoscaler.measures.match import And, Equals, to_search
from autoscaler.measures.measure import Measure
from autoscaler.measures.window import ANY_PROJECT

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.ports import Archive, Store, StoredResource

AT_ONCE: Final = 16
"""Questions to the archive at a time."""
MEASURES_AT_ONCE: Final = 5000
BY_METRICS: Final = "gnocchi_aggregation_by_metrics_threshold"
RESOURCE_TYPE: Final = "instance"
"""That is searched where a rule names none: what groups are made of."""
COUNTED: Final = frozenset(("count", "std"))
"""Methods that one point per granule says nothing of."""

_T = TypeVar("_T")

NO_METRIC: Final = "Gnocchi has stored nothing that it looks at"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be written of one series.

    Attributes:
        method: stored aggregate, one point of which stands for a granule.
        after: Unix seconds.
    """

    method: str
    granularity: float
    after: float


def wanted(rule: Rule, now: float) -> Wanted:
    """What reproduces the values of a rule, as far as one point per granule can.

    Raises:
        ValueError: nothing does.
    """
    method = parse(rule.aggregation_method)
    after = now - rule.horizon
    if rule.derivation is not None:
        # what is made of other metrics is made of their newest values
        return Wanted("last", rule.granularity, after)
    if method.base in COUNTED:
        raise ValueError(f"no stored aggregate stands for {rule.aggregation_method}")
    if method.differences is Differences.RATE_PER_SECOND:
        return Wanted("last", rule.granularity, after)
    if method.differences is Differences.RATE and not rule.rate_of_aggregate:
        return Wanted(rule.aggregation_method, rule.granularity, after)
    return Wanted(method.base, rule.granularity, after)


def together(some: Sequence[Wanted]) -> Wanted:
    """What serves several alarms that look at one series; the mean stands for methods that differ."""
    methods = {each.method for each in some}
    method = methods.pop() if len(methods) == 1 else "mean"
    return Wanted(method, min(each.granularity for each in some), min(each.after for each in some))


def accumulated(changes: Sequence[tuple[float, float]], newest: float, step: float) -> list[tuple[float, float]]:
    """Values whose differences are ``changes``, each at its time, that end with ``newest``; oldest first."""
    value = newest
    found: list[tuple[float, float]] = []
    for time, change in reversed(changes):
        found.append((time, value))
        value -= change
    return [(changes[0][0] - step, value), *found[::-1]] if changes else []


async def _all(work: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """What they come to, in order; the first error where there are any."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return [task.result() for task in tasks]


_Series = tuple[str, str]
"""Name of the metric, id of the resource."""


@dataclass(slots=True)
class Backfill:
    """Fills the windows of alarms.

    Args:
        router: of all alarms that there are, so that no window is trimmed to what some of them look at.
        documents: by id of the alarm, its rule as it is stored.
    """

    store: Store
    archive: Archive
    router: Router
    documents: Mapping[str, Mapping[str, Any]]
    summary: Summary
    _asking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _found: dict[str, list[StoredResource]] = field(default_factory=dict)
    _resources: dict[str, StoredResource] = field(default_factory=dict)
    _metric_ids: dict[_Series, str] = field(default_factory=dict)
    _wanted: defaultdict[_Series, list[Wanted]] = field(default_factory=lambda: defaultdict(list))

    async def run(self, alarms: Sequence[Alarm]) -> None:
        """Fill what the archive has.

        Raises:
            TemporaryError: the archive or the store cannot be reached; what was written stays written.
        """
        now = await self.store.now()
        for some in pieces(alarms):
            await _all(self._look(alarm, now) for alarm in some)
        ingest = Ingest(self.store, Silence())
        oldest = await self._oldest(ingest, alarms)
        for series in pieces(list(self._wanted), AT_ONCE * 8):
            read = await _all(self._read(each, oldest) for each in series)
            self.summary.series += sum(1 for measures in read if measures)
            measures = [measure for some in read for measure in some]
            for part in pieces(measures, MEASURES_AT_ONCE):
                await ingest.write(self.router, part, ())
            self.summary.points += len(measures)

    async def _oldest(self, ingest: Ingest, alarms: Sequence[Alarm]) -> dict[_Series, float]:
        """When the series of the alarms' windows begin, as far as they are there."""
        windows = {window_id for alarm in alarms for window_id in self.router.leaf_windows.get(alarm.alarm_id, ())}
        found: dict[_Series, float] = {}
        for some in pieces(sorted(filter(None, windows))):
            written = await ingest.write(self.router, (), some)
            for window_id, view in written.views.items():
                first = self.router.windows[window_id].metrics[0]
                for name, series in view.series.items():
                    resource_id, _, metric = name.partition(PART)
                    place = (metric or first, resource_id)
                    found[place] = min(series.times[0], found.get(place, series.times[0]))
        return found

    async def _look(self, alarm: Alarm, now: float) -> None:
        """Note what of the archive an alarm looks at."""
        for number, leaf in enumerate(leaves_of(alarm.rule)):
            if not isinstance(leaf, Rule):
                continue
            try:
                wants = wanted(leaf, now)
                found = await self._stored(leaf, self._document(alarm, number), alarm.sees)
            except (ValueError, PermanentError) as error:
                self.summary.unfilled.append(Remark("alarm", alarm.alarm_id, alarm.name, str(error)))
                continue
            places = list(self._places(leaf, found))
            if not places:
                self.summary.unfilled.append(Remark("alarm", alarm.alarm_id, alarm.name, NO_METRIC))
            for metric, metric_id, resource in places:
                series = (metric, resource.id)
                self._resources[resource.id] = resource
                self._metric_ids[series] = metric_id
                self._wanted[series].append(wants)

    def _document(self, alarm: Alarm, number: int) -> Mapping[str, Any]:
        """The rule of a leaf as it is stored, with its type."""
        if isinstance(alarm.rule, CompositeRule):
            return alarm.rule.documents[number]
        return {**self.documents.get(alarm.alarm_id, {}), "type": alarm.type}

    async def _stored(self, rule: Rule, document: Mapping[str, Any], sees: str) -> list[StoredResource]:
        """The resources that a rule looks at."""
        if document.get("type") == BY_METRICS:
            found = [await self._asked(f"metric {name}", self.archive.metric, name) for name in rule.metrics]
            return [each for some in found for each in some]
        match rule.match:
            case And((Equals("resource_id", resource_id),)):
                return await self._asked(f"resource {resource_id}", self.archive.resource, resource_id)
            case match:
                search = to_search(match)
                parts = [search] if search else []
                if sees != ANY_PROJECT:
                    parts.append({"=": {"project_id": sees}})
                kind = str(document.get("resource_type") or RESOURCE_TYPE)
                whole = {"and": parts} if len(parts) > 1 else parts[0] if parts else {}
                return await self._asked(f"search {kind} {whole}", self.archive.search, kind, whole)

    async def _asked(self, key: str, ask: Any, *words: Any) -> list[StoredResource]:
        """What the archive answers; many alarms ask the same."""
        async with self._asking:
            if key not in self._found:
                answer = await ask(*words)
                self._found[key] = [] if answer is None else list(answer) if isinstance(answer, list) else [answer]
        return self._found[key]

    @staticmethod
    def _places(rule: Rule, found: Sequence[StoredResource]) -> Iterator[tuple[str, str, StoredResource]]:
        """Metric, its id and resource, for all that a rule's window keeps."""
        names = rule.metrics if rule.derivation is None else rule.derivation.metrics
        for resource in found:
            for name in dict.fromkeys(names):
                if name in resource.metrics:
                    yield name, resource.metrics[name], resource

    # --- reading -----------------------------------------------------------------------------------------------------

    async def _read(self, series: _Series, oldest: Mapping[_Series, float]) -> list[Measure]:
        metric, resource_id = series
        resource, wants = self._resources[resource_id], together(self._wanted[series])
        try:
            async with self._asking:
                points = await self._points(self._metric_ids[series], wants)
        except PermanentError as error:
            self.summary.unfilled.append(Remark("series", f"{metric} of {resource_id}", "", str(error)))
            return []
        until = oldest.get(series, math.inf)
        return [
            Measure(metric, resource_id, time, value, resource.project_id, "", resource.metadata)
            for time, value in points
            # archives round down; what is older than that no window keeps
            if time > wants.after and time + wants.granularity <= until
        ]

    async def _points(self, metric_id: str, wants: Wanted) -> Sequence[tuple[float, float]]:
        if not wants.method.startswith(Differences.RATE):
            return await self._aggregates(metric_id, wants, wants.method)
        values = await self._aggregates(metric_id, wants, "last")
        changes = await self.archive.aggregates(metric_id, wants.method, wants.granularity, wants.after)
        if not changes or not values:
            return values
        return accumulated(changes, values[-1][1], wants.granularity)

    async def _aggregates(self, metric_id: str, wants: Wanted, method: str) -> Sequence[tuple[float, float]]:
        """Those of a method; the means, which every policy has, where it is not stored."""
        found = await self.archive.aggregates(metric_id, method, wants.granularity, wants.after)
        if found is None and method != "mean":
            found = await self.archive.aggregates(metric_id, "mean", wants.granularity, wants.after)
        return found or ()
