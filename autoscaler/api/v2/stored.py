"""Alarms in the form in which Aodh stores and tells them, checked as the body of a request is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from autoscaler.alarms.alarm import AlarmState
from autoscaler.alarms.definition import ACTIONS, Definition, scrubbed
from autoscaler.api.identity import ADMIN, Identity
from autoscaler.api.v2.body import KEYS, Draft, body, parse_alarm
from autoscaler.api.v2.errors import FaultError
from autoscaler.api.v2.fields import one_of
from autoscaler.api.v2.rules import RULE_KEYS, AlarmType, key_of
from autoscaler.api.v2.scope import Scope
from autoscaler.measures.window import ANY_PROJECT

if TYPE_CHECKING:
    from typing import Final

_TOLD: Final = frozenset(KEYS) - frozenset(RULE_KEYS) - {"timestamp", "evaluate_timestamp", "state_timestamp", "state"}


def definition_of_stored(document: Mapping[str, Any], sees: str = "") -> tuple[Definition, AlarmState]:
    """An alarm in Aodh's storage form, with its state; revision and times are given where it is stored.

    Trusts in the URLs of its actions are left out: they are Aodh's.

    Args:
        document: the whole alarm.
        sees: the project whose measures it sees where its rule does not tell, or the word for all; "" is its own.

    Raises:
        ValueError: it is no alarm that is known here; says why.
    """
    try:
        return _definition(document, sees)
    except FaultError as error:
        raise ValueError(error.text) from error


def _definition(document: Mapping[str, Any], known: str) -> tuple[Definition, AlarmState]:
    kind = one_of(AlarmType)("type", document.get("type"))
    rule, project_id = document.get("rule"), document.get("project_id")
    if not isinstance(project_id, str) or project_id in {"", ANY_PROJECT}:
        raise ValueError(f"project_id: expected the id of a project, got {project_id!r}")
    sees = _sees(kind, rule, project_id, known or project_id)
    alarm = {key: document[key] for key in _TOLD & document.keys()} | {key_of(kind): _asked(rule)}
    for key in ACTIONS:
        alarm[key] = [scrubbed(url) if isinstance(url, str) else url for url in alarm.get(key) or ()]
    user_id = str(document.get("user_id") or "")
    # whoever made it was asked by Aodh what they may
    maker = Identity(user_id, project_id, frozenset((ADMIN,)))
    scope = Scope(None if sees == ANY_PROJECT else sees, wraps=False)
    draft: Draft = parse_alarm(body(alarm), maker, scope, most_actions=0)
    definition = draft.definition(user_id=user_id, project_id=project_id, sees=sees)
    state = one_of(AlarmState)("state", document.get("state") or AlarmState.INSUFFICIENT_DATA)
    return msgspec.structs.replace(definition, alarm_id=str(document.get("alarm_id") or "")), state


def _sees(kind: AlarmType, rule: Any, project_id: str, otherwise: str) -> str:
    """The project whose measures it looks at, or the word for all, as far as its rule tells who made it.

    Aodh confines searches and PromQL to a project unless an admin made the alarm for their own; other rules it confines
    never, so nothing is known there, and unless somebody knows better they see their project only, as those made here.
    """
    if not isinstance(rule, Mapping):
        return otherwise
    match kind:
        case AlarmType.BY_RESOURCES:
            return project_id if _is_confined(rule.get("query")) else ANY_PROJECT
        case AlarmType.PROMETHEUS:
            return project_id if rule.get("scope_to_project") else ANY_PROJECT
        case _:
            return otherwise


def _is_confined(query: Any) -> bool:
    """Whether a search has Aodh's words for a project around it."""
    try:
        search = msgspec.json.decode(query) if isinstance(query, str) else None
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return True
    parts = search.get("and") if isinstance(search, dict) and search.keys() == {"and"} else None
    return isinstance(parts, list) and bool(parts) and "created_by_project_id" in msgspec.json.encode(parts[0]).decode()


def _asked(rule: Any) -> Any:
    """A stored rule as it was asked for: without what Aodh has added."""
    if isinstance(rule, list):
        return [_asked(part) for part in rule]
    if not isinstance(rule, Mapping):
        return rule
    return {
        key: _asked(value) if key in {"and", "or"} else value
        for key, value in rule.items()
        if key != "scope_to_project"
    }
