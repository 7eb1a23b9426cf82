"""What sources on a broker have in common: a link that breaks and is made again, and batches of what came over it."""

from __future__ import annotations

import asyncio
import random
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec
import structlog

from autoscaler.adapters.sources.again import marked
from autoscaler.adapters.sources.decode import LIVE, Limits, decode
from autoscaler.errors import REFUSED_DELAY, TemporaryError
from autoscaler.measures.measure import Measure
from autoscaler.ports import Batch, Decoder, Delivery, Undecoded

FIRST_DELAY: Final = 0.2
LONGEST_DELAY: Final = 10.0
STEADY: Final = 5.0
"""Seconds that a link must have stood to count as good; one that falls at once is made again ever more slowly."""
TAKEN_BYTES: Final = 4 * 1024 * 1024
"""Of messages that are taken together, but for the last of them: decoded they are ten times as much, and nothing else
is done meanwhile."""

POURED_WITHIN: Final = 0.3
"""Seconds at most in which what has arrived is read before it is taken: the first of it waits as long."""
STILL: Final = 3
"""Turns of the loop without a further message, when there is no more: from the socket to the inbox it takes two."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Tls:
    """How to know the broker, and be known by it.

    Attributes:
        ca: file of the authorities to trust; "" for the system's.
        certificate: file of one's own certificate; "" for none.
        key: file of its key; "" when it is in the same file.
        verify: False takes any broker's word for who it is.
    """

    ca: str = ""
    certificate: str = ""
    key: str = ""
    verify: bool = True

    def context(self) -> ssl.SSLContext:
        """A context for one connection or many; reads the files.

        Raises:
            TemporaryError: a file cannot be read, or is none of its kind; it may be there next time.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca or None)
            if self.certificate:
                context.load_cert_chain(self.certificate, self.key or None)
        except OSError as error:  # of which SSLError is one
            files = ", ".join(file for file in (self.ca, self.certificate, self.key) if file)
            raise TemporaryError(f"TLS files {files}: {error}", delay=REFUSED_DELAY) from error
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class Received(msgspec.Struct, frozen=True):
    """A message as it came.

    Attributes:
        token: what it is acknowledged by on its own link; None where nobody waits for that.
        trusted: its measures may name their project, whatever others of this source may.
    """

    payload: bytes
    token: int | None
    trusted: bool = False


def enough(size_bytes: int) -> bool:
    """Whether no further message is taken together with some that are so long."""
    return size_bytes >= TAKEN_BYTES


async def poured(waiting_bytes: Callable[[], int]) -> None:
    """Let messages be read that have arrived already: what is taken together costs each window one write.

    What comes one by one is not waited for, and no more than is :func:`enough`.
    """
    clock = asyncio.get_running_loop().time
    until, still = clock() + POURED_WITHIN, 0
    while still < STILL and not enough(before := waiting_bytes()) and clock() < until:
        await asyncio.sleep(0)
        still = still + 1 if waiting_bytes() == before else 0


class Link(Protocol):
    """One connection to a broker, from its first message to its end."""

    @property
    def alive(self) -> bool:
        """Whether it still stands."""
        ...

    @property
    def waiting(self) -> int:
        """Messages that have arrived and were not taken."""
        ...

    async def take(self) -> Sequence[Received]:
        """What has arrived, at least one message, and no more than are :func:`enough`; nothing ends the link in order.

        Raises:
            TemporaryError: the link is lost; so is what had arrived and was not taken, the broker sends it again.
        """
        ...

    async def ack(self, received: Sequence[Received]) -> None:
        """Let the broker forget these; does nothing on a link that is lost."""
        ...


class LinkDelivery:
    """See :class:`autoscaler.ports.Delivery`. It knows its link, so no other link can be acknowledged by it."""

    def __init__(self, link: Link, received: Sequence[Received], batch: Batch) -> None:
        self.batch = batch
        self.acknowledged = False
        self._link = link
        self._received = received

    async def ack(self) -> None:
        """See :class:`autoscaler.ports.Delivery`. Once is enough; again does nothing."""
        if not self.acknowledged:
            self.acknowledged = True
            await self._link.ack(self._received)


class LinkedSource(ABC):
    """See :class:`autoscaler.ports.Source`.

    Whoever asks for the next delivery with the one before unacknowledged gives up the link: over the next one the
    broker sends both again. Whoever stops early should close the generator (:func:`contextlib.aclosing`), so that the
    broker hears of it at once.

    Args:
        name: for people, dead letters and metric labels; without secrets.
        now: the time that timestamps are compared with.
        trusted: whether all measures may name their project.
        limits: of time and size.
    """

    def __init__(self, name: str, *, now: Callable[[], float], trusted: bool = False, limits: Limits = LIVE) -> None:
        self.name = name
        self._now = now
        self._trusted = trusted
        self._limits = limits
        self._link: Link | None = None
        self._complaint = ""  # what was last said in the log: each once, until the link stands again

    @abstractmethod
    def _linked(self) -> AbstractAsyncContextManager[Link]:
        """A new link, closed at the end; raises TemporaryError when there is none to be had."""

    @property
    def connected(self) -> bool:
        """See :class:`autoscaler.ports.Source`."""
        return self._link is not None and self._link.alive

    @property
    def waiting(self) -> int:
        """See :class:`autoscaler.ports.Source`."""
        return 0 if self._link is None else self._link.waiting

    async def deliveries(self) -> AsyncGenerator[Delivery, None]:
        """See :class:`autoscaler.ports.Source`."""
        failures = 0
        clock = asyncio.get_running_loop().time
        while True:
            since = None
            try:
                async with self._linked() as link:
                    since = clock()
                    self._stands(link)
                    while received := await link.take():
                        delivery = LinkDelivery(link, received, self._batch(received))
                        yield delivery
                        if not delivery.acknowledged:
                            raise TemporaryError("a delivery was left unacknowledged")  # noqa: TRY301 - ends the link
            except TemporaryError as error:
                if since is not None and clock() - since >= STEADY:
                    failures = 0
                self._fell(error, stood=since is not None)
                await asyncio.sleep(_delay(failures) if error.delay is None else error.delay)
                failures += 1
            finally:
                self._link = None

    def _stands(self, link: Link) -> None:
        self._link = link
        self._complaint = ""
        _log.info("source connected", source=self.name)

    def _fell(self, error: TemporaryError, *, stood: bool) -> None:
        self._link = None
        complaint = "source lost" if stood else "source unreachable" if error.delay is None else "source refused"
        say = _log.debug if complaint == self._complaint else _log.warning
        say(complaint, source=self.name, error=str(error))
        self._complaint = complaint

    def _batch(self, received: Iterable[Received]) -> Batch:
        measures: list[Measure] = []
        rejected: list[Undecoded] = []
        now = self._now()
        for message in received:
            trusted = self._trusted or message.trusted
            decoded = decode(message.payload, now=now, trusted=trusted, limits=self._limits)
            measures.extend(decoded.measures)
            rejected.extend(marked(decoded.rejected, Decoder.NATIVE, trusted=trusted))
        return Batch(measures, rejected, self.name)


def _delay(failures: int) -> float:
    """Seconds to wait after so many failures on end; drawn, so that replicas do not come back all at once."""
    return random.uniform(0.5, 1.0) * min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(failures, 10))  # noqa: S311
