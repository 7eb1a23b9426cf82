"""Measures at a steady rate, numbered, over AMQP, MQTT and HTTP; and floods of them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import aio_pika
import aiomqtt
import httpx

from bench.soak.world import FLEETS, HIGH, LEDGERS, LOW, PINNED, PROJECT, REPLACED
from tests.shifted_clock import ShiftedClock

TICK = 0.5
"""Seconds between two messages of each path, as agents send: what was measured meanwhile in one."""
LOT, BODY = 20, 500
"""Measures of one message, and of one request, in a flood."""
HEADERS = {"X-User-Id": "soak", "X-Project-Id": PROJECT, "X-Roles": "admin"}


class Traffic:
    """Publishes, and remembers what was published.

    Attributes:
        rate: measures a second, all paths together.
        sent: measures published so far, by path; over HTTP, those that were answered with 202.
        answers: HTTP answers to measures, by status.
        unanswered: measures that were sent over HTTP and not answered, so it is not known whether they were taken.
        unasked: answers of 429 and 503 without Retry-After.
        ledger: by series, (time, value) of what was published since :meth:`begin_page`.
    """

    def __init__(self, clock: ShiftedClock, rate: float) -> None:
        self.rate = rate
        self.sent: Counter[str] = Counter()
        self.answers: Counter[int] = Counter()
        self.unanswered = 0
        self.unasked = 0
        self.ledger: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        self._clock = clock
        self._number = itertools.count()
        self._serial = itertools.count()
        self._amqp: aio_pika.abc.AbstractExchange
        self._mqtt: aiomqtt.Client
        self._http: httpx.AsyncClient
        self._bases: Iterator[str] = iter(())

    @contextlib.asynccontextmanager
    async def connected(self, amqp: str, mqtt: str, bases: list[str]) -> AsyncIterator[None]:
        """With connections to both brokers and the controllers' API."""
        host, _, port = mqtt.removeprefix("mqtt://").partition(":")
        self._bases = itertools.cycle(bases)
        async with (
            await aio_pika.connect(amqp) as connection,
            aiomqtt.Client(host, int(port), max_inflight_messages=500) as self._mqtt,
            httpx.AsyncClient(headers=HEADERS, timeout=60) as self._http,
        ):
            channel = await connection.channel(publisher_confirms=False)
            self._amqp = await channel.declare_exchange("measures", "topic", durable=True)
            yield

    def begin_page(self) -> None:
        """Forget what the ledger series were sent."""
        self.ledger.clear()

    # --- what is sent ------------------------------------------------------------------------------------------------

    def _measure(self) -> dict[str, Any]:
        number = next(self._number)
        now = time.monotonic()
        if number % 20 == 0:  # nobody asks for these, and no two are alike
            return self._of(f"unheard-{number % 1000}", f"stranger-{number}", float(number))
        place = number % (PINNED + REPLACED)
        value = _wave(now, place) + number % 100 / 100
        group = {"server_group": f"fleet-{place % FLEETS}"}
        if place < PINNED:
            return self._of("cpu", f"vm-{place}", value, group)
        return self._of("memory", f"vm-{place}-{int(now / 60 + place / REPLACED)}", value, group)

    def _of(
        self, metric: str, resource_id: str, value: float, metadata: dict[str, str] | None = None
    ) -> dict[str, Any]:
        measure = {
            "metric": metric, "resource_id": resource_id, "timestamp": self._clock.now(), "value": value,
            "project_id": PROJECT,
        }  # fmt: skip
        return measure if metadata is None else measure | {"metadata": metadata}

    def _ledger(self) -> Iterator[dict[str, Any]]:
        for number in range(LEDGERS):
            measure = self._of("ledger", f"ledger-{number}", float(next(self._serial)))
            self.ledger[measure["resource_id"]].append((measure["timestamp"], measure["value"]))
            yield measure

    # --- how ---------------------------------------------------------------------------------------------------------

    async def steady(self) -> None:
        """Publish at the rate, for ever: six in ten over AMQP, three over MQTT, one over HTTP."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._paced(self.rate * 0.6, self._publish_amqp))
            group.create_task(self._paced(self.rate * 0.3, self._publish_mqtt))
            group.create_task(self._ledgers())
            group.create_task(self._posts(self.rate * 0.1))

    async def _paced(self, rate: float, publish: Callable[[list[dict[str, Any]]], Awaitable[None]]) -> None:
        due, owed = time.monotonic(), 0.0
        while True:
            owed += rate * TICK
            if owed >= 1:
                await publish([self._measure() for _ in range(int(owed))])
            owed %= 1
            due += TICK
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _ledgers(self) -> None:
        due = time.monotonic()
        while True:
            lot = list(self._ledger())
            await self._publish_amqp(lot[::2])
            await self._publish_mqtt(lot[1::2])
            due += 1.0
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _posts(self, rate: float) -> None:
        while True:  # what a stopped controller leaves unanswered is not made up
            await self._post([self._measure() for _ in range(max(1, round(rate)))], patient=True)
            await asyncio.sleep(1.0)

    async def _publish_amqp(self, lot: list[dict[str, Any]]) -> None:
        await self._amqp.publish(aio_pika.Message(json.dumps(lot).encode()), "soak")
        self.sent["amqp"] += len(lot)

    async def _publish_mqtt(self, lot: list[dict[str, Any]]) -> None:
        await self._mqtt.publish("measures/soak", json.dumps(lot).encode(), qos=1)
        self.sent["mqtt"] += len(lot)

    async def _post(self, lot: list[dict[str, Any]], *, patient: bool) -> None:
        """POST; a patient sender comes back as long as it is told to."""
        while True:
            try:
                answer = await self._http.post(f"{next(self._bases)}/v1/measures", json=lot)
            except httpx.HTTPError:  # stopped for a while: whoever gets no answer comes again
                self.unanswered += len(lot)
                await asyncio.sleep(0.5)
                continue
            self.answers[answer.status_code] += 1
            if answer.status_code == httpx.codes.ACCEPTED:
                self.sent["http"] += len(lot)
                return
            self.unasked += "retry-after" not in answer.headers
            if not patient:
                return
            await asyncio.sleep(min(2.0, float(answer.headers.get("retry-after", 1))))

    async def flood(self, seconds: float, rate: float | None) -> int:
        """Publish beside the steady rate over AMQP and HTTP; without a rate as fast as they take it. How many."""
        before = sum(self.sent.values())
        end = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            group.create_task(self._flood_amqp(end, rate))
            for _ in range(4):
                group.create_task(self._flood_http(end, None if rate is None else rate / 20))
        return sum(self.sent.values()) - before

    async def _flood_amqp(self, end: float, rate: float | None) -> None:
        began, sent = time.monotonic(), 0
        while (now := time.monotonic()) < end:
            # a connection is written to in bursts; what TCP holds back is held back here
            wanted = 10 if rate is None else (int((now - began) * rate * 0.8) - sent) // LOT
            for _ in range(wanted):
                await self._publish_amqp([self._measure() for _ in range(LOT)])
            sent += wanted * LOT
            await asyncio.sleep(0 if rate is None else TICK)

    async def _flood_http(self, end: float, rate: float | None) -> None:
        while time.monotonic() < end:
            count = BODY if rate is None else max(1, int(rate * 0.5))
            await self._post([self._measure() for _ in range(count)], patient=False)
            await asyncio.sleep(0 if rate is None else 0.5)


def _wave(now: float, place: int) -> float:
    """High for half of a period of ten to thirty minutes, low for the other half."""
    period = 600.0 + place % 5 * 300
    return HIGH if (now + place * 7) % period < period / 2 else LOW
