"""The evaluator's copies of windows, by version."""

from __future__ import annotations

from collections import OrderedDict

from autoscaler.measures.series import unpack
from autoscaler.measures.window import WindowView
from autoscaler.ports import WindowReply

HELD_WINDOWS = 100_000
"""Windows kept; the least recently written go first and are read whole again when needed."""


class WindowCopies:
    """What this replica holds of the windows it has written.

    A copy is never the truth: the version sent with each write says what is held, and the reply brings what is lacking.
    """

    def __init__(self) -> None:
        self._views: OrderedDict[str, WindowView] = OrderedDict()

    def version(self, window_id: str) -> int:
        """The version held; 0 for none."""
        view = self._views.get(window_id)
        return 0 if view is None else view.version

    def apply(self, window_id: str, reply: WindowReply, horizon: float) -> WindowView:
        """The window after a write, made of what was held and what the reply brought."""
        view = self._views.get(window_id)
        if view is None or reply.whole:
            late = None if view is None else view.late
            view = self._views[window_id] = WindowView(reply.version, reply.asof, reply.newest, late=late)
        view.version, view.asof, view.newest = reply.version, reply.asof, reply.newest
        for resource_id, packed in reply.series.items():
            view.series[resource_id] = unpack(packed)
        for resource_id in reply.gone:
            view.series.pop(resource_id, None)
        _drop_silent(view, horizon)
        self._views.move_to_end(window_id)
        if len(self._views) > HELD_WINDOWS:
            self._views.popitem(last=False)
        return view

    def forget(self, window_id: str) -> None:
        """Hold nothing of a window, so that the next write brings it whole."""
        self._views.pop(window_id, None)


def _drop_silent(view: WindowView, horizon: float) -> None:
    """A series leaves with its last point; the store sweeps at its own pace, the copy must not depend on it."""
    if view.newest is None:
        return
    cutoff = min(view.newest, view.asof) - horizon
    silent = [
        resource_id for resource_id, series in view.series.items() if not len(series) or series.times[-1] <= cutoff
    ]
    for resource_id in silent:
        del view.series[resource_id]
