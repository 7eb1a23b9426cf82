"""From measures to written windows: steps 2 and 3 of the protocol."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from autoscaler.engine.listen import Listener
from autoscaler.engine.overlap import overlapped
from autoscaler.engine.route import Entry, Router
from autoscaler.engine.windows import WindowCopies
from autoscaler.errors import Rejection
from autoscaler.measures.measure import Measure
from autoscaler.measures.series import pack_by_time
from autoscaler.measures.window import WindowView
from autoscaler.ports import Store, WindowReply, WindowWrite

HEARD_METRICS = 10_000
"""Names of metrics that are remembered; those that were not heard for longest are forgotten first."""


@dataclass(slots=True)
class Written:
    """What a write came to.

    Attributes:
        views: the windows to evaluate, by id.
        refused: measures whose series had no room in some window that wanted it.
        lag: age of the newest measure at the time of the write, in seconds; None without measures.
    """

    views: dict[str, WindowView] = field(default_factory=dict)
    refused: list[Measure] = field(default_factory=list)
    lag: float | None = None


class _Pending(msgspec.Struct):
    """What a batch brings to one window, by the name of the series.

    Attributes:
        points: value by time.
        leaves: Unix seconds of the measure that says that the series belongs elsewhere.
        stated: times of the points that are divisors which samples state in their metadata; they count before measured
            ones.
    """

    points: dict[str, dict[float, float]] = {}
    leaves: dict[str, float] = {}
    stated: dict[str, set[float]] | None = None  # None means that none was stated

    def add(self, entry: Entry, measure: Measure) -> None:
        """A measure comes in."""
        name, time = entry.name, measure.timestamp
        if self.stated is None or time not in self.stated.get(name, ()):
            points = self.points.get(name)
            if points is None:
                points = self.points[name] = {}
            points[time] = measure.value
        if entry.stated:
            self._state(entry.stated, time)
        if self.leaves:
            for each in (name, *entry.stated):
                self.leaves.pop(each, None)

    def _state(self, divisors: Mapping[str, float], time: float) -> None:
        if self.stated is None:
            self.stated = {}
        for name, value in divisors.items():
            self.points.setdefault(name, {})[time] = value
            self.stated.setdefault(name, set()).add(time)

    def leave(self, names: Iterable[str], time: float) -> None:
        """Series belong elsewhere."""
        for name in names:
            self.leaves[name] = max(time, self.leaves.get(name, time))


class _Answered(msgspec.Struct, frozen=True):
    """What was brought to a window, and the store's answer."""

    write: WindowWrite
    part: _Pending
    reply: WindowReply

    @property
    def is_for_nothing(self) -> bool:
        """Whether series were to leave and none was there: nothing has changed, and no time has come."""
        return bool(self.part.leaves) and not (self.part.points or self.reply.gone or self.reply.whole)

    @property
    def too_old(self) -> int:
        """How many measures were behind the horizon."""
        stated = self.part.stated or ()
        return sum(count for name, count in self.reply.too_old.items() if name not in stated)


