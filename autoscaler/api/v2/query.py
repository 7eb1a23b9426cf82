"""Aodh's complex query language: a filter and an order, both JSON in a text.

A leaf says one thing of one field, ``{"=": {"name": "web"}}``; ``and``, ``or`` and ``not`` join leaves. Operators may
be written in any case. As in SQL a field without a value makes a leaf neither true nor false.

Source:
    aodh/api/controllers/v2/query.py, 23.0.0, for the language; what it means is the database's there.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, assert_never

import msgspec
import re2

from autoscaler.alarms.alarm import Severity
from autoscaler.api.v2.times import parsed

if TYPE_CHECKING:
    from typing import Final

Value = str | bool | int
"""Of a field: text, a flag, the rank of a severity, or microseconds since 1970."""

LONGEST_PATTERN: Final = 1000
"""Characters of a regular expression."""
DEEPEST: Final = 100
"""Levels of a filter."""
RANKS: Final[Mapping[str, int]] = {severity: rank for rank, severity in enumerate(Severity)}
ALIASES: Final[Mapping[str, str]] = {"user": "user_id", "project": "project_id"}

_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    "=<": operator.le,
    ">=": operator.ge,
    "=>": operator.ge,
}
OPERATORS: Final = (*_COMPARISONS, "=~", "in", "and", "or", "not")


class Kind(Enum):
    """How a field's values are read and compared."""

    TEXT = auto()
    FLAG = auto()
    TIME = auto()
    SEVERITY = auto()


class QueryError(ValueError):
    """A query that cannot be understood; says why."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """What is asked of one field.

    Attributes:
        named: the values that it names, as they were written.
        test: of the field's value.
        exact: nothing but these values passes.
    """

    field: str
    named: tuple[Any, ...]
    test: Callable[[Any], bool]
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Every:
    """Every part must hold."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """A part must hold."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part must not hold."""

    part: Filter


Filter = Leaf | Every | Some | Not


@dataclass(frozen=True, slots=True)
class OrderBy:
    """One key to sort by."""

    field: str
    descending: bool = False


def holds(query: Filter, value_of: Callable[[str], Value | None]) -> bool | None:
    """Whether a filter is true of something; None where that rests on a field that it has no value for.

    Args:
        value_of: the value of a field, None for none.
    """
    match query:
        case Leaf():
            value = value_of(query.field)
            return None if value is None else query.test(value)
        case Not():
            found = holds(query.part, value_of)
            return None if found is None else not found
        case Every():
            return _joined(query.parts, value_of, decisive=False)
        case Some():
            return _joined(query.parts, value_of, decisive=True)
        case _:
            assert_never(query)


def _joined(parts: tuple[Filter, ...], value_of: Callable[[str], Value | None], *, decisive: bool) -> bool | None:
    result: bool | None = not decisive
    for part in parts:
        found = holds(part, value_of)
        if found is decisive:
            return decisive
        if found is None:
            result = None
    return result


def fields_of(query: Filter) -> set[str]:
    """The fields that a filter asks about."""
    return {leaf.field for leaf in leaves_of(query)}


def leaves_of(query: Filter) -> list[Leaf]:
    """What a filter is made of, in the order written."""
    match query:
        case Leaf():
            return [query]
        case Not():
            return leaves_of(query.part)
        case Every() | Some():
            return [leaf for part in query.parts for leaf in leaves_of(part)]
        case _:
            assert_never(query)


def only(query: Filter, field: str) -> set[Any] | None:
    """The only values of a field of which a filter can be true; None where there may be others."""
    match query:
        case Leaf():
            return set(query.named) if query.field == field and query.exact else None
        case Every():
            found = [values for part in query.parts if (values := only(part, field)) is not None]
            return set.intersection(*found) if found else None
        case Some():
            each = [only(part, field) for part in query.parts]
            return set().union(*(values or () for values in each)) if None not in each else None
        case Not():
            return None
        case _:
            assert_never(query)


def parse_filter(text: str, fields: Mapping[str, Kind]) -> Filter:
    """A filter as it is written.

    Raises:
        QueryError: it is not JSON, not of the language, or asks for what a field cannot be.
    """
    return _parse(_decoded(text), fields, 0)


def parse_order(text: str, fields: Mapping[str, Kind]) -> list[OrderBy]:
    """The keys to sort by, the first weighs most.

    Raises:
        QueryError: it is not a list of ``{"FIELD": "asc"}`` or ``desc``.
    """
    document = _decoded(text)
    if not isinstance(document, list):
        raise QueryError('expected a list such as [{"timestamp": "desc"}]')
    order = []
    for item in document:
        field, direction = _single(item, 'an object such as {"timestamp": "desc"}')
        if not isinstance(direction, str) or direction.lower() not in {"asc", "desc"}:
            raise QueryError(f"expected asc or desc for {field}, got {_shown(direction)}")
        order.append(OrderBy(_known(field, fields), direction.lower() == "desc"))
    return order


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise QueryError(str(error)) from error
    except RecursionError as error:
        raise QueryError("too many levels") from error


