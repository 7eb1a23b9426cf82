"""Changes of alarms on a real RabbitMQ, as a listener of Aodh's would get them."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import pytest

from autoscaler.adapters.actions.notification import NotificationAction
from autoscaler.errors import PermanentError, TemporaryError
from autoscaler.ports import OutboxRow
from tests.servers import RabbitServer

pytestmark = pytest.mark.service

PAYLOAD = {
    "event_id": "61dc9a27-f801-4f43-98e0-a462e0105c99",
    "alarm_id": "99f74215-9a2c-48bf-927a-6f458c3a201b",
    "type": "creation",
    "detail": {"name": "büsy", "enabled": True, "ok_actions": []},
    "user_id": "benchuser",
    "project_id": "benchproj",
    "on_behalf_of": "benchproj",
    "timestamp": "2026-11-20T15:19:06.914368",
    "severity": "low",
}
CREATED = 1795187946.933323
TIMEOUT = 20.0


@pytest.fixture
def exchange() -> str:
    return f"aodh-{uuid.uuid4()}"


@pytest.fixture(scope="module")
def own_rabbit() -> Iterator[RabbitServer]:
    """One that may be crashed."""
    with RabbitServer() as server:
        yield server


def row(number: int = 0) -> OutboxRow:
    body = {"event_type": "alarm.creation", "publisher_id": "aodh.api", "payload": PAYLOAD}
    return OutboxRow(id=f"99f7:{number}", alarm_id="99f7", url="notification:", body=body, created=CREATED)


@asynccontextmanager
async def listening(
    url: str, exchange: str, *, key: str = "notifications.info", **flags: Any
) -> AsyncIterator[aio_pika.abc.AbstractQueue]:
    """A listener's own queue, bound as oslo.messaging binds it."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        topic = await channel.declare_exchange(exchange, aio_pika.ExchangeType.TOPIC, **flags)
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(topic, key)
        yield queue


async def taken(queue: aio_pika.abc.AbstractQueue) -> aio_pika.abc.AbstractIncomingMessage:
    async with asyncio.timeout(TIMEOUT), queue.iterator() as messages:
        async for message in messages:
            await message.ack()
            return message
    raise AssertionError("the iterator ended")


async def test_a_change_is_told_as_aodh_tells_it(rabbit: RabbitServer, exchange: str) -> None:
    async with listening(rabbit.url, exchange) as queue, NotificationAction(rabbit.url, exchange=exchange) as action:
        await action.deliver(row())
        message = await taken(queue)
    assert message.exchange == exchange
    assert message.routing_key == "notifications.info"
    assert message.content_type == "application/json"
    assert message.content_encoding == "utf-8"
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert message.priority == 0
    assert message.headers == {}
    envelope = json.loads(message.body)
    assert list(envelope) == ["oslo.version", "oslo.message"]
    assert envelope["oslo.version"] == "2.0"
    inner = json.loads(envelope["oslo.message"])
    assert list(inner) == [
        "message_id", "publisher_id", "event_type", "priority", "payload", "timestamp", "_unique_id"
    ]  # fmt: skip
    assert uuid.UUID(inner.pop("message_id")) == uuid.UUID(hex=inner.pop("_unique_id"))
    assert inner == {
        "publisher_id": "aodh.api",
        "event_type": "alarm.creation",
        "priority": "INFO",
        "payload": PAYLOAD,
        "timestamp": "2026-11-20 15:19:06.933323",
    }
    assert list(inner["payload"]) == list(PAYLOAD)


async def test_a_repeat_carries_the_same_ids_and_another_row_other_ones(rabbit: RabbitServer, exchange: str) -> None:
    async with listening(rabbit.url, exchange) as queue, NotificationAction(rabbit.url, exchange=exchange) as action:
        for number in (0, 0, 1):
            await action.deliver(row(number))
        bodies = [(await taken(queue)).body for _ in range(3)]
    assert bodies[0] == bodies[1]
    ids = {json.loads(json.loads(body)["oslo.message"])["message_id"] for body in bodies}
    assert len(ids) == 2


