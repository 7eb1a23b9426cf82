"""The v2 API as OpenAPI describes it; bodies are checked elsewhere, in Aodh's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, RootModel

from autoscaler.alarms.alarm import AlarmState, Severity
from autoscaler.alarms.definition import ACTIONS
from autoscaler.alarms.rules import ComparisonOperator, Statistic
from autoscaler.api.v2 import simple
from autoscaler.api.v2.rules import RULE_KEYS, AlarmType

if TYPE_CHECKING:
    from typing import Final


class _Shown(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class ConstraintShown(_Shown):
    """A recurring span in which an alarm is evaluated."""

    name: str
    description: str
    start: str
    """Cron, 5 to 7 columns."""

    duration: int
    """Seconds."""

    timezone: str
    """IANA name; "" is UTC."""


class AlarmShown(_Shown):
    """An alarm; its rule stands under the name of its type and ``_rule``. Times are UTC without a zone."""

    model_config = ConfigDict(extra="allow")

    alarm_id: str
    name: str
    description: str
    enabled: bool
    ok_actions: list[str]
    alarm_actions: list[str]
    insufficient_data_actions: list[str]
    repeat_actions: bool
    type: AlarmType
    time_constraints: list[ConstraintShown]
    project_id: str
    user_id: str
    timestamp: str
    """Of the definition's last change."""

    state: AlarmState
    state_timestamp: str
    """Of the state's last change; its last digits say which state it was shown with."""

    state_reason: str
    severity: Severity
    evaluate_timestamp: str
    """What the newest verdict rests on ended then."""


class StateShown(RootModel[AlarmState]):
    """A state."""


class ChangeShown(_Shown):
    """A line of an alarm's history."""

    event_id: str
    alarm_id: str
    type: str
    detail: str
    """JSON."""

    project_id: str
    """Of whoever did it."""

    user_id: str
    on_behalf_of: str
    """The alarm's project."""

    timestamp: str


class QuotaShown(_Shown):
    """A limit; -1 is none."""

    resource: Literal["alarms"]
    limit: int


class QuotasShown(_Shown):
    """The limits of a project."""

    project_id: str
    quotas: list[QuotaShown]


class TallyShown(_Shown):
    """How often an alarm was evaluated to each state."""

    alarm_id: str
    project_id: str
    state_counters: dict[AlarmState, int]


class TalliesShown(_Shown):
    """How often alarms were evaluated."""

    evaluation_results: list[TallyShown]


class CapabilitiesShown(_Shown):
    """What the API can do."""

    api: dict[str, bool]
    alarm_storage: dict[str, bool]


class VersionsShown(_Shown):
    """What is served here."""

    versions: dict[str, Any]


class _Message(_Shown):
    faultcode: Literal["Client", "Server"]
    faultstring: str
    """For people; Heat shows it."""

    debuginfo: None


class Fault(_Shown):
    """A request that failed."""

    error_message: _Message


Described = dict[str, Any]
_FAULTS: Final[dict[int | str, Any]] = {
    400: {"model": Fault, "description": "It cannot be understood."},
    401: {"model": Fault, "description": "Who asks is not known, or names what is another project's."},
    403: {"model": Fault, "description": "Who asks may not, or a quota is used up."},
    503: {"model": Fault, "description": "The store is away."},
}
_ABSENT: Final[dict[int | str, Any]] = {404: {"model": Fault, "description": "There is none."}}
_TAKEN: Final[dict[int | str, Any]] = {
    413: {"model": Fault, "description": "The body is too long."},
    415: {"model": Fault, "description": "The body is no JSON."},
}
_DECLARED: Final[dict[int | str, Any]] = {409: {"model": Fault, "description": "It is declared in a file."}}


def operation(summary: str, shown: Any, **more: Any) -> Described:
    """A method that answers with a document."""
    return {"summary": summary, "response_model": shown, "responses": _FAULTS | _ABSENT, **more}


def plain(summary: str) -> Described:
    """A method that answers with nothing but its status."""
    return {"summary": summary, "response_model": None, "responses": {200: {"content": {"text/plain": {}}}}}


def removal(summary: str) -> Described:
    """A method that takes something away."""
    responses = _FAULTS | _ABSENT | _DECLARED
    return {"summary": summary, "response_model": None, "status_code": 204, "responses": responses}


def _nullable(of: Described) -> Described:
    return {"anyOf": [of, {"type": "null"}]}


def _choice(*words: str) -> Described:
    return {"type": "string", "enum": list(words)}


