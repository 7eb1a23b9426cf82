"""Native JSON into measures: a message is one object, a list of them, or one object per line.

A message that is right throughout is decoded at once, by types. Any fault sends it the slow way, element by element,
which finds the reason and keeps the neighbours. Both ways accept the same messages and give the same measures, save
that only the slow one knows metadata that is not text already, ISO 8601 beyond RFC 3339, and what is wrong.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec

from autoscaler.errors import InvalidMeasureError, Rejection
from autoscaler.measures.event import Event
from autoscaler.measures.measure import NO_METADATA, Measure
from autoscaler.ports import Undecoded

NAME_LENGTH: Final = 255
"""Characters of a metric, resource id, project id, unit or metadata key."""
METADATA_KEYS: Final = 64
METADATA_LENGTH: Final = 1024
"""Characters of one metadata value."""
METADATA_DEPTH: Final = 8
"""Objects within objects."""
SHOWN_LENGTH: Final = 65_536
"""Characters of a rejected message that are kept."""
LATEST: Final = 7_258_118_400.0
"""The year 2200: no honest measure is from later, and one in milliseconds looks as if it were."""

_NAIVE_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - to subtract from times without zone, which are UTC
_REQUIRED: Final = ("metric", "resource_id", "timestamp", "value")
_KEYS: Final = frozenset({*_REQUIRED, "unit", "project_id", "metadata"})


@dataclass(frozen=True, slots=True)
class Limits:
    """What a measure may be.

    Attributes:
        max_future: seconds that a timestamp may be ahead of now.
        max_past: seconds that it may be behind.
        max_bytes: of a whole message.
        max_measures: in a message.
    """

    max_future: float = 60.0
    max_past: float = 10 * 365.25 * 86_400
    max_bytes: int = 1024 * 1024
    max_measures: int = 20_000


LIVE: Final = Limits()
RECORDED: Final = Limits(max_future=math.inf, max_past=math.inf, max_measures=sys.maxsize)
"""For measures whose own time is the only one there is."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A message taken apart.

    Attributes:
        measures: in the order of the message.
        indexes: of each measure in the message, from 0.
        rejected: the others, each with its index, or one without when it is about the whole message.
        events: in the order of the message, where it may hold some.
    """

    measures: Sequence[Measure]
    indexes: Sequence[int]
    rejected: Sequence[Undecoded] = ()
    events: Sequence[Event] = ()


_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_LENGTH)]
_Label = Annotated[str, msgspec.Meta(max_length=NAME_LENGTH)]
_Text = Annotated[str, msgspec.Meta(max_length=METADATA_LENGTH)]


class _Wire(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What the fast way takes."""

    metric: _Name
    resource_id: _Name
    timestamp: datetime | float
    value: float
    unit: _Label = ""
    project_id: _Label = ""
    metadata: Annotated[dict[_Name, _Text], msgspec.Meta(max_length=METADATA_KEYS)] = {}


_decode_list = msgspec.json.Decoder(list[_Wire]).decode
_decode_one = msgspec.json.Decoder(_Wire).decode


def decode(payload: bytes, *, now: float, trusted: bool, limits: Limits = LIVE) -> Decoded:
    """The measures of one message, and what of it could not be taken. Total.

    Args:
        payload: as received.
        now: Unix seconds; what timestamps are compared with.
        trusted: whether a ``project_id`` counts; else it is left out.
        limits: of time and size.
    """
    if len(payload) > limits.max_bytes:
        detail = f"a message of {len(payload)} bytes; at most {limits.max_bytes} are taken"
        return refused(payload, Rejection.TOO_LONG, detail)
    measures = _at_once(payload, now, trusted=trusted, limits=limits)
    if measures is not None:
        return Decoded(measures, range(len(measures)))
    return _one_by_one(payload, now, trusted=trusted, limits=limits)


