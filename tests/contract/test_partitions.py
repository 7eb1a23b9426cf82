"""Partitions on a real RabbitMQ: what goes where, what a hand-over keeps, and how those that are over end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import pytest
from aio_pika.exceptions import ChannelNotFoundEntity
from structlog.testing import capture_logs

from autoscaler.adapters.sources.amqp import AmqpSource
from autoscaler.adapters.sources.partitions import PartitionClearance, PartitionSource, partitions, ring_of
from autoscaler.ports import Source
from tests.contract.held import Held
from tests.contract.test_sources import PATIENCE, AmqpBus, introduce, listening, measure, now, numbers, until
from tests.servers import RabbitServer

pytestmark = pytest.mark.service

QUIET = 0.3
"""Seconds in which nothing may come."""


class Bus(AmqpBus):
    """Sources, each with a seat of its own, and publishers who say what is hashed."""

    def partition(self, queue: str, **options: Any) -> tuple[PartitionSource, Held]:
        seat = Held(queue)
        return PartitionSource(self.server.url, seat=seat, **self._options(options)), seat

    def clearance(self, queue: str, **options: Any) -> tuple[PartitionClearance, Held]:
        seat = Held(queue)
        options = {"single": "ring" not in options, **self._options(options)}
        return PartitionClearance(self.server.url, seat=seat, **options), seat

    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        return {"now": now, "queue": self.id, "exchange": self.id, "quorum": self.quorum, **options}

    async def send(self, numbers: Sequence[int], keys: Sequence[str], header: str = "") -> None:
        """Publish measures with these keys in turn, in a header if there is one."""
        async with await aio_pika.connect(self.server.url) as connection:
            channel = await connection.channel()
            exchange = await channel.get_exchange(self.id)
            for number in numbers:
                key = keys[number % len(keys)]
                headers: dict[str, Any] = {header: key} if header and key else {}
                message = aio_pika.Message(
                    measure(number), headers=headers, delivery_mode=aio_pika.DeliveryMode.PERSISTENT
                )
                await exchange.publish(message, "the same" if header else key)

    async def waiting(self, queue: str) -> int:
        """Messages in a queue; -1 where there is none."""
        async with await aio_pika.connect(self.server.url) as connection:
            channel = await connection.channel()
            try:
                found = await channel.declare_queue(queue, passive=True)
            except ChannelNotFoundEntity:
                return -1
            return found.declaration_result.message_count or 0

    async def has_exchange(self, name: str) -> bool:
        async with await aio_pika.connect(self.server.url) as connection:
            channel = await connection.channel()
            try:
                await channel.get_exchange(name, ensure=True)
            except ChannelNotFoundEntity:
                return False
            return True


class QuorumBus(Bus):
    quorum = True


@pytest.fixture(params=[Bus, QuorumBus], ids=["classic", "quorum"])
def bus(request: pytest.FixtureRequest, rabbit: RabbitServer) -> Bus:
    kind: type[Bus] = request.param
    return kind(rabbit)


@pytest.fixture
def classic(rabbit: RabbitServer) -> Bus:
    return Bus(rabbit)


@asynccontextmanager
async def taking(*sources: Source) -> AsyncIterator[list[list[float]]]:
    """What each takes and acknowledges, meanwhile."""
    values: list[list[float]] = [[] for _ in sources]

    async def take(source: Source, into: list[float]) -> None:
        async with listening(source) as deliveries:
            async for delivery in deliveries:
                into += numbers(delivery.batch)
                await delivery.ack()

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        tasks = [group.create_task(take(*each)) for each in zip(sources, values, strict=True)]
        yield values
        for task in tasks:
            task.cancel()


async def test_what_has_one_key_is_in_one_partition_and_in_order(classic: Bus) -> None:
    sources = [classic.partition(queue)[0] for queue in partitions(classic.id, 3)]
    keys = [f"web.{number}" for number in range(20)]
    async with taking(*sources) as values:
        await until(lambda: all(source.connected for source in sources))
        await classic.send(range(200), keys)
        await until(lambda: sum(map(len, values)) >= 200)

    where = Counter((int(number) % 20, place) for place, some in enumerate(values) for number in some)
    assert sorted(where.values()) == [10] * 20
    assert all(values)
    for some in values:
        assert some == sorted(some)


async def test_a_header_may_be_what_is_hashed_and_need_not_be_there(classic: Bus) -> None:
    queues = partitions(classic.id, 3, "group")
    sources = [classic.partition(queue, header="group")[0] for queue in queues]
    keys = ["", *(f"web-{number}" for number in range(1, 20))]
    async with taking(*sources) as values:
        await until(lambda: all(source.connected for source in sources))
        await classic.send(range(200), keys, header="group")
        await until(lambda: sum(map(len, values)) >= 200)

    where = Counter((int(number) % 20, place) for place, some in enumerate(values) for number in some)
    assert queues[0] == f"{classic.id}.group.1"
    assert sorted(where.values()) == [10] * 20
    assert all(values)


async def test_what_was_not_taken_goes_to_the_next_in_order_when_a_seat_is_left(bus: Bus) -> None:
    (queue,) = partitions(bus.id, 1)
    one, seat = bus.partition(queue)
    other, _ = bus.partition(queue)
    async with listening(one) as deliveries, asyncio.TaskGroup() as group:
        first = group.create_task(anext(deliveries))
        await until(lambda: one.connected)
        await bus.send([0], ["key"])
        in_hand = await first
        await bus.send(range(1, 100), ["key"])
        await until(lambda: one.waiting == 99)
        seat.call()
        await in_hand.ack()
        left = group.create_task(anext(deliveries))
        async with taking(other) as (values,):
            await until(lambda: len(values) >= 99)
        left.cancel()

    assert numbers(in_hand.batch) == [0]
    assert values == list(range(1, 100))
    assert not one.connected


async def test_who_is_not_sent_anything_yet_does_not_count_as_connected(classic: Bus) -> None:
    (queue,) = partitions(classic.id, 1)
    one, _ = classic.partition(queue)
    other, seat = classic.partition(queue)
    async with taking(one) as (values,):
        await until(lambda: one.connected)
        with capture_logs() as logs:
            async with taking(other):
                await until(lambda: len(logs) > 0)
                await classic.send([1], ["key"])
                await until(lambda: values == [1])
                early = other.connected, seat.standing
        seat.elsewhere = True

    assert [entry["event"] for entry in logs] == ["partition awaited"]
    assert early == (False, False)
    assert other.connected


async def test_those_that_are_over_are_emptied_and_end_and_nothing_goes_there(bus: Bus) -> None:
    one, two, three = partitions(bus.id, 3)
    stays, seat = bus.partition(one)
    over = [bus.partition(queue) for queue in (two, three)]
    async with taking(stays, *(source for source, _ in over)):
        await until(lambda: all(source.connected for source in (stays, *(source for source, _ in over))))
        for source, seat in over:
            seat.call()
            await until(lambda source=source: not source.connected)  # type: ignore[misc]
        await bus.send(range(100), [f"web.{number}" for number in range(20)])
        before = [await bus.waiting(queue) for queue in (two, three)]
    async with taking(stays) as (values,):
        clearances = [bus.clearance(queue, ring=ring_of(one)) for queue in (two, three)]
        async with taking(*(source for source, _ in clearances)) as cleared:
            await until(lambda: all(seat.ended for _, seat in clearances))
        await bus.send(range(100, 200), [f"web.{number}" for number in range(20)])
        await until(lambda: set(values) >= set(range(100, 200)))

    assert all(before)
    assert sorted(len(some) for some in cleared) == sorted(before)
    assert all(source.connected for source, _ in clearances)
    assert [await bus.waiting(queue) for queue in (one, two, three)] == [0, -1, -1]
    assert await bus.has_exchange(ring_of(one))


async def _taken_until_ended(clearance: PartitionClearance, seat: Held) -> None:
    async with taking(clearance):
        await until(lambda: seat.ended)


async def test_a_queue_that_somebody_still_listens_at_is_not_ended(classic: Bus) -> None:
    plain, (queue,) = AmqpSource(classic.server.url, **classic._options({})), partitions(classic.id, 1)
    source, _ = classic.partition(queue)
    clearance, seat = classic.clearance(classic.id, ring=ring_of(queue))
    async with taking(source) as (values,):
        async with taking(plain):
            await until(lambda: source.connected and plain.connected)
            ending = asyncio.ensure_future(_taken_until_ended(clearance, seat))
            await asyncio.sleep(QUIET)
            early = ending.done()
        await ending
        await classic.send([1], ["key"])
        await until(lambda: values == [1])

    assert not early
    assert await classic.waiting(classic.id) == -1


async def test_without_partitions_the_ring_ends_with_its_last_one(bus: Bus) -> None:
    queues = partitions(bus.id, 2)
    for queue in queues:
        await introduce(bus.partition(queue)[0])
    await bus.send(range(50), [f"web.{number}" for number in range(20)])
    seats = []
    for queue in queues:
        clearance, seat = bus.clearance(queue)
        async with taking(clearance):
            await until(lambda seat=seat: seat.ended)  # type: ignore[misc]
        seats.append(await bus.has_exchange(ring_of(queue)))
    await bus.send(range(50, 60), ["key"])
    async with taking(AmqpSource(bus.server.url, **bus._options({}))) as (values,):
        await until(lambda: set(values) >= set(range(50, 60)))

    assert seats == [True, False]
    assert [await bus.waiting(queue) for queue in queues] == [-1, -1]


@pytest.mark.parametrize("options", [{"ring": "ring.partitions"}, {}], ids=["partitions", "none"])
async def test_a_queue_that_is_not_there_any_more_has_ended(classic: Bus, options: dict[str, str]) -> None:
    await introduce(AmqpSource(classic.server.url, **classic._options({})))
    clearance, seat = classic.clearance(f"{classic.id}.7", **options)
    async with taking(clearance):
        await until(lambda: seat.ended)

    assert await classic.waiting(classic.id) == 0


async def test_the_queue_that_all_share_stays_where_it_is_wanted_again(classic: Bus) -> None:
    await introduce(AmqpSource(classic.server.url, **classic._options({})))
    await classic.send([1], ["key"])
    clearance, seat = classic.clearance(classic.id)
    async with taking(clearance) as (values,):
        await until(lambda: seat.ended)

    assert (values, await classic.waiting(classic.id)) == ([], 1)


async def test_partitions_outlive_their_broker(classic: Bus) -> None:
    sources = [classic.partition(queue)[0] for queue in partitions(classic.id, 3)]
    keys = [f"web.{number}" for number in range(20)]
    async with taking(*sources) as values:
        await until(lambda: all(source.connected for source in sources))
        classic.kill()
        await until(lambda: not any(source.connected for source in sources))
        await asyncio.to_thread(classic.restart)
        await until(lambda: all(source.connected for source in sources))
        await classic.send(range(200), keys)
        await until(lambda: sum(map(len, values)) >= 200)

    where = Counter((int(number) % 20, place) for place, some in enumerate(values) for number in some)
    assert sorted(where.values()) == [10] * 20
    assert all(values)


@pytest.mark.parametrize(
    ("queue", "ring"),
    [("measures.1", "measures.partitions"), ("m.group.12", "m.group.partitions"), ("measures", ""), ("a.b", "")],
)
def test_a_partition_knows_its_ring(queue: str, ring: str) -> None:
    assert ring_of(queue) == ring
