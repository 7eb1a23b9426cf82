"""A small HTTP server for tests: it answers as it is told and keeps what it was sent."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Received:
    request_line: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Receiver:
    """A small HTTP server that answers as it is told and keeps what it was sent."""

    port: int = 0
    answer: Answer | None = None
    routes: dict[str, list[Answer]] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    concurrent: int = 0
    connections: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.base}/hook"

    def on(self, request: str, *answers: Answer) -> None:
        """What "METHOD /path?query" is answered with, one after another; the last one stays. All else is a 404."""
        self.routes[request] = list(answers)

    @property
    def requests(self) -> list[str]:
        return [got.request_line.removesuffix(" HTTP/1.1") for got in self.received]

    def _answer_to(self, got: "Received") -> Answer:
        if not self.routes:
            return self.answer or answering(200)
        answers = self.routes.get(got.request_line.removesuffix(" HTTP/1.1"), [answering(404, "no such path")])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self.connections.add(connection)
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                lines = head.split("\r\n")
                headers = {
                    name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                got = Received(lines[0], headers, body)
                self.received.append(got)
                self.concurrent += 1
                try:
                    await self._answer_to(got)(writer)
                finally:
                    self.concurrent -= 1
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            self.connections.discard(connection)
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()


@asynccontextmanager
async def receiver(
    tls: ssl.SSLContext | None = None, *, port: int = 0, it: Receiver | None = None
) -> AsyncIterator[Receiver]:
    it = it or Receiver()
    server = await asyncio.start_server(it.serve, "127.0.0.1", port, ssl=tls)
    it.port = server.sockets[0].getsockname()[1]
    try:
        yield it
    finally:
        for _ in range(
            5
        ):  # what was accepted a moment ago has yet to become a connection, and a closed server lets it go
            await asyncio.sleep(0)
        server.close()
        ending = list(it.connections)
        for connection in ending:
            connection.cancel()
        if ending:  # else their sockets are left to the garbage collector of another test
            await asyncio.wait(ending, timeout=10)


def answering(status: int, body: str | bytes = "", **headers: str) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        content = body.encode() if isinstance(body, str) else body
        writer.write(f"HTTP/1.1 {status} X\r\n{fields}content-length: {len(content)}\r\n\r\n".encode() + content)
        await writer.drain()

    return answer


def answering_json(value: Any, status: int = 200, **headers: str) -> Answer:
    return answering(status, json.dumps(value), content_type="application/json", **headers)


async def hanging(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def dripping(writer: asyncio.StreamWriter) -> None:
    """Answers for ever, a byte at a time, so that no single read is late."""
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def flooding(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def resetting(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
