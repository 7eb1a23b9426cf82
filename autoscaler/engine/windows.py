"""The evaluator's copies of windows, by version."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace

from autoscaler.engine.index import Index
from autoscaler.measures.derived import PART
from autoscaler.measures.series import unpack
from autoscaler.measures.window import WindowView
from autoscaler.ports import WindowReply, WindowWrite, cutoff

HELD_WINDOWS = 100_000
"""Windows kept; others are read whole each time."""
HELD_FOR = 600.0
"""Seconds since it was last written for which a window is kept though there are others. Were the least recently written
to go first, none would be there any more when it is written next, once there is one too many of them.
"""


@dataclass(slots=True)
class _Copy:
    """A window as it was last seen.

    Attributes:
        first: the metric whose series bear plain resource ids.
        speaking_until: no series has fallen silent by then, in event time.
    """

    view: WindowView
    first: str
    doubtful: bool = False
    speaking_until: float = -math.inf


class WindowCopies:
    """What this replica holds of the windows it has written.

    A copy is never the truth: the version sent with each write says what is held, and the reply brings what is lacking.
    """

    def __init__(self) -> None:
        self._copies: OrderedDict[str, _Copy] = OrderedDict()
        self._holders: dict[str, Index] = {}

    def version(self, window_id: str) -> int:
        """The version held; 0 for none."""
        copy = self._copies.get(window_id)
        return 0 if copy is None or copy.doubtful else copy.view.version

    def holding(self, metric: str, resource_id: str, accounted: Container[str]) -> Sequence[str]:
        """Ids of windows that hold a resource's series of a metric, as far as is known, without ``accounted`` ones."""
        holders = self._holders.get(metric)
        return () if holders is None else holders.beyond(resource_id, accounted)

    def apply(self, write: WindowWrite, reply: WindowReply) -> WindowView | None:
        """The window after a write, made of what was held, what was written, and what the reply brought.

        None where that is not all of it: what was held has been forgotten meanwhile, and is read whole next time.
        """
        spec = write.spec
        window_id = spec.window_id
        copy = self._copies.get(window_id)
        if copy is None and not reply.whole:
            return None
        if copy is None:
            copy = self._copies[window_id] = _Copy(WindowView(reply.version, reply.asof, reply.newest), spec.metrics[0])
        view = copy.view
        if reply.whole:
            left = [name for name in view.series if name not in reply.series]
            # whoever evaluates the copy that was before keeps it as it was
            view = copy.view = WindowView(reply.version, reply.asof, reply.newest, dict(view.series), view.late)
            self._drop(window_id, copy, left)
        view.version, view.asof, view.newest = reply.version, reply.asof, reply.newest
        copy.doubtful = False
        for name, packed in reply.series.items():
            if name not in view.series:
                metric, resource_id = _told_apart(name, copy.first)
                self._holders.setdefault(metric, Index()).add(resource_id, window_id)
                copy.speaking_until = -math.inf
            view.series[name] = unpack(packed)
        for name, dropped in reply.grown.items():
            series = view.series.get(name)
            if series is None:
                copy.doubtful = True  # it was silent by a clock that has been set back since
                return None
            series.grow(write.points[name], dropped)
        if reply.gone:
            self._drop(window_id, copy, reply.gone)
        if silent := _silent(copy, write):
            self._drop(window_id, copy, silent)
        self._copies.move_to_end(window_id)
        if len(self._copies) > HELD_WINDOWS:
            oldest = next(iter(self._copies))
            self.forget(window_id if view.asof - self._copies[oldest].view.asof < HELD_FOR else oldest)
        return view

    def doubt(self, window_id: str) -> None:
        """Have the next write bring a window whole, since it is not known what the last one did."""
        copy = self._copies.get(window_id)
        if copy is not None:
            copy.doubtful = True

    def forget(self, window_id: str) -> None:
        """Hold nothing of a window."""
        copy = self._copies.pop(window_id, None)
        if copy is not None:
            left = list(copy.view.series)
            # whoever evaluates it keeps it as it was
            copy.view = replace(copy.view, series=dict(copy.view.series))
            self._drop(window_id, copy, left)

    def _drop(self, window_id: str, copy: _Copy, names: Iterable[str]) -> None:
        for name in names:
            if copy.view.series.pop(name, None) is None:
                continue
            metric, resource_id = _told_apart(name, copy.first)
            holders = self._holders.get(metric)
            if holders is None:
                continue  # two series that were taken for one, by a resource id that looks like a series' name
            holders.drop(resource_id, window_id)
            if not holders:
                del self._holders[metric]


def _told_apart(name: str, first: str) -> tuple[str, str]:
    """Metric and resource id of a series, in a window whose first metric is ``first``."""
    resource_id, _, metric = name.partition(PART)
    return metric or first, resource_id


def _silent(copy: _Copy, write: WindowWrite) -> list[str]:
    """A series leaves with its last point; the store sweeps at its own pace, the copy must not depend on it."""
    view = copy.view
    if view.newest is None:
        return []
    silent_until = cutoff(view.newest, view.asof, write.spec.horizon, write.kept_from)
    if silent_until < copy.speaking_until:
        return []
    found = [name for name, series in view.series.items() if not series.times or series.times[-1] <= silent_until]
    # of the others none is silent before that: points come, if any do, behind those there are
    copy.speaking_until = min((times[-1] for each in view.series.values() if (times := each.times)), default=-math.inf)
    return found
