"""Measures from AMQP 0-9-1 that one replica takes at a time, whichever has the seat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from autoscaler.adapters.sources.amqp import AmqpLink, AmqpSource
from autoscaler.ports import Seat


class SeatedSource(AmqpSource):
    """See :class:`autoscaler.ports.Source`.

    Args:
        seat: says when it is this replica's.
        options: as of :class:`AmqpSource`.
    """

    def __init__(self, url: str, *, seat: Seat, **options: Any) -> None:
        super().__init__(url, **options)
        self._seat = seat

    @property
    def connected(self) -> bool:
        """See :class:`autoscaler.ports.Source`. Also where another replica has the seat: it is that one's to say."""
        return super().connected or self._seat.elsewhere

    @asynccontextmanager
    async def _linked(self) -> AsyncIterator[AmqpLink]:
        async with self._seat.occupied() as name:
            self._has(name)
            async with super()._linked() as link, leaving(link, self._seat):
                await self._begun(link)
                self._seat.stands()
                yield link

    def _has(self, name: str) -> None:
        """The seat is ours, and this is its name."""

    async def _begun(self, link: AmqpLink) -> None:
        """Wait until the link has what is published; raises TemporaryError."""


@asynccontextmanager
async def leaving(link: AmqpLink, seat: Seat) -> AsyncIterator[None]:
    """Have a link end when its seat is to be left."""
    called = asyncio.ensure_future(seat.called())
    called.add_done_callback(lambda _: link.call())
    try:
        yield
    finally:
        called.cancel()
        await asyncio.wait([called])
