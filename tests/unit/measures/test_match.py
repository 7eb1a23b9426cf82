from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.measures.match import (
    EVERYTHING,
    And,
    Equals,
    Match,
    MatchError,
    Not,
    Or,
    all_equal,
    attribute_of,
    from_search,
    holds,
    required,
    to_search,
)
from autoscaler.measures.measure import Measure

WEB = Measure("cpu", "r1", 0.0, 1.0, project_id="p", metadata={"server_group": "web", "az": "1"})
GROUP, RESOURCE, OTHER = Equals("server_group", "web"), Equals("resource_id", "r1"), Equals("az", "2")

matches = st.recursive(
    st.builds(Equals, st.sampled_from(["az", "server_group", "project_id"]), st.sampled_from(["1", "web", "p"])),
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
        pytest.param({"like": {"a": "b%"}}, 'unknown operator "like"', id="unknown"),
        pytest.param({"and": []}, "at least one search", id="and-of-nothing"),
        pytest.param({"or": {"=": {}}}, "at least one search", id="or-of-no-list"),
        pytest.param({"=": {"a": "1", "b": "2"}}, "exactly one attribute", id="two-attributes"),
        pytest.param({"=": {"a": None}}, '{"attribute": "value"}', id="null"),
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
