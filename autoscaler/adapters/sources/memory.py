"""The twin of the sources on a broker, fed by tests."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import islice

from autoscaler.adapters.sources.decode import LIVE, Limits
from autoscaler.adapters.sources.link import Link, LinkedSource, Received, enough
from autoscaler.errors import TemporaryError
from autoscaler.ports import Source


class MemorySource(LinkedSource):
    """See :class:`autoscaler.ports.Source`. It is its own broker, which outlives its links.

    Args:
        name: for people.
        now: the time that timestamps are compared with.
        trusted: whether measures may name their project.
        limits: of time and size.
        at_most: messages of one delivery.
    """

    def __init__(
        self,
        name: str = "memory",
        *,
        now: Callable[[], float],
        trusted: bool = False,
        limits: Limits = LIVE,
        at_most: int = 2000,
    ) -> None:
        super().__init__(name, now=now, trusted=trusted, limits=limits)
        self._at_most = at_most
        self._queue: deque[bytes] = deque()
        self._up = asyncio.Event()
        self._up.set()
        self._standing: _MemoryLink | None = None

    def publish(self, payload: bytes) -> None:
        """Send a message; it waits for the next link if none stands."""
        self._queue.append(payload)
        if self._standing is not None:
            self._standing.stirred.set()

    def kill(self) -> None:
        """Break the link, and let no other stand until :meth:`restart`; what was not acknowledged is kept."""
        self._up.clear()
        if self._standing is not None:
            self._standing.lose()

    def restart(self) -> None:
        """Let links stand again."""
        self._up.set()

    @property
    def left(self) -> int:
        """Messages that were not acknowledged."""
        return len(self._queue)

    @asynccontextmanager
    async def _linked(self) -> AsyncIterator[Link]:
        await self._up.wait()
        link = self._standing = _MemoryLink(self._queue, self._at_most)
        try:
            yield link
        finally:
            link.lose()


class _MemoryLink:
    """See :class:`autoscaler.adapters.sources.link.Link`. What is in hand stays at the head of the queue."""

    def __init__(self, queue: deque[bytes], at_most: int) -> None:
        self.alive = True
        self.stirred = asyncio.Event()
        self._queue = queue
        self._at_most = at_most
        self._in_hand = 0

    @property
    def waiting(self) -> int:
        return len(self._queue) - self._in_hand

    async def take(self) -> Sequence[Received]:
        while self.alive and not self._queue:
            self.stirred.clear()
            await self.stirred.wait()
        if not self.alive:
            raise TemporaryError("the connection was lost")
        taken, size = [], 0
        for payload in islice(self._queue, self._at_most):
            if enough(size):
                break
            taken.append(Received(payload, None))
            size += len(payload)
        self._in_hand = len(taken)
        return taken

    async def ack(self, received: Sequence[Received]) -> None:
        if self.alive:
            for _ in received:
                self._queue.popleft()
            self._in_hand = 0

    def lose(self) -> None:
        """End it; whoever waits for messages learns of it."""
        self.alive = False
        self.stirred.set()


_fits: type[Source] = MemorySource
