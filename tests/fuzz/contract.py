"""What holds of everything that was taken, whatever it was made of: it can be stored, told and shown."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

import msgspec

from autoscaler.adapters.sources.decode import LATEST, METADATA_KEYS, METADATA_LENGTH, NAME_LENGTH, SHOWN_LENGTH
from autoscaler.alarms.alarm import AlarmRecord
from autoscaler.alarms.events import hit
from autoscaler.alarms.rules import EventRule
from autoscaler.measures.event import Event
from autoscaler.measures.measure import Measure
from autoscaler.ports import Undecoded
from tests.building import an_alarm

NOW: Final = 1_800_000_000.0  # 2027-01-15T08:00:00Z
DETAIL_LENGTH: Final = 1000
"""Characters of why something was not taken: it goes into logs and answers."""
_ALL_EVENTS: Final = an_alarm(type="event", rule=EventRule(), repeat_actions=True)


class Decoded(Protocol):
    """A message taken apart."""

    @property
    def measures(self) -> Sequence[Measure]: ...
    @property
    def indexes(self) -> Sequence[int]: ...
    @property
    def rejected(self) -> Sequence[Undecoded]: ...
    @property
    def events(self) -> Sequence[Event]: ...


def check_decoded(found: Decoded, *, trusted: bool) -> None:
    """All that a message gave is fit to be kept."""
    assert len(found.measures) == len(found.indexes)
    check_measures(found.measures, trusted=trusted)
    check_events(found.events, trusted=trusted)
    check_rejected(found.rejected)


def check_measures(measures: Iterable[Measure], *, trusted: bool = True) -> None:
    for measure in measures:
        assert math.isfinite(measure.value)
        assert 0 <= measure.timestamp <= LATEST
        assert 0 < len(measure.metric) <= NAME_LENGTH
        assert 0 < len(measure.resource_id) <= NAME_LENGTH
        assert len(measure.unit) <= NAME_LENGTH
        assert len(measure.project_id) <= (NAME_LENGTH if trusted else 0)
        assert len(measure.metadata) <= METADATA_KEYS
        assert all(0 < len(key) <= NAME_LENGTH for key in measure.metadata)
        assert all(len(text) <= METADATA_LENGTH for text in measure.metadata.values())
        assert as_stored(measure)["value"] == measure.value


def check_events(events: Iterable[Event], *, trusted: bool = True) -> None:
    for event in events:
        assert 0 < len(event.message_id) <= NAME_LENGTH
        assert 0 < len(event.event_type) <= NAME_LENGTH
        assert trusted or event.project_id == ""
        outcome = hit(_ALL_EVENTS, AlarmRecord(), event, NOW)
        assert outcome is not None
        check_record(outcome.record)


def check_record(record: AlarmRecord) -> None:
    """It survives being stored, and what webhooks carry of it is JSON."""
    assert msgspec.json.decode(msgspec.json.encode(record), type=AlarmRecord).state is record.state
    json.dumps(record.reason_data).encode()


def check_rejected(rejected: Iterable[Undecoded]) -> None:
    for fault in rejected:
        assert len(fault.payload) <= SHOWN_LENGTH
        assert 0 < len(fault.detail) <= DETAIL_LENGTH
        as_stored(fault)


def as_stored(value: object) -> Any:
    """Out of the JSON that a store keeps."""
    return msgspec.json.decode(msgspec.json.encode(value, enc_hook=dict))


def is_json(junk: bytes) -> int:
    """How many values between commas it is; 0 where it is no JSON."""
    try:
        json.loads("[" * 8 + junk.decode() + "]" * 8)  # some levels more than any message puts around it
        return len(json.loads(f"[{junk.decode()}]"))
    except (ValueError, RecursionError):
        return 0
