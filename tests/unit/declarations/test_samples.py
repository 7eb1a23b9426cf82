"""Which measures a query over Ceilometer's samples matches."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.adapters.sources.ceilometer import metadata_of
from autoscaler.declarations.samples import all_of, names_project, sample_match
from autoscaler.measures.match import And, Equals, OneOf, all_equal, holds, required_any
from autoscaler.measures.measure import Measure

SERVER = {
    "display_name": "web-1",
    "instance_host": "compute-1",
    "vcpus": 2,
    "disk_gb": 1.5,
    "active": True,
    "flavor": {"name": "m1.small"},
    "user_metadata": {"server_group": "web", "stack": "s1", "display_name": "mine"},
}
SAMPLE = Measure("cpu", "vm-1", 0.0, 1.0, "p1", "%", metadata_of(SERVER, "vm-1", "u1"))
OTHER_METER = Measure("requests", "lb-1", 0.0, 1.0, "p1", "", metadata_of({"metering": {"stack": "s1"}}, "lb-1"))
PLAIN = Measure("cpu", "worker-1", 0.0, 1.0, "p1", "", {"server_group": "web", "vcpus": "2"})


def item(field: str, value: str, kind: str = "", op: str = "eq") -> dict[str, Any]:
    return {"field": field, "op": op, "value": value, "type": kind}


@pytest.mark.parametrize(
    ("asked", "matched"),
    [
        pytest.param(item("resource_id", "vm-1"), [SAMPLE], id="resource"),
        pytest.param(item("resource", "lb-1", "string"), [OTHER_METER], id="resource-by-its-short-name"),
        pytest.param(item("project_id", "p1"), [SAMPLE, OTHER_METER, PLAIN], id="project"),
        pytest.param(item("project", "p2"), [], id="another-project"),
        pytest.param(item("user_id", "u1"), [SAMPLE], id="user"),
        pytest.param(item("user", "u2"), [], id="another-user"),
        pytest.param(item("metadata.user_metadata.server_group", "web"), [SAMPLE, PLAIN], id="tag"),
        pytest.param(item("metadata.metering.server_group", "web"), [SAMPLE, PLAIN], id="tag-by-its-other-name"),
        pytest.param(item("metadata.user_metadata.server_group", "db"), [], id="another-tag"),
        pytest.param(item("metadata.metering.stack", "s1"), [SAMPLE, OTHER_METER], id="tag-of-other-meters"),
        pytest.param(item("metadata.user_metadata.stack", "s1"), [SAMPLE, OTHER_METER], id="theirs-by-the-other-name"),
        pytest.param(item("metadata.user_metadata.display_name", "mine"), [SAMPLE], id="the-owners-word"),
        pytest.param(item("metadata.user_metadata.display_name", "web-1"), [], id="not-the-clouds-where-there-is-both"),
        pytest.param(item("metadata.display_name", "web-1"), [SAMPLE], id="the-clouds-word"),
        pytest.param(item("resource_metadata.display_name", "web-1"), [SAMPLE], id="by-its-long-name"),
        pytest.param(item("metadata.flavor.name", "m1.small"), [SAMPLE], id="nested"),
        pytest.param(item("metadata.server_group", "web"), [SAMPLE, PLAIN], id="the-plain-attribute"),
        pytest.param(item("metadata.vcpus", "2"), [SAMPLE, PLAIN], id="untyped-number"),
        pytest.param(item("metadata.vcpus", "2", "string"), [SAMPLE, PLAIN], id="number-as-text"),
        pytest.param(item("metadata.vcpus", "2.0", "float"), [SAMPLE, PLAIN], id="number-with-a-fraction"),
        pytest.param(item("metadata.vcpus", " 02", "integer"), [SAMPLE, PLAIN], id="number-of-another-spelling"),
        pytest.param(item("metadata.vcpus", "2.0", "string"), [], id="as-text-another"),
        pytest.param(item("metadata.vcpus", "3", "integer"), [], id="another-number"),
        pytest.param(item("metadata.disk_gb", "1.50", "float"), [SAMPLE], id="fraction"),
        pytest.param(item("metadata.disk_gb", "15e-1"), [SAMPLE], id="untyped-fraction"),
        pytest.param(item("metadata.active", "True"), [SAMPLE], id="untyped-flag-as-heat-sends-it"),
        pytest.param(item("metadata.active", "yes", "boolean"), [SAMPLE], id="flag"),
        pytest.param(item("metadata.active", "0", "boolean"), [], id="another-flag"),
        pytest.param(item("metadata.active", "True", "string"), [], id="flag-as-text"),
        pytest.param(item("metadata.nothing", "x"), [], id="what-nobody-has"),
        pytest.param({"field": "resource_id", "value": "vm-1"}, [SAMPLE], id="defaults"),
        pytest.param({"field": "resource_id", "value": "vm-1", "op": None, "type": None}, [SAMPLE], id="nulls"),
    ],
)
def test_an_item_matches_samples_and_what_comes_from_elsewhere(asked: dict[str, Any], matched: list[Measure]) -> None:
    assert [measure for measure in (SAMPLE, OTHER_METER, PLAIN) if holds(sample_match(asked), measure)] == matched


def test_a_number_too_large_for_a_float_is_compared_as_it_is_written() -> None:
    assert sample_match(item("metadata.id2", "90071992547409931", "integer")) == OneOf(
        "id2", ("90071992547409931", "9.007199254740994e+16")
    )


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        pytest.param(item("timestamp", "2026-11-20"), "a field such as resource_id or metadata.NAME", id="timestamp"),
        pytest.param(item("meter", "cpu"), "a field such as resource_id", id="meter"),
        pytest.param(item("source", "openstack"), "a field such as resource_id", id="source"),
        pytest.param(item("metadata.", "x"), "a field such as resource_id", id="no-name"),
        pytest.param(item("", "x"), "a field such as resource_id", id="no-field"),
        pytest.param({"value": "x"}, "a field such as resource_id", id="field-missing"),
        pytest.param({"field": "resource_id"}, "expected a value, a text, for resource_id, got null", id="no-value"),
        pytest.param(item("resource_id", "x", op="ne"), "the operator eq for resource_id, the only one", id="operator"),
        pytest.param(item("resource_id", "x", op="like"), "expected one of lt, le, eq", id="no-operator"),
        pytest.param(item("metadata.a", "x", "integer"), "expected a value of the type integer", id="integer"),
        pytest.param(item("metadata.a", "inf", "float"), "expected a value of the type float", id="endless"),
        pytest.param(item("metadata.a", "maybe", "boolean"), "expected a value of the type boolean", id="boolean"),
        pytest.param(item("metadata.a", "soon", "datetime"), "expected a value of the type datetime", id="time"),
        pytest.param(item("metadata.a", "x", "text"), "expected one of the types string, integer", id="type"),
    ],
)
def test_what_no_sample_can_be_asked_is_refused(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match="expected") as refused:
        sample_match(asked)

    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("field", "expected"),
    [("project_id", True), ("project", True), ("resource_id", False), ("metadata.project", False)],
)
def test_only_two_fields_name_a_project(field: str, *, expected: bool) -> None:
    assert names_project(field) is expected


ITEMS = st.builds(
    item,
    st.sampled_from(
        ["resource_id", "user", "metadata.a", "metadata.user_metadata.server_group", "metadata.metering.b"]
    ),
    st.sampled_from(["vm-1", "web", "2", "True", "2.5", ""]),
    st.sampled_from(["", "string"]),
)


@given(st.lists(ITEMS, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_a_query_does_not_matter_and_all_of_it_must_hold(items: list[dict[str, Any]], chance: Any) -> None:
    matches = [sample_match(each) for each in items]
    shuffled = [*matches, *matches[:1]]
    chance.shuffle(shuffled)

    assert all_of(shuffled) == all_of(matches)
    assert all_of([Equals("b", "1"), Equals("a", "2")]) == all_equal({"a": "2", "b": "1"})
    for measure in (SAMPLE, OTHER_METER, PLAIN):
        assert holds(all_of(matches), measure) is all(holds(match, measure) for match in matches)


def test_a_query_is_looked_up_by_what_it_says_and_an_empty_one_takes_everything() -> None:
    tagged = all_of([sample_match(item("metadata.metering.stack", "s1"))])
    names = ("user_metadata.stack", "metering.stack", "stack")

    assert required_any(tagged) == tuple(Equals(name, "s1") for name in names)
    assert all_of([]) == And(())
    assert holds(all_of([]), PLAIN)
