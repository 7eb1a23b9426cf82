"""Which measures an Aodh threshold alarm of old looks at: its query over Ceilometer's samples, as a match.

Every item must hold, and only equality is known. Fields are ``resource_id``, ``project_id`` and ``user_id``, also
without ``_id``, and ``metadata.NAME`` or ``resource_metadata.NAME``, which is the attribute NAME of a measure. The tags
that an owner gives to a resource stood under ``metadata.user_metadata.`` or ``metadata.metering.``, by the meter; here
both mean both, and of measures that have neither, as they come from elsewhere than Ceilometer, the plain attribute.

Source:
    aodh/api/controllers/v2/alarm_rules/threshold.py and utils.py, 3.0.0; heat/engine/resources/openstack/aodh/alarm.py,
    27.0.1, for what is still sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from autoscaler.alarms.rules import ComparisonOperator
from autoscaler.declarations.conditions import query_item
from autoscaler.measures.match import And, Equals, Match, Missing, OneOf, Or

if TYPE_CHECKING:
    from typing import Final

_ATTRIBUTES: Final = {
    field: attribute
    for attribute in ("resource_id", "project_id", "user_id")
    for field in (attribute, attribute.removesuffix("_id"))
}
_FIELD: Final = re.compile(r"(?:resource|project|user)(?:_id)?|(?:resource_)?metadata\.(?P<name>.+)", re.DOTALL)
_TAG: Final = re.compile(r"(?:user_metadata|metering)\.(?P<tag>.+)", re.DOTALL)
_NUMBER: Final = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_EXACT: Final = 2**53
"""Up to here every whole number is a float."""
_TRUE: Final = frozenset(("1", "t", "true", "on", "y", "yes"))


def names_project(field: str) -> bool:
    """Whether an item with this field is about the project that samples are of."""
    return _ATTRIBUTES.get(field) == "project_id"


def sample_match(item: Mapping[str, Any]) -> Match:
    """What one item of a query asks of a measure.

    Raises:
        ValueError: it is not right; says what was expected.
    """
    asked = query_item(item, _FIELD, "resource_id or metadata.NAME")
    if asked.op is not ComparisonOperator.EQ:
        raise ValueError(f"expected the operator eq for {asked.field}, the only one over samples, got '{asked.op}'")
    attribute = _ATTRIBUTES.get(asked.field)
    if attribute is not None:
        return Equals(attribute, asked.value)
    name = asked.field.partition("metadata.")[2]
    values = _spelled(asked.value, asked.type)
    tag = _TAG.fullmatch(name)
    if tag is None:
        return _is(name, values)
    as_sent, as_matched, plain = f"user_metadata.{tag['tag']}", f"metering.{tag['tag']}", tag["tag"]
    return Or(
        (
            _is(as_sent, values),
            And((Missing(as_sent), _is(as_matched, values))),
            And((Missing(as_sent), Missing(as_matched), _is(plain, values))),
        )
    )


def all_of(parts: Iterable[Match]) -> Match:
    """The conjunction, in an order that does not depend on theirs, so that equal queries share a window."""
    return And(tuple(sorted(set(parts), key=lambda part: (not isinstance(part, Equals), repr(part)))))


def _is(attribute: str, values: tuple[str, ...]) -> Match:
    return Equals(attribute, values[0]) if len(values) == 1 else OneOf(attribute, values)


def _spelled(value: str, kind: str) -> tuple[str, ...]:
    """How a measure spells a value of metadata, which is a text by then: numbers and booleans as in JSON.

    One that is not said to be of any type was read as Python reads it, so ``True`` may have been a boolean.
    """
    match kind:
        case "boolean":
            return (json.dumps(value.strip().lower() in _TRUE),)
        case "" if value in {"True", "False"}:
            return (value, value.lower())
        case "integer" | "float":
            return _with_and_without_fraction(value.strip())
        case "" if _NUMBER.fullmatch(value):
            return _with_and_without_fraction(value)
        case _:
            return (value,)


def _with_and_without_fraction(number: str) -> tuple[str, ...]:
    """A number as it was written, and as JSON spells it; a whole one as an integer and as one with a fraction of 0."""
    known = float(number)
    if known.is_integer() and abs(known) <= _EXACT:
        return tuple(dict.fromkeys((number, str(int(known)), json.dumps(known))))
    return tuple(dict.fromkeys((number, json.dumps(known))))
