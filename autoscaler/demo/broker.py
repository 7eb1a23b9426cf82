"""A local MQTT broker: ``python -m autoscaler.demo.broker PORT``, until SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker
from amqtt.errors import MQTTError

ANONYMOUS = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}

PROTOCOL_NAME, VERSION_3_1_1 = b"MQTT", b"\x04"

UNSUPPORTED_VERSION = b"\x20\x03\x00\x84\x00"
"""CONNACK of MQTT 5 with reason 0x84 and no properties."""


class LocalBroker(Broker):  # type: ignore[misc]  # amqtt is untyped
    """Says at once that it does not speak MQTT 5; amqtt misreads the greeting and lets the client wait."""

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        """Serve a client."""
        await self.external_connected(_Reader(reader, writer), StreamWriterAdapter(writer), listener_name)


class _Reader(StreamReaderAdapter):  # type: ignore[misc]  # amqtt is untyped
    """Looks at the byte that follows the protocol's name in a client's first packet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader)
        self._client = writer
        self._before = b""
        self._greeted = False

    async def read(self, n: int = -1) -> bytes:
        data: bytes = await super().read(n)
        if not self._greeted and self._before == PROTOCOL_NAME:
            self._greeted = True
            if data != VERSION_3_1_1:
                self._client.write(UNSUPPORTED_VERSION)
                raise MQTTError("only MQTT 3.1.1 is spoken here")
        self._before = data
        return data


async def serve(port: int) -> None:
    """Serve MQTT 3.1.1 to this machine only, until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    listener = {"type": "tcp", "bind": f"127.0.0.1:{port}"}
    broker = LocalBroker({"listeners": {"default": listener}, "plugins": ANONYMOUS})
    await broker.start()
    await ended.wait()
    await broker.shutdown()


if __name__ == "__main__":
    logging.basicConfig(level=logging.CRITICAL)
    asyncio.run(serve(int(sys.argv[1])))
