"""Ceilometer's samples and events, in every form in which its publishers send them.

Over AMQP they come in oslo.messaging's envelope, as a list in a notification's payload; its HTTP publisher sends them
bare, with other names for the fields of a sample; over UDP each sample is a msgpack map. What is known of these forms
was captured from Ceilometer 27.0.0 and oslo.messaging 18.3.1.

Samples carry far more metadata than a rule can need, and whoever made it did not think of our bounds. So of metadata is
taken what fits, what rules match on first; only what is wrong with the measure itself costs the measure.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from autoscaler.adapters.sources.decode import (
    LIVE,
    METADATA_DEPTH,
    METADATA_KEYS,
    METADATA_LENGTH,
    NAME_LENGTH,
    SHOWN_LENGTH,
    Decoded,
    Limits,
    brief,
    check_number,
    finite,
    finite_or_text,
    from_iso8601,
    in_time,
    kind_of,
    name_of,
    text_of,
)
from autoscaler.adapters.sources.envelope import unwrapped
from autoscaler.errors import InvalidMeasureError, Rejection
from autoscaler.measures.event import Event, Trait
from autoscaler.measures.measure import NO_METADATA, Measure
from autoscaler.ports import Undecoded

MAX_TRAITS: Final = 1000
"""Traits of one event."""

_SIGNATURE: Final = "message_signature"
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NAMESPACE: Final = uuid.UUID("3c1b1f43-8a0e-4a3f-9d2c-5f6f7f1c2b60")
"""Of ids that events without one are given."""

# As in the resource definitions that Ceilometer ships for Gnocchi: an attribute and where in the metadata it stands,
# the first that is there. The last three hold the number of processors, which `cpu_util` is divided by.
_ATTRIBUTES: Final[Sequence[tuple[str, Sequence[str]]]] = (
    ("server_group", ("user_metadata.server_group",)),
    ("display_name", ("display_name",)),
    ("host", ("instance_host", "host")),
    ("flavor_id", ("instance_flavor_id", "flavor.id", "flavor_id")),
    ("flavor_name", ("instance_type", "flavor.name", "flavor_name")),
    ("image_ref", ("image_ref",)),
    ("instance_id", ("instance_id",)),
    ("cpu_number", ("cpu_number",)),
    ("vcpus", ("vcpus",)),
    ("flavor.vcpus", ("flavor.vcpus",)),
)
_USER: Final = "user_metadata."


@dataclass(frozen=True, slots=True)
class Reading:
    """How messages of one source are read.

    Attributes:
        trusted: whether samples and events may name their project.
        secret: that they are signed with; "" where signatures are not looked at.
        limits: of time and size.
        kind: what a message that cannot be told is taken for, ``measure`` or ``event``.
        made_ids: an event without id is given one, made of its content; else it is refused.
    """

    trusted: bool = False
    secret: str = ""
    limits: Limits = LIVE
    kind: str = "measure"
    made_ids: bool = False


def decode(payload: bytes, reading: Reading, *, now: float) -> Decoded:
    """The samples and events of one message in JSON, and what of it could not be taken. Total.

    Args:
        payload: oslo's envelope, a notification without one, or a sample, an event or a list of them without either.
        reading: how it is read.
        now: Unix seconds; what timestamps are compared with.
    """
    if len(payload) > reading.limits.max_bytes:
        detail = f"a message of {len(payload)} bytes; at most {reading.limits.max_bytes} are taken"
        return _refused(payload, reading, InvalidMeasureError(Rejection.TOO_LONG, detail))
    try:
        elements = _elements(unwrapped(payload))
        check_number(len(elements), reading.limits)
        return _sorted(elements, reading, now)
    except InvalidMeasureError as error:
        return _refused(payload, reading, error)


def decode_datagram(payload: bytes, reading: Reading, *, now: float) -> Decoded:
    """The sample of one datagram, a map in msgpack; as :func:`decode`."""
    try:
        document = msgspec.msgpack.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        return _refused(payload, reading, InvalidMeasureError(Rejection.UNDECODABLE, f"not msgpack: {error}"))
    return _sorted([document], reading, now)


def _refused(payload: bytes, reading: Reading, error: InvalidMeasureError) -> Decoded:
    shown = payload[:SHOWN_LENGTH].decode(errors="replace")
    return Decoded((), (), [Undecoded(error.rejection, error.detail, shown, kind=reading.kind)])


def _elements(document: object) -> Sequence[object]:
    """What a message is about, out of its envelope."""
    if isinstance(document, dict) and "payload" in document and not _is_sample(document) and "traits" not in document:
        document = document["payload"]
        if isinstance(document, dict) and isinstance(document.get("samples"), list):
            document = document["samples"]  # as polling agents send them
    return document if isinstance(document, list) else [document]


def _sorted(elements: Sequence[object], reading: Reading, now: float) -> Decoded:
    measures: list[Measure] = []
    indexes: list[int] = []
    events: list[Event] = []
    rejected: list[Undecoded] = []
    for index, element in enumerate(elements):
        kind = reading.kind
        try:
            if not isinstance(element, dict):
                raise InvalidMeasureError(Rejection.WRONG_TYPE, f"expected an object, found {kind_of(element)}")  # noqa: TRY301
            kind = _kind(element, reading.kind)
            if reading.secret:
                _check_signature(element, reading.secret)
            if kind == "event":
                events.append(_event(element, reading))
            else:
                measures.append(_measure(element, reading, now))
                indexes.append(index)
        except InvalidMeasureError as error:
            rejected.append(Undecoded(error.rejection, error.detail, _shown(element), index, kind))
        except RecursionError:
            detail = "nested too deeply"
            rejected.append(Undecoded(Rejection.UNDECODABLE, detail, _shown(element), index, kind))
    return Decoded(measures, indexes, rejected, events)


def _kind(element: Mapping[object, object], otherwise: str) -> str:
    if _is_sample(element):
        return "measure"
    return "event" if "event_type" in element else otherwise


def _is_sample(element: Mapping[object, object]) -> bool:
    return "counter_name" in element or "volume" in element


def _shown(element: object) -> str:
    try:
        return msgspec.json.encode(element, enc_hook=repr).decode()[:SHOWN_LENGTH]
    except (TypeError, ValueError, RecursionError):  # a key that is no text, half a surrogate pair
        return ascii(element)[:SHOWN_LENGTH]


# --- samples ---------------------------------------------------------------------------------------------------------


def _measure(sample: Mapping[str, Any], reading: Reading, now: float) -> Measure:
    wire = "counter_name" in sample  # else as the HTTP publisher sends it
    for key in ("counter_name", "counter_volume", "resource_id", "timestamp"):
        if _spelt(key, wire=wire) not in sample:
            raise InvalidMeasureError(Rejection.MISSING_KEY, _spelt(key, wire=wire))
    return Measure(
        name_of("metric", sample[_spelt("counter_name", wire=wire)]),
        name_of("resource_id", sample["resource_id"]),
        in_time(_timestamp(sample["timestamp"]), now, reading.limits),
        finite_or_text("volume", sample[_spelt("counter_volume", wire=wire)]),
        _optional("project_id", sample.get("project_id")) if reading.trusted else "",
        _optional("unit", sample.get(_spelt("counter_unit", wire=wire))),
        metadata_of(sample.get("resource_metadata"), sample["resource_id"], sample.get("user_id")),
    )


def _spelt(key: str, *, wire: bool) -> str:
    return key if wire else key.removeprefix("counter_")


def _optional(key: str, value: object) -> str:
    return "" if value is None else text_of(key, value, NAME_LENGTH)


def _timestamp(value: object) -> float:
    return from_iso8601(value) if isinstance(value, str) else finite("timestamp", value)


def metadata_of(resource_metadata: object, resource_id: str, user_id: object = None) -> Mapping[str, str]:
    """A sample's metadata as far as it fits, flat. Total.

    The attributes by which Gnocchi knows the resource come first, then the tags that its owner gave it
    (`user_metadata`, in Nova `metering.…`) under their plain names and as `metering.…`, then all the rest with dotted
    names. What the owner says stands back behind what the cloud says. Lists, and what is too long or too deep, are
    left out.
    """
    leaves = dict(_leaves(resource_metadata, "", 1)) if isinstance(resource_metadata, dict) else {}
    found: dict[str, str] = {}
    for name, places in _ATTRIBUTES:
        value = next((leaves[place] for place in places if place in leaves), None)
        if value is not None:
            found[name] = value
    if "instance_id" not in found:
        within = _UUID.search(resource_id)
        if (
            within is not None and within[0] != resource_id
        ):  # a disk or interface: INSTANCE-vda, instance-…-INSTANCE-tap…
            found["instance_id"] = within[0]
    if isinstance(user_id, str) and 0 < len(user_id) <= NAME_LENGTH and _is_text(user_id):
        found["user_id"] = user_id
    tags = {key.removeprefix(_USER): value for key, value in leaves.items() if key.startswith(_USER)}
    for tag, value in tags.items():
        _put(found, f"metering.{tag}", value)
    for tag, value in tags.items():
        if tag not in leaves:
            _put(found, tag, value)
    for key, value in leaves.items():
        _put(found, key, value)
    return found or NO_METADATA


def _put(found: dict[str, str], key: str, value: str) -> None:
    if len(found) < METADATA_KEYS and len(key) <= NAME_LENGTH:
        found.setdefault(key, value)


def _leaves(attributes: Mapping[Any, object], prefix: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > METADATA_DEPTH:
        return
    for key, value in attributes.items():
        if not isinstance(key, str) or not key or not _is_text(key):
            continue
        path = prefix + key
        match value:
            case dict():
                yield from _leaves(value, f"{path}.", depth + 1)
            case str():
                if len(value) <= METADATA_LENGTH and _is_text(value):
                    yield path, value
            case bool() | int() | float():
                shown = json.dumps(value)
                if len(shown) <= METADATA_LENGTH:
                    yield path, shown
            case _:
                continue  # null, and lists: nothing can be compared with one


def _is_text(value: str) -> bool:
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


# --- events ----------------------------------------------------------------------------------------------------------


def _event(told: Mapping[str, Any], reading: Reading) -> Event:
    if "event_type" not in told:
        raise InvalidMeasureError(Rejection.MISSING_KEY, "event_type")
    document = _as_json(told)
    event_type = name_of("event_type", document["event_type"])
    message_id = document.get("message_id")
    if not message_id and reading.made_ids:
        message_id = str(uuid.uuid5(_NAMESPACE, json.dumps(document, sort_keys=True)))
        document = {**document, "message_id": message_id}
    if not message_id:
        raise InvalidMeasureError(Rejection.MISSING_KEY, "message_id")
    project_id, traits = "", {}
    for name, value in _traits(document.get("traits") or ()):
        traits[name] = value
        if name in {"tenant_id", "project_id"}:
            project_id = str(value)
    return Event(
        name_of("message_id", message_id),
        event_type,
        text_of("project_id", project_id, NAME_LENGTH) if reading.trusted else "",
        traits,
        document,
    )


def _as_json(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """An event as alarms keep it and pass it on: whatever came in msgpack, or as NaN, as JSON has it."""
    try:
        document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(told))
    except (TypeError, ValueError) as error:  # half a surrogate pair, an extension of msgpack
        raise InvalidMeasureError(Rejection.UNDECODABLE, f"the event cannot be passed on as JSON: {error}") from error
    return document


def _traits(traits: object) -> Iterable[tuple[str, Trait]]:
    """Traits as Aodh reads them: numbers and times by the type that goes with them, all else as text."""
    if not isinstance(traits, list | tuple | dict):
        raise InvalidMeasureError(Rejection.WRONG_TYPE, f"traits: expected a list or object, found {kind_of(traits)}")
    if len(traits) > MAX_TRAITS:
        raise InvalidMeasureError(Rejection.TOO_LONG, f"traits: {len(traits)}; at most {MAX_TRAITS} are taken")
    if isinstance(traits, dict):
        return [(name_of("trait", name), _plain_trait(value)) for name, value in traits.items()]
    found = []
    for trait in traits:
        if not isinstance(trait, list | tuple) or len(trait) != 3:
            raise InvalidMeasureError(
                Rejection.WRONG_TYPE, f"trait: expected [name, type, value], found {_named(trait)}"
            )
        found.append((name_of("trait", trait[0]), _trait(trait[0], trait[1], trait[2])))
    return found


def _named(trait: object) -> str:
    return f"a list of {len(trait)}" if isinstance(trait, list | tuple) else kind_of(trait)


def _plain_trait(value: object) -> Trait:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _trait(name: str, kind: object, value: Any) -> Trait:
    try:
        match kind:
            case 2 | "integer":
                return int(value)
            case 3 | "float":
                return float(value)
            case 4 | "datetime":
                at = from_iso8601(text_of("datetime", value, NAME_LENGTH))
                return datetime.fromtimestamp(at, UTC).replace(tzinfo=None)
            case _:
                return str(value)
    except (TypeError, ValueError, OverflowError, InvalidMeasureError) as error:
        detail = f"trait {brief(name)}: expected a value of type {kind!a}, found {kind_of(value)}"
        raise InvalidMeasureError(Rejection.WRONG_TYPE, detail) from error


# --- signatures ------------------------------------------------------------------------------------------------------


def signature(message: Mapping[str, Any], secret: str) -> str:
    """What Ceilometer signs a message with: HMAC-SHA256 over its names and values, in order of names, depth first.

    Raises:
        UnicodeEncodeError: the message has half a surrogate pair in it, so nobody can have signed it.
    """
    digest = hmac.new(secret.encode(), digestmod=hashlib.sha256)
    for name, value in _pairs(message, ""):
        if name != _SIGNATURE:
            digest.update(name.encode())
            digest.update(str(value).encode())
    return digest.hexdigest()


def _pairs(message: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    # ordered level by level, by the plain names: "a:b" of an object a comes where a stands
    for name, value in sorted(message.items()):
        if isinstance(value, dict):
            yield from _pairs(value, f"{prefix}{name}:")
        else:
            yield prefix + name, _as_bytes(value) if isinstance(value, list | tuple) else value


def _as_bytes(value: Any) -> Any:
    """A value within a list: its texts show as bytes do in Python."""
    match value:
        case dict():
            return {_as_bytes(key): _as_bytes(part) for key, part in sorted(value.items())}
        case list() | tuple():
            return [_as_bytes(part) for part in value]
        case str():
            return value.encode()
        case _:
            return value


def _check_signature(element: Mapping[str, Any], secret: str) -> None:
    given = element.get(_SIGNATURE)
    if not isinstance(given, str) or not given:
        raise InvalidMeasureError(Rejection.BAD_SIGNATURE, "not signed; AUTOSCALER_TELEMETRY_SECRET asks for that")
    try:
        right = hmac.compare_digest(signature(element, secret).encode(), given.encode())
    except (UnicodeEncodeError, RecursionError, TypeError):
        right = False
    if not right:
        detail = "not signed with the secret that AUTOSCALER_TELEMETRY_SECRET names"
        raise InvalidMeasureError(Rejection.BAD_SIGNATURE, detail)
