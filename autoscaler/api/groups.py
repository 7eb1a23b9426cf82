"""``/v1/groups``, and the freeze that holds them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import structlog
from fastapi import APIRouter, Query

from autoscaler.api.asked import NO_QUERY, DecisionPage, FreezeBody, PauseBody
from autoscaler.api.callers import Caller
from autoscaler.api.wire import (
    DecisionAnswer,
    FreezeAnswer,
    GroupAnswer,
    decision_answer,
    freeze_answer,
    group_answer,
)

if TYPE_CHECKING:
    from autoscaler.engine.service import Service

log = structlog.get_logger()


def router(service: Service) -> APIRouter:
    """The paths."""
    paths = APIRouter(prefix="/v1", tags=["groups"])

    @paths.get("/groups", dependencies=[NO_QUERY])
    async def groups() -> list[GroupAnswer]:
        """All groups that are declared, by name."""
        return [group_answer(view) for view in await service.groups()]

    @paths.get("/groups/{name}", dependencies=[NO_QUERY])
    async def group(name: str) -> GroupAnswer:
        """One group as it stands."""
        return group_answer(await service.group(name))

    @paths.get("/groups/{name}/decisions")
    async def decisions(name: str, asked: Annotated[DecisionPage, Query()]) -> list[DecisionAnswer]:
        """What was decided about a group, refusals included, newest first."""
        return [decision_answer(decision) for decision in await service.decisions(name, limit=asked.limit)]

    @paths.post("/groups/{name}/pause", dependencies=[NO_QUERY])
    async def pause(name: str, caller: Caller, asked: PauseBody | None = None) -> GroupAnswer:
        """Leave a group alone."""
        asked = asked or PauseBody()
        view = await service.pause(
            name, seconds=asked.length(), reason=asked.reason, direction=asked.direction or "", actor=caller
        )
        log.info("group paused", group=name, by=caller.name, address=caller.address, reason=asked.reason)
        return group_answer(view)

    @paths.post("/groups/{name}/resume", dependencies=[NO_QUERY])
    async def resume(name: str, caller: Caller) -> GroupAnswer:
        """Let a group move again."""
        view = await service.resume(name)
        log.info("group resumed", group=name, by=caller.name, address=caller.address)
        return group_answer(view)

    @paths.post("/freeze", dependencies=[NO_QUERY])
    async def freeze(caller: Caller, asked: FreezeBody | None = None) -> FreezeAnswer:
        """Hold every group, on every replica."""
        reason = "" if asked is None else asked.reason
        found = await service.freeze(reason, caller)
        log.info("groups frozen", by=caller.name, address=caller.address, reason=reason)
        return freeze_answer(found)

    @paths.post("/unfreeze", dependencies=[NO_QUERY])
    async def unfreeze(caller: Caller) -> dict[str, None]:
        """Let groups move again."""
        await service.unfreeze()
        log.info("groups unfrozen", by=caller.name, address=caller.address)
        return {"frozen": None}

    return paths
