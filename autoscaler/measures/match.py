r"""Which series a rule looks at: a predicate over a measure's attributes.

The form on the wire is Gnocchi's resource search JSON (gnocchi/rest/api.py, ``ResourceSearchSchema``, 4.7.1), all of
it. Attributes are ``project_id``, ``resource_id`` (also ``id`` and ``original_resource_id``, as Gnocchi calls it) and
every key of a measure's metadata; others that Gnocchi knows (``ended_at``, ``lifespan``, ``created_by_project_id``)
are missing in every measure.

As in the SQL that Gnocchi makes of it, what is said of a missing attribute is neither true nor false, and neither is
its negation; only ``null`` asks whether it is missing. Equality is that of texts. What is ordered is compared as
numbers where both sides are, else as text, code point by code point. ``like`` minds case and knows ``%``, ``_`` and
``\`` before one of them, as in PostgreSQL.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any, Final, assert_never

if TYPE_CHECKING:
    from collections.abc import Callable

    from autoscaler.measures.measure import Measure

quoted: Final = encode_basestring_ascii
"""A text as ``json.dumps`` writes it, without the way to there: names of windows are made of it, one for each alarm."""
MAX_LEVELS = 64
"""Deepest nesting of a search."""
MAX_COMPARISONS = 500
"""Of a search, each value of a list for itself: every new series is held against all of them."""
MAX_PATTERN = 4096
"""Characters that ``like`` compares with; no value is so long."""


class Order(StrEnum):
    """How what is ordered is compared."""

    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="


@dataclass(frozen=True, slots=True)
class Equals:
    """True of measures whose attribute has exactly this value."""

    attribute: str
    value: str


@dataclass(frozen=True, slots=True)
class OneOf:
    """True of measures whose attribute has one of these values."""

    attribute: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ordered:
    """True of measures whose attribute lies on this side of the value."""

    attribute: str
    order: Order
    value: str


@dataclass(frozen=True, slots=True)
class Like:
    """True of measures whose attribute has this form."""

    attribute: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Missing:
    """True of measures that say nothing of the attribute."""

    attribute: str


@dataclass(frozen=True, slots=True)
class And:
    """True where every part is; with no parts it is true of everything."""

    parts: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True where at least one part is."""

    parts: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """True where its part is false."""

    part: Match


Match = Equals | OneOf | Ordered | Like | Missing | And | Or | Not

EVERYTHING = And(())

_ALIASES: Final[Mapping[str, str]] = {"id": "resource_id", "original_resource_id": "resource_id"}
_ORDERS: Final[Mapping[str, Order]] = {
    **dict.fromkeys(("<", "lt"), Order.LT),
    **dict.fromkeys(("<=", "≤", "le"), Order.LE),
    **dict.fromkeys((">", "gt"), Order.GT),
    **dict.fromkeys((">=", "≥", "ge"), Order.GE),
}
_COMPARED: Final[Mapping[Order, Callable[[Any, Any], bool]]] = {
    Order.LT: operator.lt,
    Order.LE: operator.le,
    Order.GT: operator.gt,
    Order.GE: operator.ge,
}
_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_KNOWN = "=, !=, <, <=, >, >=, in, like, and, or, not (also eq, ne, lt, le, gt, ge, ==, ≠, ≤, ≥, ∈, ∧, ∨)"


class MatchError(ValueError):
    """A search that is not of the known form; says what was expected."""


def all_equal(attributes: Mapping[str, str]) -> Match:
    """The conjunction that a rule's ``match: {key: value}`` means."""
    return And(tuple(Equals(_canonical(key), value) for key, value in sorted(attributes.items())))


def from_search(search: object) -> Match:
    """The predicate a Gnocchi resource search stands for; ``{}`` is true of everything.

    Raises:
        MatchError: an operator or shape that is not known; nothing was guessed.
    """
    match = _read(search, MAX_LEVELS)
    if _comparisons(match) > MAX_COMPARISONS:
        raise MatchError(f"expected a search of at most {MAX_COMPARISONS} comparisons")
    return match


def _comparisons(match: Match) -> int:
    match match:
        case And(parts) | Or(parts):
            return sum(map(_comparisons, parts))
        case Not(part):
            return _comparisons(part)
        case OneOf(_, values):
            return len(values)
        case _:
            return 1


