"""What is stored, field by field, as it was when the present form of the state was made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from autoscaler.alarms.alarm import AlarmRecord
from autoscaler.alarms.definition import Definition
from autoscaler.ports import (
    STATE_FORM,
    AuditEntry,
    DeadLetter,
    Freeze,
    Heartbeat,
    HistoryEntry,
    OutboxRow,
    SavedAlarm,
    SavedChange,
    SavedDeclarations,
    SavedDocument,
    SavedFreeze,
    SavedGroup,
    SavedLetter,
)
from autoscaler.scaling.decision import Decision
from autoscaler.scaling.group import GroupRecord

STORED = (
    AlarmRecord,
    AuditEntry,
    DeadLetter,
    Decision,
    Definition,
    Freeze,
    GroupRecord,
    Heartbeat,
    HistoryEntry,
    OutboxRow,
    SavedAlarm,
    SavedChange,
    SavedDeclarations,
    SavedDocument,
    SavedFreeze,
    SavedGroup,
    SavedLetter,
)
FIELDS = Path(__file__).parents[2] / "data" / f"state_form_{STATE_FORM}.json"


def without_words(schema: Any) -> Any:
    """A schema without what is only written for people."""
    if isinstance(schema, dict):
        return {key: without_words(value) for key, value in schema.items() if key not in {"description", "title"}}
    return [without_words(each) for each in schema] if isinstance(schema, list) else schema


def test_what_is_stored_is_what_this_form_of_the_state_holds() -> None:
    _, fields = msgspec.json.schema_components(STORED)

    assert json.loads(json.dumps(without_words(fields))) == json.loads(FIELDS.read_text()), (
        "what is stored has changed: it needs a new STATE_FORM, as docs/decisions/0042 says, and a file for it"
    )
