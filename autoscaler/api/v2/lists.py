"""Lists of alarms and of their histories: found, sorted and shown in slices."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response

from autoscaler.api.v2.errors import FaultError
from autoscaler.api.v2.ordering import Key, in_order, slices, sort_key
from autoscaler.api.v2.query import OrderBy
from autoscaler.api.v2.shown import LIVE, Row, alarm_value, entry_value, shown_alarm, shown_entry
from autoscaler.ports import HISTORY_ENTRIES, HistoryEntry

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.engine.catalogue import Listing
    from autoscaler.engine.service import Service

AT_ONCE: Final = 200
"""Histories that are read in one go."""
Test = Callable[[Row], bool | None]
"""Whether an alarm belongs to a list; None while that rests on its record and it has none."""


async def alarms(
    service: Service,
    listings: Collection[Listing],
    test: Test,
    *,
    asks: Collection[str],
    order: Sequence[OrderBy],
    limit: int | None,
    marker: str = "",
) -> Response:
    """The alarms that pass a test.

    Args:
        asks: the fields that ``test`` looks at.
        marker: the id of the last one of the page before; "" for the first page.

    Raises:
        FaultError: the marker is none of them.
    """
    live = bool(LIVE & (set(asks) | {by.field for by in order}))
    key = sort_key(order, alarm_value, lambda row: row.alarm_id)
    # the collection changes while this waits
    present = list(listings)
    after = await _key_of(service, present, marker, test, key) if marker else None
    found = await in_order(_found(service, present, test, live=live), key, limit=limit, after=after)
    return await _shown_alarms(service, found)


async def _found(service: Service, listings: Sequence[Listing], test: Test, *, live: bool) -> AsyncIterator[list[Row]]:
    async for piece in slices(listings):
        # what can be told without the record spares reading it
        possible = [row for row in map(Row, piece) if test(row) is not False]
        if live:
            possible = [row for row in await _recorded(service, possible) if test(row) is True]
        yield possible


async def _recorded(service: Service, rows: Sequence[Row]) -> list[Row]:
    if not rows:
        return []
    records = await service.records([row.alarm_id for row in rows])
    return [Row(row.listing, record) for row, record in zip(rows, records, strict=True)]


async def _key_of(
    service: Service, listings: Sequence[Listing], marker: str, test: Test, key: Callable[[Row], Key]
) -> Key:
    marked = [Row(listing) for listing in listings if listing.alarm.alarm_id == marker]
    for row in await _recorded(service, marked):
        if test(row) is True:
            return key(row)
    raise FaultError(400, f"Marker {marker} not found.")


async def _shown_alarms(service: Service, rows: Sequence[Row]) -> Response:
    parts: list[bytes] = []
    async for piece in slices(rows):
        for row in await _recorded(service, [row for row in piece if row.record is None]) or piece:
            assert row.record is not None  # all of a list have one or none has
            parts.append(msgspec.json.encode(shown_alarm(row.listing, row.record)))
    return joined(parts)


async def entries(
    service: Service,
    alarm_ids: Sequence[str],
    test: Callable[[HistoryEntry], bool],
    *,
    order: Sequence[OrderBy],
    limit: int | None,
    marker: str = "",
) -> Response:
    """The lines of some histories that pass a test.

    Raises:
        FaultError: the marker is none of them.
    """
    key = sort_key(order, entry_value, lambda entry: entry.event_id)
    after = None
    if marker:
        async for piece in _lines(service, alarm_ids, lambda entry: entry.event_id == marker and test(entry)):
            after = key(piece[0]) if piece else after
        if after is None:
            raise FaultError(400, f"Marker {marker} not found.")
    found = await in_order(_lines(service, alarm_ids, test), key, limit=limit, after=after)
    parts: list[bytes] = []
    async for piece in slices(found):
        parts += [msgspec.json.encode(shown_entry(entry)) for entry in piece]
    return joined(parts)


async def _lines(
    service: Service, alarm_ids: Sequence[str], test: Callable[[HistoryEntry], bool]
) -> AsyncIterator[list[HistoryEntry]]:
    for first in range(0, len(alarm_ids), AT_ONCE):
        for lines in await service.entries(alarm_ids[first : first + AT_ONCE], limit=HISTORY_ENTRIES):
            async for piece in slices(lines):
                yield [entry for entry in piece if test(entry)]


def joined(parts: Sequence[bytes]) -> Response:
    """One list of JSON, of encoded parts."""
    return Response(b"[" + b",".join(parts) + b"]", media_type="application/json")
