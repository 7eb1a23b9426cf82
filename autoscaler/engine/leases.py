"""What this replica has leased, kept its own for as long as it is at work on it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from autoscaler.errors import TemporaryError
from autoscaler.ports import OutboxRow, Store, WorkItem

LEASE: Final = 4.0
"""Seconds for which work is this replica's since it last said so; another takes it up after that."""
RENEWAL: Final = 1.0
"""Seconds between two times of saying so."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a lane that is leased to this replica since it was made non-empty.

    Attributes:
        asked: seconds by the monotonic clock, before it was asked for: it may have been leased no later than then.
    """

    row: OutboxRow
    asked: float


@dataclass(eq=False, slots=True)
class _Held:
    """Work in hand.

    Attributes:
        deadline: when whoever is at it is stopped; None where that may finish, whoever else has begun with it.
    """

    item: WorkItem
    deadline: asyncio.Timeout | None

    def is_over(self, now: float) -> bool:
        """Whether whoever is at it has been stopped by now, or is about to be."""
        when = None if self.deadline is None else self.deadline.when()
        return when is not None and when <= now

    @property
    def as_leased(self) -> WorkItem:
        """What to say of it to the store: a lane's lease begins anew with each of its rows, whatever time it says."""
        return WorkItem("lane", self.item.key, 0.0) if self.item.kind == "lane" else self.item


class Leases:
    """Leases of work in hand.

    A lane that was not renewed in time is let go of at once: two who deliver from one lane would mix up its order. What
    is done to a group is fenced, and a question may be asked twice; so these go on.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: dict[tuple[str, str], _Held] = {}
        self._left: list[_Held] = []

    @asynccontextmanager
    async def held(self, item: WorkItem, asked: float) -> AsyncIterator[None]:
        """Hold an item that was leased to this replica until the block ends.

        Args:
            asked: seconds by the monotonic clock, before it was asked for: it may have been leased no later than then.

        Raises:
            TemporaryError: it is lost, being a lane, or was before anything was begun; another may be at it.
        """
        if item.kind != "lane" and not item.leased_until:
            yield  # looked at by itself, leased by nobody
            return
        place = (item.kind, item.key)
        left = asked + LEASE - time.monotonic()
        if item.kind == "lane" and left <= 0:
            raise TemporaryError(f"{item.kind} {item.key}: the lease ran out before it was known here")
        deadline = asyncio.timeout(left if item.kind == "lane" else None)
        held = _Held(item, deadline if item.kind == "lane" else None)
        try:
            async with deadline:
                self._held[place] = held
                yield
        except TimeoutError as error:
            if deadline.expired():
                raise TemporaryError(f"{item.kind} {item.key}: the lease ran out") from error
            raise
        except asyncio.CancelledError:
            self._left.append(held)
            raise
        finally:
            # a lane that was emptied may have been leased anew before this one has heard of it
            if self._held.get(place) is held:
                del self._held[place]

    def left(self, lane: str) -> float:
        """Seconds for which a lane is this replica's at least; infinity where it was not leased by :meth:`held`."""
        held = self._held.get(("lane", lane))
        when = None if held is None or held.deadline is None else held.deadline.when()
        return math.inf if when is None else when - asyncio.get_running_loop().time()

    async def finish(self, item: WorkItem, next_due: float | None) -> None:
        """As :meth:`autoscaler.ports.Store.finish`, by the lease as it was renewed since."""
        held = self._held.get((item.kind, item.key))
        await self._store.finish([item if held is None else held.item], next_due)

    async def renew(self) -> None:
        """Say of everything in hand that it is. Raises TemporaryError."""
        clock = asyncio.get_running_loop().time
        # one whose time is over, since this process has slept, is not brought back
        held = [each for each in self._held.values() if not each.is_over(clock())]
        if not held:
            return
        begun = clock()
        renewed = await self._store.hold([each.as_leased for each in held], lease=LEASE)
        for each, item in zip(held, renewed, strict=True):
            if item is None:
                continue  # marked meanwhile, to be looked at again, or done with
            each.item = item
            still = self._held.get((each.item.kind, each.item.key)) is each  # else it was done with meanwhile
            if still and each.deadline is not None and not each.is_over(clock()):
                each.deadline.reschedule(begun + LEASE)

    def leave(self, items: Iterable[WorkItem]) -> None:
        """Know that nothing will be done here of what was claimed; lanes are left to their leases."""
        self._left += [_Held(item, None) for item in items if item.leased_until and item.kind != "lane"]

    async def give_back(self) -> None:
        """Let others have at once what was broken off or left. Raises TemporaryError; then its lease runs out."""
        left, self._left = self._left, []
        now = asyncio.get_running_loop().time()
        mine = [each.as_leased for each in left if not each.is_over(now)]
        if mine:
            await self._store.hold(mine, lease=0.0)
