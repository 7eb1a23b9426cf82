"""Aodh's notifications on a real RabbitMQ, in a queue beside everybody else's."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aio_pika
import pytest
from structlog.testing import capture_logs

from autoscaler.adapters.sources.aodh import AodhSource
from autoscaler.alarms.notice import Told
from autoscaler.ports import Batch
from tests.servers import RabbitServer
from tests.unit.adapters.test_aodh import sent

pytestmark = pytest.mark.service

NOW = 1_800_000_000.0
KEY = "notifications.info"
ARGUMENTS = {"x-message-ttl": 86_400_000, "x-max-length": 100_000, "x-expires": 86_400_000}


@pytest.fixture
def exchange() -> str:
    return f"aodh-{uuid.uuid4().hex}"


def source(rabbit: RabbitServer, exchange: str, **options: Any) -> AodhSource:
    return AodhSource(rabbit.url, now=lambda: NOW, exchange=exchange, queue=f"{exchange}.shadow", **options)


@asynccontextmanager
async def aodh(rabbit: RabbitServer, exchange: str, **flags: Any) -> AsyncIterator[aio_pika.abc.AbstractExchange]:
    """The exchange as oslo.messaging makes it."""
    async with await aio_pika.connect(rabbit.url) as connection:
        channel = await connection.channel()
        yield await channel.declare_exchange(exchange, aio_pika.ExchangeType.TOPIC, **flags)


async def told(deliveries: Any, count: int) -> list[Batch]:
    """Batches, acknowledged, until so many notices and rejections have come."""
    batches: list[Batch] = []
    async with asyncio.timeout(30):
        while sum(len(batch.notices) + len(batch.rejected) for batch in batches) < count:
            delivery = await anext(deliveries)
            batches.append(delivery.batch)
            await delivery.ack()
    return batches


async def linked(found: AodhSource, deliveries: Any) -> asyncio.Task[Any]:
    """The first delivery on its way, over a link that stands."""
    first = asyncio.ensure_future(anext(deliveries))
    async with asyncio.timeout(30):
        while not found.connected:
            await asyncio.sleep(0.005)
    return first


async def visited(found: AodhSource) -> None:
    """Be there once, and leave."""
    async with aclosing(found.deliveries()) as deliveries:
        first = await linked(found, deliveries)
        first.cancel()
        await asyncio.wait([first])


@pytest.mark.parametrize("durable", [False, True])
async def test_each_listener_gets_every_word(rabbit: RabbitServer, exchange: str, *, durable: bool) -> None:
    found = source(rabbit, exchange)
    async with aodh(rabbit, exchange, durable=durable) as bus, aclosing(found.deliveries()) as deliveries:
        other = await bus.channel.declare_queue(exclusive=True)  # type: ignore[attr-defined]
        await other.bind(bus, KEY)
        first = await linked(found, deliveries)
        for body in (sent(envelope=2), sent(envelope=1, event_id="2"), sent("alarm.deletion", event_id="3"), b"?"):
            await bus.publish(aio_pika.Message(body), KEY)
        delivery = await first
        await delivery.ack()
        seen = len(delivery.batch.notices) + len(delivery.batch.rejected)
        batches = [delivery.batch, *await told(deliveries, 4 - seen)]
        theirs = [(await other.get(timeout=5)).body for _ in range(4)]

    notices = [notice for batch in batches for notice in batch.notices]
    assert [(notice.event_id, notice.told) for notice in notices] == [
        ("61dc9a27", Told.CREATION),
        ("2", Told.CREATION),
        ("3", Told.DELETION),
    ]
    (rejected,) = [each for batch in batches for each in batch.rejected]
    assert (rejected.kind, rejected.payload) == ("notice", "?")
    assert theirs == [sent(envelope=2), sent(envelope=1, event_id="2"), sent("alarm.deletion", event_id="3"), b"?"]


async def test_what_is_told_while_nobody_listens_is_kept_and_then_taken(rabbit: RabbitServer, exchange: str) -> None:
    found = source(rabbit, exchange)
    await visited(found)
    async with aodh(rabbit, exchange) as bus:
        await bus.publish(aio_pika.Message(sent()), KEY)
    async with aclosing(source(rabbit, exchange).deliveries()) as deliveries:
        (batch,) = await told(deliveries, 1)

    assert [notice.event_id for notice in batch.notices] == ["61dc9a27"]


async def test_a_queue_that_nobody_needs_any_more_goes_by_itself(rabbit: RabbitServer, exchange: str) -> None:
    found = source(rabbit, exchange)
    await visited(found)
    async with await aio_pika.connect(rabbit.url) as connection:
        channel = await connection.channel()
        # equal arguments, or the broker would refuse
        queue = await channel.declare_queue(f"{exchange}.shadow.notices", durable=True, arguments=ARGUMENTS)
        assert queue.declaration_result.consumer_count == 0
        assert not await _exists(connection, KEY)


async def test_a_second_listener_at_the_same_queue_is_refused(rabbit: RabbitServer, exchange: str) -> None:
    first, second = source(rabbit, exchange), source(rabbit, exchange)
    async with aclosing(first.deliveries()) as one, aclosing(second.deliveries()) as other:
        waiting = await linked(first, one)
        with capture_logs() as said:
            refused = asyncio.ensure_future(anext(other))
            async with asyncio.timeout(30):
                while not any(line["event"] == "source refused" for line in said):
                    await asyncio.sleep(0.02)
        assert first.connected
        assert not second.connected
        for each in (waiting, refused):
            each.cancel()
        await asyncio.wait([waiting, refused])


async def _exists(connection: aio_pika.abc.AbstractConnection, name: str) -> bool:
    try:
        await (await connection.channel()).declare_queue(name, passive=True)
    except aio_pika.exceptions.ChannelNotFoundEntity:
        return False
    return True


async def test_a_broker_that_comes_back_is_heard_again(exchange: str) -> None:
    with RabbitServer() as own:
        found = source(own, exchange)
        async with aclosing(found.deliveries()) as deliveries:
            first = await linked(found, deliveries)
            await asyncio.to_thread(own.kill)
            await asyncio.to_thread(own.restart)
            async with asyncio.timeout(60):
                while not found.connected:
                    await asyncio.sleep(0.05)
            async with aodh(own, exchange) as bus:
                await bus.publish(aio_pika.Message(sent()), KEY)
            async with asyncio.timeout(60):
                delivery = await first
            await delivery.ack()

    assert [json.dumps(dict(notice.detail)) for notice in delivery.batch.notices] == ['{"name": "e0", "enabled": true}']
