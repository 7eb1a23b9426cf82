"""A session that holds much over a way that is slow: its measures come, and so does the answer behind them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time

import aiomqtt
import pytest

from autoscaler.adapters.sources import mqtt
from autoscaler.adapters.sources.mqtt import MqttSource
from tests.chaos.proxy import Proxy
from tests.servers import MosquittoServer

WAITING = 600
PIECE, PAUSE = 1024, 0.02
"""Bytes that come at a time, and seconds between two: all of it takes seconds."""
PATIENCE = 1.0
"""Seconds; far less than all of it takes, and far more than lies between two messages."""


class Narrow(Proxy):
    """A way over which little comes at a time."""

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(PIECE):
                writer.write(data)
                await writer.drain()
                await asyncio.sleep(PAUSE)


async def begun(source: MqttSource) -> None:
    """Have the broker keep a session."""
    async with contextlib.aclosing(source.deliveries()) as deliveries:
        first = asyncio.ensure_future(anext(deliveries))
        while not source.connected:
            await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.wait([first])


async def published(port: int, count: int) -> None:
    async with aiomqtt.Client("127.0.0.1", port, timeout=30) as client:
        client.pending_calls_threshold = count
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                measure = {"metric": "load", "resource_id": "web", "timestamp": time.time(), "value": number}
                group.create_task(client.publish("measures/web", json.dumps(measure), qos=1))


@pytest.mark.service
@pytest.mark.slow
async def test_a_subscription_is_waited_for_while_what_the_session_holds_keeps_coming(
    mosquitto: MosquittoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "_SUBSCRIBE_PATIENCE", PATIENCE)
    await begun(MqttSource(mosquitto.url, now=time.time, client_id="narrow"))
    await published(mosquitto.port, WAITING)
    begins, values = time.monotonic(), []
    async with Narrow(lambda: mosquitto.port) as way, asyncio.timeout(60):
        source = MqttSource(f"mqtt://127.0.0.1:{way.port}", now=time.time, client_id="narrow")
        async with contextlib.aclosing(source.deliveries()) as deliveries:
            async for delivery in deliveries:
                values += [measure.value for measure in delivery.batch.measures]
                await delivery.ack()
                if len(values) >= WAITING:
                    break

    assert sorted(set(values)) == list(range(WAITING))
    assert time.monotonic() - begins > PATIENCE
