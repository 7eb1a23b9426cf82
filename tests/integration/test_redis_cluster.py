"""The store on a cluster whose nodes die, hang, are restarted, and whose slots move while it is used."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import pytest
import redis
from redis.crc import key_slot

from autoscaler.adapters.redis import RedisStore
from autoscaler.errors import TemporaryError
from autoscaler.measures.match import Equals
from autoscaler.measures.series import pack, unpack
from autoscaler.measures.window import WindowSpec
from autoscaler.ports import GroupPut, Put, WindowWrite, WorkItem
from autoscaler.scaling.decision import Decision, Reason
from autoscaler.scaling.group import Actor, GroupRecord
from tests.servers import ClusterNode, RedisCluster

pytestmark = [pytest.mark.service, pytest.mark.slow]

ON_DISK = ("--appendonly", "yes", "--appendfsync", "always")
SPEC = WindowSpec("", ("cpu",), Equals("server_group", "web"), horizon=1e9)
HUB = key_slot(b"{hub}")
SHARD = key_slot(b"{s00}")
BACK_WITHIN = 20.0
"""Seconds."""

_Answer = TypeVar("_Answer")


@pytest.fixture
def alone() -> Iterator[RedisCluster]:
    """Three primaries, nobody in reserve."""
    with RedisCluster(None, *ON_DISK) as cluster:
        yield cluster


@pytest.fixture
def doubled() -> Iterator[RedisCluster]:
    """Three primaries with a replica each."""
    with RedisCluster(None, *ON_DISK, replicas=1) as cluster:
        yield cluster


@asynccontextmanager
async def opened(cluster: RedisCluster, **options: float) -> AsyncIterator[RedisStore]:
    store = RedisStore(cluster.url, namespace=uuid.uuid4().hex, **options)  # type: ignore[arg-type]
    try:
        yield store
    finally:
        await store.close()


async def insisted(once: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """Asked again, as the engine does, while the store is away."""
    end = time.monotonic() + BACK_WITHIN
    while True:
        try:
            return await once()
        except TemporaryError:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.05)


@dataclass
class Use:
    """Writers that go on and on, and what they were told that they had done."""

    store: RedisStore
    written: set[float] = field(default_factory=set)
    decided: list[str] = field(default_factory=list)
    refused: int = 0

    async def measure(self) -> None:
        """A point after another, each until it is in."""
        time = 1_700_000_000.0
        while True:
            time += 1
            points = {"a": pack([(time, time)])}
            await self._until_done(lambda points=points: self.store.write([WindowWrite(SPEC, 0, points)]))
            self.written.add(time)

    async def decide(self, name: str) -> None:
        """A decision after another, by compare-and-set."""
        while True:
            state = await self._until_done(lambda: self.store.group(name))
            version = state.record.version + 1
            decision = Decision(
                id=f"{name}:{version}",
                time=state.now,
                group=name,
                decision="scale",
                reason=Reason.POLICY,
                text="",
                before=version - 1,
                to=version,
                actor=Actor(kind="person", name="test"),
            )
            put = GroupPut(name, version - 1, None, GroupRecord(version=version), decision)
            answer = await self._until_done(lambda put=put: self.store.put_group(put))
            if isinstance(answer, Put):
                self.decided.append(decision.id)

    async def _until_done(self, once: Callable[[], Awaitable[_Answer]]) -> _Answer:
        while True:
            try:
                return await once()
            except TemporaryError:
                self.refused += 1
                await asyncio.sleep(0.01)

    async def check(self, *groups: str) -> None:
        """All that was said to be done is there, and nothing was done twice."""
        (reply,) = await self.store.write([WindowWrite(SPEC)])
        assert self.written
        assert self.written <= set(unpack(reply.series["a"]).times)
        assert self.decided
        for name in groups:
            kept = [decision.id for decision in await self.store.decisions(name, limit=1000)]
            version = (await self.store.group(name)).record.version
            # those whose answer was lost, at the end of the writers at the latest, are not known here
            assert kept == [f"{name}:{number}" for number in range(version, max(0, version - 1000), -1)]
            assert version - sum(one.startswith(f"{name}:") for one in self.decided) <= self.refused + 1


@asynccontextmanager
async def used(store: RedisStore, *groups: str) -> AsyncIterator[Use]:
    use = Use(store)
    await store.write([WindowWrite(SPEC)])
    async with asyncio.TaskGroup() as tasks:
        writers = [tasks.create_task(use.measure()), *(tasks.create_task(use.decide(name)) for name in groups)]
        yield use
        for writer in writers:
            writer.cancel()


def move_slot(cluster: RedisCluster, slot: int, source: ClusterNode, target: ClusterNode, *, pause: float) -> int:
    """Move a slot as `redis-cli --cluster reshard` does, ``pause`` seconds for each key; how many it had.

    Source:
        https://redis.io/docs/latest/commands/cluster-setslot/
    """
    ids = {node.port: cluster.ask(node, "CLUSTER", "MYID") for node in (source, target)}
    cluster.ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source.port])
    cluster.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target.port])
    moved = 0
    with redis.Redis(port=source.port) as client:
        while keys := client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1):
            client.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            moved += 1
            time.sleep(pause)
    for node in (target, source):
        cluster.ask(node, "CLUSTER", "SETSLOT", slot, "NODE", ids[target.port])
    return moved


async def test_a_slot_is_moved_to_a_node_that_has_just_joined_while_it_is_used(alone: RedisCluster) -> None:
    with ClusterNode(None, *ON_DISK) as joined:
        alone.ask(joined, "CLUSTER", "MEET", "127.0.0.1", alone.nodes[0].port, alone.nodes[0].bus_port)
        alone.until(joined, "cluster_known_nodes:4", "CLUSTER", "INFO")
        alone.until(joined, "cluster_state:ok", "CLUSTER", "INFO")
        source = alone.primary_of(SHARD)
        async with opened(alone, shards=1) as store:
            async with asyncio.timeout(60), used(store, "web", "db") as use:
                while len(use.decided) < 50:
                    await asyncio.sleep(0.01)
                moved = await asyncio.to_thread(move_slot, alone, SHARD, source, joined, pause=0.2)
                before = len(use.decided)
                while len(use.decided) < before + 50:
                    await asyncio.sleep(0.01)
            await use.check("web", "db")

            assert moved > 3
            assert alone.ask(source, "CLUSTER", "COUNTKEYSINSLOT", SHARD) == "0"
            assert await store.check() == []


async def test_a_shard_that_is_half_moved_is_left_alone(alone: RedisCluster) -> None:
    source, target = alone.primary_of(SHARD), next(node for node in alone.nodes if node is not alone.primary_of(SHARD))
    async with opened(alone, shards=1, deadline=1.0) as store:
        await store.write([WindowWrite(SPEC, 0, {"a": pack([(1.0, 1.0)])})])
        ids = {node.port: alone.ask(node, "CLUSTER", "MYID") for node in (source, target)}
        alone.ask(target, "CLUSTER", "SETSLOT", SHARD, "IMPORTING", ids[source.port])
        alone.ask(source, "CLUSTER", "SETSLOT", SHARD, "MIGRATING", ids[target.port])

        with pytest.raises(TemporaryError, match=f"slot {SHARD} is being moved to 127.0.0.1:{target.port}"):
            await store.write([WindowWrite(SPEC, 0, {"a": pack([(2.0, 2.0)])})])
        assert alone.ask(target, "CLUSTER", "COUNTKEYSINSLOT", SHARD) == "0"

        alone.ask(source, "CLUSTER", "SETSLOT", SHARD, "STABLE")
        (reply,) = await store.write([WindowWrite(SPEC, 0, {"a": pack([(3.0, 3.0)])})])

    assert list(unpack(reply.series["a"]).times) == [1.0, 3.0]


async def test_an_export_during_which_a_shard_was_moved_is_not_taken_for_whole(alone: RedisCluster) -> None:
    source, target = alone.primary_of(SHARD), next(node for node in alone.nodes if node is not alone.primary_of(SHARD))
    async with opened(alone, shards=1) as store:
        await store.publish("g1", b"documents", insist=False)
        await store.keep("quota", {"p": b"5"})
        whole = [one async for one in store.saved()]
        entries = store.saved()
        first = await anext(entries)
        await asyncio.to_thread(move_slot, alone, SHARD, source, target, pause=0.0)
        for node in alone.nodes:
            alone.until(node, f"[{SHARD}, {SHARD}, [b'127.0.0.1', {target.port}", "CLUSTER", "SLOTS")
        with pytest.raises(TemporaryError, match="a shard was moved meanwhile"):
            _ = [one async for one in entries]

    assert first == whole[0]
    assert len(whole) == 2


async def test_the_replica_of_a_node_that_dies_takes_its_place(doubled: RedisCluster) -> None:
    async with opened(doubled, shards=1) as store:
        async with asyncio.timeout(90), used(store, "web") as use:
            for slot in (SHARD, HUB):
                before = len(use.decided)
                while len(use.decided) < before + 50:
                    await asyncio.sleep(0.01)
                # what was acknowledged and not yet passed on would be lost with it
                doomed = doubled.primary_of(slot)
                doubled.ask(doomed, "WAIT", 1, 1000)
                doomed.kill()
                await insisted(store.now)
            before = len(use.decided)
            while len(use.decided) < before + 50:
                await asyncio.sleep(0.01)

        assert use.refused
        version = (await store.group("web")).record.version
        kept = [decision.id for decision in await store.decisions("web", limit=1000)]
        assert kept == [f"web:{number}" for number in range(version, max(0, version - 1000), -1)]


async def test_a_node_that_hangs_is_not_waited_for_once_another_has_its_place(doubled: RedisCluster) -> None:
    async with opened(doubled, shards=1, deadline=0.5) as store:
        await store.mark([WorkItem("lane", "a|log://", await store.now())])
        hung = doubled.primary_of(SHARD)
        doubled.ask(hung, "WAIT", 1, 1000)
        hung.freeze()
        try:
            claimed = await insisted(lambda: store.claim(limit=10, lease=30.0))
        finally:
            hung.thaw()

    assert [item.key for item in claimed.items] == ["a|log://"]


async def test_a_node_that_is_restarted_is_used_again(alone: RedisCluster) -> None:
    async with opened(alone, shards=1) as store:
        async with asyncio.timeout(60), used(store, "web") as use:
            while len(use.decided) < 50:
                await asyncio.sleep(0.01)
            node = alone.primary_of(SHARD)
            node.kill()
            faults: list[str] = []
            while not any("cluster_state" in fault for fault in faults):  # which the others find out after a while
                await asyncio.sleep(0.1)
                faults = await store.check()
            assert any(str(node.port) in fault for fault in faults), faults
            node.restart()
            before = len(use.decided)
            while len(use.decided) < before + 50:
                await asyncio.sleep(0.01)
        await use.check("web")

        alone.until_whole()
        assert await insisted(store.check) == []


async def test_a_plain_url_of_a_clusters_node_is_found_out(redis_cluster: RedisCluster) -> None:
    node = next(node for node in redis_cluster.nodes if node is not redis_cluster.primary_of(HUB))
    store = RedisStore(f"redis://127.0.0.1:{node.port}")
    try:
        with pytest.raises(TemporaryError, match=r"is a node of a cluster, whose URL begins with redis\+cluster://"):
            await store.group("web")
    finally:
        await store.close()


async def test_every_node_is_looked_at(redis_cluster: RedisCluster) -> None:
    node = redis_cluster.nodes[2]
    async with opened(redis_cluster) as store:
        faults = await store.check()

    assert len(faults) == 3  # they keep nothing on disk
    assert any(f"127.0.0.1:{node.port}: keeps nothing on disk" in fault for fault in faults)


async def test_nobody_of_a_cluster_is_a_temporary_error_without_the_password() -> None:
    store = RedisStore("redis+cluster://ops:secret@127.0.0.1:1,127.0.0.1:2")
    try:
        with pytest.raises(TemporaryError, match=r"redis\+cluster://\*\*\*@127\.0\.0\.1:1,127\.0\.0\.1:2") as caught:
            await store.now()
        (fault,) = await store.check()
    finally:
        await store.close()

    assert "secret" not in str(caught.value) + fault
