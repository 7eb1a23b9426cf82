"""The rules of each type of alarm: taken from a body, checked, and shown.

Source:
    aodh/api/controllers/v2/alarm_rules, 23.0.0, for keys, ranges, defaults and most texts; threshold.py there, 3.0.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from autoscaler.alarms.rules import ComparisonOperator, Statistic
from autoscaler.api.v2.errors import FaultError, foreign, invalid
from autoscaler.api.v2.fields import Object, few, flag, number, one_of, query_text, short_text, text, texts, whole
from autoscaler.declarations.samples import names_project
from autoscaler.measures.aggregation import parse, parse_reaggregation
from autoscaler.measures.match import MatchError, from_search

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.api.v2.scope import Scope

Rule = dict[str, Any]


class AlarmType(StrEnum):
    """As Aodh spells them."""

    RESOURCES = "gnocchi_resources_threshold"
    BY_METRICS = "gnocchi_aggregation_by_metrics_threshold"
    BY_RESOURCES = "gnocchi_aggregation_by_resources_threshold"
    COMPOSITE = "composite"
    EVENT = "event"
    PROMETHEUS = "prometheus"
    POOL_HEALTH = "loadbalancer_member_health"
    SAMPLES = "threshold"


class TraitType(StrEnum):
    """What the value in an event alarm's query is converted to."""

    STRING = "string"
    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"


LEAVES: Final = (
    *(AlarmType.RESOURCES, AlarmType.BY_METRICS, AlarmType.BY_RESOURCES),
    *(AlarmType.PROMETHEUS, AlarmType.SAMPLES),
)
"""What a composite alarm may be made of."""
DEPRECATED: Final = {AlarmType.SAMPLES: AlarmType.BY_RESOURCES}
"""Types that Aodh has no more, and what it has instead."""
DEEPEST: Final = 20
"""Levels of a composite rule."""
MOST_LEAVES: Final = 200
MOST_METRICS: Final = 1000
MOST_TRAITS: Final = 200
YEAR: Final = 31_536_000
THRESHOLD: Final = ("comparison_operator", "threshold", "aggregation_method", "evaluation_periods", "granularity")
TRAIT: Final = "traits."

_FIELD: Final = re.compile(r"[a-zA-Z.',0-9_-]*")
_BASES: Final = ("mean", "sum", "last", "max", "min", "std", "median", "first", "count")
_BASIC: Final = (*_BASES, *(f"{percent}pct" for percent in range(1, 100)))
METHODS: Final = tuple(f"{prefix}{base}" for prefix in ("", "rate:", "rate_per_second:") for base in _BASIC)
"""Every aggregation method, to be listed when a wrong one is named."""
ACROSS: Final = tuple(method for method in METHODS if not method.endswith(("last", "first")))
"""Those that aggregate over several series, too."""

_operator = one_of(ComparisonOperator)


def _operator_or_default(name: str, value: Any) -> ComparisonOperator:
    # here, too, empty text stands for the default
    return _operator(name, value or ComparisonOperator.EQ)


def key_of(kind: AlarmType) -> str:
    """The key of a body that holds the rule of a type."""
    return f"{kind}_rule"


RULE_KEYS: Final = {key_of(kind): kind for kind in AlarmType}


def parse_rule(kind: AlarmType, document: Any, scope: Scope) -> Rule:
    """A rule as it is stored, defaults filled in.

    Raises:
        FaultError: it is none of this type.
    """
    return _PARSERS[kind](document, f"data.{key_of(kind)}", scope)


def default_description(kind: AlarmType, rule: Rule) -> str:
    """What an alarm is said to be where nobody said it."""
    match kind:
        case AlarmType.EVENT:
            return f"Alarm when {rule['event_type']} event occurred."
        case AlarmType.SAMPLES:
            compared = f"{rule['comparison_operator']} a {rule['statistic']} of {rule['threshold']}"
            return f"Alarm when {rule['meter_name']} is {compared} over {rule['period']} seconds"
        case _:
            return f"{kind} alarm rule"


def shown_rule(rule: Rule) -> Rule:
    """A stored rule as it is told: without what only the controller is to know."""
    hidden: dict[str, Any] = {}
    for key, value in rule.items():
        if key in {"and", "or"} and isinstance(value, list):
            hidden[key] = [shown_rule(part) for part in value]
        elif key != "scope_to_project":
            hidden[key] = value
    return hidden


