"""Seats that a test gives and takes by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from autoscaler.ports import SpareSeat, StreamSeat


class Held:
    """See :class:`autoscaler.ports.Seat`. It is the source's until it is called.

    Args:
        positions: that were reached at seats, by name.

    Attributes:
        standing: the source says that it is.
        ended: it was cleared.
    """

    def __init__(self, name: str, positions: dict[str, int] | None = None) -> None:
        self.name = name
        self._positions = {} if positions is None else positions
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

    @property
    def position(self) -> int | None:
        return self._positions.get(self.name)

    def reached(self, position: int) -> None:
        self._positions[self.name] = max(position, self._positions.get(self.name, position))


_fits: tuple[type[StreamSeat], type[SpareSeat]] = (Held, Held)
