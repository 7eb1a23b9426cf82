"""``/v1/alarms``: declared alarms and their states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from autoscaler.api.asked import NO_QUERY, AlarmFilter, HistoryPage
from autoscaler.api.callers import READS
from autoscaler.api.identity import Asker, Identity
from autoscaler.api.v2.lists import joined
from autoscaler.api.v2.ordering import in_order, slices
from autoscaler.api.wire import AlarmAnswer, HistoryAnswer, alarm_answer, history_answer
from autoscaler.engine.service import AlarmView, NotFoundError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Sequence

    from autoscaler.alarms.alarm import Alarm
    from autoscaler.engine.service import Listing, Service


def router(service: Service) -> APIRouter:
    """The paths."""
    paths = APIRouter(prefix="/v1/alarms", tags=["alarms"], dependencies=[READS])

    @paths.get("", response_model=list[AlarmAnswer])
    async def alarms(asked: Annotated[AlarmFilter, Query()], asker: Asker) -> Response:
        """All alarms, by name; whoever is no admin is shown those of their own project."""
        # the collection changes while this waits
        found = await in_order(_visible(list(_listings(service, asker)), asker, asked.name), _by_name)
        parts: list[bytes] = []
        async for piece in slices(found):
            parts += [
                alarm_answer(view).model_dump_json().encode()
                for view in await _views(service, piece)
                if asked.state in (None, view.record.state)
            ]
        return joined(parts)

    # names may hold slashes, and the longer path is looked at first
    @paths.get("/{alarm:path}/history")
    async def history(alarm: str, asked: Annotated[HistoryPage, Query()], asker: Asker) -> list[HistoryAnswer]:
        """What happened to an alarm, newest first."""
        found = await _found(service, alarm, asker)
        return [history_answer(entry) for entry in await service.history_of(found.alarm.alarm_id, limit=asked.limit)]

    @paths.get("/{alarm:path}", dependencies=[NO_QUERY])
    async def alarm(alarm: str, asker: Asker) -> AlarmAnswer:
        """One alarm, by id or name."""
        return alarm_answer(await _found(service, alarm, asker))

    return paths


def _by_name(alarm: Alarm) -> tuple[str, str]:
    return alarm.name, alarm.alarm_id


def _listings(service: Service, asker: Identity) -> Collection[Listing]:
    """Those among which are all that are somebody's to see."""
    return service.listings(None if asker.sees_all else asker.project_id)


async def _visible(listings: Iterable[Listing], asker: Identity, name: str | None) -> AsyncIterator[list[Alarm]]:
    """The alarms that are somebody's to see, of this name where there is one, in pieces."""
    async for piece in slices(listings):
        alarms = [listing.alarm for listing in piece]
        yield [alarm for alarm in alarms if name in (None, alarm.name) and asker.owns(alarm.project_id)]


async def _views(service: Service, alarms: Sequence[Alarm]) -> list[AlarmView]:
    records = await service.records([alarm.alarm_id for alarm in alarms])
    return [AlarmView(alarm, record) for alarm, record in zip(alarms, records, strict=True)]


async def _found(service: Service, name_or_id: str, asker: Identity) -> AlarmView:
    """One alarm; another project's is not there, nor does its name stand in the way of one's own."""
    alarm = await _with_id(service, name_or_id, asker)
    if alarm is None:
        found = await in_order(_visible(list(_listings(service, asker)), asker, name_or_id), _by_name, limit=2)
        if len(found) != 1:
            problem = f"several alarms named {name_or_id}; name one by its id"
            raise NotFoundError(problem if found else f"no alarm named {name_or_id}")
        (alarm,) = found
    (view,) = await _views(service, [alarm])
    return view


async def _with_id(service: Service, alarm_id: str, asker: Identity) -> Alarm | None:
    try:
        alarm = (await service.listing(alarm_id)).alarm
    except NotFoundError:
        return None
    return alarm if asker.owns(alarm.project_id) else None
