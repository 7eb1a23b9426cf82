"""Connections for httpx over asyncio's own streams.

httpcore's usual ones give way to all else that is ready at each step, several times in each call, and look at the
socket of every idle connection before each call. That is most of what a short POST costs.

The errors are those that httpcore's own raise (httpcore/_backends/anyio.py, 1.0.9).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import httpcore

if TYPE_CHECKING:
    import ssl

HAPPY_EYEBALLS: Final = 0.25
"""Seconds after which the next address of a name is tried beside one that does not answer, as RFC 8305 says."""


class Network(httpcore.AsyncNetworkBackend):
    """See :class:`httpcore.AsyncNetworkBackend`."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of ``host`` that answers. Raises ConnectError, ConnectTimeout."""
        reader = _Reader()
        local = None if local_address is None else (local_address, 0)
        async with _mapped(timeout, httpcore.ConnectTimeout, httpcore.ConnectError):
            transport, protocol = await asyncio.get_running_loop().create_connection(
                lambda: asyncio.StreamReaderProtocol(reader),
                host,
                port,
                local_addr=local,
                happy_eyeballs_delay=HAPPY_EYEBALLS,
            )
            for option in socket_options or ():
                transport.get_extra_info("socket").setsockopt(*option)
        return _Stream(reader, asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop()))

    async def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002 - httpcore's signature
        timeout: float | None = None,  # noqa: ARG002, ASYNC109
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        """Never: no URL that is called names one."""
        raise httpcore.UnsupportedProtocol("sockets of this machine are not called")

    async def sleep(self, seconds: float) -> None:
        """As httpcore asks for."""
        await asyncio.sleep(seconds)


class _Reader(asyncio.StreamReader):
    """One that knows how much of what has arrived was not read."""

    def __init__(self) -> None:
        super().__init__()
        self.unread = 0

    def feed_data(self, data: Any) -> None:
        self.unread += len(data)
        super().feed_data(data)

    async def read(self, n: int = -1) -> bytes:
        data = await super().read(n)
        self.unread -= len(data)
        return data


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        async with _mapped(timeout, httpcore.ReadTimeout, httpcore.ReadError):
            return await self._reader.read(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        async with _mapped(timeout, httpcore.WriteTimeout, httpcore.WriteError):
            self._writer.write(buffer)
            await self._writer.drain()

    async def aclose(self) -> None:
        # whether the other side says goodbye, or reads what is left, is waited for by nobody
        self._writer.transport.abort()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with _mapped(timeout, httpcore.ConnectTimeout, httpcore.ConnectError):
                await self._writer.start_tls(ssl_context, server_hostname=server_hostname)
        except BaseException:
            self._writer.transport.abort()
            raise
        return self

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "is_readable":
                # of an idle connection: whoever closed it, or said what nobody asked for, is not asked again
                ended = self._reader.at_eof() or self._reader.exception() is not None
                return ended or self._reader.unread > 0 or self._writer.transport.is_closing()
            case "client_addr":
                return self._writer.get_extra_info("sockname")
            case "server_addr":
                return self._writer.get_extra_info("peername")
            case _:
                return self._writer.get_extra_info(info)


@asynccontextmanager
async def _mapped(seconds: float | None, late: type[Exception], failed: type[Exception]) -> AsyncIterator[None]:
    """Something that must be over in time, its errors as httpcore names them."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise late(str(error)) from error
    except OSError as error:  # of which SSLError and gaierror are some
        raise failed(str(error)) from error
