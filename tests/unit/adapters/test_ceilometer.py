"""Ceilometer's messages: every form that its publishers send, and what is said of the rest."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.adapters.sources.ceilometer import Reading, decode, decode_datagram, metadata_of, signature
from autoscaler.adapters.sources.decode import METADATA_KEYS, RECORDED, Decoded, Limits
from autoscaler.errors import Rejection
from autoscaler.measures.event import Event
from autoscaler.measures.measure import Measure
from tests.shared_data import FOLDER, shared_json

NOW = 1_795_186_800.0  # 2026-11-20T15:00:00Z
VM = "4f2b6f0e-0d3e-4b1a-9b5c-1f1f5b2f7d10"
SECRET = "change this for valid signing"
TRUSTED = Reading(trusted=True)
METADATA = {
    "display_name": "vm-1",
    "host": "a1b2",
    "flavor": {"id": "1", "name": "m1.small", "vcpus": 1},
    "status": "active",
    "user_metadata": {"server_group": "my_asg", "tier": "gold"},
}
FLAT = {
    "server_group": "my_asg",
    "display_name": "vm-1",
    "host": "a1b2",
    "flavor_id": "1",
    "flavor_name": "m1.small",
    "flavor.vcpus": "1",
    "user_id": "u1",
    "metering.server_group": "my_asg",
    "metering.tier": "gold",
    "tier": "gold",
    "flavor.id": "1",
    "flavor.name": "m1.small",
    "status": "active",
    "user_metadata.server_group": "my_asg",
    "user_metadata.tier": "gold",
}
PLAIN = Measure("cpu", VM, NOW, 5.0, "p1", "ns", FLAT)


def wire(**changes: Any) -> dict[str, Any]:
    """A sample as notifier:// and udp:// send it."""
    return {
        "source": "openstack",
        "counter_name": "cpu",
        "counter_type": "cumulative",
        "counter_unit": "ns",
        "counter_volume": 5,
        "user_id": "u1",
        "user_name": None,
        "project_id": "p1",
        "project_name": None,
        "resource_id": VM,
        "timestamp": "2026-11-20T15:00:00+00:00",
        "resource_metadata": METADATA,
        "message_id": "m",
        "monotonic_time": 12345.678,
        "message_signature": "",
        **changes,
    }


def posted(**changes: Any) -> dict[str, Any]:
    """A sample as http:// sends it."""
    names = {"counter_name": "name", "counter_type": "type", "counter_unit": "unit", "counter_volume": "volume"}
    return {names.get(key, key): value for key, value in wire().items() if key != "message_signature"} | changes


def event(**changes: Any) -> dict[str, Any]:
    return {
        "message_id": "m-1",
        "event_type": "compute.instance.update",
        "generated": "2026-11-20T15:00:00",
        "traits": [["state", 1, "error"], ["tenant_id", 1, "p1"]],
        "raw": {},
        **changes,
    }


def enveloped(payload: Any, event_type: str = "metering") -> dict[str, Any]:
    inner = {"message_id": "x", "publisher_id": "p", "event_type": event_type, "priority": "SAMPLE", "payload": payload}
    return {"oslo.version": "2.0", "oslo.message": json.dumps(inner)}


def decoded(message: Any, reading: Reading = TRUSTED) -> Decoded:
    payload = message if isinstance(message, bytes) else json.dumps(message).encode()
    return decode(payload, reading, now=NOW)


def reasons(found: Decoded) -> list[tuple[Rejection, str, int | None, str]]:
    return [(each.rejection, each.kind, each.index, each.detail) for each in found.rejected]


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(enveloped([wire()]), id="envelope-2"),
        pytest.param(json.loads(enveloped([wire()])["oslo.message"]), id="envelope-1-is-bare"),
        pytest.param({"oslo.version": "2.0", "oslo.message": {"payload": [wire()]}}, id="message-not-a-string"),
        pytest.param(enveloped(wire()), id="payload-of-one"),
        pytest.param(enveloped({"samples": [wire()]}, "telemetry.polling"), id="as-polling-agents-send"),
        pytest.param([posted()], id="http-batch"),
        pytest.param(posted(), id="http-one"),
        pytest.param(posted(volume="5"), id="volume-as-text"),
        pytest.param(posted(timestamp="2026-11-20T15:00:00"), id="time-without-zone-is-utc"),
        pytest.param(posted(timestamp="2026-11-20 15:00:00.000000"), id="time-with-a-blank"),
    ],
)
def test_a_sample_is_read_in_every_form(message: Any) -> None:
    found = decoded(message)

    assert (list(found.measures), list(found.rejected)) == ([PLAIN], [])


