"""Which series a rule looks at: a predicate over a measure's attributes.

The form on the wire is Gnocchi's resource search JSON, of which ``=``, ``and``, ``or`` and ``not`` are known here
(gnocchi/rest/api.py, ``ResourceSearchSchema``, 4.7.1). Attributes are ``project_id``, ``resource_id`` (also ``id``,
as Gnocchi calls it) and every key of a measure's metadata. Values are compared as text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

if TYPE_CHECKING:
    from autoscaler.measures.measure import Measure


@dataclass(frozen=True, slots=True)
class Equals:
    """True of measures whose attribute has exactly this value; a missing attribute equals nothing."""

    attribute: str
    value: str


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
    """True where its part is not."""

    part: Match


Match = Equals | And | Or | Not

EVERYTHING = And(())


class MatchError(ValueError):
    """A search that is not of the known form; says what was expected."""


def all_equal(attributes: Mapping[str, str]) -> Match:
    """The conjunction that a rule's ``match: {key: value}`` means."""
    return And(tuple(Equals(_canonical(key), value) for key, value in sorted(attributes.items())))


def from_search(search: object) -> Match:
    """The predicate a Gnocchi resource search stands for.

    Raises:
        MatchError: an operator or shape that is not known; nothing was guessed.
    """
    if not isinstance(search, Mapping) or len(search) != 1:
        raise MatchError('expected an object with exactly one operator, such as {"=": {"server_group": "web"}}')
    ((operator, operand),) = search.items()
    match operator:
        case "=" | "==" | "eq":
            return _equals(operand)
        case "and" | "or":
            if not isinstance(operand, list) or not operand:
                raise MatchError(f'"{operator}" expects a list of at least one search')
            parts = tuple(from_search(part) for part in operand)
            return And(parts) if operator == "and" else Or(parts)
        case "not":
            return Not(from_search(operand))
        case _:
            raise MatchError(f'unknown operator "{operator}"; known are "=", "and", "or", "not"')


def _equals(operand: object) -> Match:
    if not isinstance(operand, Mapping) or len(operand) != 1:
        raise MatchError('"=" expects an object with exactly one attribute')
    ((attribute, value),) = operand.items()
    if isinstance(value, bool | int | float):
        value = json.dumps(value)
    if not isinstance(attribute, str) or not isinstance(value, str):
        raise MatchError('"=" expects {"attribute": "value"}')
    return Equals(_canonical(attribute), value)


def _canonical(attribute: str) -> str:
    return "resource_id" if attribute == "id" else attribute


def to_search(match: Match) -> Any:
    """The inverse of :func:`from_search`, as plain JSON values; equal predicates give equal values."""
    match match:
        case Equals(attribute, value):
            return {"=": {attribute: value}}
        case And(parts):
            return {"and": [to_search(part) for part in parts]}
        case Or(parts):
            return {"or": [to_search(part) for part in parts]}
        case Not(part):
            return {"not": to_search(part)}
        case _:
            assert_never(match)


def holds(match: Match, measure: Measure) -> bool:
    """Whether ``match`` is true of ``measure``. Total."""
    match match:
        case Equals(attribute, value):
            return attribute_of(measure, attribute) == value
        case And(parts):
            return all(holds(part, measure) for part in parts)
        case Or(parts):
            return any(holds(part, measure) for part in parts)
        case Not(part):
            return not holds(part, measure)
        case _:
            assert_never(match)


def attribute_of(measure: Measure, attribute: str) -> str | None:
    """What a measure says of an attribute; None when nothing."""
    if attribute == "resource_id":
        return measure.resource_id
    if attribute == "project_id":
        return measure.project_id
    return measure.metadata.get(attribute)


def required(match: Match) -> Equals | None:
    """One equality that every matching measure satisfies, to index rules by; None where there is none."""
    match match:
        case Equals():
            return match
        case And(parts):
            found = [equality for part in parts if (equality := required(part)) is not None]
            # a resource is the narrowest thing to look up by
            return next((e for e in found if e.attribute == "resource_id"), found[0] if found else None)
        case Or() | Not():
            return None
        case _:
            assert_never(match)
