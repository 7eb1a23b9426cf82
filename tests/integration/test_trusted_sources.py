"""A measure may name its project where its topic, exchange or user is trusted; on real brokers."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import aio_pika
import aiomqtt
import pytest

from autoscaler.adapters.sources.amqp import AmqpSource
from autoscaler.adapters.sources.mqtt import MqttSource
from autoscaler.adapters.sources.trust import Trust
from autoscaler.ports import Source
from tests.servers import MosquittoServer, RabbitServer

pytestmark = pytest.mark.service

NOW = 1_700_000_000.0


def measure(resource_id: str) -> bytes:
    wire = {"metric": "cpu", "resource_id": resource_id, "timestamp": NOW, "value": 1, "project_id": "shop"}
    return json.dumps(wire).encode()


async def projects(source: Source, publish: Callable[[], Awaitable[None]], count: int) -> dict[str, str]:
    """The project of each measure that is published once the source listens, by resource."""
    found: dict[str, str] = {}

    async def take() -> None:
        async with aclosing(source.deliveries()) as deliveries:
            async for delivery in deliveries:
                found.update({measure.resource_id: measure.project_id for measure in delivery.batch.measures})
                await delivery.ack()
                if len(found) == count:
                    return

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(take())
        while not source.connected:
            await asyncio.sleep(0.005)
        await publish()
    return found


async def test_some_topics_are_trusted(mosquitto: MosquittoServer) -> None:
    root = uuid.uuid4().hex
    trust = Trust.parse([f"mqtt:{root}/+/trusted", f"mqtt:{root}/agents/#"])
    source = MqttSource(mosquitto.url, now=lambda: NOW, topic_filter=f"{root}/#", client_id=root, trust=trust)

    async def publish() -> None:
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
            for topic in ("web/trusted", "web/other", "agents/1/2", "trusted"):
                await client.publish(f"{root}/{topic}", measure(topic), qos=1)

    assert await projects(source, publish, 4) == {
        "web/trusted": "shop",
        "web/other": "",
        "agents/1/2": "shop",
        "trusted": "",
    }


@pytest.mark.parametrize(
    ("word", "trusted"),
    [
        pytest.param("amqp", {"exchange", "user", "direct"}, id="all"),
        pytest.param("amqp:{id}", {"exchange", "user"}, id="exchange"),
        pytest.param("amqp-user:guest", {"user"}, id="user"),
        pytest.param("amqp-user:somebody", set(), id="another-user"),
        pytest.param("openstack", set(), id="another-source"),
    ],
)
async def test_some_exchanges_and_users_are_trusted(rabbit: RabbitServer, word: str, trusted: set[str]) -> None:
    name = uuid.uuid4().hex
    trust = Trust.parse([word.format(id=name)])
    source = AmqpSource(rabbit.url, now=lambda: NOW, queue=name, exchange=name, trust=trust)

    async def publish() -> None:
        async with await aio_pika.connect(rabbit.url) as connection:
            channel = await connection.channel()
            exchange = await channel.get_exchange(name)
            await exchange.publish(aio_pika.Message(measure("exchange")), "web")
            await exchange.publish(aio_pika.Message(measure("user"), user_id="guest"), "web")
            # whoever may write to the queue reaches it past its exchange
            await channel.default_exchange.publish(aio_pika.Message(measure("direct")), name)

    found = await projects(source, publish, 3)

    assert {resource_id for resource_id, project_id in found.items() if project_id == "shop"} == trusted
    assert set(found.values()) <= {"shop", ""}


async def test_nobody_publishes_in_anothers_name(rabbit: RabbitServer) -> None:
    async with await aio_pika.connect(rabbit.url) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(uuid.uuid4().hex, aio_pika.ExchangeType.TOPIC, auto_delete=True)

        with pytest.raises(aio_pika.exceptions.ChannelClosed, match="user_id"):
            await exchange.publish(aio_pika.Message(measure("forged"), user_id="ceilometer"), "web")
