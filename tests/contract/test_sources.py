"""One suite for every source: the memory twin, and MQTT and AMQP on real brokers."""

from __future__ import annotations

import asyncio
import gc
import json
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Protocol

import aio_pika
import aiomqtt
import pytest
from structlog.testing import capture_logs

from autoscaler.adapters.sources.amqp import AmqpSource
from autoscaler.adapters.sources.memory import MemorySource
from autoscaler.adapters.sources.mqtt import MqttSource
from autoscaler.errors import Rejection
from autoscaler.ports import Batch, Delivery, Source

NOW = 1_700_000_000.0
PATIENCE = 30.0


def now() -> float:
    return NOW


def measure(number: int) -> bytes:
    return json.dumps({"metric": "cpu_util", "resource_id": "web-1", "timestamp": NOW, "value": number}).encode()


class Bus(Protocol):
    """A broker as a test sees it; all sources that it gives are one consumer, as after a restart of the process."""

    def source(self, **options: Any) -> Source: ...

    async def publish(self, payloads: Sequence[bytes]) -> None: ...

    def kill(self) -> None: ...

    def restart(self) -> None: ...


class MemoryBus:
    def __init__(self) -> None:
        self._source = MemorySource(now=now)

    def source(self, **options: Any) -> Source:
        return self._source

    async def publish(self, payloads: Sequence[bytes]) -> None:
        for payload in payloads:
            self._source.publish(payload)

    def kill(self) -> None:
        self._source.kill()

    def restart(self) -> None:
        self._source.restart()


class ServerBus:
    def __init__(self, server: Any) -> None:
        self.server = server
        self.id = uuid.uuid4().hex

    def kill(self) -> None:
        self.server.kill()

    def restart(self) -> None:
        self.server.restart()


class MqttBus(ServerBus):
    version = aiomqtt.ProtocolVersion.V5

    def source(self, **options: Any) -> Source:
        source = MqttSource(self.server.url, now=now, topic_filter=f"{self.id}/#", client_id=self.id, **options)
        source._version = self.version
        return source

    async def publish(self, payloads: Sequence[bytes]) -> None:
        async with aiomqtt.Client("127.0.0.1", self.server.port) as client:
            for payload in payloads:
                await client.publish(f"{self.id}/web", payload, qos=1)


class OldMqttBus(MqttBus):
    version = aiomqtt.ProtocolVersion.V311