class Ingest:
    """Writes measures into the windows that want them."""

    def __init__(self, store: Store, listener: Listener) -> None:
        self._store = store
        self._listener = listener
        self._copies = WindowCopies()
        self._heard: dict[tuple[str, str], None] = {}
        self.heard: Mapping[str, Collection[str]] = {}
        """Names of the metrics that came in lately, by project, whether any alarm asks for them or not."""

    def forget(self, window_ids: Iterable[str]) -> None:
        """Hold nothing of windows that nobody looks at any more."""
        for window_id in window_ids:
            self._copies.forget(window_id)

    async def write(
        self,
        router: Router,
        measures: Sequence[Measure],
        due: Iterable[str],
        *,
        unread_from: float = math.inf,
        judged_until: Callable[[str], float] = lambda _: math.inf,
    ) -> Written:
        """Write ``measures``, and nothing into the windows that are ``due`` to be looked at again.

        Args:
            unread_from: Unix seconds from which on boundaries may still be to be evaluated, since their measures are
                being read: what they look at is kept, however new the newest measures are.
            judged_until: up to where the boundaries of a window were judged, by its id: what later ones look at is
                kept, too.

        Raises:
            TemporaryError: the store could not be reached. Whether it has the measures is not known; writing them
                again is harmless, acknowledging them is not allowed.
        """
        self._hear(measures)
        pending, unrouted = self._routed(router, measures)
        for window_id in due:
            if window_id in router.windows:
                pending.setdefault(window_id, _Pending())
        if unrouted:
            self._listener.unrouted(unrouted)
        if not pending:
            return Written()

        def kept_from(window_id: str) -> float:
            if not router.is_in_order(window_id):
                return math.inf
            return min(unread_from, judged_until(window_id)) - router.windows[window_id].horizon

        async def answered(some: Sequence[tuple[str, _Pending]]) -> list[_Answered]:
            writes = [self._write(router, window_id, part, kept_from(window_id)) for window_id, part in some]
            replies = await self._store.write(writes)
            return [
                _Answered(write, part, reply) for write, (_, part), reply in zip(writes, some, replies, strict=True)
            ]

        written = Written()
        all_answered: list[_Answered] = []

        def take(found: list[_Answered]) -> None:
            self._apply(router, found, written)
            all_answered.extend(found)

        try:
            await overlapped(list(pending.items()), answered, take)
        except BaseException:
            for window_id in pending:
                self._copies.doubt(window_id)
            raise
        self._tell(router, measures, all_answered, written)
        return written

    def _hear(self, measures: Sequence[Measure]) -> None:
        names = {(measure.project_id, measure.metric) for measure in measures}
        new = not names <= self._heard.keys()
        for name in names:
            self._heard.pop(name, None)
            self._heard[name] = None
        while len(self._heard) > HEARD_METRICS:
            del self._heard[next(iter(self._heard))]
        if new:
            heard: defaultdict[str, list[str]] = defaultdict(list)
            for project_id, metric in self._heard:
                heard[project_id].append(metric)
            self.heard = heard

    def _routed(self, router: Router, measures: Sequence[Measure]) -> tuple[dict[str, _Pending], int]:
        pending: dict[str, _Pending] = {}
        unrouted = 0
        # where each series goes, and with which metadata; worth its while where series report more than once
        places: dict[tuple[str, str, str] | None, tuple[Mapping[str, str], Mapping[str, Entry]]] = {}
        repeatedly = len(measures) > router.series_known
        for measure in measures:
            series = (measure.metric, measure.project_id, measure.resource_id) if repeatedly else None
            place = places.get(series)
            if place is not None:
                if place[0] == measure.metadata:
                    for window_id, entry in place[1].items():
                        pending[window_id].add(entry, measure)
                    continue
                del places[series]
            route = router.route(measure)
            entries = route.entries
            unrouted += not entries
            for window_id, entry in entries.items():
                part = pending.get(window_id)
                if part is None:
                    part = pending[window_id] = _Pending()
                part.add(entry, measure)
            # what the store holds, as far as this replica knows, and what this batch brought just now
            left = self._copies.holding(measure.metric, measure.resource_id, entries)
            if left or route.before:
                for window_id in {*left, *route.before}:
                    names = router.leaving(window_id, measure)
                    if names:
                        pending.setdefault(window_id, _Pending()).leave(names, measure.timestamp)
            elif repeatedly and entries:
                places[series] = measure.metadata, entries
        return pending, unrouted

    def _write(self, router: Router, window_id: str, part: _Pending, kept_from: float) -> WindowWrite:
        spec = router.windows[window_id]
        return WindowWrite(
            spec,
            self._copies.version(window_id),
            {name: pack_by_time(points) for name, points in part.points.items()},
            part.leaves,
            kept_from,
        )

    def _apply(self, router: Router, answered: Sequence[_Answered], written: Written) -> None:
        for each in answered:
            spec = each.write.spec
            if spec.window_id not in router.windows:
                continue  # it vanished while the store wrote
            view = self._copies.apply(each.write, each.reply)
            if view is None:
                continue  # its mark brings it up again
            _note_oldest(view, each)
            if not each.is_for_nothing:
                written.views[spec.window_id] = view

    def _tell(
        self, router: Router, measures: Sequence[Measure], answered: Sequence[_Answered], written: Written
    ) -> None:
        if too_old := sum(each.too_old for each in answered if each.reply.too_old):
            self._listener.too_old(too_old)
        if measures:
            written.lag = max(each.reply.asof for each in answered) - max(measure.timestamp for measure in measures)
        refused = {(each.write.spec.window_id, name) for each in answered for name in each.reply.refused}
        if refused:
            written.refused = [measure for measure in measures if _is_refused(router, measure, refused)]
            self._listener.rejected(Rejection.TOO_MANY_SERIES, len(written.refused))


def _is_refused(router: Router, measure: Measure, refused: Collection[tuple[str, str]]) -> bool:
    """Whether a window that wants it had no room for it, or for the divisor that it states."""
    return any(
        (window_id, name) in refused
        for window_id, entry in router.route(measure).entries.items()
        for name in (entry.name, *entry.stated)
    )


def _note_oldest(view: WindowView, answered: _Answered) -> None:
    """Keep with the view how far back the write reached, until the window is evaluated."""
    reply, parts = answered.reply, answered.part.points
    times = [] if view.late is None else [view.late]
    if reply.too_old or reply.refused:
        for name, points in parts.items():
            if name in reply.too_old:
                # how many were left out is told, not which
                times += set(points).intersection(view.series[name].times) if name in view.series else ()
            elif name not in reply.refused:
                times.append(min(points))
    else:
        times += map(min, parts.values())
    view.late = min(times, default=None)
