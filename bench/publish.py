"""Messages to the brokers, faster than any consumer takes them: packets are made beforehand and sent in one piece."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final, Protocol

import aiormq
import pamqp.frame
from aiormq.abc import AbstractChannel, ChannelFrame
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from bench.alarms import MARKER

PIECE: Final = 500
"""Messages that are handed over together."""
IN_FLIGHT: Final = 60_000
"""Messages of QoS 1 that wait for their acknowledgement, at most: ids are 16 bits."""


class Publisher(Protocol):
    """Publishes."""

    async def publish(self, messages: Sequence[bytes]) -> None:
        """Have the broker take all of them, in order."""
        ...


class AmqpPublisher:
    """To a topic exchange; messages that the broker need not write to its disk, as measures are sent.

    Args:
        exchange: declared, as the controller declares it.
        keys: number of routing keys that the messages of a round take in turn.
    """

    def __init__(self, channel: AbstractChannel, exchange: str, keys: int = 1) -> None:
        self._channel = channel
        self._exchange = exchange
        self._publish = [
            pamqp.frame.marshal(
                commands.Basic.Publish(exchange=exchange, routing_key=f"bench.{number}"), channel.number
            )
            for number in range(keys)
        ]

    @classmethod
    @contextlib.asynccontextmanager
    async def connected(cls, url: str, exchange: str, keys: int = 1) -> AsyncIterator[AmqpPublisher]:
        """With a connection of its own."""
        connection = await aiormq.connect(url)
        try:
            channel = await connection.channel(publisher_confirms=False)
            await channel.exchange_declare(exchange, exchange_type="topic", durable=True)
            yield cls(channel, exchange, keys)
        finally:
            await connection.close()

    async def publish(self, messages: Sequence[bytes]) -> None:
        """See :class:`Publisher`."""
        for start in range(0, len(messages), PIECE):
            some = enumerate(messages[start : start + PIECE], start)
            await self._send(b"".join([self._framed(message, number) for number, message in some]))
        # answered behind all that came before
        await self._channel.exchange_declare(self._exchange, exchange_type="topic", durable=True)

    async def send(self, message: bytes) -> None:
        """Publish one, and wait for nothing but that it is on its way."""
        await self._send(self._framed(message))

    def _framed(self, message: bytes, place: int = 0) -> bytes:
        number = self._channel.number
        header = ContentHeader(body_size=len(message), properties=commands.Basic.Properties(delivery_mode=1))
        publish = self._publish[place % len(self._publish)]
        return publish + pamqp.frame.marshal(header, number) + pamqp.frame.marshal(ContentBody(message), number)

    async def _send(self, payload: bytes) -> None:
        written = asyncio.get_running_loop().create_future()
        await self._channel.write_queue.put(ChannelFrame(payload, should_close=False, drain_future=written))
        await written


class MqttPublisher:
    """To a topic, with QoS 1."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, topic: str) -> None:
        self._reader = reader
        self._writer = writer
        self._topic = topic.encode()
        self._number = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def connected(cls, url: str, topic: str) -> AsyncIterator[MqttPublisher]:
        """With a connection of its own; MQTT 3.1.1, clean session, kept alive for ever."""
        host, _, port = url.removeprefix("mqtt://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"\x10\x11\x00\x04MQTT\x04\x02\x00\x00\x00\x05bench")
        if await reader.readexactly(4) != b"\x20\x02\x00\x00":
            raise RuntimeError("the broker does not let us in")
        try:
            yield cls(reader, writer, topic)
        finally:
            writer.write(b"\xe0\x00")
            writer.close()

    async def publish(self, messages: Sequence[bytes]) -> None:
        """See :class:`Publisher`."""
        sent = acknowledged = 0
        while acknowledged < len(messages):
            while sent < len(messages) and sent + PIECE - acknowledged <= IN_FLIGHT:
                some = messages[sent : sent + PIECE]
                self._writer.write(b"".join(map(self._packet, some)))
                sent += len(some)
                await self._writer.drain()
            await self._reader.readexactly(4)
            acknowledged += 1

    def _packet(self, message: bytes) -> bytes:
        self._number = self._number % 65_535 + 1
        rest = struct.pack("!H", len(self._topic)) + self._topic + struct.pack("!H", self._number) + message
        return b"\x32" + _length(len(rest)) + rest


def _length(size: int) -> bytes:
    """MQTT 3.1.1, 2.2.3."""
    found = bytearray()
    while True:
        size, low = divmod(size, 128)
        found.append(low | (0x80 if size else 0))
        if not size:
            return bytes(found)


class Reporting:
    """Series that report ``cpu`` in turns, each time what is later than all that they have reported before.

    Args:
        seconds: until now over which measures are spread, where none of those were reported before.
        tail: of each series what stands behind its value, such as metadata.
    """

    def __init__(self, series: Sequence[str], *, seconds: float, tail: Sequence[str] = ()) -> None:
        self._series = series
        self._seconds = seconds
        self._tail = tail
        self._reported_until = 0.0

    def measures(self, count: int) -> Iterator[str]:
        """So many measures as JSON objects."""
        now = time.time()
        begin = max(now - self._seconds, self._reported_until)
        self._reported_until = now
        step = (now - begin) / count
        for number in range(count):
            place = number % len(self._series)
            more = self._tail[place] if self._tail else ""
            yield (
                f'{{"metric":"cpu","resource_id":"{self._series[place]}","timestamp":{begin + number * step:.6f},'
                f'"value":{number % 97 + 0.5}{more}}}'
            )


def batched(single: Iterator[str], size: int) -> list[bytes]:
    """So many measures in a message each."""
    found: list[bytes] = []
    waiting: list[str] = []
    for each in single:
        waiting.append(each)
        if len(waiting) == size:
            found.append(f"[{','.join(waiting)}]".encode())
            waiting.clear()
    return found


def marking(value: float) -> bytes:
    """The last message of a round."""
    return (f'{{"metric":"{MARKER}","resource_id":"{MARKER}","timestamp":{time.time():.6f},"value":{value}}}').encode()
