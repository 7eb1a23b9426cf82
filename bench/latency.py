"""How long from a measure published to its webhook received; beside it the bare way, by the same clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Final, Self

from bench.alarms import of_resource, switch
from bench.contestants import Controller, Reference
from bench.publish import AmqpPublisher
from bench.rows import BY_KEY, Measured
from bench.world import World, names

RATE: Final = 1000.0
"""Measures a second."""
EVERY: Final = 20
"""One of so many turns an alarm, and so causes a webhook."""
SWITCHES: Final = 50
QUIET: Final = 950
"""Series whose alarms nothing turns."""
SECONDS: Final = 6.0
"""Of a round."""
REST: Final = 1.0
"""Seconds before a round: who stood still looks at what fell due meanwhile, which nobody does who runs."""
LATEST: Final = 10.0
"""Seconds that webhooks are waited for."""


class Receiver:
    """An HTTP server that notes when the webhook of each (alarm, value) came."""

    def __init__(self) -> None:
        self.came: dict[tuple[str, float], float] = {}
        self.hook = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.hook = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/hook"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.split("content-length:")[1].split("\r\n")[0])
                body = json.loads(await reader.readexactly(length))
                self.came.setdefault((body["alarm_name"], body["reason_data"]["most_recent"]), time.perf_counter())
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
        writer.close()


class Stream:
    """Measures at a steady rate, of which some turn an alarm each."""

    def __init__(self, publisher: AmqpPublisher, receiver: Receiver) -> None:
        self._publisher = publisher
        self._receiver = receiver
        self._flips = 0

    async def run(self, seconds: float) -> list[float]:
        """Seconds from each publishing that turns an alarm to its webhook, in order of length.

        Raises:
            TimeoutError: some never came.
        """
        self._receiver.came.clear()
        sent: dict[tuple[str, float], float] = {}
        quiet = _turns(names(QUIET))
        begin = time.perf_counter()
        for number in range(round(seconds * RATE)):
            metric, resource_id, value = "cpu", next(quiet), 1.0
            if number % EVERY == 0:
                metric, resource_id, value = self._flip()
            pause = begin + number / RATE - time.perf_counter()
            if pause > 0:
                await asyncio.sleep(pause)
            at = time.perf_counter()
            if metric == "flip":
                sent[resource_id, value] = at
            await self._publisher.send(
                f'{{"metric":"{metric}","resource_id":"{resource_id}","timestamp":{time.time():.6f},"value":{value}}}'.encode()
            )
        async with asyncio.timeout(LATEST):
            while not sent.keys() <= self._receiver.came.keys():
                await asyncio.sleep(0.01)
        return sorted(self._receiver.came[key] - at for key, at in sent.items())

    def _flip(self) -> tuple[str, str, float]:
        number, self._flips = self._flips, self._flips + 1
        high = number // SWITCHES % 2 == 0
        return "flip", f"switch-{number % SWITCHES}", (1000.0 if high else 1.0) + number / 1e6


def _turns(series: list[str]) -> Iterator[str]:
    while True:
        yield from series


async def latency(world: World) -> list[Measured]:
    """Rounds of both, in turns."""
    p50, p99 = Measured(BY_KEY["p50"]), Measured(BY_KEY["p99"])
    definitions = [of_resource(number, each) for number, each in enumerate(names(QUIET))]
    settings = {"AMQP_URL": world.amqp, "AMQP_EXCHANGE": "latency", "AMQP_QUEUE": "latency"}
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(Receiver())
        switches = [switch(f"switch-{n}", "flip", f"switch-{n}", [receiver.hook]) for n in range(SWITCHES)]
        ours = await stack.enter_async_context(
            Controller.running("latency", world.folder, settings, definitions, switches)
        )
        theirs = await stack.enter_async_context(
            Reference.running("post", world.amqp, "latency-reference", receiver.hook)
        )
        streams = {
            who: Stream(await stack.enter_async_context(AmqpPublisher.connected(world.amqp, exchange)), receiver)
            for who, exchange in ((ours, "latency"), (theirs, "latency-reference"))
        }
        for number in range(world.rounds + 1):
            took = {}
            for who, stream in streams.items():
                who.go()
                await asyncio.sleep(REST)
                took[who] = await stream.run(SECONDS if number else 2 * SWITCHES * EVERY / RATE)
                who.halt()
            if number:
                p50.add(*(statistics.median(took[who]) * 1e3 for who in (ours, theirs)))
                p99.add(*(statistics.quantiles(took[who], n=100)[-1] * 1e3 for who in (ours, theirs)))
                world.say(p50)
                world.say(p99)
    return [p50, p99]
