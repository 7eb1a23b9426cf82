"""Prometheus' write requests."""

from __future__ import annotations

import math
import struct

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.adapters.sources.decode import LIVE, Decoded
from autoscaler.adapters.sources.remote_write import MAX_LABELS, MAX_UNPACKED, decode, resource_of
from autoscaler.errors import Rejection
from autoscaler.measures.measure import Measure
from tests.protobuf import field, series, varint

NOW = 1_795_186_800.0
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
LABELS = {"__name__": "cpu_load", "instance": "web-1:9100", "job": "node", "project": "p1"}


def request(*of: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(b"".join(of) + field(3, b"")))


def decoded(payload: bytes, *, trusted: bool = False) -> Decoded:
    return decode(payload, now=NOW, trusted=trusted, limits=LIVE)


def test_samples_are_measures_and_labels_metadata() -> None:
    found = decoded(request(series(LABELS, [(NOW - 15, 0.5), (NOW, 0.75)])), trusted=True)

    metadata = {"instance": "web-1:9100", "job": "node", "project": "p1"}
    assert list(found.measures) == [
        Measure("cpu_load", "web-1:9100", NOW - 15, 0.5, "p1", "", metadata),
        Measure("cpu_load", "web-1:9100", NOW, 0.75, "p1", "", metadata),
    ]
    assert (list(found.indexes), list(found.rejected)) == ([0, 0], [])


def test_a_project_does_not_count_where_the_source_is_not_trusted() -> None:
    assert decoded(request(series(LABELS, [(NOW, 1)]))).measures[0].project_id == ""


def test_values_that_are_no_numbers_are_passed_over() -> None:
    found = decoded(request(series(LABELS, [(NOW - 1, STALE), (NOW, math.nan)])))

    assert (list(found.measures), list(found.rejected)) == ([], [])


@pytest.mark.parametrize(
    ("labels", "sample", "rejection"),
    [
        pytest.param({"instance": "a"}, (NOW, 1), Rejection.MISSING_KEY, id="no-name"),
        pytest.param(LABELS, (NOW, math.inf), Rejection.NOT_FINITE, id="infinite"),
        pytest.param(LABELS, (NOW + 3600, 1), Rejection.TOO_FAR_AHEAD, id="ahead"),
        pytest.param(LABELS | {f"l{n}": "x" for n in range(64)}, (NOW, 1), Rejection.TOO_LONG, id="many-labels"),
        pytest.param({"__name__": "n" * 256}, (NOW, 1), Rejection.TOO_LONG, id="long-name"),
    ],
)
def test_a_faulty_sample_costs_only_itself(
    labels: dict[str, str], sample: tuple[float, float], rejection: Rejection
) -> None:
    found = decoded(request(series(labels, [sample]), series(LABELS, [(NOW, 1)])))

    assert (len(found.measures), list(found.indexes)) == (1, [1])
    assert [(each.rejection, each.index) for each in found.rejected] == [(rejection, 0)]


@pytest.mark.parametrize(
    "of",
    [
        pytest.param(field(1, b"") * (LIVE.max_measures + 1), id="empty-series"),
        pytest.param(field(1, field(1, b"") * (MAX_LABELS + 1)), id="empty-labels"),
    ],
)
def test_a_request_full_of_nothing_is_refused_before_it_takes_long(of: bytes) -> None:
    """Some kilobytes of snappy are millions of them."""
    found = decoded(request(of))

    assert [(each.rejection, each.index) for each in found.rejected] == [(Rejection.TOO_LONG, None)]


def test_a_label_without_name_is_left_out() -> None:
    (measure,) = decoded(request(series(LABELS | {"": "x"}, [(NOW, 1)]))).measures

    assert measure.metadata == {name: value for name, value in LABELS.items() if name != "__name__"}


@pytest.mark.parametrize(
    ("payload", "rejection"),
    [
        pytest.param(b"", Rejection.UNDECODABLE, id="empty"),
        pytest.param(b"\xff" * 20, Rejection.UNDECODABLE, id="no-length"),
        pytest.param(b"\x0aplain", Rejection.UNDECODABLE, id="not-snappy"),
        pytest.param(bytes(cramjam.snappy.compress_raw(b"\x0a\xff")), Rejection.UNDECODABLE, id="not-protobuf"),
        pytest.param(varint(MAX_UNPACKED + 1) + b"\x00", Rejection.TOO_LONG, id="bomb"),
    ],
)
def test_a_request_that_cannot_be_read_is_refused_whole(payload: bytes, rejection: Rejection) -> None:
    found = decoded(payload)

    assert list(found.measures) == []
    assert [(each.rejection, each.index) for each in found.rejected] == [(rejection, None)]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param({"resource_id": "r", "instance": "i"}, "r", id="resource-id-before-instance"),
        pytest.param({"instance_id": "vm", "instance": "i"}, "vm", id="instance-id-before-instance"),
        pytest.param({"instance": "i", "job": "j"}, "i", id="instance"),
        pytest.param({"instance": "i", "cpu": "0", "mode": "idle"}, 'i{cpu="0", mode="idle"}', id="several-of-one"),
        pytest.param({"b": "2", "a": "1", "__name__": "n"}, '{a="1", b="2"}', id="all-labels-in-order"),
        pytest.param({"instance": "i", "empty": ""}, "i", id="an-empty-label-is-none"),
    ],
)
def test_a_series_is_named_by_what_it_is_about(labels: dict[str, str], expected: str) -> None:
    assert resource_of(labels) == expected


@given(st.dictionaries(st.sampled_from(["__name__", "instance", "cpu", "job", "x"]), st.text(max_size=300), max_size=4))
def test_names_are_short_enough_and_the_same_in_any_order(labels: dict[str, str]) -> None:
    name = resource_of(labels)

    assert len(name) <= 255
    assert resource_of(dict(reversed(labels.items()))) == name


@given(st.binary())
def test_no_payload_is_too_odd(payload: bytes) -> None:
    decoded(payload)
    decoded(bytes(cramjam.snappy.compress_raw(payload)))
