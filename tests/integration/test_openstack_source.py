"""Ceilometer's queues on a real RabbitMQ: what is ours, and what must stay with others."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import aio_pika
import pytest
from structlog.testing import capture_logs

from autoscaler.adapters.sources.ceilometer import signature
from autoscaler.adapters.sources.openstack import OpenStackSource
from autoscaler.adapters.sources.trust import Trust
from autoscaler.errors import PermanentError, Rejection
from autoscaler.ports import Batch
from tests.servers import RabbitServer

pytestmark = pytest.mark.service

NOW = 1_795_186_800.0
SAMPLE = {
    "counter_name": "cpu",
    "counter_volume": 5,
    "resource_id": "vm",
    "project_id": "p1",
    "timestamp": "2026-11-20T15:00:00",
}
EVENT = {"message_id": "m-1", "event_type": "compute.instance.update", "traits": [["tenant_id", 1, "p1"]]}


class Cloud:
    """A broker with an exchange of its own, as one cloud's Ceilometer publishes on it."""

    def __init__(self, rabbit: RabbitServer, connection: aio_pika.abc.AbstractConnection) -> None:
        self.id = uuid.uuid4().hex
        self.connection = connection
        self._rabbit = rabbit

    def source(self, **options: Any) -> OpenStackSource:
        fields = {"exchange": self.id, "queue": self.id, "trust": Trust(frozenset({"openstack"})), **options}
        return OpenStackSource(self._rabbit.url, now=lambda: NOW, **fields)

    async def exchange(self, *, durable: bool = False) -> aio_pika.abc.AbstractExchange:
        channel = await self.connection.channel()
        return await channel.declare_exchange(self.id, aio_pika.ExchangeType.TOPIC, durable=durable)

    async def publish(self, key: str, payload: Any) -> None:
        exchange = await (await self.connection.channel()).get_exchange(self.id)
        inner = json.dumps({"event_type": "metering", "priority": "SAMPLE", "payload": payload})
        body = json.dumps({"oslo.version": "2.0", "oslo.message": inner}).encode()
        await exchange.publish(aio_pika.Message(body), key)


@pytest.fixture
async def cloud(rabbit: RabbitServer) -> Any:
    async with await aio_pika.connect(rabbit.url) as connection:
        yield Cloud(rabbit, connection)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def heard(source: OpenStackSource, publish: Callable[[], Any], *, count: int = 1) -> list[Batch]:
    """What comes of publishing once the source is there, until so many measures, events and rejections have."""
    batches: list[Batch] = []
    async with asyncio.timeout(30), aclosing(source.deliveries()) as deliveries, asyncio.TaskGroup() as group:
        first = group.create_task(anext(deliveries))
        await until(lambda: source.connected)
        await publish()
        delivery = await first
        while True:
            batches.append(delivery.batch)
            await delivery.ack()
            if sum(len(each.measures) + len(each.events) + len(each.rejected) for each in batches) >= count:
                return batches
            delivery = await anext(deliveries)


async def test_samples_and_events_come_over_one_connection(cloud: Cloud) -> None:
    async def publish() -> None:
        await cloud.publish("metering.sample", [SAMPLE, SAMPLE])
        await cloud.publish("alarm.all.sample", [EVENT])

    batches = await heard(cloud.source(), publish, count=3)

    measures = [(each.metric, each.value, each.project_id) for batch in batches for each in batch.measures]
    events = [(each.message_id, each.project_id) for batch in batches for each in batch.events]
    assert measures == [("cpu", 5, "p1")] * 2
    assert events == [("m-1", "p1")]


async def test_another_consumers_queue_still_gets_every_message(cloud: Cloud) -> None:
    exchange = await cloud.exchange()
    channel = await cloud.connection.channel()
    others = {}
    for key in ("metering.sample", "alarm.all.sample"):
        others[key] = await channel.declare_queue(f"{cloud.id}.{key}")
        await others[key].bind(exchange, key)

    async def publish() -> None:
        for _ in range(20):
            await cloud.publish("metering.sample", [SAMPLE])
            await cloud.publish("alarm.all.sample", [EVENT])

    batches = await heard(cloud.source(), publish, count=40)

    assert sum(len(batch.measures) + len(batch.events) for batch in batches) == 40
    for queue in others.values():
        again = await channel.declare_queue(queue.name, passive=True)
        assert again.declaration_result.message_count == 20


