"""Alarms come and go one by one; what is left is as if only the remaining ones had ever been there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.alarms.alarm import Alarm
from autoscaler.alarms.rules import CompositeRule, Condition, EventRule, Junction, PrometheusRule, Rule
from autoscaler.engine.route import Router
from autoscaler.measures.derived import Derivation
from autoscaler.measures.match import And, Equals, Match, Not, OneOf, Or, holds
from autoscaler.measures.measure import Measure
from autoscaler.measures.window import ANY_PROJECT

METRICS = ("cpu_util", "cpu", "vcpus")
PROJECTS = ("", "p", ANY_PROJECT)
VALUES = ("1", "2", "3")
ATTRIBUTES = ("resource_id", "server_group", "vcpus")
URLS = ("log://", "http://x", "policy://out")

matches: st.SearchStrategy[Match] = st.recursive(
    st.one_of(
        st.builds(Equals, st.sampled_from(ATTRIBUTES), st.sampled_from(VALUES)),
        st.builds(OneOf, st.sampled_from(ATTRIBUTES), st.lists(st.sampled_from(VALUES), min_size=1).map(tuple)),
    ),
    lambda part: st.one_of(
        st.builds(And, st.lists(part, max_size=3).map(tuple)),
        st.builds(Or, st.lists(part, min_size=1, max_size=3).map(tuple)),
        st.builds(Not, part),
    ),
    max_leaves=4,
)
derivations = st.builds(
    Derivation,
    base=st.just("cpu"),
    divisor=st.sampled_from(("", "vcpus")),
    divisor_metadata=st.sampled_from((("vcpus",), ("server_group", "vcpus"))),
)
rules = st.builds(
    Rule,
    metric=st.sampled_from(METRICS),
    match=matches,
    single=st.just(False),
    aggregation_method=st.just("mean"),
    threshold=st.just(1.0),
    granularity=st.sampled_from((1.0, 60.0)),
    derivation=st.none() | derivations,
    further_metrics=st.sampled_from(((), ("vcpus",))),
)
prometheus = st.builds(PrometheusRule, query=st.just("up"), threshold=st.just(1.0))


@st.composite
def composites(draw: st.DrawFn) -> CompositeRule:
    leaves = tuple(draw(st.lists(rules | prometheus, min_size=1, max_size=3)))
    return CompositeRule(leaves=leaves, tree=Junction("or", tuple(range(len(leaves)))), documents=({},) * len(leaves))


conditions: st.SearchStrategy[Condition] = st.one_of(rules, composites(), prometheus, st.just(EventRule()))
alarms = st.builds(
    Alarm,
    alarm_id=st.sampled_from("abcd"),
    name=st.just("x"),
    type=st.just("any"),
    rule=conditions,
    project_id=st.sampled_from(PROJECTS),
    scope=st.none() | st.sampled_from(PROJECTS),
    enabled=st.sampled_from((True, True, False)),
    ok_actions=st.lists(st.sampled_from(URLS), max_size=2).map(tuple),
    alarm_actions=st.lists(st.sampled_from(URLS), max_size=2).map(tuple),
)
measures = st.builds(
    Measure,
    metric=st.sampled_from(METRICS),
    resource_id=st.sampled_from(VALUES),
    timestamp=st.just(1.0),
    value=st.just(1.0),
    project_id=st.sampled_from(PROJECTS),
    metadata=st.dictionaries(st.sampled_from(ATTRIBUTES[1:]), st.sampled_from((*VALUES, "many"))),
)
changes = st.lists(alarms | st.sampled_from("abcd") | measures, max_size=30)


def changed(router: Router, drawn: Sequence[Alarm | str | Measure]) -> None:
    """Put alarms, remove those of which an id is drawn, and route measures in between, so that places are known."""
    for each in drawn:
        match each:
            case Alarm():
                before = {name: spec.horizon for name, spec in router.windows.items()}
                touched = router.put(each)
                after = {name: spec.horizon for name, spec in router.windows.items()}
                grown = {name for name, horizon in after.items() if horizon > before.get(name, 0.0)}
                assert (set(touched.grown), set(touched.vanished)) == (grown, before.keys() - after.keys())
            case str():
                names = set(router.windows)
                assert set(router.remove(each).vanished) == names - set(router.windows)
            case Measure():
                router.route(each)


def told(router: Router) -> list[Any]:
    return [
        router.by_id,
        router.watchers,
        {window_id: router.watching(window_id) for window_id in router.windows},
        router.leaf_windows,
        [router.event_alarms(project_id) for project_id in PROJECTS],
        [router.naming(url) for url in URLS],
        router.probed(),
    ]


@given(changes, st.lists(measures, max_size=10))
@settings(deadline=None)
def test_a_router_is_what_remains_of_its_alarms(drawn: list[Alarm | str | Measure], asked: list[Measure]) -> None:
    router = Router()
    changed(router, drawn)
    afresh = Router(router.by_id.values())

    assert told(router) == told(afresh)
    assert router.windows.keys() == afresh.windows.keys()
    assert all(router.windows[name].horizon >= spec.horizon for name, spec in afresh.windows.items())
    assert router._metrics.keys() == afresh._metrics.keys()
    assert {name: metric.scopes for name, metric in router._metrics.items()} == {
        name: metric.scopes for name, metric in afresh._metrics.items()
    }
    assert router._remembered == sum(len(metric.places) + len(metric.older) for metric in router._metrics.values())
    for measure in asked:
        assert router.route(measure).entries == afresh.route(measure).entries


@given(st.lists(alarms, max_size=6), st.lists(measures, max_size=10))
@settings(deadline=None)
def test_a_measure_goes_into_every_window_that_it_belongs_to_and_no_other(
    drawn: list[Alarm], asked: list[Measure]
) -> None:
    router = Router(drawn)
    for measure in asked:
        wanted = {
            window_id
            for window_id, spec in router.windows.items()
            if measure.metric in spec.metrics
            and spec.project_id in (ANY_PROJECT, measure.project_id)
            and holds(spec.match, measure)
        }

        assert set(router.route(measure).entries) == wanted