def test_a_sample_is_read_from_msgpack() -> None:
    found = decode_datagram(msgspec.msgpack.encode(wire()), TRUSTED, now=NOW)

    assert (list(found.measures), list(found.rejected)) == ([PLAIN], [])


def test_a_project_does_not_count_where_the_source_is_not_trusted() -> None:
    samples, events = decoded([wire()], Reading()), decoded([event()], Reading())

    assert (samples.measures[0].project_id, events.events[0].project_id) == ("", "")


@pytest.mark.parametrize(
    ("sample", "rejection", "detail"),
    [
        pytest.param({}, Rejection.MISSING_KEY, "counter_name", id="nothing"),
        pytest.param(posted(volume="much"), Rejection.WRONG_TYPE, "volume: expected a number", id="text-for-volume"),
        pytest.param(posted(volume=True), Rejection.WRONG_TYPE, "volume: expected a number", id="truth-for-volume"),
        pytest.param(wire(resource_id=None), Rejection.WRONG_TYPE, "resource_id: expected a text", id="no-resource"),
        pytest.param(wire(timestamp="soon"), Rejection.BAD_TIMESTAMP, "timestamp: expected ISO 8601", id="no-time"),
        pytest.param(wire(timestamp="2027-01-01"), Rejection.TOO_FAR_AHEAD, "timestamp: 2027", id="from-the-future"),
        pytest.param(wire(counter_name="x" * 256), Rejection.TOO_LONG, "metric: 256", id="long-name"),
        pytest.param("sample", Rejection.WRONG_TYPE, "expected an object, found the text", id="text"),
    ],
)
def test_a_faulty_sample_costs_only_itself(sample: Any, rejection: Rejection, detail: str) -> None:
    found = decoded(enveloped([sample, wire()]))

    assert list(found.measures) == [PLAIN]
    assert list(found.indexes) == [1]
    ((reason, kind, index, text),) = reasons(found)
    assert (reason, kind, index) == (rejection, "measure", 0)
    assert detail in text or detail.removeprefix("counter_") in text


@pytest.mark.parametrize(
    ("payload", "rejection", "detail"),
    [
        pytest.param(b"", Rejection.UNDECODABLE, "an empty message", id="empty"),
        pytest.param(b"{", Rejection.UNDECODABLE, "not JSON", id="broken"),
        pytest.param(b"[" * 100_000, Rejection.UNDECODABLE, "nested too deeply", id="deep"),
        pytest.param(b'{"oslo.version": "3.0", "oslo.message": "{}"}', Rejection.UNDECODABLE, "2.x", id="version-3"),
        pytest.param(
            b'{"oslo.version": "2.0", "oslo.message": "{"}', Rejection.UNDECODABLE, "JSON", id="broken-within"
        ),
        pytest.param(b" " * 2001, Rejection.TOO_LONG, "2001 bytes", id="long"),
    ],
)
def test_a_message_that_cannot_be_read_is_refused_whole(payload: bytes, rejection: Rejection, detail: str) -> None:
    limits = Limits(max_bytes=2000 if detail == "2001 bytes" else 1 << 20)
    found = decoded(payload, Reading(kind="event", limits=limits))

    ((reason, kind, index, text),) = reasons(found)
    assert (reason, kind, index) == (rejection, "event", None)
    assert detail in text


# --- metadata --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        pytest.param({"instance_host": "a", "host": "b"}, {"host": "a", "instance_host": "a"}, id="the-true-host"),
        pytest.param({"user_metadata": {"host": "x"}, "host": "b"}, {"host": "b", "metering.host": "x"}, id="own-word"),
        pytest.param({"links": [1], "x": None}, {"links": None, "x": None}, id="lists-and-null-are-left-out"),
        pytest.param({"long": "x" * 1025, "ok": "x"}, {"long": None, "ok": "x"}, id="long-values-are-left-out"),
        pytest.param({"n": 1, "t": True, "f": 0.5}, {"n": "1", "t": "true", "f": "0.5"}, id="numbers"),
        pytest.param({"instance_type": "m1", "flavor": {"name": "m2"}}, {"flavor_name": "m1"}, id="flavor-name"),
        pytest.param({"a": {"b": {"c": 1}}}, {"a.b.c": "1"}, id="dotted"),
        pytest.param([], {"a": None}, id="none-at-all"),
    ],
)
def test_metadata_is_what_gnocchi_would_know_and_the_rest(metadata: Any, expected: dict[str, str | None]) -> None:
    found = metadata_of(metadata, VM)

    assert {name: found.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("resource_id", "instance_id"),
    [
        pytest.param(f"{VM}-vda", VM, id="disk"),
        pytest.param(f"instance-00000001-{VM}-tap12", VM, id="interface"),
        pytest.param(VM, None, id="the-instance-itself"),
        pytest.param("bucket", None, id="something-else"),
    ],
)
def test_the_instance_is_told_from_the_id_of_its_parts(resource_id: str, instance_id: str | None) -> None:
    assert metadata_of({}, resource_id).get("instance_id") == instance_id


