"""The way to a server does what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.chaos.proxy import Proxy, Way


@asynccontextmanager
async def echoing() -> AsyncIterator[Proxy]:
    """A way to a server that sends back what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(100):
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, Proxy(lambda: server.sockets[0].getsockname()[1]) as proxy:
        yield proxy
    await asyncio.sleep(0.01)  # what was broken is noticed


class Client:
    """A connection over the way."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def echoed(self, seconds: float = 5.0) -> bytes:
        self.writer.write(b"hello")
        async with asyncio.timeout(seconds):
            return await self.reader.read(5)

    async def has_ended(self) -> bool:
        try:
            async with asyncio.timeout(5):
                return await self.reader.read(1) == b""
        except ConnectionError:
            return True


@asynccontextmanager
async def connected(proxy: Proxy) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


async def test_an_open_way_passes_everything_on() -> None:
    async with echoing() as proxy, connected(proxy) as client:
        assert await client.echoed() == b"hello"


async def test_a_cut_way_breaks_connections_and_lets_none_be_made() -> None:
    async with echoing() as proxy:
        async with connected(proxy) as client:
            assert await client.echoed() == b"hello"
            await proxy.turn(Way.CUT)
            assert await client.has_ended()
        async with connected(proxy) as client:
            assert await client.has_ended()
        await proxy.turn(Way.OPEN)
        async with connected(proxy) as client:
            assert await client.echoed() == b"hello"


async def test_a_stalled_way_keeps_what_is_sent_until_it_flows_again() -> None:
    async with echoing() as proxy, connected(proxy) as client:
        await proxy.turn(Way.STALLED)
        with pytest.raises(TimeoutError):
            await client.echoed(0.1)
        await proxy.turn(Way.OPEN)

        assert await client.reader.read(5) == b"hello"


async def test_connections_are_reset_and_new_ones_pass() -> None:
    async with echoing() as proxy:
        async with connected(proxy) as client:
            assert await client.echoed() == b"hello"
            await proxy.reset()
            assert await client.has_ended()
        async with connected(proxy) as client:
            assert await client.echoed() == b"hello"
