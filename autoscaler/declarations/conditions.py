"""Conditions that do not rest on measures: events, Prometheus, the members of a load balancer; keys are Aodh's.

Source: aodh/api/controllers/v2/alarm_rules/event.py, prometheus.py and loadbalancer.py, 23.0.0.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from autoscaler.alarms.rules import ComparisonOperator, EventRule, PoolHealthRule, PrometheusRule, TraitCondition
from autoscaler.declarations.fields import Declared, Flag, Number, Short, Text
from autoscaler.declarations.wording import shown

if TYPE_CHECKING:
    from typing import Final

TRAITS: Final = "traits."
_FIELD = re.compile(r"traits\.[a-zA-Z.',0-9_-]+")
_BOOLEANS: Final = frozenset(("1", "t", "true", "on", "y", "yes", "0", "f", "false", "off", "n", "no"))


def _is_boolean(value: str) -> None:
    if value.strip().lower() not in _BOOLEANS:
        raise ValueError


def _is_finite(value: str) -> None:
    if not math.isfinite(float(value)):
        raise ValueError


def _is_time(value: str) -> None:
    datetime.fromisoformat(value)


_CONVERSIONS: Final[Mapping[str, Callable[[str], Any]]] = {
    "": str,
    "string": str,
    "integer": int,
    "float": _is_finite,
    "boolean": _is_boolean,
    "datetime": _is_time,
}
"""By type of value; each raises ValueError where the text is no such value."""


def trait_condition(item: Mapping[str, Any]) -> TraitCondition:
    """One item of an event rule's query.

    Raises:
        ValueError: it is not right; says what was expected.
    """
    return query_item(item, _FIELD, "traits.state")


def query_item(item: Mapping[str, Any], fields: re.Pattern[str], such_as: str) -> TraitCondition:
    """One item of a query, in the form that Aodh gives all of them.

    Args:
        item: ``field``, ``value``, and with defaults ``op`` and ``type``.
        fields: what a field looks like.
        such_as: one, for the message.

    Raises:
        ValueError: it is not right; says what was expected.
    """
    field, value = item.get("field"), item.get("value")
    kind, op = item.get("type") or "", item.get("op") or ComparisonOperator.EQ.value
    if not isinstance(field, str) or not fields.fullmatch(field):
        raise ValueError(f"expected a field such as {such_as}, got {shown(field)}")
    if not isinstance(value, str):
        raise ValueError(f"expected a value, a text, for {field}, got {shown(value)}")  # noqa: TRY004 - as the others
    if not isinstance(kind, str) or kind not in _CONVERSIONS:
        known = ", ".join(name for name in _CONVERSIONS if name)
        raise ValueError(f"expected one of the types {known} for {field}, got {shown(kind)}")
    try:
        _CONVERSIONS[kind](value)
    except ValueError:
        raise ValueError(f"expected a value of the type {kind} for {field}, got {shown(value)}") from None
    if op not in list(ComparisonOperator):
        raise ValueError(f"expected one of {', '.join(ComparisonOperator)} for {field}, got {shown(op)}")
    return TraitCondition(field=field, value=value, op=ComparisonOperator(op), type=kind)


def _as_written(value: Any) -> Any:
    """A number or a boolean as the text that Aodh has of it."""
    return json.dumps(value) if isinstance(value, bool | int | float) else value


class TraitDocument(Declared):
    """One item of an event rule's query."""

    field: Short
    """A trait of the event, traits.NAME."""

    op: ComparisonOperator = ComparisonOperator.EQ
    """How the trait is compared with the value."""

    value: Annotated[str, BeforeValidator(_as_written), Field(max_length=1024)]
    """What the trait is compared with."""

    type: str = ""
    """What the value is: string, integer, float, boolean or datetime."""

    @model_validator(mode="after")
    def _is_right(self) -> Self:
        trait_condition(self.told())
        return self

    def told(self) -> dict[str, Any]:
        """As Aodh stores it."""
        return {"field": self.field, "op": self.op.value, "value": self.value, "type": self.type}


class EventDocument(Declared):
    """``event``: something that happens."""

    event_type: Text = "*"
    """The type of event, * and ? standing for any characters and any one."""

    query: tuple[TraitDocument, ...] = ()
    """What its traits must be, all of it."""

    def to_domain(self) -> EventRule:
        """The rule."""
        documents = tuple(item.told() for item in self.query)
        query = tuple(trait_condition(document) for document in documents)
        return EventRule(event_type=self.event_type, query=query, document=documents)


class PrometheusDocument(Declared):
    """``prometheus``: what a Prometheus server answers."""

    query: Annotated[str, Field(strict=True, min_length=1, max_length=8192)]
    """A query in PromQL."""

    threshold: Number
    """A number to compare each value with."""

    comparison_operator: ComparisonOperator = ComparisonOperator.EQ
    """How each value is compared with the threshold."""

    per_series: Flag = False
    """Whether each series that answers has a state of its own."""

    def to_domain(self) -> PrometheusRule:
        """The rule, as yet for all projects."""
        return PrometheusRule(**self.model_dump())


class PoolHealthDocument(Declared):
    """``loadbalancer_member_health``: the members of a load balancer's pool."""

    pool_id: Short
    """The id of a pool."""

    stack_id: Short
    """The id of the stack that the members belong to."""

    autoscaling_group_id: Short
    """The id of the group within it."""

    def to_domain(self) -> PoolHealthRule:
        """The rule."""
        return PoolHealthRule(**self.model_dump())


CONDITIONS: Final[Mapping[str, type[EventDocument | PrometheusDocument | PoolHealthDocument]]] = {
    "event": EventDocument,
    "prometheus": PrometheusDocument,
    "loadbalancer_member_health": PoolHealthDocument,
}
"""By type of alarm."""
