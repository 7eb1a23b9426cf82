from __future__ import annotations

import functools
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.measures.match import (
    EVERYTHING,
    MAX_COMPARISONS,
    MAX_PATTERN,
    And,
    Equals,
    Like,
    Match,
    MatchError,
    Missing,
    Not,
    OneOf,
    Or,
    Order,
    Ordered,
    all_equal,
    attribute_of,
    from_search,
    holds,
    required,
    required_any,
    to_search,
    to_text,
)
from autoscaler.measures.measure import Measure

WEB = Measure("cpu", "r1", 0.0, 1.0, project_id="p", metadata={"server_group": "web", "az": "1"})
GROUP, RESOURCE, OTHER = Equals("server_group", "web"), Equals("resource_id", "r1"), Equals("az", "2")

attributes = st.sampled_from(["az", "server_group", "project_id", "resource_id", 'fla"vör'])
values = st.sampled_from(["1", "web", "p", "r1", "-2.5", ""])
matches = st.recursive(
    st.builds(Equals, attributes, values)
    | st.builds(OneOf, attributes, st.lists(values, min_size=1, max_size=3, unique=True).map(tuple))
    | st.builds(Ordered, attributes, st.sampled_from(Order), values)
    | st.builds(Like, attributes, st.sampled_from(["%", "w_b", "r%", r"\\%", ""]))
    | st.builds(Missing, attributes)
    | st.just(EVERYTHING),
    lambda parts: (
        st.builds(lambda several: And(tuple(several)), st.lists(parts, min_size=1, max_size=3))
        | st.builds(lambda several: Or(tuple(several)), st.lists(parts, min_size=1, max_size=3))
        | st.builds(Not, parts)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        pytest.param(EVERYTHING, True, id="everything"),
        pytest.param(GROUP, True, id="metadata"),
        pytest.param(RESOURCE, True, id="resource"),
        pytest.param(Equals("project_id", "p"), True, id="project"),
        pytest.param(Equals("flavor", ""), False, id="what-is-missing-equals-nothing"),
        pytest.param(And((GROUP, OTHER)), False, id="and"),
        pytest.param(Or((OTHER, GROUP)), True, id="or"),
        pytest.param(Not(OTHER), True, id="not"),
        pytest.param(Not(Equals("flavor", "a")), False, id="nor-does-it-differ-from-anything"),
        pytest.param(Not(Not(Equals("flavor", "a"))), False, id="however-often-it-is-turned"),
        pytest.param(Or((Equals("flavor", "a"), GROUP)), True, id="or-with-a-missing-one"),
        pytest.param(And((Not(Equals("flavor", "a")), GROUP)), False, id="and-with-a-missing-one"),
        pytest.param(Not(And((Equals("flavor", "a"), OTHER))), True, id="a-false-part-settles-an-and"),
        pytest.param(Missing("flavor"), True, id="missing"),
        pytest.param(Missing("az"), False, id="not-missing"),
        pytest.param(Not(Missing("flavor")), False, id="missing-is-certain"),
        pytest.param(OneOf("az", ("2", "1")), True, id="one-of"),
        pytest.param(OneOf("az", ("2", "3")), False, id="none-of"),
        pytest.param(OneOf("flavor", ("2", "")), False, id="missing-is-none-of-them"),
    ],
)
def test_a_measure_matches(match: Match, *, expected: bool) -> None:
    assert holds(match, WEB) is expected


def test_what_a_measure_says_of_itself() -> None:
    assert [attribute_of(WEB, key) for key in ("resource_id", "project_id", "az", "flavor")] == ["r1", "p", "1", None]


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        pytest.param({"=": {"server_group": "web"}}, GROUP, id="equals"),
        pytest.param({"eq": {"id": "r1"}}, RESOURCE, id="gnocchis-id-is-the-resource"),
        pytest.param({"=": {"original_resource_id": "r1"}}, RESOURCE, id="so-is-the-original-id"),
        pytest.param({}, EVERYTHING, id="nothing-asked"),
        pytest.param({"=": {"ended_at": None}}, Missing("ended_at"), id="null"),
        pytest.param({"!=": {"az": None}}, Not(Missing("az")), id="not-null"),
        pytest.param({"≠": {"az": 2}}, Not(OTHER), id="unequal-sign"),
        pytest.param({"ne": {"az": "2"}}, Not(OTHER), id="ne"),
        pytest.param({"in": {"az": ["2", 3, "2"]}}, OneOf("az", ("2", "3")), id="in"),
        pytest.param({"∈": {"az": ["2"]}}, OneOf("az", ("2",)), id="element-of"),
        pytest.param({"like": {"name": "web%"}}, Like("name", "web%"), id="like"),
        pytest.param({"lt": {"ram": 512}}, Ordered("ram", Order.LT, "512"), id="lt"),
        pytest.param({"<=": {"ram": "a"}}, Ordered("ram", Order.LE, "a"), id="le"),
        pytest.param({"≥": {"ram": 1.5}}, Ordered("ram", Order.GE, "1.5"), id="greater-or-equal-sign"),
        pytest.param({"gt": {"id": "r"}}, Ordered("resource_id", Order.GT, "r"), id="gt"),
        pytest.param({"∧": [{"=": {"az": "2"}}]}, And((OTHER,)), id="and-sign"),
        pytest.param({"∨": [{"=": {"az": "2"}}]}, Or((OTHER,)), id="or-sign"),
        pytest.param({"==": {"az": 2}}, OTHER, id="numbers-as-text"),
        pytest.param({"=": {"spot": True}}, Equals("spot", "true"), id="booleans-as-text"),
        pytest.param({"and": [{"=": {"az": "2"}}]}, And((OTHER,)), id="and"),
        pytest.param(
            {"or": [{"not": {"=": {"az": "2"}}}, {"=": {"id": "r1"}}]}, Or((Not(OTHER), RESOURCE)), id="nested"
        ),
    ],
)
def test_a_gnocchi_search_is_read(search: Any, expected: Match) -> None:
    assert from_search(search) == expected


