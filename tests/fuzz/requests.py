"""Target: whole requests to the API, on the real engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote

from tests.api.running import Api, running

AT_ONCE: Final = 1000
"""Requests until a new controller is begun, so that what they leave behind does not grow for ever."""
WHO: Final = b"x-user-id: u\nx-project-id: p\nx-roles: admin\n"


class Asking:
    """A controller that is asked again and again, and replaced now and then."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._running: asyncio.Task[None] | None = None
        self._questions: asyncio.Queue[tuple[dict[str, Any], bytes, asyncio.Future[int]]] = asyncio.Queue()

    def __call__(self, data: bytes) -> None:
        """Ask one request, written as HTTP writes it; whatever it is, it is answered, and not with a fault of ours."""
        scope = _scope(data)
        if scope is not None:
            status = self._loop.run_until_complete(self._answer(scope, data.partition(b"\n\n")[2]))
            assert status < 500, f"answered with {status}"

    def close(self) -> None:
        """End the controller."""
        if self._running is not None:
            self._running.cancel()
            self._loop.run_until_complete(asyncio.wait([self._running]))
        self._loop.close()

    async def _answer(self, scope: dict[str, Any], body: bytes) -> int:
        if self._running is None or self._running.done():
            self._running = self._loop.create_task(self._run())
        answer: asyncio.Future[int] = self._loop.create_future()
        self._questions.put_nowait((scope, body, answer))
        await asyncio.wait([answer, self._running], return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            self._running.result()  # raises what the controller died of
        return await answer

    async def _run(self) -> None:
        while True:
            async with running() as api:
                for _ in range(AT_ONCE):
                    scope, body, answer = await self._questions.get()
                    try:
                        answer.set_result(await _status(api, scope, body))
                    except Exception as error:  # noqa: BLE001 - whoever asked is to see it
                        answer.set_exception(error)


async def _status(api: Api, scope: dict[str, Any], body: bytes) -> int:
    """The status of the answer, which is whole."""
    sent: list[dict[str, Any]] = []
    received = iter(({"type": "http.request", "body": body, "more_body": False}, {"type": "http.disconnect"}))

    async def receive() -> dict[str, Any]:
        return next(received)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await api.app(scope, receive, send)
    assert not sent[-1].get("more_body")
    return int(sent[0]["status"])


def _scope(data: bytes) -> dict[str, Any] | None:
    """A request as a server hands it on; None where a server would not."""
    head, _, _ = data.partition(b"\n\n")
    first, *lines = head.split(b"\n")
    method, _, target = first.partition(b" ")
    path, _, query = target.partition(b"?")
    if not path.startswith(b"/") or not (method + target).isascii() or any(byte <= 32 for byte in method + target):
        return None
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method.decode(),
        "scheme": "http",
        "path": unquote(path.decode()),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": list(_headers(lines)),
        "client": ("192.0.2.7", 4711),
        "server": ("127.0.0.1", 8080),
    }


def _headers(lines: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for line in lines:
        name, colon, value = line.partition(b":")
        if colon and name.isascii() and name.strip():
            yield name.strip().lower(), value.strip()
