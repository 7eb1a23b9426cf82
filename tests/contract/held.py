"""Seats that a test gives and takes by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from autoscaler.ports import Seat, SpareSeat


class Held:
    """See :class:`autoscaler.ports.Seat`. It is the source's until it is called.

    Attributes:
        standing: the source says that it is.
        ended: it was cleared.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.elsewhere = False
        self.standing = False
        self.ended = False
        self._taken = asyncio.Event()

    @asynccontextmanager
    async def occupied(self) -> AsyncIterator[str]:
        if self.ended or self._taken.is_set():
            await asyncio.Event().wait()
        yield self.name
        self.standing = False

    def stands(self) -> None:
        self.standing = True

    async def called(self) -> None:
        await self._taken.wait()

    def call(self) -> None:
        """Have the source leave it."""
        self._taken.set()

    def cleared(self) -> None:
        self.ended = True


_fits: tuple[type[Seat], type[SpareSeat]] = (Held, Held)
