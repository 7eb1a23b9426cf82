"""Numbers every measure and publishes it until the broker has said that it has it: AMQP with confirms, MQTT QoS 1."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aio_pika
import aiomqtt

if TYPE_CHECKING:
    from tests.chaos.records import Records

logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # of brokers that are away, which is what this is about

TICK = 0.05
"""Seconds between two rounds of measures."""
PERIOD = 12.0
"""Seconds in which the load rises and falls once."""
TURN = 20.0
"""Seconds after which members have other names, so that no series grows long."""
MEMBERS = 3
AT_ONCE = 50
"""Messages that a broker is asked to take at a time."""
PATIENCE = 5.0
"""Seconds within which a broker must have taken a message; after that the link is made again."""
REMEMBERED = 2000
"""Measures that may be published once more."""
NEW = 1500
"""Measures after which every alarm has been evaluated: one that never was begins with the oldest measure there is."""
METRIC = "load"
QUEUE, EXCHANGE = "autoscaler.measures", "measures"

Message = list[dict[str, Any]]
"""Measures that travel together, each with its number and kind beside its fields."""


def load_at(event_time: float, drawn: random.Random) -> float:
    """High for half of a period and low for the other."""
    high = (event_time % PERIOD) < PERIOD / 2
    return (90.0 if high else 10.0) + round(drawn.uniform(0.0, 10.0), 3)


@dataclass
class Publisher:
    """Publishes at a steady rate until told to stop.

    Attributes:
        rate: measures in a second, of each broker.
        times: by how much more are made, for a flood.
        shuffling: measures are kept back for a second and published in any order.
        paused: no measures are made.
        divided: the broker has partitions in place of one queue.
        away: brokers to which nothing is published for now.
        newest: event time of the last one.
    """

    amqp_url: str
    mqtt_port: int
    records: Records
    drawn: random.Random
    rate: float = 10.0
    times: int = 1
    shuffling: bool = False
    paused: bool = False
    divided: bool = False
    count: int = 0
    newest: float = 0.0
    waiting: dict[str, deque[Message]] = field(default_factory=lambda: {"amqp": deque(), "mqtt": deque()})
    kept_back: list[tuple[str, Message]] = field(default_factory=list)
    away: set[str] = field(default_factory=set)
    recent: deque[tuple[str, Message]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _in_hand: int = 0
    _stopping: bool = False
    _stirred: dict[str, asyncio.Event] = field(
        default_factory=lambda: {"amqp": asyncio.Event(), "mqtt": asyncio.Event()}
    )

    async def run(self) -> None:
        """Make measures until :meth:`stop`, and publish all of them."""
        async with asyncio.TaskGroup() as group:
            sending = [group.create_task(self._forever("amqp")), group.create_task(self._forever("mqtt"))]
            owed = 0.0
            while not self._stopping:
                await asyncio.sleep(TICK)
                owed += 0.0 if self.paused else self.rate * self.times * TICK
                for via in ("amqp", "mqtt"):
                    self._make(via, int(owed))
                owed -= int(owed)
                if not self.shuffling:
                    self._let_go()
            await self.flushed()
            for task in sending:
                task.cancel()

    def stop(self) -> None:
        """Make no more; :meth:`run` returns when the brokers have the last one."""
        self._stopping = True

    async def flushed(self) -> None:
        """Wait until the brokers have all that was made."""
        self._let_go()
        while self._in_hand or any(self.waiting.values()):
            await asyncio.sleep(TICK)

    def _let_go(self) -> None:
        if self.kept_back:
            self.drawn.shuffle(self.kept_back)
            for via, message in self.kept_back:
                self.send(via, message)
            self.kept_back = []

    def _make(self, via: str, count: int) -> None:
        made = [self._measure() for _ in range(count)]
        size = 10 if self.times > 1 else 1
        for start in range(0, len(made), size):
            message = made[start : start + size]
            if self.shuffling:
                self.kept_back.append((via, message))
            else:
                self.send(via, message)

    def _measure(self) -> dict[str, Any]:
        number = self.count
        self.count += 1
        # each has a time of its own, also in the text of a number
        self.newest = now = max(round(time.time(), 5), round(self.newest + 1e-5, 5))
        made = self.numbered(METRIC, f"web-{number % MEMBERS}-{int(now // TURN)}", now, load_at(now, self.drawn))
        if number % 50 == 7:
            return made | {"kind": "unrouted", "metric": "nobody asks"}
        if number % 97 == 11 and number > NEW:
            return made | {"kind": "too old", "timestamp": now - 4 * 3600}
        if number % 101 == 13:
            return made | {"kind": "rejected", "resource_id": f"bad-{number}", "value": "much"}
        return made

    def numbered(self, metric: str, resource_id: str, event_time: float, value: float) -> dict[str, Any]:
        """A measure as it is recorded."""
        metadata = {"server_group": "web", "rig": "chaos"}
        fields = {"metric": metric, "resource_id": resource_id, "timestamp": event_time, "value": value}
        return {"kind": "wanted", "metadata": metadata, **fields}

    def send(self, via: str, message: Message) -> None:
        """Have a message published as soon as the broker takes it."""
        self.waiting[via].append(message)
        self._stirred[via].set()

    def repeat(self, share: float) -> int:
        """Publish a share of what was published lately once more, in any order; how many messages."""
        again = [sent for sent in self.recent if self.drawn.random() < share]
        self.drawn.shuffle(again)
        for via, message in again:
            self.send(via, message)
        return len(again)

    async def _forever(self, via: str) -> None:
        while True:
            while via in self.away:
                await asyncio.sleep(TICK)
            with suppress(aio_pika.exceptions.AMQPError, aiomqtt.MqttError, OSError, RuntimeError):
                await (self._over_amqp() if via == "amqp" else self._over_mqtt())
            await asyncio.sleep(0.2)

    async def _over_amqp(self) -> None:
        async with await aio_pika.connect(self.amqp_url, timeout=PATIENCE) as connection:
            channel = await connection.channel(publisher_confirms=True)
            exchange = await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
            if not self.divided:
                queue = await channel.declare_queue(QUEUE, durable=True)
                await queue.bind(exchange, "#")

            async def publish(body: bytes, key: str) -> None:
                message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
                await exchange.publish(message, routing_key=key, timeout=PATIENCE)

            await self._publishing("amqp", publish)

    async def _over_mqtt(self) -> None:
        async with aiomqtt.Client("127.0.0.1", self.mqtt_port, identifier="publisher", timeout=PATIENCE) as client:
            client.pending_calls_threshold = 10 * AT_ONCE

            async def publish(body: bytes, key: str) -> None:
                await client.publish(f"measures/{key}", body, qos=1, timeout=PATIENCE)

            await self._publishing("mqtt", publish)

    async def _publishing(self, via: str, publish: Any) -> None:
        waiting = self.waiting[via]
        while True:
            self._stirred[via].clear()
            if not waiting:
                await self._stirred[via].wait()
            taken = [waiting.popleft() for _ in range(min(len(waiting), AT_ONCE))]
            self._in_hand += len(taken)
            unsure: list[Message] = []
            try:
                async with asyncio.TaskGroup() as group:
                    for message in taken:
                        group.create_task(self._one(via, message, publish, unsure))
            finally:
                self._in_hand -= len(taken)
                waiting.extendleft(reversed(unsure))
            if unsure:
                return

    async def _one(self, via: str, message: Message, publish: Any, unsure: list[Message]) -> None:
        body = [{key: value for key, value in measure.items() if key != "kind"} for measure in message]
        try:
            await publish(json.dumps(body if len(body) > 1 else body[0]).encode(), body[0]["resource_id"])
        except (aio_pika.exceptions.AMQPError, aiomqtt.MqttError, OSError, RuntimeError, asyncio.CancelledError):
            unsure.append(message)  # the broker may have it; the same again does no harm
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            return
        self._keep(via, message)

    def _keep(self, via: str, message: Message) -> None:
        for measure in message:
            told = {key: value for key, value in measure.items() if key not in {"metadata", "kind"}}
            self.records.say("published", via=via, what=measure["kind"], **told)
        self.recent.append((via, message))


def wanted(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Published measures that a window wants, each once, in the order of their times."""
    found = {
        (record["resource_id"], record["timestamp"]): record
        for record in records
        if record["kind"] == "published" and record["what"] == "wanted"
    }
    return [found[key] for key in sorted(found, key=lambda key: key[1])]
