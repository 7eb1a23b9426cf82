"""Work in hand stays one replica's for as long as that lives, and no longer."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest

from autoscaler.adapters.memory import MemoryStore
from autoscaler.engine import leases
from autoscaler.engine.leases import Leases
from autoscaler.errors import TemporaryError
from autoscaler.ports import OutboxRow, WorkItem

pytestmark = pytest.mark.slow

LANE = WorkItem("lane", "a|log://", 0.0)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LEASE", 0.4)
    monkeypatch.setattr(leases, "RENEWAL", 0.1)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(time.time)


async def claimed(store: MemoryStore, kind: str) -> tuple[WorkItem, float]:
    asked = time.monotonic()
    await store.mark([WorkItem(kind, "a|log://", 0.0)])
    (item,) = (await store.claim(limit=1, lease=leases.LEASE)).items
    return item, asked


async def is_free(store: MemoryStore) -> bool:
    return bool((await store.claim(limit=1, lease=leases.LEASE)).items)


@pytest.mark.parametrize("kind", ["lane", "group", "probe", "schedule"])
async def test_what_is_renewed_is_nobody_elses_however_long_it_takes(store: MemoryStore, kind: str) -> None:
    held = Leases(store)
    item, asked = await claimed(store, kind)
    async with held.held(item, asked):
        for _ in range(10):
            await asyncio.sleep(0.08)
            await held.renew()
            assert not await is_free(store)
        await held.finish(item, None)

    await asyncio.sleep(0.5)
    assert not await is_free(store)


async def test_a_lane_that_is_not_renewed_is_let_go_of_before_another_gets_it(store: MemoryStore) -> None:
    held = Leases(store)
    item, asked = await claimed(store, "lane")
    with pytest.raises(TemporaryError, match="the lease ran out"):
        async with held.held(item, asked - 0.1):  # as if the store had taken so long to answer
            await asyncio.sleep(10)

    assert not await is_free(store)
    await asyncio.sleep(0.15)
    assert await is_free(store)


async def test_nothing_is_begun_by_a_lease_that_was_over_when_its_answer_came(store: MemoryStore) -> None:
    held = Leases(store)
    item, asked = await claimed(store, "lane")
    time.sleep(0.5)  # as a claim does whose answer is late
    begun = False
    with pytest.raises(TemporaryError, match="before it was known here"):
        async with held.held(item, asked):
            begun = True

    assert not begun
    assert await is_free(store)


async def test_a_lane_that_is_leased_anew_before_its_last_row_has_ended_is_kept(store: MemoryStore) -> None:
    held = Leases(store)
    item, asked = await claimed(store, "lane")
    async with AsyncExitStack() as last:
        await last.enter_async_context(held.held(item, asked))
        async with held.held(WorkItem("lane", item.key, 0.0), time.monotonic()):
            await last.aclose()
            for _ in range(6):
                await asyncio.sleep(0.08)
                await held.renew()


async def test_a_lane_that_was_put_off_is_not_held_by_who_was_at_it(store: MemoryStore) -> None:
    held = Leases(store)
    row = OutboxRow(id="a:1:0", alarm_id="a", url="log://", body={}, created=0.0)
    asked = time.monotonic()
    assert await store.revive(row, "once", lease=leases.LEASE)
    async with held.held(WorkItem("lane", row.lane, 0.0), asked):
        await held.renew()
        await store.undelivered(row.lane, row.id, retry_at=0.0)
        await held.renew()
        assert await is_free(store)


async def test_what_is_left_of_a_lease_is_known(store: MemoryStore) -> None:
    held = Leases(store)
    item, asked = await claimed(store, "lane")
    assert held.left(item.key) == math.inf
    async with held.held(item, asked):
        assert 0 < held.left(item.key) <= leases.LEASE
        await asyncio.sleep(0.1)
        assert held.left(item.key) <= leases.LEASE - 0.1
        await held.renew()
        assert held.left(item.key) > leases.LEASE - 0.1


async def test_who_slept_over_a_lease_does_not_get_it_back(store: MemoryStore) -> None:
    held = Leases(store)
    item, asked = await claimed(store, "lane")
    went_on = False

    async def work() -> None:
        nonlocal went_on
        async with held.held(item, asked):
            time.sleep(0.5)  # as a process that is stopped does
            assert await is_free(store)
            await held.renew()
            await asyncio.sleep(0.01)
            went_on = True

    with pytest.raises(TemporaryError, match="the lease ran out"):
        await work()

    assert not went_on


async def test_a_group_goes_on_when_another_has_begun_with_it(store: MemoryStore) -> None:
    held = Leases(store)
    item, asked = await claimed(store, "group")
    async with held.held(item, asked):
        await store.mark([WorkItem("group", item.key, 0.0)])
        assert await is_free(store)
        await held.renew()
        await asyncio.sleep(0.5)
        await held.finish(item, None)

    assert await is_free(store)


async def test_an_error_within_is_an_error_without(store: MemoryStore) -> None:
    held = Leases(store)
    with pytest.raises(TimeoutError, match="its own"):
        async with held.held(*await claimed(store, "lane")):
            raise TimeoutError("its own")
    await held.renew()


async def test_what_nobody_has_leased_is_not_held(store: MemoryStore) -> None:
    held = Leases(store)
    async with held.held(WorkItem("group", "web", 1.0), time.monotonic()):
        await held.renew()

    assert not await is_free(store)


async def test_a_lane_that_is_done_with_while_it_is_renewed_ends_nothing() -> None:
    class SlowStore(MemoryStore):
        asked, answered = asyncio.Event(), asyncio.Event()

        async def hold(self, items: Sequence[WorkItem], *, lease: float) -> list[WorkItem | None]:
            found = await super().hold(items, lease=lease)
            self.asked.set()
            await self.answered.wait()
            return found

    store = SlowStore(time.time)
    held = Leases(store)
    item, asked = await claimed(store, "lane")
    async with asyncio.TaskGroup() as group:
        async with held.held(item, asked):
            group.create_task(held.renew())
            await store.asked.wait()
        store.answered.set()

    assert store.asked.is_set()


@pytest.mark.parametrize("kind", ["lane", "group", "probe", "schedule"])
async def test_what_is_broken_off_is_another_s_as_soon_as_it_is_given_back(store: MemoryStore, kind: str) -> None:
    held = Leases(store)
    item, asked = await claimed(store, kind)

    async def work() -> None:
        async with held.held(item, asked):
            await held.renew()
            await asyncio.sleep(10)

    async with asyncio.TaskGroup() as group:
        working = group.create_task(work())
        await asyncio.sleep(0.05)
        working.cancel()
    assert not await is_free(store)
    await held.give_back()

    assert await is_free(store)
    await held.give_back()
    assert not await is_free(store)


async def test_a_lane_whose_time_was_over_is_not_given_back_when_another_has_it(store: MemoryStore) -> None:
    held = Leases(store)
    item, asked = await claimed(store, "lane")

    async def work() -> None:
        async with held.held(item, asked):
            await asyncio.sleep(10)

    async with asyncio.TaskGroup() as group:
        working = group.create_task(work())
        await asyncio.sleep(0.05)
        working.cancel()
    await asyncio.sleep(0.5)
    assert await is_free(store)
    await held.give_back()

    assert not await is_free(store)


async def test_what_was_claimed_and_not_begun_is_given_back(store: MemoryStore) -> None:
    held = Leases(store)
    item, _ = await claimed(store, "window")
    held.leave([item])
    await held.give_back()

    assert await is_free(store)
