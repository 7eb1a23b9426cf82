"""An alarm as somebody defined it through the API, in the form in which Aodh stores and tells it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.alarms.alarm import AlarmRecord

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


ACTIONS = ("ok_actions", "alarm_actions", "insufficient_data_actions")
SCHEMES = (
    *("http", "https", "log", "test", "policy"),
    *("trust+http", "trust+https", "trust+heat", "zaqar", "trust+zaqar"),
)
"""Of actions that are known."""


EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)


def microseconds(time: float) -> int:
    """Unix seconds as whole microseconds."""
    return round(time * 1e6)


def naive(micros: int) -> str:
    """Microseconds since 1970 as Aodh writes times: ISO 8601, UTC, without a zone, to the microsecond."""
    return (EPOCH + micros * MICROSECOND).replace(tzinfo=None).isoformat(timespec="microseconds")


def scrubbed(url: str) -> str:
    """An action's URL without the trust that was made for it."""
    scheme, colon, rest = url.partition("://")
    if not scheme.startswith("trust+"):
        return url
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    return f"{scheme}{colon}{host.rpartition('@')[2]}{rest[len(host) :]}"


def trust_of(url: str) -> str:
    """The trust that was made for an action; "" where there is none."""
    scheme, _, rest = url.partition("://")
    user, at, _ = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")
    return user.partition(":")[0] if at and scheme.startswith("trust+") else ""


def told(definition: Definition) -> dict[str, Any]:
    """A definition as histories and notifications tell it: Aodh's storage form but for the state."""
    document: dict[str, Any] = msgspec.to_builtins(definition)
    for key in ("scope", "revision", "created"):
        del document[key]
    for key in ACTIONS:
        document[key] = [scrubbed(url) for url in document[key]]
    return document | {"timestamp": naive(microseconds(definition.timestamp))}


def told_with_state(definition: Definition, record: AlarmRecord) -> dict[str, Any]:
    """The same with what the record says."""
    state = {
        "state": record.state,
        "state_timestamp": naive(microseconds(record.state_timestamp)),
        "state_reason": record.reason,
    }
    return told(definition) | state
