"""Ceilometer's ``udp://`` publisher: one sample per datagram. Nothing is acknowledged, so what has no room is lost."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final

import structlog

from autoscaler.adapters.sources.again import marked
from autoscaler.adapters.sources.ceilometer import Reading, decode_datagram
from autoscaler.errors import PermanentError, Rejection
from autoscaler.measures.event import Event
from autoscaler.measures.measure import Measure
from autoscaler.ports import Batch, Decoder, Delivery, Source, Undecoded

CEILOMETERS_PORT: Final = 4952
"""Where its publisher sends to unless told otherwise."""
ROOM: Final = 50_000
"""Datagrams that may wait."""
RETRY_DELAY: Final = 5.0

_log = structlog.get_logger(__name__)


class _Delivery:
    """See :class:`autoscaler.ports.Delivery`."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    async def ack(self) -> None:
        """Nobody waits for it."""


class _Inbox(asyncio.DatagramProtocol):
    """What has arrived, within bounds; the newest has no room where it is full."""

    def __init__(self, room: int) -> None:
        self.waiting: deque[bytes] = deque()
        self.lost = 0
        self.stirred = asyncio.Event()
        self._room = room

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 - the signature is asyncio's
        if len(self.waiting) < self._room:
            self.waiting.append(data)
        else:
            self.lost += 1
        self.stirred.set()

    def error_received(self, exc: Exception) -> None:
        _log.debug("datagram refused", error=str(exc))


class UdpSource:
    """See :class:`autoscaler.ports.Source`.

    Args:
        address: ``HOST:PORT`` to listen at; port 0 takes any free one.
        now: the time that timestamps are compared with.
        reading: how samples are read.
        room: datagrams that may wait; more are dropped, counted and told of.

    Raises:
        PermanentError: the address is none.
    """

    def __init__(self, address: str, *, now: Callable[[], float], reading: Reading, room: int = ROOM) -> None:
        host, colon, port = address.rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > 65_535:
            raise PermanentError(f"UDP: expected HOST:PORT such as 0.0.0.0:{CEILOMETERS_PORT}, got {address!r}")
        self.name = f"udp://{address}"
        self.port: int | None = None  # None while nothing listens
        self._host = host.strip("[]")
        self._wanted = int(port)
        self._now = now
        self._reading = reading
        self._room = room
        self._inbox = _Inbox(room)

    @property
    def connected(self) -> bool:
        """See :class:`autoscaler.ports.Source`. Whether it listens: nobody connects."""
        return self.port is not None

    @property
    def waiting(self) -> int:
        """See :class:`autoscaler.ports.Source`."""
        return len(self._inbox.waiting)

    async def deliveries(self) -> AsyncGenerator[Delivery, None]:
        """See :class:`autoscaler.ports.Source`."""
        transport = await self._listening()
        self.port = transport.get_extra_info("sockname")[1]
        _log.info("source connected", source=self.name, port=self.port)
        try:
            while True:
                await self._inbox.stirred.wait()
                self._inbox.stirred.clear()
                yield _Delivery(self._batch())
        finally:
            self.port = None
            transport.close()

    async def _listening(self) -> asyncio.DatagramTransport:
        complained = False
        while True:
            self._inbox = _Inbox(self._room)
            try:
                transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                    lambda: self._inbox, local_addr=(self._host, self._wanted)
                )
            except OSError as error:
                (_log.debug if complained else _log.warning)("source unreachable", source=self.name, error=str(error))
                complained = True
                await asyncio.sleep(RETRY_DELAY)
            else:
                return transport

    def _batch(self) -> Batch:
        measures: list[Measure] = []
        events: list[Event] = []
        rejected: list[Undecoded] = []
        now = self._now()
        taken, self._inbox.waiting = self._inbox.waiting, deque()
        for datagram in taken:
            decoded = decode_datagram(datagram, self._reading, now=now)
            measures.extend(decoded.measures)
            events.extend(decoded.events)
            rejected.extend(marked(decoded.rejected, Decoder.SIGNED, trusted=self._reading.trusted))
        return Batch(measures, [*rejected, *self._lost()], self.name, events)

    def _lost(self) -> Sequence[Undecoded]:
        lost, self._inbox.lost = self._inbox.lost, 0
        if not lost:
            return ()
        detail = f"{lost} datagrams came faster than they could be written, and UDP holds nothing back"
        _log.warning("datagrams lost", source=self.name, count=lost)
        return [Undecoded(Rejection.OVERRUN, detail, "")]


_fits: type[Source] = UdpSource
