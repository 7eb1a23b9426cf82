"""A target as it would be: read as it is, resized in this process only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from autoscaler.adapters.targets.fences import Fences
from autoscaler.scaling.policy import Order

if TYPE_CHECKING:
    from autoscaler.ports import Target
    from autoscaler.scaling.group import Group
    from autoscaler.scaling.status import TargetStatus

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Imagined:
    """A size that was asked for while the real one was ``real``."""

    size: int
    real: int


class VirtualTarget:
    """See :class:`autoscaler.ports.Target`.

    A size that was asked for counts until the real one changes: then somebody else has moved the group, and what was
    imagined is past. Members that are only imagined serve at once and have no names.

    Args:
        real: is asked for its status, and for nothing else.
    """

    def __init__(self, real: Target) -> None:
        self.resident = False
        self.pace = real.pace
        self._real = real
        self._imagined: dict[str, _Imagined] = {}
        self._sizes: dict[str, int] = {}
        self._fences = Fences()

    async def status(self, group: Group) -> TargetStatus:
        """See :class:`autoscaler.ports.Target`."""
        found = await self._real.status(group)
        self._sizes[group.name] = found.size
        imagined = self._imagined.get(group.name)
        if imagined is None:
            return found
        if imagined.real != found.size:
            del self._imagined[group.name]
            log.info("group was moved by others", group=group.name, size=found.size, imagined=imagined.size)
            return found
        return replace(
            found,
            size=imagined.size,
            ready=(),
            counted_ready=imagined.size,
            busy="",
            trouble="",
            failed=(),
            wanted=None,
        )

    async def resize(
        self,
        group: Group,
        capacity: int,
        *,
        fence: int,
        deadline: float,  # noqa: ARG002
        order: Order = Order.ANY,  # noqa: ARG002
    ) -> None:
        """Imagine ``capacity``."""
        self._fences.enter(group.name, fence)
        if group.name not in self._sizes:
            await self.status(group)
        self._imagined[group.name] = _Imagined(capacity, self._sizes[group.name])
        log.info("resize recorded", group=group.name, size=self._sizes[group.name], desired_capacity=capacity)

    async def release(self, group: Group) -> None:
        """Leave the group as it is, and what is imagined of it too: no member lives here."""
