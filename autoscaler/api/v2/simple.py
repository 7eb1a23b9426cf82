"""Aodh's simple queries: ``q.field``, ``q.op``, ``q.value`` and ``q.type`` of a URL, each repeated, and paging.

Source:
    aodh/api/controllers/v2/base.py and utils.py, 23.0.0.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request

from autoscaler.api.v2.errors import FaultError, invalid, unknown_argument
from autoscaler.api.v2.query import OrderBy
from autoscaler.api.v2.rules import check_converts
from autoscaler.api.v2.times import parsed

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.api.v2.query import Value
    from autoscaler.ports import HistoryEntry

QUERY: Final = ("q.field", "q.op", "q.value", "q.type")
PAGING: Final = ("sort", "limit", "marker")
TYPES: Final = ("integer", "float", "string", "boolean", "datetime")
ALARM_FIELDS: Final = (
    "all_projects",
    "user_id",
    "project_id",
    "type",
    "name",
    "enabled",
    "state",
    "severity",
    "timestamp",
    "repeat_actions",
)
ALARM_SORT_KEYS: Final = (
    "alarm_id",
    "enabled",
    "name",
    "type",
    "severity",
    "timestamp",
    "user_id",
    "project_id",
    "state",
    "repeat_actions",
    "state_timestamp",
)
HISTORY_FIELDS: Final = ("project", "search_offset", "severity", "timestamp", "type", "user")
HISTORY_SORT_KEYS: Final = (
    "event_id",
    "alarm_id",
    "on_behalf_of",
    "project_id",
    "user_id",
    "type",
    "timestamp",
    "severity",
)
NEWEST_FIRST: Final = (OrderBy("timestamp", descending=True),)
LATER: Final[dict[str, Callable[[int, int], bool]]] = {
    "lt": lambda time, bound: time < bound,
    "le": lambda time, bound: time <= bound,
    "gt": lambda time, bound: time > bound,
    "ge": lambda time, bound: time >= bound,
}
MINUTE: Final = 60_000_000
"""Microseconds."""
FURTHEST: Final = 1_000_000_000
"""Minutes of a search offset, some 1900 years."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One condition of a simple query; ``type`` is "" where none was named."""

    field: str
    op: str
    value: str
    type: str

    def checked(self) -> str:
        """The value, if it is of the type it is said to be."""
        if self.type and self.type not in TYPES:
            raise FaultError(
                400, f"The data type {self.type} is not supported. The supported data type list is: {list(TYPES)}"
            )
        if self.type == "datetime":
            self.time()
        check_converts(self.value, self.type)
        return self.value

    def flag(self) -> bool:
        """The value as a truth value."""
        check_converts(self.value, "boolean")
        return self.value.strip().lower() in {"1", "t", "true", "on", "y", "yes"}

    def time(self) -> int:
        """The value as a time, in microseconds since 1970."""
        try:
            return parsed(self.value)
        except ValueError as error:
            raise invalid("timestamp", self.value, "invalid timestamp format") from error


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list.

    Attributes:
        limit: None means all.
        marker: the id of the last one of the page before; "" for the first page.
    """

    order: Sequence[OrderBy]
    limit: int | None
    marker: str


def check_arguments(request: Request, known: Collection[str]) -> None:
    """Refuse parameters that a path does not have."""
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        raise unknown_argument(unknown)


def parse_query(request: Request) -> list[Asked]:
    """The conditions; values belong together by their position, as WSME has it.

    Raises:
        FaultError: a field or value is missing.
    """
    fields, ops, values, types = (request.query_params.getlist(name) for name in QUERY)
    if len(values) != len(fields):
        raise FaultError(400, f'Missing argument: "{"q.value" if len(values) < len(fields) else "q.field"}"')
    ops += ["eq"] * (len(fields) - len(ops))
    types += [""] * (len(fields) - len(types))
    return [Asked(*parts) for parts in zip(fields, (op or "eq" for op in ops), values, types, strict=False)]


def parse_page(request: Request, keys: Sequence[str]) -> Page:
    """Sort, limit and marker.

    Raises:
        FaultError: one of them is not possible.
    """
    return Page(
        order=[_sort(written, keys) for written in request.query_params.getlist("sort")] or NEWEST_FIRST,
        limit=_limit(request.query_params.get("limit") or "0") or None,
        marker=request.query_params.get("marker", ""),
    )


def _sort(written: str, keys: Sequence[str]) -> OrderBy:
    key, _, direction = written.partition(":")
    if key not in keys:
        raise invalid(
            "sort",
            written,
            "the sort parameter should be a pair of sort key and sort dir combined with ':', or only sort key "
            "specified and sort dir will be default 'asc', the supported sort keys are: "
            f"({', '.join(map(repr, keys))})",
        )
    if direction not in {"", "asc", "desc"}:
        raise invalid("sort", written, "the sort dir should be asc or desc")
    return OrderBy(key, direction == "desc")


def _limit(written: str) -> int:
    try:
        limit = int(written)
    except ValueError as error:
        raise invalid("limit", written, "unable to convert to int") from error
    if limit < 0:
        raise invalid("limit", written, "it should be a positive integer.")
    return limit


def check_alarm_query(asked: Sequence[Asked]) -> None:
    """Refuse fields and operators that lists of alarms do not know."""
    fields, ops = {each.field for each in asked}, {each.op for each in asked}
    if not fields <= set(ALARM_FIELDS):
        raise invalid("field", _set(fields), f"only fields {_set(ALARM_FIELDS)} are allowed")
    if not ops <= {"eq"}:
        raise invalid("op", _set(ops), f"only operations {_set(('eq',))} are allowed")


def _set(names: Collection[str]) -> str:
    return f"{{{', '.join(map(repr, sorted(names)))}}}"


def alarm_value(asked: Asked) -> Value:
    """What a condition on alarms compares its field with."""
    match asked.field:
        case "enabled" | "repeat_actions":
            return asked.flag()
        case "timestamp":
            return asked.time()
        case _:
            return asked.checked()


def parse_history(asked: Sequence[Asked]) -> Callable[[HistoryEntry], bool]:
    """What the conditions on a history mean.

    Raises:
        FaultError: a field or operator that histories do not know.
    """
    fields = {each.field for each in asked}
    if "search_offset" in fields and "timestamp" not in fields:
        raise invalid("field", "search_offset", "search_offset cannot be used without timestamp")
    offset = sum(_offset(each) for each in asked if each.field == "search_offset")
    tests = [test for each in asked if (test := _entry_test(each, offset)) is not None]
    return lambda entry: all(test(entry) for test in tests)


def _offset(asked: Asked) -> int:
    try:
        minutes = int(asked.value)
    except ValueError as error:
        raise invalid("search_offset", asked.value, "unable to convert to int") from error
    if abs(minutes) > FURTHEST:
        raise invalid("search_offset", asked.value, f"it should be at most {FURTHEST}")
    return minutes * MINUTE


def _entry_test(asked: Asked, offset: int) -> Callable[[HistoryEntry], bool] | None:
    field = {"user_id": "user", "project_id": "project"}.get(asked.field, asked.field)
    if field not in HISTORY_FIELDS:
        raise unknown_argument([field], f"unrecognized field in query, valid keys: {list(HISTORY_FIELDS)}")
    if field == "timestamp":
        return _time_test(asked, offset)
    if asked.op != "eq":
        raise invalid("op", asked.op, f"unimplemented operator for {asked.field}")
    value = asked.checked()
    match field:
        case "user":
            return lambda entry: entry.user_id == value
        case "project":
            return lambda entry: entry.project_id == value
        case "type":
            return lambda entry: entry.type == value
        case "severity":
            return lambda entry: entry.severity == value
        case _:
            return None


def _time_test(asked: Asked, offset: int) -> Callable[[HistoryEntry], bool]:
    compare = LATER.get(asked.op)
    if compare is None:
        raise invalid("op", asked.op, "unimplemented operator for timestamp")
    # the offset widens the span at the end that was named
    bound = asked.time() + (offset if asked.op in {"lt", "le"} else -offset)
    return lambda entry: compare(round(entry.timestamp * 1e6), bound)
