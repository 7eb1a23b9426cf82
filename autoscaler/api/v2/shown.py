"""Alarms and their histories as Aodh shows them, and the values that they are filtered and sorted by."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoscaler.alarms.alarm import AlarmRecord
from autoscaler.alarms.definition import microseconds, naive, scrubbed
from autoscaler.api.v2.actions import without_trusts
from autoscaler.api.v2.query import RANKS, Kind, Value
from autoscaler.api.v2.rules import shown_rule
from autoscaler.api.v2.times import with_state

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.engine.catalogue import Listing
    from autoscaler.ports import HistoryEntry


@dataclass(frozen=True, slots=True)
class Row:
    """An alarm in a list.

    Attributes:
        record: None where it was not looked at; the fields of :data:`LIVE` have no value then.
    """

    listing: Listing
    record: AlarmRecord | None = None

    @property
    def alarm_id(self) -> str:
        """Its id."""
        return self.listing.alarm.alarm_id


def _told(url: str) -> str:
    """An action as Aodh tells it: of ``log://`` and ``test://`` without the slashes."""
    return url.removesuffix("//") if url in {"log://", "test://"} else scrubbed(url)


def shown_alarm(listing: Listing, record: AlarmRecord) -> dict[str, Any]:
    """An alarm as GET answers with it, keys in Aodh's order."""
    definition = listing.definition
    return {
        "alarm_id": listing.alarm.alarm_id,
        "name": definition.name,
        "description": definition.description,
        "enabled": definition.enabled,
        "ok_actions": [_told(url) for url in definition.ok_actions],
        "alarm_actions": [_told(url) for url in definition.alarm_actions],
        "insufficient_data_actions": [_told(url) for url in definition.insufficient_data_actions],
        "repeat_actions": definition.repeat_actions,
        "type": definition.type,
        "time_constraints": list(definition.time_constraints),
        "project_id": definition.project_id,
        "user_id": definition.user_id,
        "timestamp": naive(microseconds(listing.timestamp)),
        "state": record.state.value,
        "state_timestamp": naive(_state_timestamp(listing, record)),
        "state_reason": record.state_reason,
        "severity": definition.severity,
        "evaluate_timestamp": naive(_evaluated(listing, record)),
        f"{definition.type}_rule": shown_rule(definition.rule),
    }


def _state_timestamp(listing: Listing, record: AlarmRecord) -> int:
    """Of one that was never in another state, when it came to be."""
    return with_state(record.state_timestamp or listing.timestamp, record.state)


def _evaluated(listing: Listing, record: AlarmRecord) -> int:
    """What the newest verdict rests on ended then; of an alarm without one, the definition's time."""
    return microseconds(listing.timestamp if record.evidence is None else record.evidence.ends)


def _live(read: Callable[[Listing, AlarmRecord], Value]) -> Callable[[Row], Value | None]:
    return lambda row: None if row.record is None else read(row.listing, row.record)


def _as_json(value: Any) -> str:
    return json.dumps(value)


def _type(row: Row) -> str:
    """Declared ones may have types that Aodh does not know, and are told as one that it does."""
    return row.listing.definition.type if row.listing.origin else row.listing.alarm.type


_ALARM: Final[Mapping[str, tuple[Kind, Callable[[Row], Value | None]]]] = {
    "alarm_id": (Kind.TEXT, lambda row: row.listing.alarm.alarm_id),
    "type": (Kind.TEXT, _type),
    "enabled": (Kind.FLAG, lambda row: row.listing.alarm.enabled),
    "name": (Kind.TEXT, lambda row: row.listing.alarm.name),
    "description": (Kind.TEXT, lambda row: row.listing.alarm.description),
    "timestamp": (Kind.TIME, lambda row: microseconds(row.listing.timestamp)),
    "user_id": (Kind.TEXT, lambda row: row.listing.user_id),
    "project_id": (Kind.TEXT, lambda row: row.listing.alarm.project_id),
    "state": (Kind.TEXT, _live(lambda _, record: record.state.value)),
    "state_timestamp": (Kind.TIME, _live(_state_timestamp)),
    "state_reason": (Kind.TEXT, _live(lambda _, record: record.state_reason)),
    "ok_actions": (Kind.TEXT, lambda row: _as_json([scrubbed(url) for url in row.listing.alarm.ok_actions])),
    "alarm_actions": (Kind.TEXT, lambda row: _as_json([scrubbed(url) for url in row.listing.alarm.alarm_actions])),
    "insufficient_data_actions": (
        Kind.TEXT,
        lambda row: _as_json([scrubbed(url) for url in row.listing.alarm.insufficient_data_actions]),
    ),
    "repeat_actions": (Kind.FLAG, lambda row: row.listing.alarm.repeat_actions),
    "rule": (Kind.TEXT, lambda row: _as_json(shown_rule(row.listing.definition.rule))),
    "time_constraints": (Kind.TEXT, lambda row: _as_json(row.listing.definition.time_constraints)),
    "severity": (Kind.SEVERITY, lambda row: RANKS[row.listing.alarm.severity]),
    "evaluate_timestamp": (Kind.TIME, _live(_evaluated)),
}
ALARM_FIELDS: Final[Mapping[str, Kind]] = {field: kind for field, (kind, _) in _ALARM.items()}
LIVE: Final = frozenset(("state", "state_timestamp", "state_reason", "evaluate_timestamp"))
"""Fields of an alarm's record, which lies in the store."""


def alarm_value(row: Row, field: str) -> Value | None:
    """The value of a field of :data:`ALARM_FIELDS`."""
    return _ALARM[field][1](row)


def shown_entry(entry: HistoryEntry) -> dict[str, Any]:
    """A line of a history, keys in Aodh's order."""
    return {
        "event_id": entry.event_id,
        "alarm_id": entry.alarm_id,
        "type": entry.type,
        "detail": _detail(entry),
        "project_id": entry.project_id,
        "user_id": entry.user_id,
        "on_behalf_of": entry.on_behalf_of,
        "timestamp": naive(microseconds(entry.timestamp)),
    }


def _detail(entry: HistoryEntry) -> str:
    return json.dumps(without_trusts(entry.detail))


_ENTRY: Final[Mapping[str, tuple[Kind, Callable[[HistoryEntry], Value | None]]]] = {
    "event_id": (Kind.TEXT, lambda entry: entry.event_id),
    "alarm_id": (Kind.TEXT, lambda entry: entry.alarm_id),
    "type": (Kind.TEXT, lambda entry: entry.type),
    "detail": (Kind.TEXT, _detail),
    "user_id": (Kind.TEXT, lambda entry: entry.user_id),
    "project_id": (Kind.TEXT, lambda entry: entry.project_id),
    "on_behalf_of": (Kind.TEXT, lambda entry: entry.on_behalf_of),
    "severity": (Kind.SEVERITY, lambda entry: RANKS.get(entry.severity)),
    "timestamp": (Kind.TIME, lambda entry: microseconds(entry.timestamp)),
}
ENTRY_FIELDS: Final[Mapping[str, Kind]] = {field: kind for field, (kind, _) in _ENTRY.items()}


def entry_value(entry: HistoryEntry, field: str) -> Value | None:
    """The value of a field of :data:`ENTRY_FIELDS`."""
    return _ENTRY[field][1](entry)