def _parse(document: Any, fields: Mapping[str, Kind], level: int) -> Filter:
    written, operand = _single(document, 'an object with one operator, such as {"=": {"name": "web"}}')
    if level > DEEPEST:
        raise QueryError(f"expected at most {DEEPEST} levels")
    match written.lower():
        case "and" | "or" as junction:
            if not isinstance(operand, list) or len(operand) < 2:
                raise QueryError(f"{_shown(written)} expects a list of at least two filters")
            parts = tuple(_parse(part, fields, level + 1) for part in operand)
            return Every(parts) if junction == "and" else Some(parts)
        case "not":
            return Not(_parse(operand, fields, level + 1))
        case "in":
            field, values = _leaf(written, operand, fields)
            if not isinstance(values, list) or not values:
                raise QueryError(f"{_shown(written)} expects a list of at least one value")
            among = {_value(field, fields[field], value) for value in values}
            return Leaf(field, tuple(values), among.__contains__, exact=True)
        case "=~":
            field, pattern = _leaf(written, operand, fields)
            return Leaf(field, (pattern,), _search(field, fields[field], pattern))
        case name if name in _COMPARISONS:
            field, value = _leaf(written, operand, fields)
            right = _value(field, fields[field], value)
            return Leaf(field, (value,), _comparison(name, field, fields[field], right), exact=name == "=")
        case _:
            raise QueryError(f"unknown operator {_shown(written)}; known are {', '.join(OPERATORS)}")


def _comparison(name: str, field: str, kind: Kind, right: Value) -> Callable[[Any], bool]:
    if kind is Kind.SEVERITY and right == len(RANKS) and name not in {"=", "!="}:
        raise QueryError(f"expected one of {', '.join(RANKS)} for {field}")
    compare = _COMPARISONS[name]
    return lambda left: compare(left, right)


def _search(field: str, kind: Kind, pattern: Any) -> Callable[[Any], bool]:
    """A regular expression that is found in linear time, whatever it is."""
    if kind is Kind.FLAG or kind is Kind.TIME:
        raise QueryError(f'"=~" does not apply to {field}')
    if not isinstance(pattern, str) or len(pattern) > LONGEST_PATTERN:
        raise QueryError(f'"=~" expects a regular expression of at most {LONGEST_PATTERN} characters')
    options = re2.Options()
    options.log_errors = False
    try:
        found = re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        raise QueryError(f"{_shown(pattern)} is no regular expression: {reason}") from error
    if kind is Kind.SEVERITY:
        ranks = frozenset(rank for name, rank in RANKS.items() if found.search(name))
        return ranks.__contains__
    return lambda left: found.search(left) is not None


def _leaf(written: str, operand: Any, fields: Mapping[str, Kind]) -> tuple[str, Any]:
    field, value = _single(operand, f'an object with one field after "{written}", such as {{"name": "web"}}')
    return _known(field, fields), value


def _known(field: str, fields: Mapping[str, Kind]) -> str:
    name = ALIASES.get(field, field)
    if name not in fields:
        raise QueryError(
            f"unknown field {_shown(field)}; known are {', '.join(sorted(fields.keys() | ALIASES.keys()))}"
        )
    return name


def _single(document: Any, expected: str) -> tuple[str, Any]:
    if not isinstance(document, Mapping) or len(document) != 1:
        raise QueryError(f"expected {expected}, got {_shown(document)}")
    ((key, value),) = document.items()
    return key, value


def _value(field: str, kind: Kind, value: Any) -> Value:
    match kind:
        case Kind.TEXT:
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                return str(value)
            raise QueryError(f"expected text for {field}, got {_shown(value)}")
        case Kind.FLAG:
            text = str(value).lower()
            if isinstance(value, str | int) and text in {"true", "false", "1", "0"}:
                return text in {"true", "1"}
            raise QueryError(f"expected true or false for {field}, got {_shown(value)}")
        case Kind.TIME:
            try:
                return parsed(str(value))
            except ValueError as error:
                raise QueryError(f"Failed to parse the timestamp value {_shown(value)}") from error
        case Kind.SEVERITY:
            if not isinstance(value, str):
                raise QueryError(f"expected text for {field}, got {_shown(value)}")
            return RANKS.get(value, len(RANKS))
        case _:
            assert_never(kind)


def foreign_value(query: Filter, field: str, own: str) -> Any:
    """The first value that a filter names for a field and that is not ``own``; None where there is none."""
    named: Collection[Any] = [value for leaf in leaves_of(query) if leaf.field == field for value in leaf.named]
    return next((value for value in named if value != own), None)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= 100 else f"{text[:100]}..."
