"""An alarm as somebody defined it through the API, in the form in which Aodh stores and tells it."""

from __future__ import annotations

from typing import Any

import msgspec

NOT_EVALUATED = "Not evaluated yet"
SET_BY_HAND = "Manually set via API"


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of an alarm beside its record; valid when it was taken.

    Source:
        aodh/storage/models.py, 23.0.0, for names and what they hold. State, its timestamp and reason are the record's.

    Attributes:
        rule: Aodh's stored form, defaults filled in: what GET shows as ``TYPE_rule``.
        timestamp: Unix seconds of the last change of the definition.
        scope: the project whose measures it sees, or :data:`autoscaler.measures.window.ANY_PROJECT`.
        revision: raised by each change, from 1; from the clock, so that it is never used again.
        created: Unix seconds.
    """

    alarm_id: str
    type: str
    name: str
    description: str
    enabled: bool
    severity: str
    ok_actions: tuple[str, ...]
    alarm_actions: tuple[str, ...]
    insufficient_data_actions: tuple[str, ...]
    repeat_actions: bool
    time_constraints: tuple[dict[str, Any], ...]
    rule: dict[str, Any]
    user_id: str
    project_id: str
    timestamp: float
    scope: str
    revision: int = 0
    created: float = 0.0


encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Definition)


def decode(document: bytes | str) -> Definition:
    """The inverse of ``encode``."""
    return _decoder.decode(document)