def _method(across: bool) -> Callable[[str, Any], str]:  # noqa: FBT001 - it is told by what follows
    known = ACROSS if across else METHODS

    def take(name: str, value: Any) -> str:
        method = short_text(name, value)
        try:
            base = parse(method).base
            if across:
                parse_reaggregation(base)
        except ValueError as error:
            names = ", ".join(map(repr, known))
            raise FaultError(400, f"aggregation_method should be in [{names}] not {method}") from error
        return method

    return take


def _compared(rule: Object) -> Rule:
    return {
        "comparison_operator": rule.optional("comparison_operator", _operator, ComparisonOperator.EQ).value,
        "threshold": rule.required("threshold", number),
    }


def _threshold(rule: Object, *, across: bool) -> Rule:
    # Heat sends null for what its template leaves out, and this is one of them
    said_nothing = rule.names("aggregation_method") and not rule.has("aggregation_method")
    method = "mean" if said_nothing else rule.required("aggregation_method", _method(across))
    return _compared(rule) | {
        "aggregation_method": method,
        "evaluation_periods": rule.optional("evaluation_periods", whole(1, 100), 1),
        "granularity": rule.optional("granularity", whole(1, YEAR), 60),
    }


def _resources(document: Any, place: str, _: Scope) -> Rule:
    keys = ("metric", "resource_id", "resource_type")
    rule = Object(document, place, place, (*keys, *THRESHOLD))
    return {key: rule.required(key, short_text) for key in keys} | _threshold(rule, across=False)


def _by_metrics(document: Any, place: str, _: Scope) -> Rule:
    rule = Object(document, place, place, ("metrics", *THRESHOLD))
    metrics = texts("metrics", rule.required("metrics", few(MOST_METRICS)))
    if not metrics:
        raise invalid("metrics", "[]", "Value should name at least one metric")
    return {"metrics": list(metrics)} | _threshold(rule, across=True)


def _by_resources(document: Any, place: str, scope: Scope) -> Rule:
    rule = Object(document, place, place, ("metric", "query", "resource_type", *THRESHOLD))
    taken = {
        "metric": rule.required("metric", short_text),
        "query": rule.required("query", query_text),
        "resource_type": rule.required("resource_type", short_text),
    } | _threshold(rule, across=True)
    return taken | {"query": scope.wrapped(taken["query"], _search(taken["query"]))}


def _search(written: str) -> Any:
    """A search that can be understood, decoded."""
    try:
        search = msgspec.json.decode(written)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise invalid("rule/query", written, "") from error
    try:
        from_search(search)
    except (MatchError, RecursionError) as error:
        why = "expected a search of fewer levels" if isinstance(error, RecursionError) else str(error)
        raise invalid("rule/query", written, why) from error
    return search


def _prometheus(document: Any, place: str, scope: Scope) -> Rule:
    rule = Object(document, place, place, ("comparison_operator", "threshold", "query", "per_series"))
    taken = _compared(rule) | {"query": rule.required("query", query_text)}
    if rule.optional("per_series", flag, default=False):
        taken["per_series"] = True
    if scope.project_id is not None:
        taken["scope_to_project"] = scope.project_id
    return taken


def _event(document: Any, place: str, _: Scope) -> Rule:
    rule = Object(document, place, place, ("event_type", "query"))
    items: list[Any] = rule.optional("query", few(MOST_TRAITS), [])
    return {
        # an empty text stands for the default, as it does in Aodh
        "event_type": rule.optional("event_type", short_text, "*") or "*",
        "query": [_trait(item, f"{place}.query") for item in items],
    }


def _trait(document: Any, place: str) -> Rule:
    item = Object(document, place, place, ("field", "op", "value", "type"))
    field = item.required("field", short_text)
    operator = item.optional("op", _operator_or_default, ComparisonOperator.EQ)
    value = item.required("value", text)
    kind = item.optional("type", text, "")
    if not _FIELD.fullmatch(field) or not field.startswith(TRAIT) or field == TRAIT:
        raise _invalid_trait(f"a field is \"{TRAIT}\" and a name of letters, digits and .',_-, got '{field}'")
    if kind and kind not in set(TraitType):
        raise _invalid_trait(f"a type is one of {', '.join(TraitType)}, got '{kind}'")
    check_converts(value, kind)
    return {"field": field, "op": operator.value, "value": value, "type": kind}


def _invalid_trait(why: str) -> FaultError:
    return FaultError(400, f"Query value or traits invalid: {why}")


_BOOLEANS: Final = frozenset(("1", "t", "true", "on", "y", "yes", "0", "f", "false", "off", "n", "no"))


def check_converts(value: str, kind: str) -> None:
    """Refuse a value that is not of the type it is said to be."""
    if not _converts(value, kind):
        raise FaultError(400, f"Unable to convert the value {value} to the expected data type {kind}.")


