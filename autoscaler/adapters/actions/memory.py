"""The twin of every action, and what carries out ``test://``: what was delivered stays in a list."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from autoscaler.errors import AutoscalerError
    from autoscaler.ports import OutboxRow


class MemoryAction:
    """See :class:`autoscaler.ports.Action`.

    Args:
        schemes: of the URLs it is for.
        limit: rows that are kept, the oldest making room; None keeps them all.

    Attributes:
        delivered: rows, in order of delivery.
        failures: taken one by one; a delivery that finds one raises it instead.
        open: deliveries wait while it is not set.
    """

    def __init__(self, schemes: Iterable[str] = ("http", "https", "log"), *, limit: int | None = None) -> None:
        self.schemes = frozenset(schemes)
        self._limit = limit
        self.delivered: list[OutboxRow] = []
        self.failures: deque[AutoscalerError] = deque()
        self.open = asyncio.Event()
        self.open.set()

    async def deliver(self, row: OutboxRow) -> None:
        """Keep the row, or fail as scripted."""
        await self.open.wait()
        if self.failures:
            raise self.failures.popleft()
        self.delivered.append(row)
        if self._limit is not None:
            del self.delivered[: -self._limit]
