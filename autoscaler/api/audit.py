"""``/v1/audit``: who changed what, for operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query

from autoscaler.api.asked import AuditPage
from autoscaler.api.callers import OPERATES
from autoscaler.api.wire import AuditAnswer, audit_answer

if TYPE_CHECKING:
    from autoscaler.engine.service import Service


def router(service: Service) -> APIRouter:
    """The path."""
    paths = APIRouter(prefix="/v1/audit", tags=["audit"], dependencies=[OPERATES])

    @paths.get("")
    async def audit(asked: Annotated[AuditPage, Query()]) -> list[AuditAnswer]:
        """Newest first; `before` is the id of the last one of the page before."""
        passes = asked.passes if asked.asks_for_some else None
        entries = await service.audit.entries(limit=asked.limit, before=asked.before or "", passes=passes)
        return [audit_answer(entry) for entry in entries]

    return paths
