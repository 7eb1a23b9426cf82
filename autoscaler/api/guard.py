"""What a connection may take of time and room before any request of it is looked at.

uvicorn waits for ever for a request that does not end, and takes as many connections as come. Here a request that does
not arrive in time is answered 408, one whose headers are too long 431, one connection too many 503, and a client that
reads its answer too slowly is hung up on; so nobody holds on to anything for longer than a minute.

A few connections more are taken for probes: whoever fills all places would else have a healthy controller restarted.
These have room for what is asked at once only: each new one takes the place of the one that has been there longest.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from autoscaler.api.faults import CODES, RETRY_AFTER
from autoscaler.api.refusals import Refusal, Refused

if TYPE_CHECKING:
    from typing import ClassVar, Final

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_HEADER_BYTES: Final = 32 * 1024
"""Of a request's line and headers together."""
HEAD_SECONDS: Final = 10.0
"""Within which a request's line and headers must have arrived, from their first byte or the connection's beginning."""
READ_SECONDS: Final = 30.0
"""Within which a client must have taken some of its answer."""
SPARE: Final = 32
"""Connections beyond those that may be, for :data:`PROBES` only."""
PROBES: Final = frozenset(("/healthz", "/readyz"))


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how much.

    Attributes:
        connections: at once.
        request: seconds within which a request must have arrived, body and all.
        head: seconds within which its headers must.
        read: seconds within which something of an answer must be taken.
    """

    connections: int = 1000
    request: float = 30.0
    head: float = HEAD_SECONDS
    read: float = READ_SECONDS


def guarded(patience: Patience, refused: Refused) -> type[H11Protocol]:
    """A protocol for :class:`uvicorn.Config`; ``refused`` is told of each that is turned away."""

    class Guarded(_Guarded):
        _patience = patience
        _refused = staticmethod(refused)
        _spares: ClassVar[dict[_Guarded, Callable[[], None]]] = {}

    return Guarded


class _Guarded(H11Protocol):
    _patience: Patience
    _refused: Refused
    _spares: ClassVar[dict[_Guarded, Callable[[], None]]]  # how each beyond what may be is sent away, oldest first
    _arriving: asyncio.TimerHandle | None = None  # while a request has not arrived
    _reading: asyncio.TimerHandle | None = None  # while the client takes nothing of its answer

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn
        super().connection_made(transport)
        if len(self.connections) > self._patience.connections:
            self._spare()
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._spares.pop(self, None)
        self._arrived()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._arriving is None and self.conn.their_state is h11.IDLE:
            self._await_head()
        super().data_received(data)

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:  # a request has begun
            self._arrived()
        if self.conn.their_state is h11.SEND_BODY:
            if self._arriving is None:
                self._arriving = self.loop.call_later(self._patience.request, self._too_slow)
        elif self.conn.their_state is not h11.IDLE:
            self._arrived()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own word is not the one to say
        """What is no HTTP, or too long before it can be known."""
        self._arrived()
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.close()  # in the middle of an answer
        elif len(self.conn.trailing_data[0]) > MAX_HEADER_BYTES:
            message = f"the headers are longer than {MAX_HEADER_BYTES} bytes"
            self._turn_away(431, message, Refusal.HEADERS_TOO_LONG)
        else:
            self._turn_away(400, "this is no HTTP request", Refusal.NO_HTTP)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._reading is None:
            self._reading = self.loop.call_later(self._patience.read, self._takes_nothing)

    def resume_writing(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
        super().resume_writing()

    def _spare(self) -> None:
        """Be there for a probe, and for nothing else."""
        self.app: ASGIApp = _Probes(self.app, self._too_many)
        self._spares[self] = self._too_many
        if len(self._spares) > SPARE:
            next(iter(self._spares.values()))()

    def _too_many(self) -> None:
        self._spares.pop(self, None)
        self._arrived()
        if self.cycle is not None and self.cycle.response_started:
            self.transport.close()
        else:
            self._turn_away(503, "there are too many connections", Refusal.TOO_MANY_CONNECTIONS)

    def _await_head(self) -> None:
        self._arriving = self.loop.call_later(self._patience.head, self._too_slow)

    def _arrived(self) -> None:
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None

    def _too_slow(self) -> None:
        self._arriving = None
        begun = self.cycle is not None and self.cycle.response_started
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self.transport.close()  # nothing was asked, so nothing is answered
        elif begun or self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self._refused(Refusal.TOO_SLOW)
            self.transport.close()
        else:
            self._turn_away(408, "the request has not arrived in time", Refusal.TOO_SLOW)

    def _takes_nothing(self) -> None:
        self._reading = None
        self._refused(Refusal.TOO_SLOW)
        self.transport.abort()

    def _turn_away(self, status: int, message: str, refusal: Refusal) -> None:
        """Answer in place of the application, and hang up."""
        self._refused(refusal)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # whoever waits for the body need not any more
            self.cycle.message_event.set()
        body = json.dumps({"error": {"code": CODES[status], "message": message}}).encode()
        lines = [
            f"HTTP/1.1 {status} {CODES[status].title()}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            "connection: close",
            *([f"retry-after: {RETRY_AFTER}"] if status == 503 else []),
        ]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.close()


class _Probes:
    """Answers probes, once for each connection; all else is for ``refuse`` to turn away."""

    def __init__(self, app: ASGIApp, refuse: Callable[[], None]) -> None:
        self._app = app
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] not in PROBES:
            self._refuse()
            return

        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, send_last)
