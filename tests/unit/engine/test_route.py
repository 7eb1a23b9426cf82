from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from autoscaler.alarms.alarm import Alarm
from autoscaler.alarms.rules import (
    CompositeRule,
    Condition,
    EvaluateWhen,
    EventRule,
    Junction,
    PoolHealthRule,
    PrometheusRule,
    Rule,
    WindowKind,
    leaves_of,
)
from autoscaler.engine import route as route_module
from autoscaler.engine.route import NOWHERE, Entry, Router, Touched, window_spec
from autoscaler.measures.derived import Derivation, Rate
from autoscaler.measures.match import EVERYTHING, And, Equals, Match, Not, OneOf, Or
from autoscaler.measures.measure import Measure
from autoscaler.measures.window import ANY_PROJECT
from tests.building import a_rule, an_alarm

WEB, DB = Equals("server_group", "web"), Equals("server_group", "db")
CPU_UTIL = Derivation(base="cpu", rate=Rate.PER_SECOND, divisor="vcpus", divisor_metadata=("vcpus", "flavor.vcpus"))
PROMETHEUS = PrometheusRule(query="up", threshold=1.0)
POOL = PoolHealthRule(pool_id="p", stack_id="s", autoscaling_group_id="g")


def rule(match: Match = EVERYTHING, **fields: Any) -> Rule:
    return a_rule(match=match, **({"single": False, "reaggregation_method": "mean"} | fields))


def alarm(alarm_id: str, match: Match = EVERYTHING, *, project_id: str = "", **fields: Any) -> Alarm:
    return an_alarm(rule(match, **fields), alarm_id=alarm_id, project_id=project_id)


def conditioned(alarm_id: str, condition: Condition, **fields: Any) -> Alarm:
    return Alarm(alarm_id=alarm_id, name=alarm_id, type="any", rule=condition, **fields)


def composite(*leaves: Rule | PrometheusRule) -> CompositeRule:
    tree = Junction("and", tuple(range(len(leaves))))
    return CompositeRule(leaves=leaves, tree=tree, documents=({},) * len(leaves))


def measure(resource_id: str = "r1", *, metric: str = "cpu_util", project_id: str = "", **metadata: str) -> Measure:
    return Measure(metric, resource_id, 100.0, 1.0, project_id, metadata=metadata)


def ids(*alarms: Alarm) -> list[str]:
    return [
        window_spec(each, leaf).window_id for each in alarms for leaf in leaves_of(each.rule) if isinstance(leaf, Rule)
    ]


def named(alarms: Sequence[Alarm]) -> list[str]:
    return [each.alarm_id for each in alarms]


# --- where measures go -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "found"),
    [
        pytest.param(EVERYTHING, True, id="everything"),
        pytest.param(WEB, True, id="metadata"),
        pytest.param(DB, False, id="other-metadata"),
        pytest.param(Equals("resource_id", "r1"), True, id="resource"),
        pytest.param(Equals("resource_id", "r2"), False, id="other-resource"),
        pytest.param(Equals("flavor", "m1"), False, id="metadata-that-is-not-there"),
        pytest.param(And((WEB, Not(Equals("resource_id", "r1")))), False, id="looked-up-and-still-not-matching"),
        pytest.param(Or((WEB, DB)), True, id="one-of-two"),
        pytest.param(Or((WEB, Equals("resource_id", "r1"))), True, id="both-of-two"),
        pytest.param(Or((DB, Equals("resource_id", "r2"))), False, id="none-of-two"),
        pytest.param(OneOf("server_group", ("db", "web")), True, id="in-a-list"),
        pytest.param(Or((WEB, Not(DB))), True, id="without-an-index"),
        pytest.param(Not(WEB), False, id="without-an-index-and-not-matching"),
    ],
)
def test_a_measure_goes_where_it_matches(match: Match, *, found: bool) -> None:
    asked = alarm("a", match)
    windows = Router([asked]).route(measure(server_group="web")).windows

    assert windows == (ids(asked) if found else [])


def test_a_metric_nobody_asks_for_goes_nowhere() -> None:
    assert Router([alarm("a")]).route(measure(metric="mem")) == NOWHERE


@pytest.mark.parametrize(
    ("scope", "project", "found"),
    [
        pytest.param("p", "p", True, id="its-own"),
        pytest.param("p", "q", False, id="anothers"),
        pytest.param("", "p", False, id="no-project-is-not-any"),
        pytest.param("p", "", False, id="a-measure-of-nobody"),
        pytest.param(ANY_PROJECT, "q", True, id="any"),
        pytest.param("p", ANY_PROJECT, False, id="a-project-that-calls-itself-any"),
    ],
)
def test_a_project_sees_its_own_measures_only(scope: str, project: str, *, found: bool) -> None:
    router = Router([alarm("a", project_id=scope)])

    assert bool(router.route(measure(project_id=project)).windows) is found