def _converts(value: str, kind: str) -> bool:
    try:
        match kind:
            case TraitType.INTEGER:
                int(value)
            case TraitType.FLOAT:
                float(value)
            case TraitType.BOOLEAN:
                return value.strip().lower() in _BOOLEANS
            case _:
                pass
    except ValueError:
        return False
    return True


def _samples(document: Any, place: str, scope: Scope) -> Rule:
    keys = ("meter_name", "query", "period", "statistic", "evaluation_periods", "exclude_outliers")
    rule = Object(document, place, place, (*keys, "comparison_operator", "threshold"))
    items: list[Any] = rule.optional("query", few(MOST_TRAITS), [])
    return _compared(rule) | {
        "meter_name": rule.required("meter_name", short_text),
        "statistic": rule.optional("statistic", one_of(Statistic), Statistic.AVG).value,
        "period": rule.optional("period", whole(1, YEAR), 60),
        "evaluation_periods": rule.optional("evaluation_periods", whole(1, 100), 1),
        "exclude_outliers": rule.optional("exclude_outliers", flag, default=False),
        "query": [_sample(item, f"{place}.query", scope) for item in items],
    }


def _sample(document: Any, place: str, scope: Scope) -> Rule:
    """One condition on samples; whether they can meet it is found out where it is understood."""
    item = Object(document, place, place, ("field", "op", "value", "type"))
    field, value = item.required("field", short_text), item.required("value", short_text)
    if names_project(field) and scope.project_id not in {None, value}:
        raise foreign("project", value)
    operator = item.optional("op", _operator_or_default, ComparisonOperator.EQ)
    return {"field": field, "op": operator.value, "value": value, "type": item.optional("type", short_text, "")}


def _pool_health(document: Any, place: str, _: Scope) -> Rule:
    keys = ("pool_id", "stack_id", "autoscaling_group_id")
    rule = Object(document, place, place, keys)
    return {key: rule.required(key, short_text) for key in keys}


def _composite(document: Any, place: str, scope: Scope) -> Rule:
    parts = _Parts(place, scope.without_wrapping)
    return parts.parse(document, 0)


class _Parts:
    """The parts of one composite rule."""

    def __init__(self, place: str, scope: Scope) -> None:
        self._place = place
        self._scope = scope
        self._leaves = 0

    def parse(self, document: Any, level: int) -> Rule:
        """A rule, or rules joined by ``and`` or ``or``."""
        if not isinstance(document, Mapping):
            raise _invalid_composite(document)
        if level > DEEPEST:
            raise FaultError(400, f"A composite rule may have at most {DEEPEST} levels")
        if len(document) != 1:
            return self._leaf(document)
        ((junction, parts),) = document.items()
        if junction not in {"and", "or"}:
            raise FaultError(400, 'Threshold rules should be combined with "and" or "or"')
        if not isinstance(parts, list) or not parts:
            raise _invalid_composite(document)
        return {junction: [self.parse(part, level + 1) for part in parts]}

    def _leaf(self, document: Mapping[str, Any]) -> Rule:
        kind = document.get("type")
        if not kind:
            raise FaultError(400, "type must be set in every rule")
        if kind not in LEAVES:
            known = sorted(str(leaf) for leaf in LEAVES)
            raise FaultError(400, f"Unsupported sub-rule type :{kind} in composite rule, should be one of: {known}")
        self._leaves += 1
        if self._leaves > MOST_LEAVES:
            raise FaultError(400, f"A composite rule may have at most {MOST_LEAVES} parts")
        rule = {key: value for key, value in document.items() if key != "type"}
        return _PARSERS[AlarmType(kind)](rule, self._place, self._scope) | {"type": kind}


def _invalid_composite(document: Any) -> FaultError:
    shown = msgspec.json.encode(document).decode()
    return FaultError(
        400,
        f'Invalid input composite rule: {shown[:1000]}, it should be a dict with an "and" or "or" as key, and the '
        "value of dict should be a list of basic threshold rules or sub composite rules, can be nested.",
    )


_PARSERS: Final[Mapping[AlarmType, Callable[[Any, str, Scope], Rule]]] = {
    AlarmType.RESOURCES: _resources,
    AlarmType.BY_METRICS: _by_metrics,
    AlarmType.BY_RESOURCES: _by_resources,
    AlarmType.COMPOSITE: _composite,
    AlarmType.EVENT: _event,
    AlarmType.PROMETHEUS: _prometheus,
    AlarmType.POOL_HEALTH: _pool_health,
    AlarmType.SAMPLES: _samples,
}
