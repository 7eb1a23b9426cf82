"""log:// actions: one line in our own log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from autoscaler.ports import OutboxRow

_log = structlog.get_logger(__name__)


class LogAction:
    """See :class:`autoscaler.ports.Action`; never fails."""

    schemes = frozenset({"log"})

    async def deliver(self, row: OutboxRow) -> None:
        """Log the row's body as one info line."""
        _log.bind(**row.body).info("alarm action logged", row_id=row.id, url=row.url)
