"""What a shadow would have done: rows are told in the log, and nothing is sent to anybody."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

from autoscaler.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from autoscaler.ports import OutboxRow

log = structlog.get_logger()


class RecordedAction:
    """See :class:`autoscaler.ports.Action`.

    Args:
        schemes: of the URLs that it is in the place of whoever would call.
    """

    def __init__(self, schemes: Iterable[str]) -> None:
        self.schemes = frozenset(schemes)

    async def deliver(self, row: OutboxRow) -> None:
        """Say what would have been done."""
        log.info(
            "action recorded",
            alarm_id=row.alarm_id,
            row=row.id,
            scheme=urlsplit(row.url).scheme,
            url=redacted(row.url),
            current=row.body.get("current"),
        )
