"""The body of a request that makes an alarm or changes one.

Source:
    aodh/api/controllers/v2/alarms.py, ``Alarm``, 23.0.0, for keys, defaults and most texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import CroniterError, croniter

from autoscaler.alarms.alarm import AlarmState, Severity
from autoscaler.alarms.definition import ACTIONS, Definition
from autoscaler.api.v2.actions import Actions, parse_actions
from autoscaler.api.v2.errors import FaultError, invalid
from autoscaler.api.v2.fields import Object, few, flag, one_of, short_text, text, texts, time, whole
from autoscaler.api.v2.rules import RULE_KEYS, AlarmType, Rule, default_description, key_of, parse_rule
from autoscaler.api.v2.times import ordered
from autoscaler.measures.window import ANY_PROJECT

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.api.identity import Identity
    from autoscaler.api.v2.scope import Scope

KEYS: Final = (
    "alarm_id",
    "name",
    "description",
    "enabled",
    *ACTIONS,
    "repeat_actions",
    "type",
    "time_constraints",
    "project_id",
    "user_id",
    "timestamp",
    "state",
    "state_timestamp",
    "state_reason",
    "severity",
    "evaluate_timestamp",
    *RULE_KEYS,
)
CENTURY: Final = 100 * 366 * 86_400
"""Seconds; longer spans no calendar can count."""
MOST_CONSTRAINTS: Final = 100
OWNER: Final = 255
"""Characters of an id of a user or project."""


def body(document: Any) -> Object:
    """A decoded body whose keys an alarm may have."""
    return Object(document, "data", "data", KEYS)


def owner(alarm: Object, key: str, own: str) -> str:
    """The user or project that a body names; ``own`` where it names none.

    Raises:
        FaultError: it is no id, or a word that means more than one project.
    """
    named = alarm.optional(key, text, own)
    if key == "project_id" and named in {"", ANY_PROJECT}:
        raise invalid(key, named, "Value should be the id of a project")
    if len(named) > OWNER:
        raise invalid(key, named, f"Value should have at most {OWNER} characters")
    return named


@dataclass(frozen=True, slots=True)
class Draft:
    """What a body says.

    Attributes:
        state: that it asks for; None where it asks for none.
    """

    name: str
    type: AlarmType
    description: str
    enabled: bool
    severity: Severity
    actions: Actions
    repeat_actions: bool
    time_constraints: tuple[dict[str, Any], ...]
    rule: Rule
    state: AlarmState | None

    def definition(self, *, user_id: str, project_id: str, sees: str, actions: Actions | None = None) -> Definition:
        """What is stored; its id and times are given where it is stored.

        Args:
            actions: in place of those of the body.
        """
        actions = actions or self.actions
        return Definition(
            alarm_id="",
            type=self.type.value,
            name=self.name,
            description=self.description,
            enabled=self.enabled,
            severity=self.severity.value,
            ok_actions=actions["ok_actions"],
            alarm_actions=actions["alarm_actions"],
            insufficient_data_actions=actions["insufficient_data_actions"],
            repeat_actions=self.repeat_actions,
            time_constraints=self.time_constraints,
            rule=self.rule,
            user_id=user_id,
            project_id=project_id,
            timestamp=0.0,
            scope=sees,
        )


def parse_alarm(alarm: Object, identity: Identity, scope: Scope, most_actions: int) -> Draft:
    """What a body says of an alarm, defaults filled in.

    Raises:
        FaultError: it is no alarm, or not one that whoever asks may make.
    """
    name = alarm.required("name", short_text)
    kind = alarm.required("type", one_of(AlarmType))
    described = alarm.optional("description", short_text, "")
    state = alarm.given("state", one_of(AlarmState))
    state_timestamp = alarm.given("state_timestamp", time)
    for key in ("timestamp", "evaluate_timestamp"):
        alarm.given(key, time)
    _check_rules(alarm, kind)
    rule = alarm.required(key_of(kind), lambda _, document: parse_rule(kind, document, scope))
    actions: dict[str, tuple[str, ...]] = {}
    for key in ACTIONS:
        urls: tuple[str, ...] = alarm.optional(key, texts, ())
        actions[key] = parse_actions(key, urls, identity, most_actions)
    return Draft(
        name=name,
        type=kind,
        description=described or default_description(kind, rule),
        enabled=alarm.optional("enabled", flag, default=True),
        severity=alarm.optional("severity", one_of(Severity), Severity.LOW),
        actions=actions,
        repeat_actions=alarm.optional("repeat_actions", flag, default=False),
        time_constraints=_constraints(alarm.optional("time_constraints", few(MOST_CONSTRAINTS), [])),
        rule=rule,
        state=ordered(state, state_timestamp),
    )


def _check_rules(alarm: Object, kind: AlarmType) -> None:
    own = key_of(kind)
    if not alarm.has(own):
        raise FaultError(400, f"{own} must be set for {kind} type alarm")
    others = [key for key in RULE_KEYS if key != own and alarm.has(key)]
    if others:
        raise FaultError(400, f"{own} and {others[0]} cannot be set at the same time")


def _constraints(documents: list[Any]) -> tuple[dict[str, Any], ...]:
    constraints = tuple(_constraint(document) for document in documents)
    names = [constraint["name"] for constraint in constraints]
    if len(set(names)) < len(names):
        raise FaultError(400, "Time constraint names must be unique for a given alarm.")
    return constraints


def _constraint(document: Any) -> dict[str, Any]:
    keys = ("name", "description", "start", "duration", "timezone")
    constraint = Object(document, "data.time_constraints", "time_constraints", keys)
    name = constraint.required("name", short_text)
    described = constraint.optional("description", short_text, "")
    start = constraint.required("start", _cron)
    duration = constraint.required("duration", whole(0, CENTURY))
    return {
        "name": name,
        "description": described or f"Time constraint at {start} lasting for {duration} seconds",
        "start": start,
        "duration": duration,
        "timezone": constraint.optional("timezone", _timezone, ""),
    }


def _cron(name: str, value: Any) -> str:
    start = short_text(name, value)
    try:
        croniter(start)
    except (CroniterError, ValueError, KeyError, OverflowError) as error:
        raise invalid(name, value, str(error)) from error
    return start


def _timezone(name: str, value: Any) -> str:
    zone = short_text(name, value)
    try:
        if zone:
            ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise FaultError(400, f"Timezone {zone} is not valid") from error
    return zone
