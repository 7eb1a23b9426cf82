"""``/v2/query``: alarms and their histories found by complex queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from autoscaler.api.v2 import lists, simple
from autoscaler.api.v2.errors import FaultError, foreign
from autoscaler.api.v2.fields import Object, text, whole
from autoscaler.api.v2.permission import limited_to, reader
from autoscaler.api.v2.query import (
    Filter,
    Kind,
    OrderBy,
    QueryError,
    fields_of,
    foreign_value,
    holds,
    only,
    parse_filter,
    parse_order,
)
from autoscaler.api.v2.requests import decoded
from autoscaler.api.v2.shown import ALARM_FIELDS, ENTRY_FIELDS, Row, alarm_value, entry_value

if TYPE_CHECKING:
    from autoscaler.engine.service import Service
    from autoscaler.ports import HistoryEntry


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query as it was sent; ``wanted`` is None where everything is, ``limit`` where there is none."""

    wanted: Filter | None
    order: Sequence[OrderBy]
    limit: int | None


class Search:
    """The methods of ``/v2/query/alarms`` and ``/v2/query/alarms/history``."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def alarms(self, request: Request) -> Response:
        """Alarms by a complex query."""
        identity = reader(request)
        simple.check_arguments(request, ())
        own = limited_to(identity)
        asked = _parse(await decoded(request, "body"), ALARM_FIELDS)
        wanted = _within(asked.wanted, "project_id", own)

        def test(row: Row) -> bool | None:
            return wanted is None or holds(wanted, lambda field: alarm_value(row, field))

        return await lists.alarms(
            self._service,
            self._service.listings(own),
            test,
            asks=() if wanted is None else fields_of(wanted),
            order=asked.order,
            limit=asked.limit,
        )

    async def history(self, request: Request) -> Response:
        """Lines of histories by a complex query."""
        identity = reader(request)
        simple.check_arguments(request, ())
        own = limited_to(identity)
        asked = _parse(await decoded(request, "body"), ENTRY_FIELDS)
        wanted = _within(asked.wanted, "on_behalf_of", own)
        named = None if wanted is None else only(wanted, "alarm_id")

        def test(entry: HistoryEntry) -> bool:
            if own is not None and entry.on_behalf_of != own:
                return False
            return wanted is None or holds(wanted, lambda field: entry_value(entry, field)) is True

        return await lists.entries(
            self._service,
            await self._service.histories(own) if named is None else sorted(map(str, named)),
            test,
            order=asked.order,
            limit=asked.limit,
        )


def _parse(document: Any, fields: Mapping[str, Kind]) -> _Asked:
    asked = Object(document, "body", "body", ("filter", "orderby", "limit"))
    wanted, order = asked.given("filter", text), asked.given("orderby", text)
    limit = asked.given("limit", whole(-(10**9), 10**9))
    if limit is not None and limit <= 0:
        raise FaultError(400, "Limit should be positive")
    try:
        parsed = None if wanted is None else parse_filter(wanted, fields)
    except QueryError as error:
        raise FaultError(400, f"Filter expression not valid: {error}") from error
    try:
        ordered = simple.NEWEST_FIRST if order is None else parse_order(order, fields)
    except QueryError as error:
        raise FaultError(400, f"Order-by expression not valid: {error}") from error
    return _Asked(parsed, ordered, limit)


def _within(wanted: Filter | None, field: str, own: str | None) -> Filter | None:
    """A filter that names no project but one's own; None for ``own`` may name any."""
    if wanted is not None and own is not None:
        value = foreign_value(wanted, field, own)
        if value is not None:
            raise foreign("project", value)
    return wanted