def test_an_alarm_may_see_another_project_than_its_own() -> None:
    asked = conditioned("a", rule(), project_id="p", scope="q")
    router = Router([asked])

    assert router.route(measure(project_id="q")).windows == ids(asked)
    assert router.route(measure(project_id="p")) == NOWHERE


def test_alarms_over_the_same_series_share_a_window_as_wide_as_the_widest_needs() -> None:
    short, long_ = alarm("b", WEB), alarm("a", WEB, granularity=60.0, threshold=99.0)
    router = Router([short, long_])
    (window_id,) = router.windows

    assert router.windows[window_id].horizon == window_spec(long_, rule(granularity=60.0)).horizon
    assert named(router.watching(window_id)) == ["a", "b"]
    assert [router.window_of(each) for each in "ab"] == [window_id, window_id]
    assert router.route(measure(server_group="web")).windows == [window_id]


def test_the_window_of_several_metrics_takes_each_of_them_by_a_name_of_its_own() -> None:
    asked = alarm("a", metric="user", further_metrics=("system",))
    (window_id,) = ids(asked)
    router = Router([asked])

    assert router.route(measure(metric="user")).entries == {window_id: Entry("r1", {})}
    assert router.route(measure(metric="system")).entries == {window_id: Entry("r1\x1fsystem", {})}


@pytest.mark.parametrize(
    ("metadata", "stated"),
    [
        pytest.param({"vcpus": "2"}, {"r1\x1fvcpus": 2.0}, id="stated"),
        pytest.param({"flavor.vcpus": "4", "vcpus": "2"}, {"r1\x1fvcpus": 2.0}, id="the-first-that-is-there"),
        pytest.param({"vcpus": "many", "flavor.vcpus": "4"}, {"r1\x1fvcpus": 4.0}, id="the-first-that-is-a-number"),
        pytest.param({"vcpus": "0"}, {}, id="nothing-is-divided-by-zero"),
        pytest.param({"vcpus": "-1"}, {}, id="negative"),
        pytest.param({"vcpus": "nan"}, {}, id="not-a-number"),
        pytest.param({"vcpus": "inf"}, {}, id="infinite"),
        pytest.param({}, {}, id="not-stated"),
    ],
)
def test_a_samples_metadata_may_state_the_divisor(metadata: dict[str, str], stated: dict[str, float]) -> None:
    asked = alarm("a", derivation=CPU_UTIL)
    (window_id,) = ids(asked)
    router = Router([asked])

    assert router.route(measure(metric="cpu", **metadata)).entries == {window_id: Entry("r1\x1fcpu", stated)}
    assert router.route(measure(metric="vcpus", **metadata)).entries == {window_id: Entry("r1\x1fvcpus", {})}
    assert router.route(measure(**metadata)).entries == {window_id: Entry("r1", {})}


def test_a_derivation_without_a_divisor_takes_none() -> None:
    router = Router([alarm("a", derivation=Derivation(base="cpu", divisor_metadata=("vcpus",)))])
    (entry,) = router.route(measure(metric="cpu", vcpus="2")).entries.values()

    assert entry == Entry("r1\x1fcpu", {})


def test_the_keys_of_a_divisor_are_those_of_the_alarms_that_look() -> None:
    other = Derivation(base="cpu", divisor="vcpus", divisor_metadata=("cores",))
    both = measure(metric="cpu", vcpus="2", cores="8")
    router = Router([alarm("a", derivation=CPU_UTIL)])

    def stated() -> list[dict[str, float]]:
        return [dict(entry.stated) for entry in router.route(both).entries.values()]

    assert stated() == [{"r1\x1fvcpus": 2.0}]
    router.put(alarm("b", derivation=other))
    assert stated() == [{"r1\x1fvcpus": 8.0}], "of two that differ all replicas take the larger"
    router.put(alarm("a", derivation=other))
    router.remove("b")
    assert stated() == [{"r1\x1fvcpus": 8.0}]


def test_no_more_places_are_remembered_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route_module, "REMEMBERED_SERIES", 2)
    asked = [alarm("a", WEB), alarm("b", WEB, metric="mem")]
    router = Router(asked)
    for name, metric in [("r1", "mem"), ("r1", "cpu_util"), ("r2", "cpu_util")]:
        assert len(router.route(measure(name, metric=metric, server_group="web")).windows) == 1

    assert [len(router._metrics[metric].places) for metric in ("cpu_util", "mem")] == [1, 0]


