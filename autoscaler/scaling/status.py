"""What a target says of its group, at one look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autoscaler.scaling.group import Bound


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """What a target says of its group.

    Attributes:
        size: members, whatever their condition.
        ready: ids of those that serve.
        counted_ready: how many serve, where the target does not name them; None means as many as are named.
        busy: what is under way there, for people; "" means that what is seen is there to stay. While it is not "", no
            size counts as reached, and nothing is asked for.
        trouble: why what it was last asked for has failed there, in its own words; "" where it has not.
        failed: names of members that have failed; they count in ``size``.
        maintenance: ids of members that somebody is moving or rebuilding.
        most: what the target would let the group grow to at this moment; None where nothing is known.
        least: what it would let it shrink to.
        wanted: members that the target would go back to by itself; None where it keeps what it has.
        facts: what else there is to know, by a short name; texts that stay as they are while nothing changes.
    """

    size: int
    ready: Sequence[str]
    counted_ready: int | None = None
    busy: str = ""
    trouble: str = ""
    failed: Sequence[str] = ()
    maintenance: Sequence[str] = ()
    most: Bound | None = None
    least: Bound | None = None
    wanted: int | None = None
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def ready_count(self) -> int:
        """How many members serve."""
        return len(self.ready) if self.counted_ready is None else self.counted_ready