def test_of_too_much_metadata_the_attributes_that_rules_match_on_are_kept() -> None:
    many = {f"key{number}": "x" for number in range(200)} | METADATA

    found = decoded(wire(resource_metadata=many)).measures[0].metadata

    assert len(found) == METADATA_KEYS
    assert {"server_group", "metering.server_group", "tier", "flavor.vcpus", "display_name"} <= set(found)


# --- events ----------------------------------------------------------------------------------------------------------


def test_an_event_is_read_with_its_traits_as_aodh_reads_them() -> None:
    traits = [
        ["state", 1, "error"],
        ["vcpus", 2, "4"],
        ["load", 3, "0.5"],
        ["at", 4, "2026-11-20T16:00:00+01:00"],
        ["nothing", 0, None],
        ["project_id", 1, "p0"],
        ["tenant_id", 1, "p1"],
    ]
    document = event(traits=traits)

    found = decoded(enveloped([document], "event"))

    expected = {
        "state": "error",
        "vcpus": 4,
        "load": 0.5,
        "at": datetime(2026, 11, 20, 15),  # noqa: DTZ001 - naive, as Aodh compares them
        "nothing": "None",
        "project_id": "p0",
        "tenant_id": "p1",
    }
    assert list(found.events) == [Event("m-1", "compute.instance.update", "p1", expected, document)]
    assert (list(found.measures), list(found.rejected)) == ([], [])


def test_an_event_may_be_written_plainly() -> None:
    found = decoded({"event_type": "e", "traits": {"n": 1, "x": 0.5, "t": True, "s": "a"}}, Reading(made_ids=True))

    (plain,) = found.events
    assert plain.traits == {"n": 1, "x": 0.5, "t": "True", "s": "a"}
    assert plain.document["message_id"] == plain.message_id


def test_an_event_without_id_has_one_of_its_content() -> None:
    reading = Reading(made_ids=True)
    once, again, other = ({"event_type": "e", "traits": {"n": number}} for number in (1, 1, 2))

    ids = [decoded(each, reading).events[0].message_id for each in (once, again, other)]

    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(
    ("document", "rejection", "detail"),
    [
        pytest.param({"event_type": "e"}, Rejection.MISSING_KEY, "message_id", id="no-id"),
        pytest.param({"message_id": "m"}, Rejection.MISSING_KEY, "event_type", id="no-type"),
        pytest.param(event(event_type=""), Rejection.WRONG_TYPE, "event_type", id="empty-type"),
        pytest.param(event(traits="x"), Rejection.WRONG_TYPE, "traits: expected a list", id="traits-are-a-text"),
        pytest.param(event(traits=[["a", 1]]), Rejection.WRONG_TYPE, "a list of 2", id="trait-of-two"),
        pytest.param(event(traits=[["a", 2, "x"]]), Rejection.WRONG_TYPE, "trait 'a'", id="no-integer"),
        pytest.param(event(traits=[["a", 4, "x"]]), Rejection.WRONG_TYPE, "trait 'a'", id="no-time"),
        pytest.param(event(traits=[["a", 4, 5]]), Rejection.WRONG_TYPE, "trait 'a'", id="a-time-that-is-a-number"),
        pytest.param(event(traits=[["a", 1, "x"]] * 1001), Rejection.TOO_LONG, "1001", id="too-many-traits"),
    ],
)
def test_a_faulty_event_costs_only_itself(document: Any, rejection: Rejection, detail: str) -> None:
    found = decoded([document, event()], Reading(kind="event"))

    assert len(found.events) == 1
    ((reason, kind, index, text),) = reasons(found)
    assert (reason, kind, index) == (rejection, "event", 0)
    assert detail in text


# --- signatures ------------------------------------------------------------------------------------------------------


def _recorded() -> list[dict[str, Any]]:
    """What Ceilometer signed with its default secret, from its own wire."""
    path = FOLDER.parent / "reference" / "wire-examples.txt"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    found: list[dict[str, Any]] = []
    for line in Path(path).read_text().splitlines():
        if line.startswith('{"source"'):
            found.append(json.loads(line))
        elif line.startswith('{"exchange": "ceilometer"'):
            found += json.loads(json.loads(line)["body"]["oslo.message"])["payload"]
    return found