@pytest.mark.parametrize(
    ("search", "message"),
    [
        pytest.param([], "exactly one operator", id="no-object"),
        pytest.param({"=": {}, "and": []}, "exactly one operator", id="two-operators"),
        pytest.param({"unlike": {"a": "b%"}}, 'unknown operator "unlike"; known are =, !=, <', id="unknown"),
        pytest.param({1: {"a": "b%"}}, 'unknown operator "1"', id="operator-of-no-name"),
        pytest.param({"in": {"a": []}}, "at least one value", id="in-nothing"),
        pytest.param({"in": {"a": "b"}}, "at least one value", id="in-a-text"),
        pytest.param({"in": {"a": [None]}}, "a text, a number", id="in-null"),
        pytest.param({"<": {"a": None}}, "a text, a number", id="less-than-null"),
        pytest.param({"like": {"a": "b\\"}}, "after a backslash", id="pattern-that-ends-in-a-backslash"),
        pytest.param(functools.reduce(lambda inner, _: {"not": inner}, range(65), {"=": {"a": "b"}}), "64", id="deep"),
        pytest.param({"and": []}, "at least one search", id="and-of-nothing"),
        pytest.param({"or": {"=": {}}}, "at least one search", id="or-of-no-list"),
        pytest.param({"=": {"a": "1", "b": "2"}}, "exactly one attribute", id="two-attributes"),
        pytest.param({"=": {"a": ["b"]}}, '{"attribute": "value"}', id="equal-to-a-list"),
        pytest.param({"=": {1: "a"}}, '{"attribute": "value"}', id="attribute-of-no-name"),
    ],
)
def test_what_is_not_known_is_refused(search: Any, message: str) -> None:
    with pytest.raises(MatchError) as error:
        from_search(search)

    assert message in str(error.value)


@given(matches)
def test_what_is_written_is_read_back(match: Match) -> None:
    assert from_search(to_search(match)) == match


@given(matches)
def test_windows_are_named_by_the_json_of_what_is_written(match: Match) -> None:
    # windows that are stored bear names made of this text
    assert to_text(match) == json.dumps(to_search(match), sort_keys=True)


@given(matches)
def test_what_is_required_of_a_match_is_true_of_whatever_matches(match: Match) -> None:
    equality = required(match)

    assert equality is None or not holds(match, WEB) or holds(equality, WEB)


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        pytest.param(GROUP, GROUP, id="itself"),
        pytest.param(And((GROUP, RESOURCE)), RESOURCE, id="a-resource-is-the-narrowest"),
        pytest.param(And((Not(GROUP), OTHER)), OTHER, id="the-part-that-has-one"),
        pytest.param(And((Or((GROUP, OTHER)),)), None, id="an-or-requires-nothing"),
        pytest.param(Not(GROUP), None, id="nor-does-a-not"),
        pytest.param(EVERYTHING, None, id="nor-does-everything"),
    ],
)
def test_one_equality_to_look_up_by(match: Match, expected: Equals | None) -> None:
    assert required(match) == expected


def test_pairs_are_read_in_any_order_and_mean_the_same() -> None:
    assert all_equal({"server_group": "web", "id": "r1"}) == all_equal({"id": "r1", "server_group": "web"})
    assert all_equal({}) == EVERYTHING
    assert holds(all_equal({"server_group": "web", "id": "r1"}), WEB)


def with_value(value: str) -> Measure:
    return Measure("cpu", "r1", 0.0, 1.0, metadata={"a": value})


@pytest.mark.parametrize(
    ("value", "order", "limit", "expected"),
    [
        pytest.param("10", "<", "9", False, id="numbers"),
        pytest.param("10", "<", "9a", True, id="texts-where-one-is-no-number"),
        pytest.param("1e3", ">=", "1000.0", True, id="however-they-are-written"),
        pytest.param("-1", ">", "-2", True, id="signs"),
        pytest.param("nan", ">", "1", True, id="nan-is-a-text"),
        pytest.param("1_0", "<", "9", True, id="and-so-is-what-only-python-reads"),
        pytest.param("b", "<=", "b", True, id="equal-texts"),
        pytest.param("B", "<", "a", True, id="code-points"),
    ],
)
def test_what_is_ordered_is_compared(value: str, order: str, limit: str, *, expected: bool) -> None:
    assert holds(Ordered("a", Order(order), limit), with_value(value)) is expected


