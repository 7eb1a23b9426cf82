"""The cloud's bus: samples as Ceilometer publishes them, and what Heat tells of its groups."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aio_pika

METRIC = "memory.usage"


@dataclass(frozen=True)
class Instance:
    """A server of Nova's.

    Attributes:
        server_group: what its metadata says under ``metering.server_group``, as templates of groups have it.
    """

    instance_id: str
    project_id: str
    server_group: str

    def sample(self, value: float) -> dict[str, Any]:
        """One of :data:`METRIC`, taken now."""
        return {
            "source": "openstack",
            "counter_name": METRIC,
            "counter_type": "gauge",
            "counter_unit": "MB",
            "counter_volume": value,
            "user_id": "nova",
            "project_id": self.project_id,
            "resource_id": self.instance_id,
            "timestamp": datetime.now(UTC).isoformat(),
            "resource_metadata": {"display_name": "vm", "user_metadata": {"server_group": self.server_group}},
            "message_id": str(uuid.uuid4()),
            "monotonic_time": None,
            "message_signature": "",
        }


@dataclass(frozen=True)
class Ceilometer:
    """Its ``notifier://`` publisher."""

    exchange: aio_pika.abc.AbstractExchange

    async def publish(self, samples: Iterable[dict[str, Any]]) -> None:
        """All of them in one message."""
        message = {
            "message_id": str(uuid.uuid4()),
            "publisher_id": "telemetry.publisher.host",
            "event_type": "metering",
            "priority": "SAMPLE",
            "payload": list(samples),
            "timestamp": str(datetime.now(UTC).replace(tzinfo=None)),
            "_unique_id": uuid.uuid4().hex,
        }
        body = json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)}).encode()
        properties = {"content_type": "application/json", "content_encoding": "utf-8"}
        await self.exchange.publish(aio_pika.Message(body, **properties), "metering.sample")


@asynccontextmanager
async def ceilometer(broker: str) -> AsyncIterator[Ceilometer]:
    async with await aio_pika.connect(broker) as connection:
        channel = await connection.channel()
        yield Ceilometer(await channel.declare_exchange("ceilometer", aio_pika.ExchangeType.TOPIC))


@dataclass(frozen=True)
class Told:
    """A notification of Heat's, and when it came, in Unix seconds."""

    time: float
    event_type: str
    payload: dict[str, Any]


@dataclass
class Notifications:
    """What Heat has told, in order."""

    told: list[Told] = field(default_factory=list)

    def of(self, event_type: str, stack_id: str) -> list[Told]:
        """Those of one kind and stack."""
        return [it for it in self.told if it.event_type == event_type and it.payload["stack_identity"] == stack_id]


@asynccontextmanager
async def notifications(broker: str) -> AsyncIterator[Notifications]:
    """What Heat tells from now on, taken from nobody."""
    found = Notifications()
    async with await aio_pika.connect(broker) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        for priority in ("info", "error"):
            await queue.bind("heat", f"notifications.{priority}")

        async def taken(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            inner = json.loads(json.loads(message.body)["oslo.message"])
            found.told.append(Told(time.time(), inner["event_type"], inner["payload"]))

        await queue.consume(taken, no_ack=True)
        yield found