def refused(payload: bytes, rejection: Rejection, detail: str) -> Decoded:
    """A message of which nothing can be taken."""
    return Decoded((), (), (Undecoded(rejection, detail, payload[:SHOWN_LENGTH].decode(errors="replace")),))


# --- the fast way ----------------------------------------------------------------------------------------------------


def _at_once(payload: bytes, now: float, *, trusted: bool, limits: Limits) -> list[Measure] | None:
    """All measures of a faultless message; None when anything is not as it should be."""
    try:
        wires = _wires(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if len(wires) > limits.max_measures:
        return None
    earliest, latest = max(0.0, now - limits.max_past), min(LATEST, now + limits.max_future)
    measures = []
    for wire in wires:
        at = wire.timestamp
        if isinstance(at, datetime):
            at = unix(at)
        if not earliest <= at <= latest:
            return None
        project_id = wire.project_id if trusted else ""
        measures.append(
            Measure(wire.metric, wire.resource_id, at, wire.value, project_id, wire.unit, wire.metadata or NO_METADATA)
        )
    return measures


def _wires(payload: bytes) -> Sequence[_Wire]:
    if payload.lstrip()[:1] == b"[":
        return _decode_list(payload)
    try:
        return (_decode_one(payload),)
    except msgspec.DecodeError:
        lines = _lines(payload)
        if len(lines) < 2:
            raise
        return [_decode_one(line) for line in lines]


def _lines(payload: bytes) -> list[bytes]:
    return [line for line in payload.splitlines() if line.strip()]


def unix(at: datetime) -> float:
    """Unix seconds of a date and time; one without zone is UTC."""
    return at.timestamp() if at.tzinfo is not None else (at - _NAIVE_EPOCH).total_seconds()


# --- the slow way ----------------------------------------------------------------------------------------------------


def _one_by_one(payload: bytes, now: float, *, trusted: bool, limits: Limits) -> Decoded:
    """Every element for itself, with the reason where it cannot be taken."""
    try:
        document = parsed(payload)
    except InvalidMeasureError as error:
        lines = _lines(payload)
        if len(lines) < 2 or payload.lstrip()[:1] == b"[":
            return refused(payload, error.rejection, error.detail)
        if len(lines) > limits.max_measures:  # before each of them is looked at: half a million take seconds
            return refused(payload, Rejection.TOO_LONG, f"{len(lines)} lines; at most {limits.max_measures} are taken")
        elements = [_line(line) for line in lines]
        if all(isinstance(element, Undecoded) for element in elements):
            return refused(payload, error.rejection, error.detail)  # one broken thing, not many
    else:
        elements = document if isinstance(document, list) else [document]
    try:
        check_number(len(elements), limits)
    except InvalidMeasureError as error:
        return refused(payload, error.rejection, error.detail)
    return _sorted(elements, now, trusted=trusted, limits=limits)


def _sorted(elements: Sequence[object], now: float, *, trusted: bool, limits: Limits) -> Decoded:
    measures, indexes, rejected = [], [], []
    for index, element in enumerate(elements):
        if isinstance(element, Undecoded):
            rejected.append(Undecoded(element.rejection, element.detail, element.payload, index))
            continue
        try:
            measure = _measure(element, now, trusted=trusted, limits=limits)
        except InvalidMeasureError as error:
            rejected.append(Undecoded(error.rejection, error.detail, shown(element), index))
        else:
            measures.append(measure)
            indexes.append(index)
    return Decoded(measures, indexes, rejected)


def _line(line: bytes) -> object:
    try:
        return parsed(line)
    except InvalidMeasureError as error:
        return Undecoded(error.rejection, error.detail, line[:SHOWN_LENGTH].decode(errors="replace"))


def check_number(measures: int, limits: Limits) -> None:
    """Refuse a message of too many.

    Raises:
        InvalidMeasureError: nothing of it can be taken.
    """
    if measures > limits.max_measures:
        detail = f"{measures} measures in a message; at most {limits.max_measures} are taken"
        raise InvalidMeasureError(Rejection.TOO_LONG, detail)


def parsed(document: bytes) -> object:
    """Any JSON, NaN and Infinity included, so that one of them costs one measure and not the message.

    Raises:
        InvalidMeasureError: it is none.
    """
    if not document.strip():
        raise InvalidMeasureError(Rejection.UNDECODABLE, "an empty message")
    try:
        return json.loads(document.decode())
    except UnicodeDecodeError as error:
        raise InvalidMeasureError(Rejection.UNDECODABLE, f"not UTF-8: byte {error.start}: {error.reason}") from error
    except RecursionError as error:
        raise InvalidMeasureError(Rejection.UNDECODABLE, "nested too deeply") from error
    except ValueError as error:  # of which JSONDecodeError is one; the other is an integer of thousands of digits
        raise InvalidMeasureError(Rejection.UNDECODABLE, f"not JSON: {error}") from error


def shown(element: object) -> str:
    """A rejected element as it is kept. Total."""
    try:
        return json.dumps(element)[:SHOWN_LENGTH]
    except RecursionError:
        return "(nested too deeply to show)"


def _measure(element: object, now: float, *, trusted: bool, limits: Limits) -> Measure:
    if not isinstance(element, dict):
        raise InvalidMeasureError(Rejection.WRONG_TYPE, f"expected an object, found {kind_of(element)}")
    for key in element:
        if key not in _KEYS:
            detail = f"{key[:NAME_LENGTH]!a}; known are {', '.join([*_REQUIRED, 'unit', 'project_id', 'metadata'])}"
            raise InvalidMeasureError(Rejection.UNKNOWN_KEY, detail)
    for key in _REQUIRED:
        if key not in element:
            raise InvalidMeasureError(Rejection.MISSING_KEY, key)
    project_id = text_of("project_id", element.get("project_id", ""), NAME_LENGTH)
    return Measure(
        name_of("metric", element["metric"]),
        name_of("resource_id", element["resource_id"]),
        in_time(_timestamp(element["timestamp"]), now, limits),
        finite("value", element["value"]),
        project_id if trusted else "",
        text_of("unit", element.get("unit", ""), NAME_LENGTH),
        _metadata(element.get("metadata", {})),
    )


def name_of(key: str, value: object) -> str:
    """A name as it may be stored: a text that is not empty.

    Raises:
        InvalidMeasureError: it is none, or too long.
    """
    text = text_of(key, value, NAME_LENGTH)
    if not text:
        raise InvalidMeasureError(Rejection.WRONG_TYPE, f"{key}: expected a name, found an empty text")
    return text


def text_of(key: str, value: object, length: int) -> str:
    """A text of at most ``length`` characters.

    Raises:
        InvalidMeasureError: it is none, or too long.
    """
    if not isinstance(value, str):
        raise InvalidMeasureError(Rejection.WRONG_TYPE, f"{key}: expected a text, found {kind_of(value)}")
    if len(value) > length:
        raise InvalidMeasureError(Rejection.TOO_LONG, f"{key}: {len(value)} characters; at most {length} are taken")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidMeasureError(Rejection.UNDECODABLE, f"{key}: half a surrogate pair is no text")
    return value


def finite(key: str, value: object) -> float:
    """A number as it may be stored.

    Raises:
        InvalidMeasureError: no number (true and false are none, nor is a text), or not a finite one.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidMeasureError(Rejection.WRONG_TYPE, f"{key}: expected a number, found {kind_of(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidMeasureError(Rejection.NOT_FINITE, f"{key}: expected a finite number, found {brief(value)}")
    return number


def finite_or_text(key: str, value: object) -> float:
    """As :func:`finite`, also of a text that is a number: OpenStack's senders make some of texts."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError as error:
            raise InvalidMeasureError(
                Rejection.WRONG_TYPE, f"{key}: expected a number, found {kind_of(value)}"
            ) from error
    return finite(key, value)


def _timestamp(value: object) -> float:
    if not isinstance(value, str):
        return finite("timestamp", value)
    return from_iso8601(value)


def from_iso8601(text: str) -> float:
    """Unix seconds of a date and time in ISO 8601; without zone it is UTC.

    Raises:
        InvalidMeasureError: not one. A number in a text is not either.
    """
    with contextlib.suppress(msgspec.ValidationError, OverflowError, UnicodeEncodeError):
        return unix(msgspec.convert(text, datetime))  # as the fast way reads it
    detail = f"timestamp: expected ISO 8601 or a number of Unix seconds, found {brief(text)}"
    if text.isdecimal():  # 20260102 would be a day
        raise InvalidMeasureError(Rejection.BAD_TIMESTAMP, detail)
    try:
        return unix(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        raise InvalidMeasureError(Rejection.BAD_TIMESTAMP, detail) from error


def in_time(at: float, now: float, limits: Limits) -> float:
    """``at``, if it is a time that a measure may be from.

    Raises:
        InvalidMeasureError: before 1970, after 2200, or outside ``limits``.
    """
    if not 0 <= at <= LATEST:
        hint = "; is it in milliseconds?" if 1e12 <= at < 1e13 else ""
        detail = f"timestamp: expected Unix seconds between the years 1970 and 2200, found {at!r}{hint}"
        raise InvalidMeasureError(Rejection.BAD_TIMESTAMP, detail)
    if at > now + limits.max_future:
        detail = f"timestamp: {_iso(at)} is {at - now:.0f} s ahead; at most {limits.max_future:.0f} s are taken"
        raise InvalidMeasureError(Rejection.TOO_FAR_AHEAD, detail)
    if at < now - limits.max_past:
        detail = f"timestamp: {_iso(at)} is {now - at:.0f} s ago; at most {limits.max_past:.0f} s are taken"
        raise InvalidMeasureError(Rejection.TOO_LONG_AGO, detail)
    return at


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def _metadata(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise InvalidMeasureError(Rejection.WRONG_TYPE, f"metadata: expected an object, found {kind_of(value)}")
    flat: dict[str, str] = {}
    for key, text in _flattened(value, "", 1):
        flat[name_of("metadata key", key)] = text_of(f"metadata {brief(key)}", text, METADATA_LENGTH)
        if len(flat) > METADATA_KEYS:
            raise InvalidMeasureError(Rejection.TOO_LONG, f"metadata: more than {METADATA_KEYS} keys")
    return flat or NO_METADATA


def _flattened(attributes: Mapping[str, object], prefix: str, depth: int) -> Iterator[tuple[str, str]]:
    """Leaves of nested objects as text, keys joined by dots; null is left out."""
    if depth > METADATA_DEPTH:
        raise InvalidMeasureError(Rejection.UNDECODABLE, f"metadata: nested deeper than {METADATA_DEPTH} objects")
    for key, value in attributes.items():
        path = prefix + key
        match value:
            case None:
                continue
            case str():
                yield path, value
            case bool():
                yield path, json.dumps(value)
            case int() | float():
                finite(f"metadata {brief(path)}", value)
                yield path, json.dumps(value)
            case dict():
                yield from _flattened(value, f"{path}.", depth + 1)
            case _:
                detail = f"metadata {brief(path)}: expected a text, number, true, false, null or object, found a list"
                raise InvalidMeasureError(Rejection.WRONG_TYPE, detail)


def kind_of(value: object) -> str:
    """What a value is, in words."""
    match value:
        case None:
            return "null"
        case bool():
            return json.dumps(value)
        case str():
            return f"the text {brief(value)}"
        case int() | float():
            return f"the number {brief(value)}"
        case list():
            return "a list"
        case _:
            return "an object"


def brief(value: object) -> str:
    """The beginning of a value, in ASCII."""
    text = ascii(value) if isinstance(value, str) else json.dumps(value)  # ASCII, so that anything can be logged
    return text if len(text) <= 60 else f"{text[:57]}..."
