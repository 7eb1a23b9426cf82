"""Native measures: what is taken, and what is said of the rest."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.adapters.sources import decode as module
from autoscaler.adapters.sources.decode import LIVE, RECORDED, Decoded, Limits, decode
from autoscaler.errors import Rejection
from autoscaler.measures.measure import Measure

NOW = 1_700_000_000.0  # 2023-11-14T22:13:20Z
PLAIN = Measure("cpu_util", "web-1", NOW, 1.5)


def wire(**changes: Any) -> dict[str, Any]:
    return {"metric": "cpu_util", "resource_id": "web-1", "timestamp": NOW, "value": 1.5, **changes}


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in wire().items() if name != key}


def decoded(message: Any, *, trusted: bool = False, limits: Limits = LIVE) -> Decoded:
    payload = message if isinstance(message, bytes) else json.dumps(message).encode()
    return decode(payload, now=NOW, trusted=trusted, limits=limits)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(json.dumps(wire()).encode(), id="object"),
        pytest.param(json.dumps([wire()]).encode(), id="list"),
        pytest.param(b"\n " + json.dumps(wire(), indent=2).encode() + b"\n\n", id="object-over-lines"),
        pytest.param(b" \r\n" + json.dumps(wire()).encode() + b"\r\n", id="one-line"),
        pytest.param(json.dumps(wire(timestamp="2023-11-14T22:13:20Z")).encode(), id="iso-zulu"),
        pytest.param(json.dumps(wire(timestamp="2023-11-14T22:13:20")).encode(), id="iso-naive-is-utc"),
        pytest.param(json.dumps(wire(timestamp="2023-11-14 22:13:20.000")).encode(), id="iso-with-blank"),
        pytest.param(json.dumps(wire(timestamp="2023-11-15T00:13:20+02:00")).encode(), id="iso-with-zone"),
        pytest.param(json.dumps(wire(timestamp="20231114T221320Z")).encode(), id="iso-basic"),
        pytest.param(json.dumps(wire(timestamp=int(NOW))).encode(), id="whole-seconds"),
        pytest.param(json.dumps(wire(metadata={})).encode(), id="empty-metadata"),
        pytest.param(json.dumps(wire(metadata={"gone": None})).encode(), id="null-metadata-is-left-out"),
    ],
)
def test_one_measure_in_many_spellings(payload: bytes) -> None:
    result = decode(payload, now=NOW, trusted=False)

    assert list(result.rejected) == []
    assert list(result.measures) == [PLAIN]
    assert list(result.indexes) == [0]


def test_json_lines_may_have_blank_ones_between() -> None:
    lines = [json.dumps(wire(value=number)).encode() for number in range(3)]

    result = decoded(b"\n\n".join(lines))

    assert [measure.value for measure in result.measures] == [0, 1, 2]
    assert list(result.indexes) == [0, 1, 2]


def test_an_empty_list_is_no_fault() -> None:
    assert decoded([]) == Decoded([], range(0))


def test_a_project_counts_only_from_a_trusted_source() -> None:
    message = wire(project_id="p1", unit="%")

    assert decoded(message, trusted=True).measures[0].project_id == "p1"
    assert decoded(message, trusted=False).measures[0].project_id == ""
    assert decoded(wire(project_id="p1", metadata={"n": 1}), trusted=False).measures[0].project_id == ""


def test_metadata_becomes_flat_text() -> None:
    metadata = {
        "az": "nova",
        "vcpus": 4,
        "load": 0.5,
        "spot": True,
        "none": None,
        "a": {"b": {"c": "deep"}, "d": False},
    }

    (measure,) = decoded(wire(metadata=metadata)).measures

    assert measure.metadata == {
        "az": "nova",
        "vcpus": "4",
        "load": "0.5",
        "spot": "true",
        "a.b.c": "deep",
        "a.d": "false",
    }


def nested(depth: int) -> dict[str, Any]:
    return {"a": nested(depth - 1)} if depth else {}


REJECTED = [
    pytest.param(b"", Rejection.UNDECODABLE, "an empty message", id="empty"),
    pytest.param(b" \n ", Rejection.UNDECODABLE, "an empty message", id="blank"),
    pytest.param(b"{", Rejection.UNDECODABLE, "not JSON: ", id="cut-off"),
    pytest.param(b'[{"metric": 1}, {', Rejection.UNDECODABLE, "not JSON: ", id="cut-off-list"),
    pytest.param(b"\x80\x02}q", Rejection.UNDECODABLE, "not UTF-8: byte 0: ", id="not-utf-8"),
    pytest.param(b"[" * 100_000, Rejection.UNDECODABLE, "nested too deeply", id="nesting-bomb-of-lists"),
    pytest.param(b'{"a":' * 100_000, Rejection.UNDECODABLE, "nested too deeply", id="nesting-bomb-of-objects"),
    pytest.param(b"[" + b"9" * 5000 + b"]", Rejection.UNDECODABLE, "not JSON: ", id="integer-bomb"),
    pytest.param(b"x" * (1024 * 1024 + 1), Rejection.TOO_LONG, "a message of 1048577 bytes", id="oversize"),
    pytest.param(5, Rejection.WRONG_TYPE, "expected an object, found the number 5", id="number"),
    pytest.param([[1]], Rejection.WRONG_TYPE, "expected an object, found a list", id="list-in-list"),
    pytest.param(None, Rejection.WRONG_TYPE, "expected an object, found null", id="null"),
    pytest.param(wire(host="a"), Rejection.UNKNOWN_KEY, "'host'; known are metric, ", id="unknown-key"),
    pytest.param(without("metric"), Rejection.MISSING_KEY, "metric", id="no-metric"),
    pytest.param(without("resource_id"), Rejection.MISSING_KEY, "resource_id", id="no-resource-id"),
    pytest.param(without("timestamp"), Rejection.MISSING_KEY, "timestamp", id="no-timestamp"),
    pytest.param(without("value"), Rejection.MISSING_KEY, "value", id="no-value"),
    pytest.param(wire(metric=""), Rejection.WRONG_TYPE, "metric: expected a name, found an empty", id="empty-metric"),
    pytest.param(wire(metric=None), Rejection.WRONG_TYPE, "metric: expected a text, found null", id="null-metric"),
    pytest.param(wire(metric="m" * 256), Rejection.TOO_LONG, "metric: 256 characters", id="long-metric"),
    pytest.param(
        wire(resource_id=7), Rejection.WRONG_TYPE, "resource_id: expected a text, found the number 7", id="id"
    ),
    pytest.param(wire(resource_id="é" * 256), Rejection.TOO_LONG, "resource_id: 256 characters", id="long-resource-id"),
    pytest.param(wire(metric="\ud800"), Rejection.UNDECODABLE, "metric: half a surrogate pair", id="half-a-surrogate"),
    pytest.param(wire(unit=1), Rejection.WRONG_TYPE, "unit: expected a text", id="unit"),
    pytest.param(
        wire(project_id=["p"]), Rejection.WRONG_TYPE, "project_id: expected a text, found a list", id="project"
    ),
    pytest.param(wire(value="1"), Rejection.WRONG_TYPE, "value: expected a number, found the text '1'", id="text"),
    pytest.param(wire(value=True), Rejection.WRONG_TYPE, "value: expected a number, found true", id="boolean"),
    pytest.param(wire(value=None), Rejection.WRONG_TYPE, "value: expected a number, found null", id="null-value"),
    pytest.param(wire(value={}), Rejection.WRONG_TYPE, "value: expected a number, found an object", id="object-value"),
    pytest.param(wire(value=math.nan), Rejection.NOT_FINITE, "value: expected a finite number, found NaN", id="nan"),
    pytest.param(wire(value=math.inf), Rejection.NOT_FINITE, "value: expected a finite number", id="infinity"),
    pytest.param(wire(value=-math.inf), Rejection.NOT_FINITE, "value: expected a finite number", id="minus-infinity"),
    pytest.param(wire(value=10**400), Rejection.NOT_FINITE, "value: expected a finite number", id="huge-integer"),
    pytest.param(
        json.dumps(wire()).replace("1.5", "1e999").encode(), Rejection.NOT_FINITE, "value: ", id="overflowing-number"
    ),
    pytest.param(wire(timestamp=math.nan), Rejection.NOT_FINITE, "timestamp: expected a finite", id="nan-timestamp"),
    pytest.param(
        wire(timestamp=None), Rejection.WRONG_TYPE, "timestamp: expected a number, found null", id="null-time"
    ),
    pytest.param(
        wire(timestamp=True), Rejection.WRONG_TYPE, "timestamp: expected a number, found true", id="bool-time"
    ),
    pytest.param(wire(timestamp="1700000000"), Rejection.BAD_TIMESTAMP, "timestamp: expected ISO 8601", id="text-time"),
    pytest.param(wire(timestamp="20231114"), Rejection.BAD_TIMESTAMP, "timestamp: expected ISO 8601", id="digits-time"),
    pytest.param(
        wire(timestamp="\udc80"), Rejection.BAD_TIMESTAMP, "timestamp: expected ISO 8601", id="half-a-character"
    ),
    pytest.param(wire(timestamp="yesterday"), Rejection.BAD_TIMESTAMP, "timestamp: expected ISO 8601", id="word-time"),
    pytest.param(
        wire(timestamp=-1), Rejection.BAD_TIMESTAMP, "timestamp: expected Unix seconds between", id="negative"
    ),
    pytest.param(wire(timestamp=NOW * 1000), Rejection.BAD_TIMESTAMP, "timestamp: expected Unix seconds", id="millis"),
    pytest.param(wire(timestamp="9999-12-31T23:59:59Z"), Rejection.BAD_TIMESTAMP, "timestamp: ", id="year-9999"),
    pytest.param(wire(timestamp="9999-12-31T23:59:59-12:00"), Rejection.BAD_TIMESTAMP, "timestamp: ", id="past-9999"),
    pytest.param(wire(timestamp="0001-01-01T00:00:00+12:00"), Rejection.BAD_TIMESTAMP, "timestamp: ", id="year-1"),
    pytest.param(wire(timestamp=1e300), Rejection.BAD_TIMESTAMP, "timestamp: ", id="absurd"),
    pytest.param(wire(timestamp=NOW + 61), Rejection.TOO_FAR_AHEAD, "is 61 s ahead; at most 60 s", id="far-future"),
    pytest.param(wire(timestamp=NOW - 4e8), Rejection.TOO_LONG_AGO, "is 400000000 s ago; at most", id="far-past"),
    pytest.param(wire(metadata=None), Rejection.WRONG_TYPE, "metadata: expected an object, found null", id="metadata"),
    pytest.param(wire(metadata={"a": [1]}), Rejection.WRONG_TYPE, "metadata 'a': expected a text", id="metadata-list"),
    pytest.param(wire(metadata={"": "a"}), Rejection.WRONG_TYPE, "metadata key: expected a name", id="metadata-no-key"),
    pytest.param(wire(metadata={"k" * 256: 1}), Rejection.TOO_LONG, "metadata key: 256 characters", id="metadata-key"),
    pytest.param(
        wire(metadata={"a": "v" * 1025}), Rejection.TOO_LONG, "metadata 'a': 1025 characters", id="metadata-value"
    ),
    pytest.param(
        wire(metadata={"a": math.nan}), Rejection.NOT_FINITE, "metadata 'a': expected a finite", id="metadata-nan"
    ),
    pytest.param(
        wire(metadata={"a": {"b": {"c": 10**400}}}), Rejection.NOT_FINITE, "metadata 'a.b.c'", id="metadata-huge"
    ),
    pytest.param(
        wire(metadata={str(number): "v" for number in range(65)}), Rejection.TOO_LONG, "more than 64 keys", id="65-keys"
    ),
    pytest.param(wire(metadata=nested(9)), Rejection.UNDECODABLE, "nested deeper than 8 objects", id="deep-metadata"),
    pytest.param(
        wire(metadata=nested(500)), Rejection.UNDECODABLE, "nested deeper than 8 objects", id="deeper-metadata"
    ),
]


@pytest.mark.parametrize(("message", "rejection", "detail"), REJECTED)
def test_a_bad_message_is_refused_with_its_reason(message: Any, rejection: Rejection, detail: str) -> None:
    result = decoded(message)

    assert list(result.measures) == []
    (fault,) = result.rejected
    assert fault.rejection is rejection
    assert detail in fault.detail
    assert len(fault.payload) <= 65_536


@pytest.mark.parametrize(
    ("message", "rejection", "detail"), [row for row in REJECTED if isinstance(row.values[0], dict)]
)
def test_a_bad_measure_never_stops_its_neighbours(message: Any, rejection: Rejection, detail: str) -> None:
    in_list = decoded([wire(value=1), message, wire(value=2)])
    in_lines = decoded("\n".join(json.dumps(each) for each in [wire(value=1), message, wire(value=2)]).encode())

    for result in (in_list, in_lines):
        assert [measure.value for measure in result.measures] == [1, 2]
        assert list(result.indexes) == [0, 2]
        assert [(fault.index, fault.rejection) for fault in result.rejected] == [(1, rejection)]
        assert json.loads(result.rejected[0].payload).keys() == message.keys()


@pytest.mark.parametrize("line", [b"{nope", b"\xff\xfe", b"[" * 100_000], ids=["no-json", "no-utf-8", "nesting-bomb"])
def test_a_broken_line_never_stops_its_neighbours(line: bytes) -> None:
    good = json.dumps(wire()).encode()

    result = decoded(b"\n".join([good, line, good]))

    assert list(result.indexes) == [0, 2]
    assert [(fault.index, fault.rejection) for fault in result.rejected] == [(1, Rejection.UNDECODABLE)]


def test_lines_of_nothing_are_refused_before_each_is_looked_at() -> None:
    few = Limits(max_measures=3)

    assert [each.rejection for each in decoded(b"x\n" * 3, limits=few).rejected] == [Rejection.UNDECODABLE]
    (too_many,) = decoded(b"x\n" * 4, limits=few).rejected
    assert (too_many.rejection, too_many.index) == (Rejection.TOO_LONG, None)


def test_a_broken_object_over_many_lines_is_one_fault() -> None:
    (fault,) = decoded(json.dumps(wire(), indent=2).encode()[:-1]).rejected

    assert fault.rejection is Rejection.UNDECODABLE
    assert fault.index is None


@pytest.mark.parametrize(
    ("at", "taken"),
    [
        pytest.param(NOW + 60, True, id="as-far-ahead-as-allowed"),
        pytest.param(NOW + 60.001, False, id="a-little-further"),
        pytest.param(NOW - 100, True, id="as-long-ago-as-allowed"),
        pytest.param(NOW - 100.001, False, id="a-little-longer"),
    ],
)
def test_time_limits_are_inclusive(at: float, *, taken: bool) -> None:
    assert len(decoded(wire(timestamp=at), limits=Limits(max_past=100)).measures) == taken


@pytest.mark.parametrize("at", [0, 1, NOW + 1e6, 7_258_118_400], ids=["epoch", "then", "ahead", "year-2200"])
def test_a_recording_has_no_time_limits(at: float) -> None:
    assert decoded(wire(timestamp=at), limits=RECORDED).measures[0].timestamp == at


def test_milliseconds_are_recognised() -> None:
    (fault,) = decoded(wire(timestamp=NOW * 1000)).rejected

    assert fault.detail.endswith("is it in milliseconds?")


TEXTS = st.text(max_size=260) | st.sampled_from(["", "a", "\ud800", "\x00", "é" * 255])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(TEXTS, parts, max_size=3),
    max_leaves=6,
)
ALMOST = st.fixed_dictionaries(
    {
        "metric": st.just("m") | TEXTS | ANYTHING,
        "resource_id": st.just("r") | TEXTS,
        "timestamp": st.floats(0, NOW)
        | st.sampled_from([NOW, "2023-11-14T22:13:20Z", "2023-11-14 22:13", "0001-01-01T00:00:00+14:00"])
        | st.datetimes().map(str)
        | ANYTHING,
        "value": st.floats() | st.integers() | ANYTHING,
    },
    optional={
        "unit": TEXTS,
        "project_id": TEXTS,
        "metadata": st.dictionaries(TEXTS, TEXTS, max_size=4) | st.dictionaries(TEXTS, ANYTHING, max_size=4),
        "other": ANYTHING,
    },
)


@given(st.lists(ALMOST | ANYTHING, max_size=4), st.booleans(), st.sampled_from([LIVE, RECORDED]))
def test_every_measure_of_a_list_is_taken_or_refused(messages: list[Any], trusted: bool, limits: Limits) -> None:  # noqa: FBT001
    result = decoded(messages, trusted=trusted, limits=limits)

    places = [*result.indexes, *(fault.index for fault in result.rejected)]
    assert sorted(place for place in places if place is not None) == list(range(len(messages)))
    assert len(result.indexes) == len(result.measures)
    for measure in result.measures:
        assert math.isfinite(measure.value)
        assert 0 <= measure.timestamp <= module.LATEST
        assert trusted or measure.project_id == ""
        texts = [measure.metric, measure.resource_id, measure.unit, *measure.metadata, *measure.metadata.values()]
        assert "".join(texts).encode() is not None  # no half characters


@given(ALMOST, st.booleans(), st.booleans())
def test_the_fast_way_and_the_slow_one_agree(message: dict[str, Any], trusted: bool, indent: bool) -> None:  # noqa: FBT001
    payload = json.dumps(message, indent=2 if indent else None).encode()

    fast = module._at_once(payload, NOW, trusted=trusted, limits=LIVE)
    slow = module._one_by_one(payload, NOW, trusted=trusted, limits=LIVE)

    if fast is not None:
        assert list(slow.measures) == fast
        assert list(slow.rejected) == []


@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\n0a\\u', max_size=60).map(str.encode))
def test_rubbish_is_never_an_exception(payload: bytes) -> None:
    fast = module._at_once(payload, NOW, trusted=True, limits=LIVE)
    result = decoded(payload)

    assert fast is None or list(result.measures) == fast


@pytest.mark.parametrize("bad", [False, True], ids=["all-right", "one-wrong"])
def test_too_many_in_a_message_are_refused_as_a_whole(bad: bool) -> None:  # noqa: FBT001
    few = Limits(max_measures=3)
    measures = [wire(value="x" if bad else 1.0), *([wire()] * 2)]

    fits, too_many = decoded(measures, limits=few), decoded([*measures, wire()], limits=few)
    lines = decoded("\n".join(json.dumps(each) for each in [*measures, wire()]).encode(), limits=few)

    assert len(fits.measures) == 3 - bad
    assert (too_many.measures, lines.measures) == ((), ())
    assert [(found.rejection, found.index) for found in (*too_many.rejected, *lines.rejected)] == [
        (Rejection.TOO_LONG, None)
    ] * 2
    assert too_many.rejected[0].detail == "4 measures in a message; at most 3 are taken"