def test_places_of_series_that_are_gone_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route_module, "LEAST_ROUND", 10)
    router = Router([alarm("a", WEB)])
    stays = measure("stays", server_group="web")
    for number in range(2000):  # servers that are replaced, each by one with another id
        router.route(measure(f"r{number // 10}", server_group="web"))
        router.route(stays)
        assert router._remembered == sum(len(m.places) + len(m.older) for m in router._metrics.values()) < 60

    elsewhere = router.route(measure("stays", server_group="db"))

    assert elsewhere.before == router.route(stays).windows, "who goes on reporting stays known"


# --- what leaves -----------------------------------------------------------------------------------------------------


def test_a_series_with_new_metadata_is_told_with_where_it_was() -> None:
    web, db, resource = alarm("a", WEB), alarm("b", DB), alarm("c", Equals("resource_id", "r1"))
    router = Router([web, db, resource])
    (in_web, in_db, in_resource) = ids(web, db, resource)
    routes = [router.route(measure(server_group=group)) for group in ("web", "web", "db", "db")]

    assert [(set(route.windows), list(route.before)) for route in routes] == [
        ({in_web, in_resource}, []),
        ({in_web, in_resource}, []),
        ({in_db, in_resource}, [in_web]),
        ({in_db, in_resource}, []),
    ]


@pytest.mark.parametrize(
    ("asked", "told", "leaving"),
    [
        pytest.param(alarm("a", WEB), measure(), ["r1"], id="its-series"),
        pytest.param(alarm("a", WEB, project_id="q"), measure(project_id="p"), [], id="not-of-another-project"),
        pytest.param(alarm("a", WEB, project_id=ANY_PROJECT), measure(project_id="p"), ["r1"], id="of-any-project"),
        pytest.param(alarm("a", WEB), measure(metric="mem"), [], id="not-of-another-metric"),
        pytest.param(
            alarm("a", WEB, derivation=CPU_UTIL),
            measure(metric="cpu"),
            ["r1\x1fcpu", "r1\x1fvcpus"],
            id="what-divides-it-goes-along",
        ),
        pytest.param(alarm("a", WEB, derivation=CPU_UTIL), measure(), ["r1"], id="what-was-told-as-derived-goes-alone"),
        pytest.param(
            alarm("a", WEB, derivation=CPU_UTIL), measure(metric="vcpus"), [], id="a-divisor-does-not-go-by-itself"
        ),
        pytest.param(
            alarm("a", WEB, metric="user", further_metrics=("system",)),
            measure(metric="system"),
            ["r1\x1fsystem"],
            id="one-of-several-metrics",
        ),
    ],
)
def test_what_leaves_a_window(asked: Alarm, told: Measure, leaving: list[str]) -> None:
    (window_id,) = ids(asked)

    assert list(Router([asked]).leaving(window_id, told)) == leaving


def test_nothing_leaves_a_window_that_is_gone() -> None:
    assert Router().leaving("w", measure()) == ()


# --- alarms that come and go -----------------------------------------------------------------------------------------


def test_windows_come_with_their_first_alarm_and_vanish_with_their_last() -> None:
    first, second = alarm("a", WEB), alarm("b", WEB)
    (window_id,) = ids(first)
    router = Router()

    assert router.put(first) == Touched((window_id,))
    assert router.put(second) == Touched()
    assert router.remove("a") == Touched()
    assert router.remove("b") == Touched(vanished=(window_id,))
    assert router.remove("b") == Touched()
    assert (router.windows, router.watchers, router._metrics) == ({}, {}, {})


def test_a_window_grows_with_its_widest_alarm() -> None:
    router = Router([alarm("a", WEB)])
    (window_id,) = router.windows
    narrow = router.windows[window_id].horizon

    assert router.put(alarm("b", WEB, granularity=60.0)) == Touched((window_id,))
    wide = router.windows[window_id].horizon
    assert wide > narrow
    assert router.put(alarm("a", WEB, threshold=1.0)) == Touched()
    assert router.windows[window_id].horizon == wide


def test_a_window_is_as_wide_as_the_only_alarm_that_looks_at_it() -> None:
    router = Router([alarm("a", WEB, granularity=60.0)])

    assert router.put(alarm("a", WEB)) == Touched()
    assert router.windows == Router([alarm("a", WEB)]).windows


def test_an_alarm_that_looks_elsewhere_leaves_its_window() -> None:
    web, db = alarm("a", WEB), alarm("a", DB)
    ((in_web,), (in_db,)) = ids(web), ids(db)
    router = Router([web])
    assert router.route(measure(server_group="db")) == NOWHERE

    assert router.put(db) == Touched((in_db,), (in_web,))
    assert router.route(measure("r2", server_group="db")).windows == [in_db]
    assert router.route(measure("r3", server_group="web")) == NOWHERE
    assert (list(router.windows), router.watching(in_web), named(router.watching(in_db))) == ([in_db], [], ["a"])


