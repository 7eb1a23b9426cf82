from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.api.v2.query import (
    Kind,
    OrderBy,
    QueryError,
    Value,
    foreign_value,
    holds,
    only,
    parse_filter,
    parse_order,
)

FIELDS = {
    "name": Kind.TEXT,
    "project_id": Kind.TEXT,
    "alarm_id": Kind.TEXT,
    "enabled": Kind.FLAG,
    "timestamp": Kind.TIME,
    "severity": Kind.SEVERITY,
}
ALARM: dict[str, Value | None] = {
    "name": "web",
    "project_id": "p",
    "enabled": True,
    "timestamp": 1_000_000,
    "severity": 1,
    "alarm_id": None,
}


def found(query: Any) -> bool | None:
    return holds(parse_filter(json.dumps(query), FIELDS), ALARM.__getitem__)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param({"=": {"name": "web"}}, True, id="equal"),
        pytest.param({"=": {"name": "x"}}, False, id="not-equal"),
        pytest.param({"!=": {"name": "x"}}, True, id="unequal"),
        pytest.param({"<": {"name": "x"}}, True, id="less"),
        pytest.param({">": {"name": "a"}}, True, id="greater"),
        pytest.param({"<=": {"name": "web"}}, True, id="at-most"),
        pytest.param({"=<": {"name": "web"}}, True, id="at-most-turned"),
        pytest.param({">=": {"name": "web"}}, True, id="at-least"),
        pytest.param({"=>": {"name": "wec"}}, False, id="at-least-turned"),
        pytest.param({"=~": {"name": "^w.b$"}}, True, id="regexp"),
        pytest.param({"=~": {"name": "e"}}, True, id="regexp-anywhere"),
        pytest.param({"=~": {"name": "W"}}, False, id="regexp-minds-case"),
        pytest.param({"in": {"name": ["x", "web"]}}, True, id="in"),
        pytest.param({"IN": {"name": ["x"]}}, False, id="not-in"),
        pytest.param({"And": [{"=": {"name": "web"}}, {"=": {"enabled": True}}]}, True, id="and"),
        pytest.param({"OR": [{"=": {"name": "x"}}, {"=": {"enabled": False}}]}, False, id="or"),
        pytest.param({"Not": {"=": {"name": "x"}}}, True, id="not"),
        pytest.param({"=": {"project": "p"}}, True, id="alias"),
        pytest.param({"=": {"enabled": "true"}}, True, id="flag-as-text"),
        pytest.param({"=": {"enabled": 0}}, False, id="flag-as-number"),
        pytest.param({"=": {"timestamp": "1970-01-01T00:00:01"}}, True, id="time"),
        pytest.param({">": {"timestamp": "1970-01-01T00:00:00.999999"}}, True, id="later"),
        pytest.param({"=": {"severity": "moderate"}}, True, id="severity"),
        pytest.param({">": {"severity": "low"}}, True, id="severity-by-rank"),
        pytest.param({"<": {"severity": "critical"}}, True, id="severity-below"),
        pytest.param({"=": {"severity": "x"}}, False, id="severity-unknown"),
        pytest.param({"=~": {"severity": "^m"}}, True, id="severity-regexp"),
        pytest.param({"=": {"alarm_id": "x"}}, None, id="no-value"),
        pytest.param({"not": {"=": {"alarm_id": "x"}}}, None, id="not-of-no-value"),
        pytest.param({"or": [{"=": {"alarm_id": "x"}}, {"=": {"name": "web"}}]}, True, id="or-no-value"),
        pytest.param({"and": [{"=": {"alarm_id": "x"}}, {"=": {"name": "x"}}]}, False, id="and-no-value"),
        pytest.param({"and": [{"=": {"alarm_id": "x"}}, {"=": {"name": "web"}}]}, None, id="and-open"),
        pytest.param({"=": {"name": 1}}, False, id="number-as-text"),
    ],
)
def test_a_filter_means_what_it_says(query: Any, expected: object) -> None:
    assert found(query) is expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("{bad", "malformed", id="no-json"),
        pytest.param("[]", "one operator", id="list"),
        pytest.param("{}", "one operator", id="empty"),
        pytest.param('{"=": {"name": "a"}, "!=": {"name": "b"}}', "one operator", id="two-operators"),
        pytest.param('{"=": {"name": "a", "enabled": true}}', "one field", id="two-fields"),
        pytest.param('{"~": {"name": "a"}}', "unknown operator ~", id="operator"),
        pytest.param('{"=": {"nme": "a"}}', "unknown field nme", id="field"),
        pytest.param('{"=": {"name": null}}', "expected text", id="null"),
        pytest.param('{"=": {"name": {}}}', "expected text", id="object"),
        pytest.param('{"=": {"name": true}}', "expected text", id="flag-for-text"),
        pytest.param('{"=": {"enabled": "maybe"}}', "expected true or false", id="flag"),
        pytest.param('{"=": {"timestamp": "soon"}}', "Failed to parse the timestamp value soon", id="time"),
        pytest.param('{">": {"severity": "x"}}', "low, moderate, critical", id="severity"),
        pytest.param('{"in": {"name": []}}', "at least one value", id="in-nothing"),
        pytest.param('{"in": {"name": "a"}}', "at least one value", id="in-text"),
        pytest.param('{"and": [{"=": {"name": "a"}}]}', "at least two", id="and-of-one"),
        pytest.param('{"or": {"=": {"name": "a"}}}', "at least two", id="or-of-none"),
        pytest.param('{"not": []}', "one operator", id="not-of-list"),
        pytest.param('{"=~": {"name": "("}}', "no regular expression: missing", id="regexp"),
        pytest.param('{"=~": {"name": 1}}', "expects a regular expression", id="regexp-number"),
        pytest.param('{"=~": {"enabled": "t"}}', "does not apply to enabled", id="regexp-flag"),
        pytest.param(json.dumps({"=~": {"name": "a" * 1001}}), "at most 1000", id="regexp-long"),
        pytest.param('{"not": ' * 150 + '{"=": {"name": "a"}}' + "}" * 150, "at most 100 levels", id="deep"),
        pytest.param('{"not": ' * 100_000 + "1" + "}" * 100_000, "too many levels", id="abyss"),
        pytest.param('{"=": {"name": "\\ud800"}}', "truncated", id="surrogate"),
    ],
)
def test_what_is_no_filter_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(QueryError) as refused:
        parse_filter(text, FIELDS)
    assert words in str(refused.value)


