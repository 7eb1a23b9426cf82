"""``/v1/groups``, and the freeze that holds them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query

from autoscaler.api.asked import NO_QUERY, DecisionPage, FreezeBody, PauseBody
from autoscaler.api.callers import CHANGES, OPERATES, READS, Caller
from autoscaler.api.identity import Asker, Identity
from autoscaler.api.wire import (
    DecisionAnswer,
    FreezeAnswer,
    GroupAnswer,
    decision_answer,
    freeze_answer,
    group_answer,
)
from autoscaler.engine.service import NotFoundError
from autoscaler.engine.signal import HEAT

if TYPE_CHECKING:
    from autoscaler.engine.service import GroupView, Service


def router(service: Service) -> APIRouter:
    """The paths."""
    paths = APIRouter(prefix="/v1", tags=["groups"])

    @paths.get("/groups", dependencies=[NO_QUERY, READS])
    async def groups(asker: Asker) -> list[GroupAnswer]:
        """All groups, by name, and then those of Heat's that alarms signal; others than admins see their project's."""
        signalled = await service.signalled(None if asker.is_admin else asker.project_id)
        views = [*await service.groups(), *signalled]
        return [group_answer(view) for view in views if asker.owns(view.group.project_id)]

    @paths.get("/groups/{name}", dependencies=[NO_QUERY, READS])
    async def group(name: str, asker: Asker) -> GroupAnswer:
        """One group as it stands."""
        return group_answer(await _found(service, name, asker))

    @paths.get("/groups/{name}/decisions", dependencies=[READS])
    async def decisions(name: str, asked: Annotated[DecisionPage, Query()], asker: Asker) -> list[DecisionAnswer]:
        """What was decided about a group, refusals included, newest first."""
        view = await _found(service, name, asker)
        return [decision_answer(decision) for decision in await service.decisions(view.group.name, limit=asked.limit)]

    @paths.post("/groups/{name}/pause", dependencies=[NO_QUERY, CHANGES])
    async def pause(name: str, caller: Caller, asker: Asker, asked: PauseBody | None = None) -> GroupAnswer:
        """Leave a group alone."""
        found = await _found(service, name, asker)
        asked = asked or PauseBody()
        view = await service.pause(
            found.group.name, seconds=asked.length(), reason=asked.reason, direction=asked.direction or "", actor=caller
        )
        return group_answer(view)

    @paths.post("/groups/{name}/resume", dependencies=[NO_QUERY, CHANGES])
    async def resume(name: str, caller: Caller, asker: Asker) -> GroupAnswer:
        """Let a group move again."""
        found = await _found(service, name, asker)
        return group_answer(await service.resume(found.group.name, caller))

    @paths.post("/freeze", dependencies=[NO_QUERY, OPERATES])
    async def freeze(caller: Caller, asked: FreezeBody | None = None) -> FreezeAnswer:
        """Hold every group, on every replica."""
        reason = "" if asked is None else asked.reason
        return freeze_answer(await service.freeze(reason, caller))

    @paths.post("/unfreeze", dependencies=[NO_QUERY, OPERATES])
    async def unfreeze(caller: Caller) -> dict[str, None]:
        """Let groups move again."""
        await service.unfreeze(caller)
        return {"frozen": None}

    return paths


async def _found(service: Service, name: str, asker: Identity) -> GroupView:
    """One group; another project's is not there. One that Heat owns goes by the name of its stack, too."""
    try:
        view = await service.group(name)
    except NotFoundError:
        if not name.startswith(HEAT):
            raise
        theirs = await service.signalled(None if asker.is_admin else asker.project_id)
        named = [view for view in theirs if _by_stack(view) == name and asker.owns(view.group.project_id)]
        if len(named) != 1:
            raise
        return named[0]
    if not asker.owns(view.group.project_id):
        raise NotFoundError(f"no group named {name}")
    return view


def _by_stack(view: GroupView) -> str:
    return f"{HEAT}{view.group.target['stack']}:{view.group.target['group']}"