def test_watchers_are_those_of_this_moment() -> None:
    first, second = alarm("a", WEB), alarm("b", WEB)
    router = Router([second])
    (window_id,) = router.windows
    before = router.watching(window_id)
    router.put(first)

    assert (named(before), named(router.watching(window_id))) == (["b"], ["a", "b"])
    changed = alarm("a", WEB, threshold=1.0)
    router.put(changed)
    assert router.watching(window_id) == [changed, second]
    assert router.watchers[window_id] == {"a": changed, "b": second}


def test_a_disabled_alarm_has_no_window() -> None:
    disabled = an_alarm(enabled=False)
    router = Router([disabled])

    assert (router.windows, router.leaf_windows, router.by_id) == ({}, {}, {"a": disabled})
    (window_id,) = router.put(an_alarm()).grown
    assert router.put(disabled) == Touched(vanished=(window_id,))
    assert router.leaf_windows == {}


def test_each_leaf_of_a_composite_alarm_has_its_window() -> None:
    web, also_web, db = rule(WEB), rule(WEB, granularity=60.0), rule(DB)
    asked = conditioned("a", composite(PROMETHEUS, web, db, also_web))
    in_web, in_db, _ = ids(asked)
    router = Router([asked])

    assert router.leaf_windows == {"a": (None, in_web, in_db, in_web)}
    assert router.window_of("a") == in_web
    assert router.windows[in_web].horizon == also_web.horizon
    assert router.put(conditioned("a", composite(db, web))) == Touched()
    assert router.put(conditioned("a", composite(db, PROMETHEUS))) == Touched(vanished=(in_web,))
    assert router.remove("a") == Touched(vanished=(in_db,))


def test_places_of_other_metrics_outlive_an_alarm_that_comes() -> None:
    router = Router([alarm("a", metric="mem"), alarm("b")])
    for metric in ("mem", "cpu_util"):
        router.route(measure(metric=metric))
    router.put(alarm("c", WEB))

    assert [len(router._metrics[metric].places) for metric in ("mem", "cpu_util")] == [1, 0]
    assert router._remembered == 1


# --- what else alarms are looked up by -------------------------------------------------------------------------------


def test_events_reach_the_alarms_that_see_their_project() -> None:
    waiting = [
        conditioned("d", EventRule(), project_id="p"),
        conditioned("c", EventRule(), project_id="q"),
        conditioned("b", EventRule(), project_id="admin", scope=ANY_PROJECT),
        conditioned("a", EventRule(), project_id="p"),
        conditioned("e", EventRule(), project_id="p", enabled=False),
        conditioned("f", rule(), project_id="p"),
    ]
    router = Router(waiting)

    assert named(router.event_alarms("p")) == ["a", "b", "d"]
    assert named(router.event_alarms("")) == ["b"]
    router.remove("b")
    router.put(conditioned("0", EventRule(), project_id="p"))
    assert named(router.event_alarms("p")) == ["0", "a", "d"]
    assert router.event_alarms("nobody") == []
    router.put(conditioned("c", EventRule(), project_id="q", enabled=False))
    assert router.event_alarms("q") == []


def test_an_alarm_is_found_by_any_of_its_actions() -> None:
    calls = {"ok_actions": ("policy://in", "log://"), "alarm_actions": ("policy://out", "log://")}
    router = Router([conditioned("b", rule(), **calls), conditioned("a", EventRule(), enabled=False, **calls)])

    assert named(router.naming("policy://out")) == named(router.naming("log://")) == ["a", "b"]
    router.put(conditioned("b", rule(), ok_actions=("policy://in",)))
    router.remove("a")
    assert (named(router.naming("policy://in")), router.naming("log://")) == (["b"], [])


def test_what_must_be_asked_is_known() -> None:
    asked: dict[str, Condition] = {
        "d": PROMETHEUS,
        "c": POOL,
        "b": composite(rule(), PROMETHEUS),
        "a": rule(),
        "e": EventRule(),
    }
    router = Router(conditioned(alarm_id, condition) for alarm_id, condition in asked.items())

    assert router.probed() == ["b", "c", "d"]
    router.put(conditioned("d", PROMETHEUS, enabled=False))
    router.remove("c")
    assert router.probed() == ["b"]


def test_whether_boundaries_are_evaluated_in_order_is_known_of_each_window_as_alarms_come_and_go() -> None:
    ordered = {"window": WindowKind.ALIGNED, "evaluate": EvaluateWhen.BOUNDARY}
    router = Router([alarm("a", WEB)])
    (window_id,) = ids(alarm("a", WEB))
    seen = [router.is_in_order(window_id)]
    for change in (
        lambda: router.put(alarm("b", WEB, **ordered)),
        lambda: router.put(alarm("b", WEB)),
        lambda: router.put(alarm("a", WEB, **ordered)),
        lambda: router.remove("a"),
    ):
        change()
        seen.append(router.is_in_order(window_id))

    assert seen == [False, True, False, True, False]