_TEXT: Final[Described] = {"type": "string"}
_LIST_OF_TEXT: Final[Described] = {"type": "array", "items": _TEXT}
_BOOLEAN: Final[Described] = {"type": "boolean"}
_THRESHOLD: Final[Described] = {
    "comparison_operator": _nullable(_choice(*ComparisonOperator)),
    "threshold": {"type": "number"},
    "aggregation_method": _nullable({**_TEXT, "examples": ["mean", "rate:mean", "95pct"]}),
    "evaluation_periods": _nullable({"type": "integer", "minimum": 1, "maximum": 100}),
    "granularity": _nullable({"type": "integer", "minimum": 1, "maximum": 31_536_000}),
}


def _object(required: tuple[str, ...], properties: Described) -> Described:
    return {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "additionalProperties": False,
    }


_CONSTRAINT: Final = _object(
    ("name", "start", "duration"),
    {
        "name": _TEXT,
        "description": _nullable(_TEXT),
        "start": {**_TEXT, "examples": ["0 8 * * *"]},
        "duration": {"type": "integer", "minimum": 0},
        "timezone": _nullable({**_TEXT, "examples": ["Europe/Paris"]}),
    },
)
_TRAIT: Final = _object(
    ("field", "value"),
    {
        "field": {**_TEXT, "pattern": r"^traits\.[a-zA-Z.',0-9_-]+$"},
        "op": _nullable(_choice(*ComparisonOperator)),
        "value": _TEXT,
        "type": _nullable(_choice("string", "integer", "float", "boolean", "")),
    },
)
_SAMPLE: Final = _object(
    ("field", "value"),
    {
        "field": {**_TEXT, "examples": ["resource_id", "metadata.user_metadata.server_group"]},
        "op": _nullable(_choice(ComparisonOperator.EQ)),
        "value": _TEXT,
        "type": _nullable(_choice(*simple.TYPES, "")),
    },
)
_RULES: Final[dict[str, Described]] = {
    "gnocchi_resources_threshold_rule": _object(
        ("metric", "resource_id", "resource_type", "threshold", "aggregation_method"),
        {"metric": _TEXT, "resource_id": _TEXT, "resource_type": _TEXT, **_THRESHOLD},
    ),
    "gnocchi_aggregation_by_metrics_threshold_rule": _object(
        ("metrics", "threshold", "aggregation_method"),
        {"metrics": {**_LIST_OF_TEXT, "minItems": 1}, **_THRESHOLD},
    ),
    "gnocchi_aggregation_by_resources_threshold_rule": _object(
        ("metric", "query", "resource_type", "threshold", "aggregation_method"),
        {
            "metric": _TEXT,
            "query": {**_TEXT, "description": "JSON", "examples": ['{"=": {"server_group": "web"}}']},
            "resource_type": _TEXT,
            **_THRESHOLD,
        },
    ),
    "composite_rule": {
        "type": "object",
        "description": "Rules with a type, joined by and or or, nested; or one rule.",
        "examples": [{"or": [{"type": "prometheus", "query": "up", "threshold": 1}]}],
    },
    "event_rule": _object((), {"event_type": _nullable(_TEXT), "query": _nullable({"type": "array", "items": _TRAIT})}),
    "prometheus_rule": _object(
        ("query", "threshold"),
        {
            "query": _TEXT,
            "threshold": {"type": "number"},
            "comparison_operator": _nullable(_choice(*ComparisonOperator)),
            "per_series": _nullable({**_BOOLEAN, "description": "Each series has a state of its own."}),
        },
    ),
    "loadbalancer_member_health_rule": _object(
        ("pool_id", "stack_id", "autoscaling_group_id"),
        {"pool_id": _TEXT, "stack_id": _TEXT, "autoscaling_group_id": _TEXT},
    ),
    "threshold_rule": {
        "deprecated": True,
        **_object(
            ("meter_name", "threshold"),
            {
                "meter_name": _TEXT,
                "threshold": {"type": "number"},
                "comparison_operator": _nullable(_choice(*ComparisonOperator)),
                "statistic": _nullable(_choice(*Statistic)),
                "period": _nullable({"type": "integer", "minimum": 1, "maximum": 31_536_000}),
                "evaluation_periods": _nullable({"type": "integer", "minimum": 1, "maximum": 100}),
                "exclude_outliers": _nullable({**_BOOLEAN, "description": "Only false is taken."}),
                "query": _nullable({"type": "array", "items": _SAMPLE}),
            },
        ),
    },
}
_ALARM: Final[Described] = _object(
    ("name", "type"),
    {
        "name": _TEXT,
        "type": _choice(*AlarmType),
        "description": _nullable(_TEXT),
        "enabled": _nullable(_BOOLEAN),
        **{key: _nullable(_LIST_OF_TEXT) for key in ACTIONS},
        "repeat_actions": _nullable(_BOOLEAN),
        "time_constraints": _nullable({"type": "array", "items": _CONSTRAINT}),
        "severity": _nullable(_choice(*Severity)),
        "state": _nullable(_choice(*AlarmState)),
        "project_id": _nullable(_TEXT),
        "user_id": _nullable(_TEXT),
        "alarm_id": {"description": "Not looked at."},
        "state_reason": {"description": "Not looked at."},
        **{
            key: _nullable({"type": "string", "examples": ["2026-11-20T15:20:02.979231"]})
            for key in ("timestamp", "state_timestamp", "evaluate_timestamp")
        },
        **{key: _nullable(_RULES[key]) for key in RULE_KEYS},
    },
)


