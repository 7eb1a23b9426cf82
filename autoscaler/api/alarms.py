"""``/v1/alarms``: declared alarms and their states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query

from autoscaler.api.asked import NO_QUERY, AlarmFilter, HistoryPage
from autoscaler.api.callers import READS
from autoscaler.api.identity import Asker, Identity
from autoscaler.api.wire import AlarmAnswer, HistoryAnswer, alarm_answer, history_answer
from autoscaler.engine.service import AlarmView, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.alarms.alarm import Alarm
    from autoscaler.engine.service import Service


def router(service: Service) -> APIRouter:
    """The paths."""
    paths = APIRouter(prefix="/v1/alarms", tags=["alarms"], dependencies=[READS])

    @paths.get("")
    async def alarms(asked: Annotated[AlarmFilter, Query()], asker: Asker) -> list[AlarmAnswer]:
        """All alarms, by name; whoever is no admin is shown those of their own project."""
        found = [alarm for alarm in _visible(service, asker) if asked.name in (None, alarm.name)]
        return [alarm_answer(view) for view in await _views(service, found) if asked.state in (None, view.record.state)]

    # names may hold slashes, and the longer path is looked at first
    @paths.get("/{alarm:path}/history")
    async def history(alarm: str, asked: Annotated[HistoryPage, Query()], asker: Asker) -> list[HistoryAnswer]:
        """What happened to an alarm, newest first."""
        found = await _found(service, alarm, asker)
        return [history_answer(entry) for entry in await service.history(found.alarm.alarm_id, limit=asked.limit)]

    @paths.get("/{alarm:path}", dependencies=[NO_QUERY])
    async def alarm(alarm: str, asker: Asker) -> AlarmAnswer:
        """One alarm, by id or name."""
        return alarm_answer(await _found(service, alarm, asker))

    return paths


def _visible(service: Service, asker: Identity) -> list[Alarm]:
    """The alarms that are somebody's to see, by name."""
    listings = service.listings(None if asker.sees_all else asker.project_id)
    visible = (listing.alarm for listing in listings if asker.owns(listing.alarm.project_id))
    return sorted(visible, key=lambda alarm: (alarm.name, alarm.alarm_id))


async def _views(service: Service, alarms: Sequence[Alarm]) -> list[AlarmView]:
    records = await service.records([alarm.alarm_id for alarm in alarms])
    return [AlarmView(alarm, record) for alarm, record in zip(alarms, records, strict=True)]


async def _found(service: Service, name_or_id: str, asker: Identity) -> AlarmView:
    """One alarm; another project's is not there, nor does its name stand in the way of one's own."""
    if asker.sees_all:
        return await service.alarm(name_or_id)
    mine = _visible(service, asker)
    found = [alarm for alarm in mine if alarm.alarm_id == name_or_id]
    found = found or [alarm for alarm in mine if alarm.name == name_or_id]
    if len(found) != 1:
        problem = f"{len(found)} alarms named {name_or_id}; name one by its id"
        raise NotFoundError(problem if found else f"no alarm named {name_or_id}")
    (view,) = await _views(service, found)
    return view