@pytest.mark.parametrize(
    ("value", "pattern", "expected"),
    [
        pytest.param("web-1", "web%", True, id="begins"),
        pytest.param("web", "web%", True, id="with-nothing-more"),
        pytest.param("Web-1", "web%", False, id="minds-case"),
        pytest.param("my-web", "%web", True, id="ends"),
        pytest.param("a-b-a-b-c", "%a-b-c", True, id="tries-later-places-too"),
        pytest.param("web1", "web_", True, id="one-character"),
        pytest.param("web", "web_", False, id="not-none"),
        pytest.param("web12", "web_", False, id="nor-two"),
        pytest.param("50%", r"50\%", True, id="an-escaped-sign"),
        pytest.param("500", r"50\%", False, id="stands-for-itself"),
        pytest.param("a.c", "a.c", True, id="a-point-is-a-point"),
        pytest.param("abc", "a.c", False, id="and-nothing-else"),
        pytest.param("a\nb", "a%b", True, id="over-lines"),
        pytest.param("", "", True, id="nothing-is-like-nothing"),
        pytest.param("", "_", False, id="but-has-no-character"),
    ],
)
def test_a_text_has_a_form(value: str, pattern: str, *, expected: bool) -> None:
    assert holds(Like("a", pattern), with_value(value)) is expected


@given(st.text("ab%_\\", max_size=8), st.text("ab", max_size=8))
def test_a_form_means_what_a_regular_expression_does(pattern: str, value: str) -> None:
    try:
        match = from_search({"like": {"a": pattern}})
    except MatchError:
        assert pattern.endswith("\\")
        return
    expression = re.sub(r"\\(.)|(%)|(_)", lambda m: ".*" if m[2] else "." if m[3] else re.escape(m[1]), pattern)

    assert holds(match, with_value(value)) is (re.fullmatch(expression, value, re.DOTALL) is not None)


def test_a_form_made_to_take_long_does_not() -> None:
    assert not holds(Like("a", "%a" * 500 + "b"), with_value("a" * 1000))


@given(matches)
def test_whatever_matches_satisfies_one_of_the_equalities_to_look_up_by(match: Match) -> None:
    equalities = required_any(match)

    assert equalities is None or not holds(match, WEB) or any(holds(equality, WEB) for equality in equalities)


@given(matches)
def test_nothing_is_both_true_and_false(match: Match) -> None:
    assert not (holds(match, WEB) and holds(Not(match), WEB))


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        pytest.param(GROUP, (GROUP,), id="itself"),
        pytest.param(Or((GROUP, OTHER, GROUP)), (GROUP, OTHER), id="each-of-an-or"),
        pytest.param(Or((GROUP, Like("az", "%"))), None, id="unless-one-has-none"),
        pytest.param(OneOf("az", ("1", "2")), (Equals("az", "1"), OTHER), id="each-value"),
        pytest.param(And((OneOf("az", ("1", "2")), GROUP)), (GROUP,), id="the-fewest-of-an-and"),
        pytest.param(And((GROUP, OneOf("resource_id", ("r1",)))), (RESOURCE,), id="and-of-those-a-resource"),
        pytest.param(Not(GROUP), None, id="none-of-a-not"),
        pytest.param(Missing("az"), None, id="none-of-what-is-missing"),
        pytest.param(EVERYTHING, None, id="none-of-everything"),
        pytest.param(Or(()), None, id="none-of-nothing"),
    ],
)
def test_several_equalities_to_look_up_by(match: Match, expected: tuple[Equals, ...] | None) -> None:
    assert required_any(match) == expected


def test_a_measure_without_a_project_says_nothing_of_it() -> None:
    nobodys = Measure("cpu", "r1", 0.0, 1.0)

    assert attribute_of(nobodys, "project_id") is None
    assert holds(Missing("project_id"), nobodys)


EQUAL: dict[str, Any] = {"=": {"a": "b"}}


@pytest.mark.parametrize(
    ("search", "taken"),
    [
        pytest.param({"or": [EQUAL] * MAX_COMPARISONS}, True, id="many"),
        pytest.param({"or": [EQUAL] * (MAX_COMPARISONS + 1)}, False, id="too-many"),
        pytest.param({"not": {"and": [{"or": [EQUAL] * MAX_COMPARISONS}, EQUAL]}}, False, id="below"),
        pytest.param({"in": {"a": [str(n) for n in range(MAX_COMPARISONS + 1)]}}, False, id="values"),
        pytest.param({"like": {"a": "%" * MAX_PATTERN}}, True, id="pattern"),
        pytest.param({"like": {"a": "%" * (MAX_PATTERN + 1)}}, False, id="long-pattern"),
    ],
)
def test_a_search_compares_so_often_and_not_more(search: Any, taken: bool) -> None:  # noqa: FBT001
    """Whoever makes alarms may send series by the ten thousand, and each is held against the search."""
    if taken:
        from_search(search)
        return
    with pytest.raises(MatchError, match="at most"):
        from_search(search)
