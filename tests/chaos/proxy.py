"""A TCP way to a server, which can be cut, stalled and slowed, and can lead to another server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from typing import Self

SLOWNESS = 0.15
"""Seconds that each piece of data takes on a way that is slow."""


class Way(StrEnum):
    """What becomes of data and of new connections."""

    OPEN = "open"
    CUT = "cut"
    STALLED = "stalled"
    SLOW = "slow"


class Proxy:
    """Passes connections on to a port of this machine.

    Args:
        leads_to: the port, asked at each new connection.
    """

    def __init__(self, leads_to: Callable[[], int]) -> None:
        self.port = 0
        self._leads_to = leads_to
        self._way = Way.OPEN
        self._flows = asyncio.Event()
        self._flows.set()
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._drop()

    async def turn(self, way: Way) -> None:
        """Make the way what it is from now on; connections over one that is cut are gone."""
        self._way = way
        if way is Way.STALLED:
            self._flows.clear()
        else:
            self._flows.set()
        if way is Way.CUT:
            await self.reset()

    async def reset(self) -> None:
        """Break every connection; new ones can be made where the way is open."""
        await self._drop()

    async def _drop(self) -> None:
        ending = list(self._connections)
        for connection in ending:
            connection.cancel()
        if ending:
            await asyncio.wait(ending, timeout=5)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        writers = [writer]
        try:
            if self._way is Way.CUT:
                return
            await self._flows.wait()
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._leads_to())
            writers.append(far_writer)
            async with asyncio.TaskGroup() as group:
                there = group.create_task(self._pump(reader, far_writer))
                back = group.create_task(self._pump(far_reader, writer))
                await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
                there.cancel()
                back.cancel()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(connection)
            for each in writers:
                each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                if self._way is Way.SLOW:
                    await asyncio.sleep(SLOWNESS)
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
