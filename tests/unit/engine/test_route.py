from __future__ import annotations

from collections.abc import Sequence

import pytest

from autoscaler.alarms.alarm import Alarm
from autoscaler.engine import route as route_module
from autoscaler.engine.route import Route, Router, window_of
from autoscaler.measures.match import EVERYTHING, And, Equals, Match, Not, Or
from autoscaler.measures.measure import Measure
from autoscaler.measures.window import ANY_PROJECT
from tests.building import a_rule, an_alarm

WEB, DB = Equals("server_group", "web"), Equals("server_group", "db")


def alarm(alarm_id: str, match: Match = EVERYTHING, *, project_id: str = "", **rule: object) -> Alarm:
    return an_alarm(
        a_rule(match=match, **({"single": False, "reaggregation_method": "mean"} | rule)),
        alarm_id=alarm_id,
        project_id=project_id,
    )


def measure(resource_id: str = "r1", *, metric: str = "cpu_util", project_id: str = "", **metadata: str) -> Measure:
    return Measure(metric, resource_id, 100.0, 1.0, project_id, metadata=metadata)


def ids(*alarms: Alarm) -> list[str]:
    return [window_of(each).window_id for each in alarms]


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
        pytest.param(Or((WEB, DB)), True, id="without-an-index"),
        pytest.param(Not(WEB), False, id="without-an-index-and-not-matching"),
    ],
)
def test_a_measure_goes_where_it_matches(match: Match, *, found: bool) -> None:
    asked = alarm("a", match)
    windows = Router([asked]).route(measure(server_group="web")).windows

    assert list(windows) == (ids(asked) if found else [])


def test_a_metric_nobody_asks_for_goes_nowhere() -> None:
    assert Router([alarm("a")]).route(measure(metric="mem")) == Route(())


@pytest.mark.parametrize(
    ("scope", "project", "found"),
    [
        pytest.param("p", "p", True, id="its-own"),
        pytest.param("p", "q", False, id="anothers"),
        pytest.param("", "p", False, id="no-project-is-not-any"),
        pytest.param("p", "", False, id="a-measure-of-nobody"),
        pytest.param(ANY_PROJECT, "q", True, id="any"),
    ],
)
def test_a_project_sees_its_own_measures_only(scope: str, project: str, *, found: bool) -> None:
    router = Router([alarm("a", project_id=scope)])

    assert bool(router.route(measure(project_id=project)).windows) is found


def test_alarms_over_the_same_series_share_a_window_as_wide_as_the_widest_needs() -> None:
    short, long_ = alarm("b", WEB), alarm("a", WEB, granularity=60.0, threshold=99.0)
    router = Router([short, long_])
    (window_id,) = router.windows

    assert router.windows[window_id].horizon == long_.rule.horizon
    assert [each.alarm_id for each in router.alarms[window_id]] == ["a", "b"]
    assert router.window_of == {"a": window_id, "b": window_id}
    assert list(router.route(measure(server_group="web")).windows) == [window_id]


def test_a_disabled_alarm_has_no_window() -> None:
    disabled = an_alarm(enabled=False)
    router = Router([disabled])

    assert (router.windows, router.by_id) == ({}, {"a": disabled})


def told(router: Router, *measures: Measure) -> list[tuple[Sequence[str], Sequence[str]]]:
    return [(list(route.windows), list(route.leaves)) for route in map(router.route, measures)]


def test_a_series_leaves_where_its_new_metadata_does_not_match_and_that_is_told_once() -> None:
    web, db, resource = alarm("a", WEB), alarm("b", DB), alarm("c", Equals("resource_id", "r1"))
    router = Router([web, db, resource])
    (in_web, in_db, in_resource) = ids(web, db, resource)

    assert told(router, *[measure(server_group="web")] * 2, *[measure(server_group="db")] * 2) == [
        # what was before this process is not known: it may have been in the other
        ([in_web, in_resource], [in_db]),
        ([in_web, in_resource], []),
        ([in_db, in_resource], [in_web]),
        ([in_db, in_resource], []),
    ]


def test_a_series_leaves_no_window_of_another_project() -> None:
    other = alarm("a", DB, project_id="q")

    assert told(Router([other]), measure(server_group="web", project_id="p")) == [([], [])]


def test_what_did_not_arrive_is_told_again() -> None:
    web, db = alarm("a", WEB), alarm("b", DB)
    router = Router([web, db])
    first = told(router, measure(server_group="web"))
    router.forget_place([measure(server_group="web")])

    assert told(router, measure(server_group="web")) == first == [(ids(web), ids(db))]


def test_no_more_places_are_remembered_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route_module, "REMEMBERED_SERIES", 2)
    web = alarm("a", WEB)
    router = Router([web])
    for name in ("r1", "r2", "r3"):
        assert list(router.route(measure(name, server_group="web")).windows) == ids(web)

    assert len(router._places) == 1
