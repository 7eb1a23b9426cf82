"""From measures to written windows: steps 2 and 3 of the protocol."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from autoscaler.engine.listen import Listener
from autoscaler.engine.route import Router
from autoscaler.engine.windows import WindowCopies
from autoscaler.errors import Rejection
from autoscaler.measures.measure import Measure
from autoscaler.measures.series import pack
from autoscaler.measures.window import WindowView
from autoscaler.ports import Store, WindowReply, WindowWrite


@dataclass(slots=True)
class Written:
    """What a write came to.

    Attributes:
        views: the windows to evaluate, by id.
        refused: measures whose series had no room in any window that wanted it.
        lag: age of the newest measure at the time of the write, in seconds; None without measures.
    """

    views: dict[str, WindowView] = field(default_factory=dict)
    refused: list[Measure] = field(default_factory=list)
    lag: float | None = None


@dataclass(slots=True)
class _Pending:
    points: dict[str, dict[float, float]] = field(default_factory=dict)
    leaves: dict[str, float] = field(default_factory=dict)


class Ingest:
    """Writes measures into the windows that want them."""

    def __init__(self, store: Store, listener: Listener) -> None:
        self._store = store
        self._listener = listener
        self._copies = WindowCopies()

    async def write(self, router: Router, measures: Sequence[Measure], due: Iterable[str]) -> Written:
        """Write ``measures``, and nothing into the windows that are ``due`` to be looked at again.

        Raises:
            TemporaryError: the store could not be reached. Whether it has the measures is not known; writing them
                again is harmless, acknowledging them is not allowed.
        """
        pending, unrouted = self._routed(router, measures)
        for window_id in due:
            if window_id in router.windows:
                pending.setdefault(window_id, _Pending())
        if unrouted:
            self._listener.unrouted(unrouted)
        if not pending:
            return Written()
        writes = [self._write(router, window_id, part) for window_id, part in pending.items()]
        try:
            replies = await self._store.write(writes)
        except BaseException:
            router.forget_place(measures)
            for window_id in pending:
                self._copies.forget(window_id)
            raise
        return self._applied(router, measures, pending, dict(zip(pending, replies, strict=True)))

    def _routed(self, router: Router, measures: Sequence[Measure]) -> tuple[dict[str, _Pending], int]:
        pending: dict[str, _Pending] = {}
        unrouted = 0
        for measure in measures:
            route = router.route(measure)
            unrouted += not route.windows
            for window_id in route.windows:
                part = pending.setdefault(window_id, _Pending())
                part.points.setdefault(measure.resource_id, {})[measure.timestamp] = measure.value
                part.leaves.pop(measure.resource_id, None)
            for window_id in route.leaves:
                part = pending.setdefault(window_id, _Pending())
                part.leaves[measure.resource_id] = measure.timestamp
        return pending, unrouted

    def _write(self, router: Router, window_id: str, part: _Pending) -> WindowWrite:
        return WindowWrite(
            router.windows[window_id],
            self._copies.version(window_id),
            {resource_id: pack(sorted(points.items())) for resource_id, points in part.points.items()},
            part.leaves,
        )

    def _applied(
        self,
        router: Router,
        measures: Sequence[Measure],
        pending: Mapping[str, _Pending],
        replies: Mapping[str, WindowReply],
    ) -> Written:
        written = Written()
        for window_id, reply in replies.items():
            view = self._copies.apply(window_id, reply, router.windows[window_id].horizon)
            _note_oldest(view, pending[window_id], reply)
            only_leaves = bool(pending[window_id].leaves) and not pending[window_id].points
            if not only_leaves or reply.gone or reply.whole:
                written.views[window_id] = view
        too_old = sum(sum(reply.too_old.values()) for reply in replies.values())
        if too_old:
            self._listener.too_old(too_old)
        if measures:
            written.lag = max(reply.asof for reply in replies.values()) - max(m.timestamp for m in measures)
        if any(reply.refused for reply in replies.values()):
            refused = {(window_id, name) for window_id, reply in replies.items() for name in reply.refused}
            written.refused = [
                measure
                for measure in measures
                if any((window_id, measure.resource_id) in refused for window_id in router.route(measure).windows)
            ]
            self._listener.rejected(Rejection.TOO_MANY_SERIES, len(written.refused))
        return written


def _note_oldest(view: WindowView, part: _Pending, reply: WindowReply) -> None:
    """Keep with the view how far back the write reached, until the window is evaluated."""
    times = [] if view.late is None else [view.late]
    for resource_id, points in part.points.items():
        if resource_id in reply.too_old:
            # how many were left out is told, not which
            times += set(points).intersection(view.series[resource_id].times) if resource_id in view.series else ()
        elif resource_id not in reply.refused:
            times.append(min(points))
    view.late = min(times, default=None)
