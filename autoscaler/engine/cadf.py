"""A change in the form of CADF, in which OpenStack's services tell who did what.

Source:
    DMTF DSP0262 1.0.0, and pycadf 4.0, which reads it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.ports import AuditEntry

_EVENT: Final = "http://schemas.dmtf.org/cloud/audit/1.0/event"
_ACTIONS: Final = {
    "created": "create",
    "moved in": "create",
    "deleted": "delete",
    "dropped": "delete",
    "paused": "disable",
    "frozen": "disable",
    "resumed": "enable",
    "unfrozen": "enable",
    "executed": "start",
    "forced": "start",
    "replayed": "start",
    "published": "deploy",
    "moved out": "backup",
    "exported": "backup",
    "imported": "restore",
}
"""Of CADF's taxonomy; everything else is an update."""
_TARGETS: Final = {
    "alarm": "data/monitoring/alarm",
    "group": "compute/cluster",
    "groups": "compute/cluster",
    "policy": "data/monitoring/policy",
    "quota": "data/config/quota",
    "dead letters": "data/message",
    "declarations": "data/config",
    "database": "data/database",
    "state": "data/database",
}


def event(entry: AuditEntry, at: float) -> dict[str, Any]:
    """The event; ``at`` is in Unix seconds."""
    actor = entry.actor
    initiator = {
        "typeURI": "service/security/account/user" if actor.kind == "user" else "service/controller",
        "id": actor.name or "unknown",
        "name": actor.name,
        "project_id": actor.project_id,
        "host": {"address": actor.address} if actor.address else None,
        "request_id": actor.request_id,
    }
    target = {
        "typeURI": _TARGETS.get(entry.kind, "data"),
        "id": entry.target or "unknown",
        "name": f"{entry.kind} {entry.target}",
        "project_id": entry.project_id,
    }
    attachments = [
        {"name": name, "typeURI": "application/json", "content": side}
        for name, side in (("before", entry.before), ("after", entry.after))
        if side is not None
    ]
    found: dict[str, Any] = {
        "typeURI": _EVENT,
        "eventType": "activity",
        "id": entry.event_id,
        "eventTime": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f%z"),
        "action": _ACTIONS.get(entry.change, "update"),
        "outcome": "success",
        "initiator": _without_nothing(initiator),
        "target": _without_nothing(target),
        "observer": {"typeURI": "service/controller", "id": "autoscaler", "name": "autoscaler"},
        "name": entry.change,
    }
    return found | ({"attachments": attachments} if attachments else {})


def _without_nothing(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if value}