def test_the_signatures_of_recorded_messages_are_right() -> None:
    recorded = _recorded()

    assert len(recorded) == 4
    assert [signature(message, SECRET) for message in recorded] == [each["message_signature"] for each in recorded]
    assert decoded(recorded, Reading(secret=SECRET)).rejected == []


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"counter_volume": 6}, id="another-value"),
        pytest.param({"message_signature": ""}, id="none"),
        pytest.param({"message_signature": None}, id="null"),
        pytest.param({"message_signature": "0" * 64}, id="wrong"),
        pytest.param({"message_signature": "\xff" * 64}, id="not-ascii"),
    ],
)
def test_a_sample_that_is_not_signed_with_the_secret_is_refused(changes: dict[str, Any]) -> None:
    signed = wire(message_signature=signature(wire(), SECRET))

    found = decoded([signed, signed | changes], Reading(secret=SECRET))

    assert len(found.measures) == 1
    assert [(each.rejection, each.index) for each in found.rejected] == [(Rejection.BAD_SIGNATURE, 1)]


def test_lists_are_signed_as_bytes_show_in_python() -> None:
    """Told apart by hand: HMAC-SHA256 with the key k of ``a[b'x', {b'y': 1}]`` and then ``b:c2``."""
    import hashlib
    import hmac

    message = {"b": {"c": 2}, "a": ["x", {"y": 1}], "message_signature": "ignored"}

    assert signature(message, "k") == hmac.new(b"k", b"a[b'x', {b'y': 1}]b:c2", hashlib.sha256).hexdigest()


# --- what alarms keep of events, and pass on --------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["\ud800", {"a": ["\udfff"]}], ids=["half-a-surrogate-pair", "within"])
def test_an_event_that_cannot_be_passed_on_is_refused(value: Any) -> None:
    found = decoded([event(), event(message_id="m2") | {"raw": value}])

    assert [each.message_id for each in found.events] == [event()["message_id"]]
    assert [(each.rejection, each.index, each.kind) for each in found.rejected] == [(Rejection.UNDECODABLE, 1, "event")]


def test_an_event_in_msgpack_is_passed_on_as_json() -> None:
    odd = event() | {"raw": {"bytes": b"\xff", 1: float("nan")}}

    (found,) = decode_datagram(msgspec.msgpack.encode(odd), TRUSTED, now=NOW).events

    assert found.document["raw"] == {"bytes": "/w==", "1": None}
    assert json.loads(json.dumps(found.document)) == found.document


def test_an_extension_of_msgpack_in_an_event_is_refused() -> None:
    odd = event() | {"raw": msgspec.msgpack.Ext(5, b"x")}

    (fault,) = decode_datagram(msgspec.msgpack.encode(odd), TRUSTED, now=NOW).rejected

    assert (fault.rejection, fault.kind) == (Rejection.UNDECODABLE, "event")


# --- anything --------------------------------------------------------------------------------------------------------

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
FIELDS = st.sampled_from([*wire(), *posted(), *event(), "payload", "oslo.message", "oslo.version", "samples"])


@given(st.binary() | (ANY_JSON | st.dictionaries(FIELDS, ANY_JSON, max_size=8)).map(lambda it: json.dumps(it).encode()))
def test_no_message_is_too_odd(payload: bytes) -> None:
    for reading in (TRUSTED, Reading(secret="s", made_ids=True, kind="event")):
        found = decode(payload, reading, now=NOW)
        for measure in found.measures:
            msgspec.json.encode(measure)
        assert len(found.measures) == len(found.indexes)


SMALL = st.integers(min_value=-(2**63), max_value=2**63 - 1)
ANY_MSGPACK = st.dictionaries(
    FIELDS | SMALL, st.none() | SMALL | st.floats() | st.text(st.characters(codec="utf-8")) | st.binary(), max_size=8
)


@given(st.binary() | ANY_MSGPACK.map(msgspec.msgpack.encode))
def test_no_datagram_is_too_odd(payload: bytes) -> None:
    decode_datagram(payload, Reading(secret="s"), now=NOW)


def test_a_recorded_polling_notification_is_taken_apart() -> None:
    recorded = shared_json("notifications", "ceilometer", "telemetry.api.legacy.json")

    found = decoded(recorded)

    # the recording has blanks within its times
    assert [(each.rejection, each.index) for each in found.rejected] == [
        (Rejection.BAD_TIMESTAMP, 0),
        (Rejection.BAD_TIMESTAMP, 1),
    ]
    for sample in recorded["payload"]["samples"]:
        sample["timestamp"] = sample["timestamp"].replace(" ", "")
    (first, second) = decoded(recorded, Reading(limits=RECORDED)).measures
    assert (first.metric, first.resource_id, first.value, first.metadata["foo"]) == (
        "instance100",
        "instance",
        1,
        "bar",
    )
    assert second == first
