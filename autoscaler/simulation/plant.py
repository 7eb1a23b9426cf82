"""Groups of a virtual world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autoscaler.scaling.group import Group
from autoscaler.scaling.policy import Order
from autoscaler.scaling.status import TargetStatus


@dataclass(frozen=True, slots=True)
class Stand:
    """What a group is like in somebody else's world; ``ready`` are the members that serve."""

    size: int
    ready: int


class Plant:
    """See :class:`autoscaler.ports.Target`. Members have no names, so whoever reports under a rule is one.

    Args:
        obedient: groups have the size they are asked for at once; else they change only by :meth:`told`.
    """

    resident = False
    pace = 0.5

    def __init__(self, *, obedient: bool) -> None:
        self._obedient = obedient
        self._stands: dict[str, Stand] = {}

    def told(self, stands: Mapping[str, Stand]) -> None:
        """What the world says of its groups."""
        self._stands.update(stands)

    async def status(self, group: Group) -> TargetStatus:
        """What was last told; before that what is declared to begin with."""
        first = group.min_size if group.desired_capacity is None else group.desired_capacity
        stand = self._stands.get(group.name, Stand(first, first))
        return TargetStatus(size=stand.size, ready=(), counted_ready=stand.ready)

    async def resize(
        self,
        group: Group,
        capacity: int,
        *,
        fence: int,  # noqa: ARG002
        deadline: float,  # noqa: ARG002
        order: Order = Order.ANY,  # noqa: ARG002
    ) -> None:
        """Have the size at once, where the plant is obedient."""
        if self._obedient:
            self._stands[group.name] = Stand(capacity, capacity)

    async def release(self, group: Group) -> None:
        """Nothing to let go of."""
