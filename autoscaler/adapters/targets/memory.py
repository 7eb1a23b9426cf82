"""The twin of every target, with failures, slowness, half-way resizes and lies on demand."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoscaler.adapters.targets.fences import Fences
from autoscaler.errors import TemporaryError
from autoscaler.scaling.policy import Order
from autoscaler.scaling.status import TargetStatus

if TYPE_CHECKING:
    from autoscaler.errors import AutoscalerError
    from autoscaler.scaling.group import Group


@dataclass(frozen=True, slots=True)
class Resize:
    """One resize that was asked for and not refused."""

    group: str
    capacity: int
    fence: int
    order: Order = Order.ANY


class MemoryTarget:
    """See :class:`autoscaler.ports.Target`; members are called ``GROUP-1``, ``GROUP-2`` and so on.

    Attributes:
        resizes: what was asked for, in order, whether or not it was done.
        status_failures: taken one by one; a reading that finds one raises it instead.
        resize_failures: the same for resizes.
        open: calls wait while it is not set; a resize gives up at its deadline.
        stride: members that come or go per reading after a resize; None means all at once.
        limit: no group ever gets larger than this, whatever it answers; None means no limit.
        deaf: resizes are answered and not done.
        fails_after_work: a scripted resize failure comes after the resize was done: the answer got lost.
        unready: ids of members that do not serve.
        named: whether the members' ids are told.
        said: what each reading says besides size and members, such as ``{"busy": "…", "failed": ["web-2"]}``.
        says_then: what readings say from the next resize on; None leaves it.
        again: what each resize answers.
    """

    pace = 0.5

    def __init__(self, *, resident: bool = False, named: bool = True, stride: int | None = None) -> None:
        self.resident = resident
        self.named = named
        self.stride = stride
        self.resizes: list[Resize] = []
        self.status_failures: deque[AutoscalerError] = deque()
        self.resize_failures: deque[AutoscalerError] = deque()
        self.open = asyncio.Event()
        self.open.set()
        self.limit: int | None = None
        self.deaf = False
        self.fails_after_work = False
        self.unready: set[str] = set()
        self.said: dict[str, Any] = {}
        self.says_then: dict[str, Any] | None = None
        self.again: float | None = None
        self._sizes: dict[str, int] = {}
        self._wanted: dict[str, int] = {}
        self._fences = Fences()

    def set_size(self, name: str, size: int) -> None:
        """Change a group behind the controller's back."""
        self._sizes[name] = self._wanted[name] = size

    async def status(self, group: Group) -> TargetStatus:
        """The size so far; each reading brings a half-way resize one stride on."""
        await self.open.wait()
        if self.status_failures:
            raise self.status_failures.popleft()
        self._stride(group.name)
        size = self._sizes.get(group.name, 0)
        ready = [member for member in _members(group.name, size) if member not in self.unready]
        if self.named:
            return TargetStatus(size=size, ready=ready, **self.said)
        return TargetStatus(size=size, ready=(), counted_ready=len(ready), **self.said)

    async def resize(
        self, group: Group, capacity: int, *, fence: int, deadline: float, order: Order = Order.ANY
    ) -> float | None:
        """Do as scripted."""
        try:
            async with asyncio.timeout(deadline):
                await self.open.wait()
        except TimeoutError as error:
            raise TemporaryError(f"group {group.name}: no answer within {deadline:g} s") from error
        failure = self.resize_failures.popleft() if self.resize_failures else None
        if failure is not None and not self.fails_after_work:
            raise failure
        self._fences.enter(group.name, fence)
        self.resizes.append(Resize(group.name, capacity, fence, order))
        if self.says_then is not None:
            self.said, self.says_then = self.says_then, None
        if "wanted" in self.said:
            self.said["wanted"] = capacity
        if not self.deaf:
            self._wanted[group.name] = capacity if self.limit is None else min(capacity, self.limit)
            if self.stride is None:
                self._sizes[group.name] = self._wanted[group.name]
        if failure is not None:
            raise failure
        return self.again

    async def release(self, group: Group) -> None:
        """End the members if they are resident."""
        self._fences.forget(group.name)
        if self.resident:
            self._sizes.pop(group.name, None)
            self._wanted.pop(group.name, None)

    def _stride(self, name: str) -> None:
        size = self._sizes.get(name, 0)
        missing = self._wanted.get(name, size) - size
        step = abs(missing) if self.stride is None else min(self.stride, abs(missing))
        self._sizes[name] = size + (step if missing > 0 else -step)


def _members(name: str, size: int) -> list[str]:
    return [f"{name}-{number}" for number in range(1, size + 1)]
