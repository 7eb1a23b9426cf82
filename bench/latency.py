"""How long from a measure published to its webhook received, over real brokers; beside it the bare round trip.

Each measure flips the alarm of its resource (``evaluate: measure``, one period), so each causes one webhook. The
reference, in the same run: publish -> consume -> POST with the same clients and nothing in between.

    python bench/latency.py [--measures 1000] [--rate 100] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Self

import aio_pika
import aiomqtt
import httpx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.servers import MosquittoServer, RabbitServer, RedisServer, free_port

RESOURCES = 50
Publish = Callable[[str, dict[str, object]], Awaitable[None]]


class Receiver:
    """An HTTP server that notes when the webhook of each (alarm, value) came."""

    def __init__(self) -> None:
        self.came: dict[tuple[str, float], float] = {}
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.split("content-length:")[1].split("\r\n")[0])
                body = json.loads(await reader.readexactly(length))
                self.came.setdefault((body["alarm_name"], body["reason_data"]["most_recent"]), time.perf_counter())
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
        writer.close()


def rules(port: int) -> str:
    """One alarm per resource, fired by any value above 50."""
    alarms = [
        {
            "name": f"r{number}",
            "type": "threshold",
            "rule": {
                "metric": "bench", "resource_id": f"r{number}", "aggregation_method": "last", "granularity": 1,
                "evaluation_periods": 1, "comparison_operator": "gt", "threshold": 50,
                "window": "aligned", "evaluate": "measure",
            },
            "alarm_actions": [f"http://127.0.0.1:{port}/alarm"],
            "ok_actions": [f"http://127.0.0.1:{port}/ok"],
        }
        for number in range(RESOURCES)
    ]  # fmt: skip
    return json.dumps({"alarms": alarms})


@contextlib.asynccontextmanager
async def controller(folder: Path, *options: str) -> AsyncIterator[None]:
    """The installed command, ready."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "autoscaler", "run", "--rules", str(folder), "--api", f"127.0.0.1:{port}",
        "--log-level", "warning", *options,
        env={**os.environ, "AUTOSCALER_ALLOW_VOLATILE_REDIS": "true"},
    )  # fmt: skip
    try:
        async with httpx.AsyncClient() as client:
            for _ in range(300):
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == httpx.codes.OK:
                        break
                await asyncio.sleep(0.1)
            else:
                raise SystemExit("the controller did not get ready")
        yield
    finally:
        process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def mqtt(url: str) -> AsyncIterator[Publish]:
    """Publishes by MQTT, QoS 1."""
    host, port = url.removeprefix("mqtt://").split(":")
    async with aiomqtt.Client(host, int(port)) as client:

        async def publish(resource: str, measure: dict[str, object]) -> None:
            await client.publish(f"measures/{resource}", json.dumps(measure).encode(), qos=1)

        yield publish


@contextlib.asynccontextmanager
async def amqp(url: str) -> AsyncIterator[Publish]:
    """Publishes by AMQP."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(publisher_confirms=False)
        exchange = await channel.declare_exchange("measures", "topic", durable=True)

        async def publish(resource: str, measure: dict[str, object]) -> None:
            await exchange.publish(aio_pika.Message(json.dumps(measure).encode()), resource)

        yield publish


async def bare(kind: str, url: str, receiver: Receiver) -> contextlib.AsyncExitStack:
    """The reference: a consumer that POSTs what it gets."""
    stack = contextlib.AsyncExitStack()
    client = await stack.enter_async_context(httpx.AsyncClient())

    async def post(payload: bytes) -> None:
        measure = json.loads(payload)
        body = {"alarm_name": measure["resource_id"], "reason_data": {"most_recent": measure["value"]}}
        await client.post(f"http://127.0.0.1:{receiver.port}/bare", json=body)

    if kind == "MQTT":
        host, port = url.removeprefix("mqtt://").split(":")
        subscriber = await stack.enter_async_context(aiomqtt.Client(host, int(port)))
        await subscriber.subscribe("measures/#", qos=1)

        async def consume() -> None:
            async for message in subscriber.messages:
                await post(message.payload)

        task = asyncio.ensure_future(consume())
        stack.callback(task.cancel)
    else:
        connection = await stack.enter_async_context(await aio_pika.connect(url))
        channel = await connection.channel()
        exchange = await channel.declare_exchange("measures", "topic", durable=True)
        queue = await channel.declare_queue("bare", auto_delete=True)
        await queue.bind(exchange, "#")

        async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            await message.ack()
            await post(message.body)

        await queue.consume(take)
    return stack


async def measured(publish: Publish, receiver: Receiver, *, measures: int, rate: float) -> list[float]:
    """Seconds from publishing to the webhook, one per measure that caused one."""
    receiver.came.clear()
    sent: dict[tuple[str, float], float] = {}
    begin = time.perf_counter()
    for number in range(measures):
        resource = f"r{number % RESOURCES}"
        high = (number // RESOURCES) % 2 == 0
        value = (1000.0 if high else 1.0) + number / 10_000
        await asyncio.sleep(max(0.0, begin + number / rate - time.perf_counter()))
        sent[(resource, value)] = time.perf_counter()
        await publish(resource, {"metric": "bench", "resource_id": resource, "timestamp": time.time(), "value": value})
    for _ in range(200):
        if len(receiver.came) >= measures:
            break
        await asyncio.sleep(0.05)
    return sorted(came - sent[key] for key, came in receiver.came.items() if key in sent)


def shown(name: str, times: list[float], measures: int) -> dict[str, object]:
    """One row."""
    p50, p99 = statistics.median(times), times[int(len(times) * 0.99) - 1]
    return {"row": name, "received": len(times), "of": measures, "p50_ms": p50 * 1e3, "p99_ms": p99 * 1e3}


async def main() -> None:
    """Run both brokers and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measures", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows: list[dict[str, object]] = []
    with RedisServer() as redis, tempfile.TemporaryDirectory() as folder:
        for kind, server_type, client in (("MQTT", MosquittoServer, mqtt), ("AMQP", RabbitServer, amqp)):
            with server_type() as server:
                async with Receiver() as receiver, client(server.url) as publish:
                    Path(folder, "bench.yaml").write_text(rules(receiver.port))
                    ask = {"measures": args.measures, "rate": args.rate}
                    reference = await bare(kind, server.url, receiver)
                    async with reference:
                        rows.append(shown(f"{kind} bare", await measured(publish, receiver, **ask), args.measures))
                    options = ("--redis", redis.url, "--namespace", kind.lower(), f"--{kind.lower()}", server.url)
                    async with controller(Path(folder), *options):
                        # twice round first: windows exist, connections stand
                        await measured(publish, receiver, measures=2 * RESOURCES, rate=args.rate)
                        rows.append(shown(f"{kind} alarm", await measured(publish, receiver, **ask), args.measures))
    for row in rows:
        times = f"p50 {row['p50_ms']:7.2f} ms   p99 {row['p99_ms']:7.2f} ms"
        print(f"{row['row']:<12} {row['received']:>5}/{row['of']:<5} {times}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    asyncio.run(main())
