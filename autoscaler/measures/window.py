"""Windows: which series are kept together, for how long, and what an evaluator sees of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from autoscaler.measures.derived import resource_of
from autoscaler.measures.match import quoted, to_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from autoscaler.measures.match import Match
    from autoscaler.measures.series import Series

ANY_PROJECT = "any"
"""The scope of a rule that looks at the measures of every project; only an operator may say it."""


class WindowSpec(msgspec.Struct, frozen=True):
    """What a window holds. Alarms that look at the same series share one, whatever they compute.

    Attributes:
        project_id: scope; "" takes only measures without a trusted project, :data:`ANY_PROJECT` all of them.
        metrics: names; series of the first bear the plain resource id, those of others see
            :func:`autoscaler.measures.derived.series_name`.
        match: which series.
        horizon: seconds of event time that are kept, the longest that any of its alarms looks back.
        max_series: a series beyond this is refused.
        max_points: per series; the oldest go first.
        window_id: made of (project, metrics, match): stable over restarts, replicas and changes of what is computed.
    """

    project_id: str
    metrics: tuple[str, ...]
    match: Match
    horizon: float
    max_series: int = 10_000
    max_points: int = 10_000
    window_id: str = ""

    def __post_init__(self) -> None:
        metrics = json.dumps(self.metrics) if len(self.metrics) > 1 else quoted(self.metrics[0])
        identity = f"[{quoted(self.project_id)}, {metrics}, {to_text(self.match)}]"
        msgspec.structs.force_setattr(self, "window_id", hashlib.sha256(identity.encode()).hexdigest()[:24])

    def widened(self, other: WindowSpec) -> WindowSpec:
        """This window, kept long and large enough for both."""
        return WindowSpec(
            self.project_id,
            self.metrics,
            self.match,
            max(self.horizon, other.horizon),
            max(self.max_series, other.max_series),
            max(self.max_points, other.max_points),
        )


@dataclass(slots=True)
class WindowView:
    """A window as one evaluation sees it.

    Attributes:
        version: of the stored window that this equals.
        asof: Unix seconds; the store's clock at that version, never running backwards.
        newest: event time of the newest point ever written, None while there is none.
        series: by resource id; only series that have points.
        late: event time of the oldest point that was written since the last evaluation; None where none was.
        members: how many members the group has whose series these are; None where there is no telling.
    """

    version: int
    asof: float
    newest: float | None
    series: dict[str, Series] = field(default_factory=dict)
    late: float | None = None
    members: int | None = None

    def only(self, resource_ids: Iterable[str]) -> WindowView:
        """The part of the window that a group's members reported."""
        wanted = set(resource_ids)
        kept = {name: series for name, series in self.series.items() if resource_of(name) in wanted}
        return WindowView(self.version, self.asof, self.newest, kept, self.late, self.members)
