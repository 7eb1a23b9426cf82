"""The references: programs that do no more than the client libraries and servers ask for.

    python -m bench.reference amqp URL EXCHANGE QUEUE     take messages and acknowledge them in multiples
    python -m bench.reference mqtt URL FILTER             take messages
    python -m bench.reference post URL EXCHANGE HOOK      take messages and POST those of ``flip``

Each says ``ready`` when it listens, and ``done`` whenever it has taken the last message of a round.
"""

from __future__ import annotations

import asyncio
import sys

import aio_pika
import aiomqtt
import httpx
import msgspec

from bench.alarms import MARKER

PREFETCH = 4000
ACKNOWLEDGED = 500
"""Messages that are acknowledged together."""
LAST = f'{{"metric":"{MARKER}"'.encode()


def say(word: str) -> None:
    """To whoever started us."""
    print(word, flush=True)


async def amqp(url: str, exchange: str, queue: str) -> None:
    """Take messages, as many at a time as a controller does."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=PREFETCH)
        taken = 0

        async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            nonlocal taken
            taken += 1
            last = message.body.startswith(LAST)
            if last or taken % ACKNOWLEDGED == 0:
                await message.ack(multiple=True)
            if last:
                say("done")

        declared = await channel.declare_queue(queue, durable=True)
        await declared.bind(await channel.declare_exchange(exchange, "topic", durable=True), "#")
        await declared.consume(take)
        say("ready")
        await asyncio.Future()


async def mqtt(url: str, topic_filter: str) -> None:
    """Take messages; the client acknowledges each as it comes."""
    host, _, port = url.removeprefix("mqtt://").partition(":")
    async with aiomqtt.Client(host, int(port), identifier="reference", protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.subscribe(topic_filter, qos=1)
        say("ready")
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            if message.payload.startswith(LAST):
                say("done")


class Measure(msgspec.Struct):
    """What a message says."""

    metric: str
    resource_id: str
    value: float


async def post(url: str, exchange: str, hook: str) -> None:
    """Take messages, acknowledge each, and POST those that would turn an alarm."""
    decode = msgspec.json.Decoder(Measure).decode
    async with await aio_pika.connect(url) as connection, httpx.AsyncClient() as client:
        channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=PREFETCH)

        async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            measure = decode(message.body)
            await message.ack()
            if measure.metric == "flip":
                body = {"alarm_name": measure.resource_id, "reason_data": {"most_recent": measure.value}}
                await client.post(hook, json=body)

        declared = await channel.declare_queue("post", auto_delete=True)
        await declared.bind(await channel.declare_exchange(exchange, "topic", durable=True), "#")
        await declared.consume(take)
        say("ready")
        await asyncio.Future()


if __name__ == "__main__":
    kind, *words = sys.argv[1:]
    asyncio.run({"amqp": amqp, "mqtt": mqtt, "post": post}[kind](*words))
