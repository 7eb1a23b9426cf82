"""What follows from what happened to an alarm: actions for the outbox, lines for the history, word on the bus."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, assert_never

from autoscaler.alarms.alarm import Alarm, AlarmRecord
from autoscaler.alarms.definition import microseconds, naive
from autoscaler.alarms.evaluation import (
    POLICY_SCHEME,
    Consideration,
    LateNote,
    OutageNote,
    Outcome,
    Repetition,
    Transition,
)
from autoscaler.ports import HistoryEntry, OutboxRow, event_id
from autoscaler.scaling.guards import iso

NOTIFICATION = "notification:"
"""The URL of the rows that tell a change on the bus."""
OUTAGE = "source outage"
"""Type of the lines of a history that say that most series of an alarm have stopped at once, or no longer."""
_EVENT_TYPES = {
    "creation": "alarm.creation",
    "rule change": "alarm.rule_change",
    "state transition": "alarm.state_transition",
    "deletion": "alarm.deletion",
}


def rows(alarm: Alarm, outcome: Outcome, now: float) -> list[OutboxRow]:
    """The actions that follow from an evaluation, in order."""
    found: list[OutboxRow] = []
    numbers: dict[int, int] = {}
    for happening in outcome.happenings:
        match happening:
            case Transition():
                urls = alarm.actions(happening.current)
                body = _body(alarm, happening.previous, happening.current, happening.reason, happening.reason_data)
                repeat = False
            case Repetition():
                urls = tuple(url for url in alarm.actions(happening.state) if not url.startswith(POLICY_SCHEME))
                body = _body(alarm, happening.state, happening.state, happening.reason, happening.reason_data)
                repeat = True
            case Consideration():
                urls = tuple(url for url in alarm.actions(happening.state) if url.startswith(POLICY_SCHEME))
                body = {"current": happening.state}
                repeat = True
            case LateNote() | OutageNote():
                continue
            case _:
                assert_never(happening)
        for url in urls:
            number = numbers.get(happening.version, 0)
            numbers[happening.version] = number + 1
            row_id = f"{alarm.alarm_id}:{happening.version}:{number}"
            found.append(
                OutboxRow(
                    id=row_id,
                    alarm_id=alarm.alarm_id,
                    url=url,
                    body=body,
                    created=now,
                    repeat=repeat,
                    declared=not alarm.revision,
                    project_id=alarm.project_id,
                )
            )
    return found


def _body(alarm: Alarm, previous: str, current: str, reason: str, reason_data: dict[str, Any]) -> dict[str, Any]:
    """What a webhook carries: Aodh's keys in Aodh's order (aodh/notifier/rest.py, 23.0.0)."""
    return {
        "alarm_name": alarm.name,
        "alarm_id": alarm.alarm_id,
        "severity": alarm.severity,
        "previous": previous,
        "current": current,
        "reason": reason,
        "reason_data": reason_data,
    }


def history(alarm: Alarm, before: AlarmRecord | None, outcome: Outcome, now: float) -> list[HistoryEntry]:
    """What an alarm's history keeps of an evaluation, oldest first; kinds and details are Aodh's."""
    entries: list[tuple[str, dict[str, Any], float, int]] = []
    if alarm.revision:
        pass  # whoever defined it through the API has told that already
    elif before is None:
        created = {"name": alarm.name, "type": alarm.type, "state": AlarmRecord().state}
        entries.append(("creation", created, now, outcome.record.version))
    elif before.definition != outcome.record.definition:
        entries.append(("rule change", {"definition": outcome.record.definition}, now, outcome.record.version))
    entries += [
        (
            "state transition",
            {"state": happening.current, "transition_reason": _said(happening)},
            happening.time,
            happening.version,
        )
        for happening in outcome.happenings
        if isinstance(happening, Transition)
    ]
    entries += [
        (OUTAGE, _outage(happening), happening.time, happening.version)
        for happening in outcome.happenings
        if isinstance(happening, OutageNote)
    ]
    return [
        HistoryEntry(
            event_id=event_id(alarm.alarm_id, version, kind),
            alarm_id=alarm.alarm_id,
            type=kind,
            detail=detail,
            timestamp=time,
            on_behalf_of=alarm.project_id,
            severity=alarm.severity,
        )
        for kind, detail, time, version in entries
    ]


def _outage(note: OutageNote) -> dict[str, Any]:
    return {"outage": note.turn, "silent": note.silent, "reported": note.reported, "newest": iso(note.stopped)}


def _said(transition: Transition) -> str:
    return f"{transition.reason} ({transition.note})" if transition.note else transition.reason


def notes(alarm: Alarm, outcome: Outcome, window_version: int) -> list[HistoryEntry]:
    """What an alarm's history keeps of measures that came too late for its window; they change no record."""
    return [
        HistoryEntry(
            event_id=event_id(alarm.alarm_id, window_version, "late measure"),
            alarm_id=alarm.alarm_id,
            type="late measure",
            detail={"measured": iso(note.measured), "state": note.state, "reason": note.reason},
            timestamp=note.time,
            on_behalf_of=alarm.project_id,
            severity=alarm.severity,
        )
        for note in outcome.happenings
        if isinstance(note, LateNote)
    ]


def notifications(entries: Sequence[HistoryEntry], *, publisher: str, now: float) -> list[OutboxRow]:
    """The rows that tell entries of a history on the bus, in the form in which Aodh tells them.

    Args:
        publisher: ``aodh.api``, whose details are objects, or ``aodh.evaluator``, whose details are JSON in a text.
    """
    return [
        OutboxRow(
            id=f"{entry.event_id}:told",
            alarm_id=entry.alarm_id,
            url=NOTIFICATION,
            body={
                "event_type": _EVENT_TYPES[entry.type],
                "publisher_id": publisher,
                "payload": {
                    "event_id": entry.event_id,
                    "alarm_id": entry.alarm_id,
                    "type": entry.type,
                    "detail": entry.detail if publisher == "aodh.api" else json.dumps(entry.detail),
                    "user_id": entry.user_id,
                    "project_id": entry.project_id,
                    "on_behalf_of": entry.on_behalf_of,
                    "timestamp": naive(microseconds(entry.timestamp)),
                    "severity": entry.severity,
                },
            },
            created=now,
        )
        for entry in entries
        if entry.type in _EVENT_TYPES
    ]
