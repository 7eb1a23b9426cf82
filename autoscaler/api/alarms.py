"""``/v1/alarms``: declared alarms and their states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query

from autoscaler.api.asked import NO_QUERY, AlarmFilter, HistoryPage
from autoscaler.api.wire import AlarmAnswer, HistoryAnswer, alarm_answer, history_answer

if TYPE_CHECKING:
    from autoscaler.engine.service import Service


def router(service: Service) -> APIRouter:
    """The paths."""
    paths = APIRouter(prefix="/v1/alarms", tags=["alarms"])

    @paths.get("")
    async def alarms(asked: Annotated[AlarmFilter, Query()]) -> list[AlarmAnswer]:
        """All alarms that are declared, by name."""
        return [
            alarm_answer(view)
            for view in await service.alarms()
            if asked.name in (None, view.alarm.name) and asked.state in (None, view.record.state)
        ]

    # names may hold slashes, and the longer path is looked at first
    @paths.get("/{alarm:path}/history")
    async def history(alarm: str, asked: Annotated[HistoryPage, Query()]) -> list[HistoryAnswer]:
        """What happened to an alarm, newest first."""
        return [history_answer(entry) for entry in await service.history(alarm, limit=asked.limit)]

    @paths.get("/{alarm:path}", dependencies=[NO_QUERY])
    async def alarm(alarm: str) -> AlarmAnswer:
        """One alarm, by id or name."""
        return alarm_answer(await service.alarm(alarm))

    return paths
