"""Streams on a real RabbitMQ: where they are begun, how far they were taken, and that nothing is taken for taken."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import aio_pika
import pytest
from structlog.testing import capture_logs

from autoscaler.adapters.sources import streams
from autoscaler.adapters.sources.amqp import AmqpSource
from autoscaler.adapters.sources.streams import StreamSource
from autoscaler.ports import Source
from tests.contract.held import Held
from tests.contract.test_sources import (
    NOW,
    StreamBus,
    introduce,
    listening,
    measure,
    now,
    numbers,
    taken,
    until,
)
from tests.servers import RabbitServer

pytestmark = pytest.mark.service


@pytest.fixture
async def bus(rabbit: RabbitServer) -> StreamBus:
    """A stream of which ten were taken."""
    found = StreamBus(rabbit)
    await introduce(found.source())
    await found.publish([measure(number) for number in range(10)])
    await taken(found.source(), 10)
    return found


def anew(bus: StreamBus, begin: Any, **options: Any) -> tuple[Source, Held]:
    """Somebody who begins where nobody else has, with a seat of their own."""
    seat = Held(f"{bus.id}@{begin}", bus.positions)
    return bus.source(begin=begin, seat=seat, **options), seat


@pytest.mark.parametrize(("begin", "first"), [("first", 0), (0, 0), (7, 7), (datetime.fromtimestamp(1, UTC), 0)])
async def test_a_stream_may_be_taken_again_from_anywhere(bus: StreamBus, begin: Any, first: int) -> None:
    source, seat = anew(bus, begin)

    assert await taken(source, 10 - first) == list(range(first, 10))
    assert (seat.position, bus.positions[bus.id]) == (9, 9)


@pytest.mark.parametrize(("begin", "expected"), [("next", [10]), ("last", [9, 10])])
async def test_what_comes_next_may_be_all_that_is_taken(bus: StreamBus, begin: str, expected: list[float]) -> None:
    source, seat = anew(bus, begin)
    values: list[float] = []
    async with listening(source) as deliveries, asyncio.TaskGroup() as group:
        first = group.create_task(anext(deliveries))
        await until(lambda: source.connected)
        began = seat.position
        await bus.publish([measure(10)])
        while 10 not in values:
            delivery = await first
            values += numbers(delivery.batch)
            await delivery.ack()
            first = group.create_task(anext(deliveries))
        first.cancel()

    # what was written together last may be more than one
    assert values[-2 if begin == "last" else 0 :] == expected
    assert (began, seat.position) == (-int(NOW), 10)


async def test_what_came_after_a_first_start_is_taken_by_the_second(
    rabbit: RabbitServer,
) -> None:
    bus = StreamBus(rabbit)
    source, seat = anew(bus, "next")
    await introduce(source)
    await bus.publish([measure(1)])

    assert seat.position is not None
    assert seat.position < 0
    assert await taken(anew(bus, "next")[0], 1) == [1]


async def test_no_more_counts_as_taken_than_was_acknowledged(bus: StreamBus) -> None:
    source, seat = anew(bus, 4, prefetch=1)  # the broker sends what was written together all the same
    async with listening(source) as deliveries:
        first = await anext(deliveries)
        before = seat.position
        await first.ack()
        after = seat.position
        await bus.publish([measure(10)])  # the first may have been all there was
        second = await anext(deliveries)

    assert (before, after, seat.position) == (None, numbers(first.batch)[-1], after)
    begun = int(numbers(first.batch)[-1]) + 1
    assert numbers(second.batch)[0] == begun
    assert await taken(anew(bus, 4)[0], 11 - begun) == list(range(begun, 11))


async def test_a_seat_that_is_left_keeps_how_far_it_was_taken(bus: StreamBus) -> None:
    source, seat = anew(bus, 0)
    async with listening(source) as deliveries, asyncio.TaskGroup() as group:
        in_hand = await anext(deliveries)
        await bus.publish([measure(10)])
        seat.call()
        await in_hand.ack()
        left = group.create_task(anext(deliveries))
        await until(lambda: not source.connected)
        left.cancel()

    assert await taken(anew(bus, 0)[0], 11 - len(numbers(in_hand.batch))) == list(
        range(len(numbers(in_hand.batch)), 11)
    )


async def test_a_stream_that_is_there_is_taken_as_it_is(bus: StreamBus) -> None:
    source, _ = anew(bus, 8, max_bytes=1_000_000, ttl=60)

    assert await taken(source, 2) == [8, 9]


async def test_a_queue_that_is_no_stream_is_told_of_and_keeps_what_it_has(rabbit: RabbitServer) -> None:
    bus = StreamBus(rabbit)
    queue = AmqpSource(rabbit.url, now=now, queue=bus.id, exchange=bus.id)
    await introduce(queue)
    await bus.publish([measure(1)])
    with capture_logs() as logs:
        async with listening(bus.source()) as deliveries, asyncio.TaskGroup() as group:
            first = group.create_task(anext(deliveries))
            await until(lambda: len(logs) > 0)
            first.cancel()

    assert [entry["event"] for entry in logs] == ["source refused"]
    assert "invalid arg 'x-stream-offset' for queue" in logs[0]["error"]
    assert await taken(queue, 1) == [1]


async def test_another_stream_of_the_same_name_is_told_of(bus: StreamBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_SIGN_PATIENCE", 1.0)
    async with await aio_pika.connect(bus.server.url) as connection:
        await (await connection.channel()).queue_delete(bus.id)
    source = bus.source()
    with capture_logs() as logs:
        async with listening(source) as deliveries, asyncio.TaskGroup() as group:
            first = group.create_task(anext(deliveries))
            await until(lambda: len(logs) > 0)
            await bus.publish([measure(10)])
            first.cancel()

    assert [entry["event"] for entry in logs] == ["source refused"]
    assert "has no message 9" in logs[0]["error"]
    assert not source.connected
    assert await taken(anew(bus, "first")[0], 1) == [10]


async def test_a_stream_outlives_its_broker(bus: StreamBus) -> None:
    source = bus.source()
    async with listening(source) as deliveries, asyncio.TaskGroup() as group:
        first = group.create_task(anext(deliveries))
        await until(lambda: source.connected)
        bus.kill()
        await until(lambda: not source.connected)
        await asyncio.to_thread(bus.restart)
        await until(lambda: source.connected)
        await bus.publish([measure(10)])
        delivery = await first
        await delivery.ack()

    assert numbers(delivery.batch) == [10]
    assert await taken(anew(bus, "first")[0], 11) == list(range(11))


def test_a_stream_is_declared_with_what_bounds_it() -> None:
    source = StreamSource("amqp://host", now=now, stream="s", seat=Held("s"), ttl=90, max_bytes=1000)

    assert source._arguments == {"x-queue-type": "stream", "x-max-age": "90s", "x-max-length-bytes": 1000}