def _read(search: object, levels: int) -> Match:
    if search == {}:
        return EVERYTHING
    if not isinstance(search, Mapping) or len(search) != 1:
        raise MatchError('expected an object with exactly one operator, such as {"=": {"server_group": "web"}}')
    if levels == 0:
        raise MatchError(f"expected a search of at most {MAX_LEVELS} levels")
    ((name, operand),) = search.items()
    match name:
        case "and" | "∧" | "or" | "∨":
            if not isinstance(operand, list) or not operand:
                raise MatchError(f'"{name}" expects a list of at least one search')
            parts = tuple(_read(part, levels - 1) for part in operand)
            return And(parts) if name in {"and", "∧"} else Or(parts)
        case "not":
            return Not(_read(operand, levels - 1))
        case _:
            return _of_attribute(name, operand)


def _of_attribute(name: object, operand: object) -> Match:
    match name:
        case "=" | "==" | "eq":
            attribute, value = _pair(name, operand)
            return Missing(attribute) if value is None else Equals(attribute, _text(name, value))
        case "!=" | "≠" | "ne":
            attribute, value = _pair(name, operand)
            return Not(Missing(attribute) if value is None else Equals(attribute, _text(name, value)))
        case "in" | "∈":
            attribute, values = _pair(name, operand)
            if not isinstance(values, list) or not values:
                raise MatchError(f'"{name}" expects {{"attribute": ["value", …]}} with at least one value')
            return OneOf(attribute, tuple(dict.fromkeys(_text(name, value) for value in values)))
        case "like":
            attribute, value = _pair(name, operand)
            pattern = _text(name, value)
            if len(pattern) > MAX_PATTERN:
                raise MatchError(f'"{name}" expects at most {MAX_PATTERN} characters')
            _tokens(pattern)
            return Like(attribute, pattern)
        case str() if name in _ORDERS:
            attribute, value = _pair(name, operand)
            return Ordered(attribute, _ORDERS[name], _text(name, value))
        case _:
            raise MatchError(f'unknown operator "{name}"; known are {_KNOWN}')


def _pair(name: object, operand: object) -> tuple[str, Any]:
    if not isinstance(operand, Mapping) or len(operand) != 1:
        raise MatchError(f'"{name}" expects an object with exactly one attribute')
    ((attribute, value),) = operand.items()
    if not isinstance(attribute, str):
        raise MatchError(f'"{name}" expects {{"attribute": "value"}}')
    return _canonical(attribute), value


def _text(name: object, value: object) -> str:
    """A value as measures have it: numbers and booleans as JSON spells them."""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if not isinstance(value, str):
        raise MatchError(f'"{name}" expects {{"attribute": "value"}}, a text, a number, true or false')
    return value


def _canonical(attribute: str) -> str:
    return _ALIASES.get(attribute, attribute)


def to_search(match: Match) -> Any:
    """The inverse of :func:`from_search`, as plain JSON values; equal predicates give equal values."""
    match match:
        case Equals(attribute, value):
            return {"=": {attribute: value}}
        case OneOf(attribute, values):
            return {"in": {attribute: list(values)}}
        case Ordered(attribute, order, value):
            return {order.value: {attribute: value}}
        case Like(attribute, pattern):
            return {"like": {attribute: pattern}}
        case Missing(attribute):
            return {"=": {attribute: None}}
        case And(parts):
            return {"and": [to_search(part) for part in parts]} if parts else {}
        case Or(parts):
            return {"or": [to_search(part) for part in parts]}
        case Not(part):
            return {"not": to_search(part)}
        case _:
            assert_never(match)


def to_text(match: Match) -> str:
    """What :func:`to_search` gives as JSON with sorted keys; there are as many as alarms, and most are of this kind."""
    match match:
        case Equals(attribute, value):
            return f'{{"=": {{{quoted(attribute)}: {quoted(value)}}}}}'
        case And(parts) if parts:
            return f'{{"and": [{", ".join(map(to_text, parts))}]}}'
        case _:
            return json.dumps(to_search(match), sort_keys=True)


def holds(match: Match, measure: Measure) -> bool:
    """Whether ``match`` is true of ``measure``. Total."""
    return _truth(match, measure) is True