class AmqpBus(ServerBus):
    quorum = False

    def source(self, **options: Any) -> Source:
        return AmqpSource(self.server.url, now=now, queue=self.id, exchange=self.id, quorum=self.quorum, **options)

    async def publish(self, payloads: Sequence[bytes]) -> None:
        async with await aio_pika.connect(self.server.url) as connection:
            channel = await connection.channel()
            exchange = await channel.declare_exchange(self.id, aio_pika.ExchangeType.TOPIC, durable=True)
            async with asyncio.TaskGroup() as group:
                for payload in payloads:
                    message = aio_pika.Message(payload, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
                    group.create_task(exchange.publish(message, "web"))


class QuorumBus(AmqpBus):
    quorum = True


MEMORY = pytest.param((MemoryBus, None), id="memory")
BROKERS = [
    pytest.param((MqttBus, "mosquitto"), id="mqtt-5", marks=pytest.mark.service),
    pytest.param((OldMqttBus, "mosquitto"), id="mqtt-3.1.1", marks=pytest.mark.service),
    pytest.param((AmqpBus, "rabbit"), id="amqp", marks=pytest.mark.service),
    pytest.param((QuorumBus, "rabbit"), id="amqp-quorum", marks=pytest.mark.service),
]


# A quorum queue declared less than a moment before a kill -9 is lost to RabbitMQ 3.10 itself.
KILLABLE = [broker for broker in BROKERS if broker.id != "amqp-quorum"]


@pytest.fixture(params=[MEMORY, *BROKERS])
def bus(request: pytest.FixtureRequest) -> Bus:
    kind, server = request.param
    return kind() if server is None else kind(request.getfixturevalue(server))


@pytest.fixture(params=[MEMORY, *KILLABLE])
def mortal(request: pytest.FixtureRequest) -> Bus:
    kind, server = request.param
    return kind() if server is None else kind(request.getfixturevalue(server))


@pytest.fixture(params=KILLABLE)
def broker(request: pytest.FixtureRequest) -> Bus:
    kind, server = request.param
    return kind(request.getfixturevalue(server))


@asynccontextmanager
async def listening(source: Source) -> AsyncIterator[AsyncIterator[Delivery]]:
    async with asyncio.timeout(PATIENCE), aclosing(source.deliveries()) as deliveries:
        yield deliveries


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


async def introduce(source: Source) -> None:
    """Let the broker know the consumer, so that it keeps what is published from now on."""
    deliveries = source.deliveries()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(anext(deliveries))
        await until(lambda: source.connected)
        await asyncio.sleep(0)
        first.cancel()
    await deliveries.aclose()


def numbers(batch: Batch) -> list[float]:
    return [measure.value for measure in batch.measures]


async def taken(source: Source, count: int, *, acknowledge: bool = True) -> list[float]:
    """Values in order of arrival, until there are ``count``; afterwards the source is closed."""
    values: list[float] = []
    async with listening(source) as deliveries:
        async for delivery in deliveries:
            values += numbers(delivery.batch)
            if len(values) >= count and not acknowledge:
                break
            await delivery.ack()
            if len(values) >= count:
                break
    return values


async def test_what_is_published_arrives_in_order(bus: Bus) -> None:
    source = bus.source()
    async with listening(source) as deliveries, asyncio.TaskGroup() as group:
        first = group.create_task(anext(deliveries))
        await until(lambda: source.connected)
        await bus.publish([measure(number) for number in range(3)])
        delivery = await first
        got = numbers(delivery.batch)
        await delivery.ack()
        while len(got) < 3:
            delivery = await anext(deliveries)
            got += numbers(delivery.batch)
            await delivery.ack()

        assert got == [0, 1, 2]
        assert delivery.batch.source == source.name


async def test_what_was_published_while_nobody_listened_arrives(bus: Bus) -> None:
    await introduce(bus.source())
    await bus.publish([measure(1), measure(2)])

    assert await taken(bus.source(), 2) == [1, 2]


async def test_what_was_not_acknowledged_comes_again(bus: Bus) -> None:
    await introduce(bus.source())
    await bus.publish([measure(number) for number in range(5)])
    source = bus.source()
    async with listening(source) as deliveries:
        await until(lambda: source.waiting == 0)
        await anext(deliveries)

    assert sorted(await taken(bus.source(), 5)) == [0, 1, 2, 3, 4]


async def test_what_was_acknowledged_does_not_come_again(bus: Bus) -> None:
    await introduce(bus.source())
    await bus.publish([measure(1), measure(2)])
    await taken(bus.source(), 2)
    await bus.publish([measure(3)])

    assert await taken(bus.source(), 1) == [3]


async def test_asking_on_without_acknowledging_brings_the_delivery_again(bus: Bus) -> None:
    await introduce(bus.source())
    await bus.publish([measure(1)])
    async with listening(bus.source()) as deliveries:
        first = await anext(deliveries)
        again = await anext(deliveries)

    assert numbers(first.batch) == numbers(again.batch) == [1]


async def test_an_acknowledgement_never_counts_for_another_link(bus: Bus) -> None:
    await introduce(bus.source())
    await bus.publish([measure(1)])
    async with listening(bus.source()) as deliveries:
        old = await anext(deliveries)
        await anext(deliveries)  # over a new link, on which the numbering begins anew
        await old.ack()

    assert await taken(bus.source(), 1) == [1]


async def test_a_killed_broker_is_found_again(mortal: Bus) -> None:
    source = mortal.source()
    async with listening(source) as deliveries, asyncio.TaskGroup() as group:
        waiting = group.create_task(anext(deliveries))
        await until(lambda: source.connected)
        mortal.kill()
        await until(lambda: not source.connected)
        await asyncio.to_thread(mortal.restart)
        await until(lambda: source.connected)
        await mortal.publish([measure(1)])
        delivery = await waiting
        await delivery.ack()

    assert numbers(delivery.batch) == [1]


async def test_a_delivery_in_hand_survives_the_broker_and_spares_what_came_after(mortal: Bus) -> None:
    source = mortal.source()
    async with listening(source) as deliveries, asyncio.TaskGroup() as group:
        first = group.create_task(anext(deliveries))
        await until(lambda: source.connected)
        await mortal.publish([measure(1)])
        old = await first
        mortal.kill()
        await asyncio.to_thread(mortal.restart)
        following = group.create_task(anext(deliveries))
        await until(lambda: not source.connected)
        await until(lambda: source.connected)
        await mortal.publish([measure(2)])
        await following
        await old.ack()

    assert 2 in await taken(mortal.source(), 1, acknowledge=False) + await taken(mortal.source(), 1)


async def test_a_poison_message_harms_nobody_and_is_acknowledged_with_the_rest(bus: Bus) -> None:
    await introduce(bus.source())
    await bus.publish([measure(1), b"\xff\x00 poison", measure(2)])
    values: list[float] = []
    rejected: list[Any] = []
    async with listening(bus.source()) as deliveries:
        async for delivery in deliveries:
            values += numbers(delivery.batch)
            rejected += delivery.batch.rejected
            await delivery.ack()
            if len(values) == 2:
                break
    await bus.publish([measure(3)])
    async with listening(bus.source()) as deliveries:
        afterwards = await anext(deliveries)
        await afterwards.ack()

    assert values == [1, 2]
    assert [fault.rejection for fault in rejected] == [Rejection.UNDECODABLE]
    assert numbers(afterwards.batch) == [3]
    assert afterwards.batch.rejected == []


async def test_what_arrives_while_a_delivery_is_in_hand_is_the_next_one(bus: Bus) -> None:
    source = bus.source()
    async with listening(source) as deliveries, asyncio.TaskGroup() as group:
        first = group.create_task(anext(deliveries))
        await until(lambda: source.connected)
        await bus.publish([measure(0)])
        in_hand = await first
        await bus.publish([measure(number) for number in range(1, 11)])
        await until(lambda: source.waiting == 10)
        await in_hand.ack()
        following = await anext(deliveries)
        await following.ack()

        assert numbers(following.batch) == list(range(1, 11))
        assert source.waiting == 0


async def test_a_burst_arrives_whole_and_in_batches(bus: Bus) -> None:
    await introduce(bus.source())
    await bus.publish([measure(number) for number in range(5000)])
    values: list[float] = []
    sizes: list[int] = []
    async with listening(bus.source()) as deliveries:
        async for delivery in deliveries:
            values += numbers(delivery.batch)
            sizes.append(len(delivery.batch.measures))
            await delivery.ack()
            if len(values) >= 5000:
                break

    assert sorted(values) == list(range(5000))
    assert max(sizes) <= 2000
    assert len(sizes) < 5000


async def test_closing_leaves_no_task_behind(bus: Bus) -> None:
    before = asyncio.all_tasks()
    await introduce(bus.source())
    await bus.publish([measure(1)])
    source = bus.source()
    await taken(source, 1)
    gc.collect()

    assert asyncio.all_tasks() == before
    assert not source.connected
    assert source.waiting == 0


async def test_a_cancelled_consumer_leaves_no_task_behind(bus: Bus) -> None:
    before = asyncio.all_tasks()
    source = bus.source()

    async def consume() -> None:
        async with listening(source) as deliveries:
            async for delivery in deliveries:
                await delivery.ack()

    async with asyncio.TaskGroup() as group:
        consumer = group.create_task(consume())
        await until(lambda: source.connected)
        consumer.cancel()
    gc.collect()

    assert asyncio.all_tasks() == before
    assert not source.connected


async def test_a_broker_that_is_not_there_yet_is_waited_for_and_told_of_once(broker: Bus) -> None:
    broker.kill()
    source = broker.source()
    with capture_logs() as logs:
        async with listening(source) as deliveries, asyncio.TaskGroup() as group:
            first = group.create_task(anext(deliveries))
            await until(lambda: len(logs) > 0)
            await asyncio.to_thread(broker.restart)
            await until(lambda: source.connected)
            await broker.publish([measure(1)])
            await (await first).ack()

    events = [entry["event"] for entry in logs if entry.get("source") == source.name]
    assert events == ["source unreachable", "source connected"]


@pytest.mark.service
async def test_mqtt_5_is_asked_for_first(mosquitto: Any) -> None:
    source = MqttSource(mosquitto.url, now=now, client_id=uuid.uuid4().hex)
    await introduce(source)

    assert source._version is aiomqtt.ProtocolVersion.V5


@pytest.mark.service
async def test_a_queue_declared_otherwise_is_told_of(rabbit: Any) -> None:
    queue = uuid.uuid4().hex
    await introduce(AmqpSource(rabbit.url, now=now, queue=queue))
    other = AmqpSource(rabbit.url, now=now, queue=queue, ttl=60, max_length=1000)
    with capture_logs() as logs:
        async with listening(other) as deliveries, asyncio.TaskGroup() as group:
            first = group.create_task(anext(deliveries))
            await until(lambda: len(logs) > 0)
            first.cancel()

    assert [entry["event"] for entry in logs] == ["source refused"]
    assert "PRECONDITION_FAILED" in logs[0]["error"]


@pytest.mark.service
async def test_a_deleted_queue_is_made_again(rabbit: Any) -> None:
    bus = AmqpBus(rabbit)
    source = bus.source()
    async with listening(source) as deliveries, asyncio.TaskGroup() as group:
        first = group.create_task(anext(deliveries))
        await until(lambda: source.connected)
        async with await aio_pika.connect(rabbit.url) as connection:
            await (await connection.channel()).queue_delete(bus.id)
        await until(lambda: not source.connected)
        await until(lambda: source.connected)
        await bus.publish([measure(1)])
        delivery = await first
        await delivery.ack()

    assert numbers(delivery.batch) == [1]


@pytest.mark.service
async def test_wrong_amqp_credentials_are_told_of(rabbit: Any) -> None:
    source = AmqpSource(rabbit.url, now=now, username="guest", password="a secret")
    assert await complaint(source) == "source refused"


async def complaint(source: Source) -> str:
    """The first thing that a source says of itself; it must not hold the password."""
    with capture_logs() as logs:
        async with listening(source) as deliveries, asyncio.TaskGroup() as group:
            first = group.create_task(anext(deliveries))
            await until(lambda: len(logs) > 0)
            first.cancel()
    assert "a secret" not in str(logs)
    return str(logs[0]["event"])