def _with_body(body: Described) -> Described:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": body}}}}


def _parameter(name: str, of: Described) -> Described:
    return {"name": name, "in": "query", "required": False, "schema": of}


def _repeated(name: str, *words: str) -> Described:
    items = _choice(*words) if words else _TEXT
    return _parameter(name, {"type": "array", "items": items})


def _page(fields: tuple[str, ...], operators: tuple[str, ...], keys: tuple[str, ...]) -> Described:
    return {
        "parameters": [
            _repeated("q.field", *fields),
            _repeated("q.op", *operators),
            _repeated("q.value"),
            _repeated("q.type", *simple.TYPES),
            _repeated("sort", *(f"{key}{direction}" for key in keys for direction in ("", ":asc", ":desc"))),
            _parameter("limit", {"type": "integer", "minimum": 0}),
            _parameter("marker", _TEXT),
        ]
    }


def alarm_list() -> Described:
    """``GET /v2/alarms``."""
    page = _page(simple.ALARM_FIELDS, ("eq",), simple.ALARM_SORT_KEYS)
    return operation("Alarms", list[AlarmShown], openapi_extra=page)


def history() -> Described:
    """``GET /v2/alarms/{alarm_id}/history``."""
    fields = (*simple.HISTORY_FIELDS, "user_id", "project_id")
    page = _page(fields, ("eq", *simple.LATER), simple.HISTORY_SORT_KEYS)
    return operation("The history of an alarm", list[ChangeShown], openapi_extra=page)


def create() -> Described:
    """``POST /v2/alarms``."""
    responses = _FAULTS | _TAKEN
    return operation("Make an alarm", AlarmShown) | {
        "status_code": 201,
        "responses": responses,
        "openapi_extra": _with_body(_ALARM),
    }


def replace() -> Described:
    """``PUT /v2/alarms/{alarm_id}``."""
    responses = _FAULTS | _ABSENT | _TAKEN | _DECLARED
    return operation("Change an alarm as a whole", AlarmShown) | {
        "responses": responses,
        "openapi_extra": _with_body(_ALARM),
    }


def state() -> Described:
    """``PUT /v2/alarms/{alarm_id}/state``."""
    responses = _FAULTS | _ABSENT | _TAKEN | _DECLARED
    return operation("Set the state of an alarm by hand", StateShown) | {
        "responses": responses,
        "openapi_extra": _with_body(_choice(*AlarmState)),
    }


def search(summary: str, shown: type[BaseModel]) -> Described:
    """``POST /v2/query/…``."""
    filters = {"type": "string", "description": "JSON", "examples": ['{"=": {"name": "web"}}']}
    orders = {"type": "string", "description": "JSON", "examples": ['[{"timestamp": "desc"}]']}
    limits = {"type": "integer", "minimum": 1}
    body = _object((), {"filter": _nullable(filters), "orderby": _nullable(orders), "limit": _nullable(limits)})
    described = operation(f"{summary} by a complex query", list[shown])  # type: ignore[valid-type] # told at run time
    return described | {"responses": _FAULTS | _TAKEN, "openapi_extra": _with_body(body)}


def quota() -> Described:
    """``GET /v2/quotas``."""
    named = {"parameters": [_parameter("project_id", _TEXT)]}
    return operation("How many alarms a project may have", QuotasShown, openapi_extra=named)


def set_quota() -> Described:
    """``POST /v2/quotas``."""
    quota = _object(("resource", "limit"), {"resource": _choice("alarms"), "limit": {"type": "integer", "minimum": -1}})
    body = _object(("project_id",), {"project_id": _TEXT, "quotas": _nullable({"type": "array", "items": quota})})
    return operation("Say how many alarms a project may have", QuotasShown) | {
        "status_code": 201,
        "responses": _FAULTS | _TAKEN,
        "openapi_extra": _with_body(body),
    }


def tallies() -> Described:
    """``GET /v2/metrics``."""
    named = {"parameters": [_parameter("all_projects", _BOOLEAN)]}
    return operation("How often alarms were evaluated", TalliesShown, openapi_extra=named)
