"""Sessions that replicas share: each is one replica's at a time, and nobody fights for one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from autoscaler.adapters.memory import MemoryStore
from autoscaler.engine import seats
from autoscaler.engine.seats import SEAT_LEASE, Seats
from autoscaler.ports import Bus, Seat, Seating

PATIENCE = 20.0
MOMENT = 0.1
"""Seconds in which what is to happen at once has happened; it is waited for only where nothing may."""


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seats, "RENEWAL", 0.005)


class Silent(MemoryStore):
    """A store whose clock is moved by hand, and that may be silent about seats."""

    def __init__(self) -> None:
        self.now_is = 1_700_000_000.0
        super().__init__(lambda: self.now_is)
        self.speaks = asyncio.Event()
        self.speaks.set()

    async def sit(self, replica: str, seats: Sequence[str], **options: Any) -> Seating:
        await self.speaks.wait()
        return await super().sit(replica, seats, **options)


@asynccontextmanager
async def keeping(store: Silent, **replicas: Seats) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Replicas that keep their seats."""
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        tasks = [group.create_task(seats.keep(store, name)) for name, seats in replicas.items()]
        yield tasks
        for task in tasks:
            task.cancel()


async def is_had(occupied: AbstractAsyncContextManager[str]) -> bool:
    """Whether a seat is had at once."""
    try:
        async with asyncio.timeout(MOMENT), occupied:
            return True
    except TimeoutError:
        return False


async def until_elsewhere(seat: Seat) -> None:
    while not seat.elsewhere:
        await asyncio.sleep(0.001)


async def test_a_seat_is_one_replicas_until_that_is_silent() -> None:
    store, one, other = Silent(), Seats(["s"]), Seats(["s"])
    async with keeping(store, one=one, other=other) as (first, _), one.seats[0].occupied() as name:
        await until_elsewhere(other.seats[0])
        had = await is_had(other.seats[0].occupied())
        first.cancel()
        store.now_is += SEAT_LEASE
        async with other.seats[0].occupied() as taken:
            pass

    assert (name, had, taken, one.seats[0].elsewhere) == ("s", False, "s", False)


async def test_what_is_more_than_a_share_is_left_before_another_has_it() -> None:
    store, one, other = Silent(), Seats(["s1", "s2"]), Seats(["s1", "s2"])
    async with keeping(store, one=one), one.seats[0].occupied():
        async with one.seats[1].occupied(), keeping(store, other=other):
            await one.seats[1].called()
            before = await is_had(other.seats[1].occupied())
        async with keeping(store, other=other), other.seats[1].occupied() as after:
            await until_elsewhere(one.seats[1])

    assert (before, after) == (False, "s2")


async def test_no_link_is_made_again_before_the_store_has_said_so() -> None:
    store, mine = Silent(), Seats(["s"])
    seat = mine.seats[0]
    async with keeping(store, mine=mine):
        async with seat.occupied():
            store.speaks.clear()
        silent = await is_had(seat.occupied())
        store.speaks.set()
        async with seat.occupied() as name:
            pass

    assert (silent, name) == (False, "s")


async def test_no_link_is_made_by_a_lease_that_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seats, "SEAT_LEASE", MOMENT / 2)
    store, mine = Silent(), Seats(["s"])
    async with keeping(store, mine=mine):
        async with mine.seats[0].occupied():
            pass
        await asyncio.sleep(MOMENT / 10)
        store.speaks.clear()
        await asyncio.sleep(MOMENT)
        over = await is_had(mine.seats[0].occupied())
        store.speaks.set()

    assert not over


async def test_a_link_that_stands_is_kept_while_the_store_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seats, "SEAT_LEASE", MOMENT / 4)
    store, mine = Silent(), Seats(["s"])
    async with keeping(store, mine=mine), mine.seats[0].occupied():
        store.speaks.clear()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(MOMENT):
                await mine.seats[0].called()
        store.speaks.set()


async def test_a_link_is_ended_when_another_was_given_the_seat() -> None:
    store, mine = Silent(), Seats(["s"])
    async with keeping(store, mine=mine), mine.seats[0].occupied():
        store.speaks.clear()
        await asyncio.sleep(MOMENT / 10)
        store.now_is += SEAT_LEASE
        for _ in range(2):
            await MemoryStore.sit(store, "other", ["s"], keep=(), lease=SEAT_LEASE)
        store.speaks.set()
        await mine.seats[0].called()
        await until_elsewhere(mine.seats[0])
        assert not await is_had(mine.seats[0].occupied())


async def test_an_old_session_is_cleared_once_a_seat_stands_and_only_once() -> None:
    store, mine = Silent(), Seats(["s"], left=["old"])
    async with keeping(store, mine=mine), mine.seats[0].occupied():
        early = await is_had(mine.spare.occupied())
        mine.seats[0].stands()
        async with mine.spare.occupied() as failed:
            pass
        async with mine.spare.occupied() as name:
            mine.spare.cleared()
        again = await is_had(mine.spare.occupied())

    assert (early, failed, name, again) == (False, "old", "old", False)
    assert (await store.sit("next", ["s"], keep=(), lease=SEAT_LEASE)).spare == ""


async def test_an_old_session_is_cleared_where_none_are_wanted_any_more() -> None:
    store, mine = Silent(), Seats([], left=["old"], bus=Bus.AMQP)
    async with keeping(store, mine=mine):
        async with mine.spare.occupied() as name:
            mine.spare.cleared()
        again = await is_had(mine.spare.occupied())

    assert (name, again) == ("old", False)
