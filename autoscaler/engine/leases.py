"""What this replica has leased, kept its own for as long as it is at work on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from autoscaler.errors import TemporaryError
from autoscaler.ports import Store, WorkItem

LEASE: Final = 4.0
"""Seconds for which work is this replica's since it last said so; another takes it up after that."""
RENEWAL: Final = 1.0
"""Seconds between two times of saying so."""


@dataclass(eq=False, slots=True)
class _Held:
    """Work in hand.

    Attributes:
        deadline: when whoever is at it is stopped; None where that may finish, whoever else has begun with it.
    """

    item: WorkItem
    deadline: asyncio.Timeout | None


class Leases:
    """Leases of work in hand.

    A lane that was not renewed in time is let go of at once: two who deliver from one lane would mix up its order. What
    is done to a group is fenced, and a question may be asked twice; so these go on.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: dict[tuple[str, str], _Held] = {}

    @asynccontextmanager
    async def held(self, item: WorkItem) -> AsyncIterator[None]:
        """Hold an item that was just leased to this replica until the block ends.

        Raises:
            TemporaryError: it was lost meanwhile, being a lane; another may be at it.
        """
        if item.kind != "lane" and not item.leased_until:
            yield  # looked at by itself, leased by nobody
            return
        place = (item.kind, item.key)
        # it was leased before this was called, but not long ago
        deadline = asyncio.timeout(LEASE - RENEWAL if item.kind == "lane" else None)
        try:
            async with deadline:
                self._held[place] = _Held(item, deadline if item.kind == "lane" else None)
                yield
        except TimeoutError as error:
            if deadline.expired():
                raise TemporaryError(f"{item.kind} {item.key}: the lease ran out") from error
            raise
        finally:
            self._held.pop(place, None)

    async def finish(self, item: WorkItem, next_due: float | None) -> None:
        """As :meth:`autoscaler.ports.Store.finish`, by the lease as it was renewed since."""
        held = self._held.get((item.kind, item.key))
        await self._store.finish([item if held is None else held.item], next_due)

    async def renew(self) -> None:
        """Say of everything in hand that it is. Raises TemporaryError."""
        clock = asyncio.get_running_loop().time
        # one whose time is over, since this process has slept, is not brought back
        held = [each for each in self._held.values() if each.deadline is None or _is_ahead(each.deadline, clock())]
        if not held:
            return
        # a lane's lease begins anew with each of its rows: it is held whatever time it says
        begun = clock()
        renewed = await self._store.hold(
            [WorkItem("lane", each.item.key, 0.0) if each.item.kind == "lane" else each.item for each in held],
            lease=LEASE,
        )
        for each, item in zip(held, renewed, strict=True):
            if item is None:
                continue  # marked meanwhile, to be looked at again, or done with
            each.item = item
            still = self._held.get((each.item.kind, each.item.key)) is each  # else it was done with meanwhile
            if still and each.deadline is not None and _is_ahead(each.deadline, clock()):
                each.deadline.reschedule(begun + LEASE)


def _is_ahead(deadline: asyncio.Timeout, now: float) -> bool:
    when = deadline.when()
    return when is not None and when > now