@pytest.mark.parametrize("durable", [pytest.param(False, id="as-oslo-makes-it"), pytest.param(True, id="durable")])
async def test_an_exchange_that_is_there_is_taken_as_it_is(cloud: Cloud, *, durable: bool) -> None:
    await cloud.exchange(durable=durable)

    (batch,) = await heard(cloud.source(), lambda: cloud.publish("metering.sample", [SAMPLE]))

    assert len(batch.measures) == 1


async def test_an_exchange_that_is_not_there_is_made_as_oslo_makes_it(cloud: Cloud) -> None:
    source = cloud.source()
    await heard(source, lambda: cloud.publish("metering.sample", [SAMPLE]))

    assert (await cloud.exchange(durable=False)).name == cloud.id  # a publisher's declaration fits


async def test_its_queues_drop_what_nobody_takes(cloud: Cloud) -> None:
    await heard(cloud.source(ttl=600, max_length=3), lambda: cloud.publish("metering.sample", [SAMPLE]))
    for number in range(5):
        await cloud.publish("metering.sample", [{**SAMPLE, "counter_volume": number}])

    async def nothing() -> None: ...

    batches = await heard(cloud.source(ttl=600, max_length=3), nothing, count=3)

    assert [measure.value for batch in batches for measure in batch.measures] == [2, 3, 4]


async def test_a_message_without_the_secrets_signature_is_refused(cloud: Cloud) -> None:
    signed = {**SAMPLE, "message_signature": signature(SAMPLE, "secret")}
    forged = {**SAMPLE, "message_signature": signature(SAMPLE, "guess")}
    signed_event = {**EVENT, "message_signature": signature(EVENT, "secret")}

    async def publish() -> None:
        await cloud.publish("metering.sample", [signed, forged])
        await cloud.publish("alarm.all.sample", [signed_event, EVENT])

    batches = await heard(cloud.source(secret="secret"), publish, count=4)

    assert sum(len(batch.measures) for batch in batches) == 1
    assert sum(len(batch.events) for batch in batches) == 1
    refused = {(each.rejection, each.kind) for batch in batches for each in batch.rejected}
    assert refused == {(Rejection.BAD_SIGNATURE, "measure"), (Rejection.BAD_SIGNATURE, "event")}


async def test_a_project_does_not_count_where_the_broker_is_not_trusted(cloud: Cloud) -> None:
    source = cloud.source(trust=Trust())

    (batch,) = await heard(source, lambda: cloud.publish("metering.sample", [SAMPLE]))

    assert batch.measures[0].project_id == ""


async def test_only_what_has_a_routing_key_is_taken(cloud: Cloud) -> None:
    await heard(cloud.source(events=""), lambda: cloud.publish("metering.sample", [SAMPLE]))

    channel = await cloud.connection.channel()
    with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
        await channel.declare_queue(f"{cloud.id}.events", passive=True)


def test_a_source_of_nothing_is_refused() -> None:
    with pytest.raises(PermanentError, match="routing key"):
        OpenStackSource("amqp://127.0.0.1", now=lambda: NOW, samples="", events="")


async def test_an_existing_queue_is_taken_from_only_when_told(cloud: Cloud) -> None:
    exchange = await cloud.exchange()
    channel = await cloud.connection.channel()
    key = f"{cloud.id}.sample"
    queue = await channel.declare_queue(key)
    await queue.bind(exchange, key)
    source = cloud.source(samples=key, events="", existing_queues=True)

    (batch,) = await heard(source, lambda: cloud.publish(key, [SAMPLE]))

    assert len(batch.measures) == 1
    assert (await channel.declare_queue(key, passive=True)).declaration_result.message_count == 0


async def test_an_existing_queue_that_is_missing_is_named_in_the_log(cloud: Cloud) -> None:
    source = cloud.source(samples="missing.sample", events="", existing_queues=True)
    with capture_logs() as logs:
        async with aclosing(source.deliveries()) as deliveries, asyncio.TaskGroup() as group:
            first = group.create_task(anext(deliveries))
            await until(lambda: len(logs) > 0)
            first.cancel()

    assert logs[0]["event"] == "source unreachable"
    assert "missing.sample" in logs[0]["error"]