async def test_the_topic_names_the_routing_key(rabbit: RabbitServer, exchange: str) -> None:
    async with listening(rabbit.url, exchange, key="alarms.info") as queue:
        async with NotificationAction(rabbit.url, exchange=exchange, topic="alarms") as action:
            await action.deliver(row())
        assert (await taken(queue)).routing_key == "alarms.info"


@pytest.mark.parametrize("durable", [False, True])
async def test_an_exchange_is_taken_as_it_is(rabbit: RabbitServer, exchange: str, *, durable: bool) -> None:
    async with listening(rabbit.url, exchange, durable=durable, auto_delete=True) as queue:
        async with NotificationAction(rabbit.url, exchange=exchange) as action:
            await action.deliver(row())
        assert (await taken(queue)).body


async def test_an_exchange_that_is_missing_is_made_as_oslo_makes_it_and_no_queue(
    rabbit: RabbitServer, exchange: str
) -> None:
    async with NotificationAction(rabbit.url, exchange=exchange) as action:
        await action.deliver(row())  # nobody listens, which is fine
    async with await aio_pika.connect(rabbit.url) as connection:
        channel = await connection.channel()
        # equal flags, or the broker would refuse
        made = await channel.declare_exchange(exchange, aio_pika.ExchangeType.TOPIC, durable=False, auto_delete=False)
        with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
            await channel.declare_queue("notifications.info", passive=True)
        await (await connection.channel()).exchange_delete(made.name)


async def test_an_exchange_that_somebody_deletes_is_made_again(rabbit: RabbitServer, exchange: str) -> None:
    async with NotificationAction(rabbit.url, exchange=exchange) as action:
        async with listening(rabbit.url, exchange) as queue:
            await action.deliver(row())
            await taken(queue)
            await queue.channel.exchange_delete(exchange)
        with pytest.raises(TemporaryError, match="no exchange"):
            await action.deliver(row())
        async with listening(rabbit.url, exchange) as queue:
            await action.deliver(row())
            assert (await taken(queue)).body


async def test_many_at_once_are_all_told(rabbit: RabbitServer, exchange: str) -> None:
    async with listening(rabbit.url, exchange) as queue, NotificationAction(rabbit.url, exchange=exchange) as action:
        async with asyncio.TaskGroup() as tasks:
            for number in range(100):
                tasks.create_task(action.deliver(row(number)))
        ids = {json.loads(json.loads((await taken(queue)).body)["oslo.message"])["message_id"] for _ in range(100)}
    assert len(ids) == 100


async def test_a_broker_that_goes_away_is_temporary_until_it_is_back(own_rabbit: RabbitServer, exchange: str) -> None:
    async with NotificationAction(own_rabbit.url, exchange=exchange, timeout=10) as action:
        await action.deliver(row())
        own_rabbit.kill()
        for _ in range(2):
            with pytest.raises(TemporaryError, match=r"amqp://127\.0\.0\.1:\d+/aodh-") as caught:
                await action.deliver(row())
            assert "guest" not in str(caught.value)
        own_rabbit.restart()
        async with listening(own_rabbit.url, exchange) as queue:
            await action.deliver(row())
            assert (await taken(queue)).body


async def test_a_broker_that_does_not_answer_is_temporary(own_rabbit: RabbitServer, exchange: str) -> None:
    async with NotificationAction(own_rabbit.url, exchange=exchange, timeout=1) as action:
        await action.deliver(row())
        own_rabbit.freeze()
        try:
            with pytest.raises(TemporaryError, match="no answer within 1 s"):
                await action.deliver(row())
        finally:
            own_rabbit.thaw()
        await action.deliver(row())


async def test_a_wrong_password_is_for_people_to_mend(rabbit: RabbitServer, exchange: str) -> None:
    url = rabbit.url.replace("guest:guest", "guest:hunter2")
    async with NotificationAction(url, exchange=exchange) as action:
        with pytest.raises(TemporaryError) as caught:
            await action.deliver(row())
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://h", "amqp://", "h:5672"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(PermanentError, match="expected amqp://"):
        NotificationAction(url)
