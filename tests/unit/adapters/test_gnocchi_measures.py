"""Measures as Gnocchi's clients post them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.adapters.sources.decode import LIVE
from autoscaler.adapters.sources.gnocchi import GnocchiDecoder, Points
from autoscaler.errors import Rejection

NOW = 1_795_186_800.0  # 2026-11-20T15:00:00Z
DECODER = GnocchiDecoder()


def point(timestamp: Any = NOW, value: Any = 1) -> dict[str, Any]:
    return {"timestamp": timestamp, "value": value}


def test_measures_are_read_by_resource_in_both_forms() -> None:
    body = {
        "vm-1": {"cpu": {"measures": [point(), point(NOW + 1, 2)], "unit": "ns", "archive_policy_name": "low"}},
        "vm-2": {"cpu": [point()], "memory": []},
    }

    found = DECODER.by_resource(json.dumps(body).encode(), NOW)

    assert list(found.rejected) == []
    assert list(found.series) == [
        Points("vm-1", "cpu", "ns", [(NOW, 1.0), (NOW + 1, 2.0)]),
        Points("vm-2", "cpu", "", [(NOW, 1.0)]),
        Points("vm-2", "memory", "", []),
    ]


def test_measures_are_read_by_metric_and_of_one() -> None:
    by_metric = DECODER.by_metric(json.dumps({"id": [point()]}).encode(), NOW)
    of_one = DECODER.of_one(json.dumps([point()]).encode(), NOW)

    assert list(by_metric.series) == [Points("id", "", "", [(NOW, 1.0)])]
    assert list(of_one.series) == [Points("", "", "", [(NOW, 1.0)])]


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        pytest.param("2026-11-20T15:00:00", NOW, id="naive-is-utc"),
        pytest.param("2026-11-20T15:00:00+00:00", NOW, id="with-zone"),
        pytest.param("2026-11-20 15:00:00.5", NOW + 0.5, id="with-a-blank"),
        pytest.param(NOW, NOW, id="number"),
        pytest.param(str(NOW), NOW, id="number-as-text"),
        pytest.param("-10 seconds", NOW - 10, id="relative"),
        pytest.param("- 1 hour 30 minutes", NOW - 5400, id="relative-of-two-parts"),
        pytest.param("-5m", NOW - 300, id="relative-short"),
        pytest.param("+1 min", NOW + 60, id="ahead"),
    ],
)
def test_times_are_read_as_gnocchi_reads_them(timestamp: Any, expected: float) -> None:
    found = DECODER.of_one(json.dumps([point(timestamp)]).encode(), NOW)

    assert list(found.series[0].points) == [(expected, 1.0)]


@pytest.mark.parametrize(
    ("measure", "rejection"),
    [
        pytest.param(point("soon"), Rejection.BAD_TIMESTAMP, id="no-time"),
        pytest.param(point("5 apples"), Rejection.BAD_TIMESTAMP, id="no-span"),
        pytest.param(point("10 s later"), Rejection.BAD_TIMESTAMP, id="a-span-and-more"),
        pytest.param(point("1" * 100_000 + "x"), Rejection.BAD_TIMESTAMP, id="a-span-without-end"),
        pytest.param(point(NOW + 3600), Rejection.TOO_FAR_AHEAD, id="ahead"),
        pytest.param(point(NOW, "high"), Rejection.WRONG_TYPE, id="no-number"),
        pytest.param(point(NOW, None), Rejection.WRONG_TYPE, id="null"),
        pytest.param(point(NOW, float("nan")), Rejection.NOT_FINITE, id="not-finite"),
        pytest.param({"value": 1}, Rejection.MISSING_KEY, id="no-timestamp"),
        pytest.param(7, Rejection.WRONG_TYPE, id="no-object"),
    ],
)
def test_a_faulty_measure_costs_only_itself(measure: Any, rejection: Rejection) -> None:
    found = DECODER.by_resource(json.dumps({"vm": {"cpu": [point(), measure, point(value="2")]}}).encode(), NOW)

    assert list(found.series[0].points) == [(NOW, 1.0), (NOW, 2.0)]
    assert [(each.rejection, each.index) for each in found.rejected] == [(rejection, 1)]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"[]", id="list"),
        pytest.param(b'{"vm": []}', id="metrics-are-a-list"),
        pytest.param(b'{"vm": {"cpu": 1}}', id="measures-are-a-number"),
        pytest.param(b'{"vm": {"cpu": {"unit": "ns"}}}', id="measures-are-missing"),
        pytest.param(b'{"": {"cpu": []}}', id="resource-without-name"),
        pytest.param(b'{"vm": {"cpu": {"measures": [], "unit": 1}}}', id="unit-is-a-number"),
    ],
)
def test_a_body_of_another_shape_is_refused_whole(body: bytes) -> None:
    found = DECODER.by_resource(body, NOW)

    assert list(found.series) == []
    assert [each.index for each in found.rejected] == [None]


def test_series_without_measures_are_counted_too() -> None:
    body = {"vm-1": {str(number): [] for number in range(LIVE.max_measures + 1)}}

    found = DECODER.by_resource(json.dumps(body).encode(), NOW)

    assert (list(found.series), [each.rejection for each in found.rejected]) == ([], [Rejection.TOO_LONG])


@given(
    st.binary()
    | st.recursive(st.none() | st.floats() | st.text(), lambda it: st.lists(it) | st.dictionaries(st.text(), it)).map(
        lambda it: json.dumps(it).encode()
    )
)
def test_no_body_is_too_odd(body: bytes) -> None:
    for decode in (DECODER.by_resource, DECODER.by_metric, DECODER.of_one):
        decode(body, NOW)