def test_no_regular_expression_takes_long() -> None:
    query = parse_filter('{"=~": {"name": "(a+)+$"}}', FIELDS)
    begun = time.perf_counter()
    assert holds(query, lambda _: "a" * 10_000 + "b") is False
    assert time.perf_counter() - begun < 1


def test_an_order_has_keys_in_turn() -> None:
    order = parse_order('[{"severity": "DESC"}, {"user": "asc"}]', FIELDS | {"user_id": Kind.TEXT})
    assert order == [OrderBy("severity", descending=True), OrderBy("user_id")]


@pytest.mark.parametrize("text", ["{}", "[1]", '[{"name": "up"}]', '[{"nme": "asc"}]', '[{"name": 1}]', "[{}]", "x"])
def test_what_is_no_order_is_refused(text: str) -> None:
    with pytest.raises(QueryError):
        parse_order(text, FIELDS)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param({"=": {"alarm_id": "a"}}, {"a"}, id="equal"),
        pytest.param({"in": {"alarm_id": ["a", "b"]}}, {"a", "b"}, id="in"),
        pytest.param({"!=": {"alarm_id": "a"}}, None, id="unequal"),
        pytest.param({">=": {"alarm_id": "a"}}, None, id="at-least"),
        pytest.param({"not": {"=": {"alarm_id": "a"}}}, None, id="not"),
        pytest.param({"and": [{"=": {"alarm_id": "a"}}, {"=": {"name": "x"}}]}, {"a"}, id="and"),
        pytest.param({"or": [{"=": {"alarm_id": "a"}}, {"=": {"alarm_id": "b"}}]}, {"a", "b"}, id="or"),
        pytest.param({"or": [{"=": {"alarm_id": "a"}}, {"=": {"name": "x"}}]}, None, id="or-open"),
    ],
)
def test_the_only_values_of_a_field_are_known(query: Any, expected: set[str] | None) -> None:
    assert only(parse_filter(json.dumps(query), FIELDS), "alarm_id") == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param({"=": {"project": "p"}}, None, id="own"),
        pytest.param({"not": {"=": {"project_id": "q"}}}, "q", id="within-not"),
        pytest.param({"in": {"project_id": ["p", "q"]}}, "q", id="among"),
        pytest.param({"=": {"name": "q"}}, None, id="another-field"),
    ],
)
def test_a_value_that_is_not_ones_own_is_found_wherever_it_stands(query: Any, expected: str | None) -> None:
    assert foreign_value(parse_filter(json.dumps(query), FIELDS), "project_id", "p") == expected


LEAVES = st.sampled_from([{"=": {"name": "web"}}, {"=": {"name": "x"}}, {"=": {"alarm_id": "x"}}])
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda part: {"not": part}, inner),
        st.builds(lambda parts: {"and": parts}, st.lists(inner, min_size=2, max_size=3)),
        st.builds(lambda parts: {"or": parts}, st.lists(inner, min_size=2, max_size=3)),
    ),
    max_leaves=8,
)


@given(TREES)
def test_what_is_known_without_a_value_stays_so_whatever_the_value_is(query: Any) -> None:
    parsed = parse_filter(json.dumps(query), FIELDS)
    known = holds(parsed, ALARM.__getitem__)
    for value in ("x", "y"):
        later = holds(parsed, (ALARM | {"alarm_id": value}).__getitem__)
        assert later is not None
        assert known is None or later is known
