"""A target that moves nothing: a size held in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoscaler.adapters.targets.fences import Fences
from autoscaler.declarations.targets import DryRunOptions
from autoscaler.scaling.policy import Order
from autoscaler.scaling.status import TargetStatus

if TYPE_CHECKING:
    from autoscaler.scaling.group import Group


class DryRunTarget:
    """See :class:`autoscaler.ports.Target`.

    The virtual members serve at once. They have no names: whoever reports under the group's rules is a member.
    """

    resident = True
    pace = 0.5

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._fences = Fences()

    async def status(self, group: Group) -> TargetStatus:
        """The size last asked for; before that the option ``size``, or what the group begins with."""
        size = self._sizes.get(group.name)
        if size is None:
            size = _first(group)
        return TargetStatus(size=size, ready=(), counted_ready=size)

    async def resize(
        self,
        group: Group,
        capacity: int,
        *,
        fence: int,
        deadline: float,  # noqa: ARG002
        order: Order = Order.ANY,  # noqa: ARG002
    ) -> None:
        """Remember ``capacity``."""
        self._fences.enter(group.name, fence)
        self._sizes[group.name] = capacity

    async def release(self, group: Group) -> None:
        """Forget the size."""
        self._sizes.pop(group.name, None)
        self._fences.forget(group.name)


def _first(group: Group) -> int:
    size = DryRunOptions.model_validate(dict(group.target)).size
    if size is not None:
        return size
    return group.min_size if group.desired_capacity is None else group.desired_capacity