def _truth(match: Match, measure: Measure) -> bool | None:
    """Whether ``match`` is true or false; None where that is not known, since an attribute is missing."""
    match match:
        case And(parts):
            return _all(_truth(part, measure) for part in parts)
        case Or(parts):
            return _negated(_all(_negated(_truth(part, measure)) for part in parts))
        case Not(part):
            return _negated(_truth(part, measure))
        case Missing(attribute):
            return attribute_of(measure, attribute) is None
        case Equals() | OneOf() | Ordered() | Like():
            value = attribute_of(measure, match.attribute)
            return None if value is None else _is_true_of(match, value)
        case _:
            assert_never(match)


def _is_true_of(match: Equals | OneOf | Ordered | Like, value: str) -> bool:
    match match:
        case Equals():
            return value == match.value
        case OneOf():
            return value in match.values
        case Ordered():
            return _compared(value, match.order, match.value)
        case Like():
            return _is_like(value, _tokens(match.pattern))
        case _:
            assert_never(match)


def _all(truths: Iterable[bool | None]) -> bool | None:
    known = True
    for truth in truths:
        if truth is False:
            return False
        known = known and truth is True
    return True if known else None


def _negated(truth: bool | None) -> bool | None:  # noqa: FBT001 - the truth is its only argument
    return None if truth is None else not truth


def _compared(value: str, order: Order, limit: str) -> bool:
    if _NUMBER.fullmatch(value) and _NUMBER.fullmatch(limit):
        return _COMPARED[order](float(value), float(limit))
    return _COMPARED[order](value, limit)


_ANY_TEXT: Final = 0
_ANY_CHARACTER: Final = 1


@lru_cache(maxsize=1024)
def _tokens(pattern: str) -> tuple[str | int, ...]:
    """Characters, and in place of ``_`` and ``%`` numbers.

    Raises:
        MatchError: it ends in a backslash that stands before nothing.
    """
    tokens: list[str | int] = []
    characters = iter(pattern)
    for character in characters:
        match character:
            case "%":
                tokens.append(_ANY_TEXT)
            case "_":
                tokens.append(_ANY_CHARACTER)
            case "\\":
                escaped = next(characters, None)
                if escaped is None:
                    raise MatchError(r'"like" expects something after a backslash; \\ stands for one')
                tokens.append(escaped)
            case _:
                tokens.append(character)
    return tuple(tokens)


def _is_like(text: str, tokens: tuple[str | int, ...]) -> bool:
    """Whether a text has the form; in time of at most its length times the form's, whoever wrote either."""
    at = token = 0
    resume: tuple[int, int] | None = None  # the newest % and how far it reaches; None before the first
    while at < len(text):
        if token < len(tokens) and tokens[token] == _ANY_TEXT:
            token += 1
            resume = (token, at)
        elif token < len(tokens) and tokens[token] in (_ANY_CHARACTER, text[at]):
            at, token = at + 1, token + 1
        elif resume is not None:
            token, at = resume[0], resume[1] + 1
            resume = (token, at)
        else:
            return False
    return all(rest == _ANY_TEXT for rest in tokens[token:])


def attribute_of(measure: Measure, attribute: str) -> str | None:
    """What a measure says of an attribute; None when nothing."""
    if attribute == "resource_id":
        return measure.resource_id
    if attribute == "project_id":
        return measure.project_id or None
    return measure.metadata.get(attribute)


def required(match: Match) -> Equals | None:
    """One equality that every matching measure satisfies, to index rules by; None where there is none."""
    alternatives = required_any(match)
    return alternatives[0] if alternatives is not None and len(alternatives) == 1 else None


def required_any(match: Match) -> tuple[Equals, ...] | None:
    """Equalities of which every matching measure satisfies at least one; None where there are no such."""
    match match:
        case Equals():
            return (match,)
        case OneOf(attribute, values):
            return tuple(Equals(attribute, value) for value in values) or None
        case And(parts):
            for part in parts:
                if isinstance(part, Equals) and part.attribute == "resource_id":
                    return (part,)
            found = [few for part in parts if (few := required_any(part)) is not None]
            # a resource is the narrowest thing to look up by
            return min(found, key=lambda few: (len(few), few[0].attribute != "resource_id"), default=None)
        case Or(parts):
            several = [required_any(part) for part in parts]
            known = [few for few in several if few is not None]
            return tuple(dict.fromkeys(e for few in known for e in few)) if len(known) == len(several) > 0 else None
        case Ordered() | Like() | Missing() | Not():
            return None
        case _:
            assert_never(match)
