"""Windows of imported alarms filled from an archive that holds what the test says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from autoscaler.adapters.memory import MemoryStore
from autoscaler.alarms.alarm import Alarm
from autoscaler.alarms.rules import Rule
from autoscaler.engine.backfill import NO_METRIC, Backfill, Wanted, accumulated, together, wanted
from autoscaler.engine.ingest import Ingest
from autoscaler.engine.listen import Silence
from autoscaler.engine.moved import Summary
from autoscaler.engine.route import Router
from autoscaler.errors import PermanentError, TemporaryError
from autoscaler.measures.derived import Derivation
from autoscaler.measures.match import And, Equals
from autoscaler.measures.measure import Measure
from autoscaler.ports import Archive, StoredResource, WindowWrite
from tests.building import a_rule

NOW = 1_790_000_000.0
GRANULE = NOW - NOW % 60
WEB = And((Equals("server_group", "web"),))


@dataclass
class Kept:
    """An archive in memory."""

    resources: list[StoredResource]
    stored: dict[tuple[str, str], list[tuple[float, float]]] = field(default_factory=dict)
    searches: list[tuple[str, Any]] = field(default_factory=list)
    error: Exception | None = None

    async def resource(self, resource_id: str) -> StoredResource | None:
        return next((each for each in self.resources if each.id == resource_id), None)

    async def search(self, kind: str, search: Any) -> Sequence[StoredResource]:
        if self.error is not None:
            raise self.error
        self.searches.append((kind, search))
        return self.resources

    async def metric(self, metric_id: str) -> StoredResource | None:
        for each in self.resources:
            if metric_id in each.metrics.values():
                return StoredResource(each.id, each.project_id, each.metadata, {metric_id: metric_id})
        return None

    async def aggregates(
        self, metric_id: str, method: str, granularity: float, after: float
    ) -> Sequence[tuple[float, float]] | None:
        found = self.stored.get((metric_id, method))
        return None if found is None else [point for point in found if point[0] >= after - granularity]


_fits: type[Archive] = Kept


def an_alarm(rule: Rule, *, kind: str = "gnocchi_aggregation_by_resources_threshold", name: str = "a") -> Alarm:
    return Alarm(alarm_id=name, name=name, type=kind, rule=rule, project_id="p", scope="p")


def a_resource(name: str, metric: str = "cpu_util") -> StoredResource:
    return StoredResource(name, "p", {"server_group": "web"}, {metric: f"{name}-{metric}"})


def minutes(*values: float) -> list[tuple[float, float]]:
    """One value a minute, the last in the minute that lasts."""
    return [(GRANULE - 60 * (len(values) - 1 - number), value) for number, value in enumerate(values)]


async def filled(
    archive: Kept, *alarms: Alarm, store: MemoryStore | None = None
) -> tuple[Summary, Router, MemoryStore]:
    store = store or MemoryStore(lambda: NOW)
    router, summary = Router(alarms), Summary()
    documents: Mapping[str, Mapping[str, Any]] = {alarm.alarm_id: {"resource_type": "server"} for alarm in alarms}
    await Backfill(store, archive, router, documents, summary).run(alarms)
    return summary, router, store


async def points(router: Router, store: MemoryStore, alarm: str = "a") -> dict[str, list[tuple[float, float]]]:
    from autoscaler.measures.series import unpack

    spec = router.windows[router.window_of(alarm) or ""]
    (reply,) = await store.write([WindowWrite(spec)])
    return {name: list(unpack(packed).points()) for name, packed in reply.series.items()}


async def test_a_searched_group_gets_a_point_for_each_member_and_granule() -> None:
    rule = a_rule(match=WEB, single=False, reaggregation_method="mean", granularity=60.0)
    archive = Kept([a_resource("vm-1"), a_resource("vm-2")])
    archive.stored = {("vm-1-cpu_util", "mean"): minutes(1, 2, 3), ("vm-2-cpu_util", "mean"): minutes(4, 5, 6)}
    summary, router, store = await filled(archive, an_alarm(rule))

    search = {"and": [{"and": [{"=": {"server_group": "web"}}]}, {"=": {"project_id": "p"}}]}
    assert archive.searches == [("server", search)]
    assert await points(router, store) == {"vm-1": minutes(1, 2, 3), "vm-2": minutes(4, 5, 6)}
    assert (summary.series, summary.points, summary.unfilled) == (2, 6, [])


async def test_granules_that_hold_measures_already_are_left_to_these() -> None:
    rule = a_rule(match=WEB, single=False, reaggregation_method="mean", granularity=60.0)
    alarm, store = an_alarm(rule), MemoryStore(lambda: NOW)
    live = Measure("cpu_util", "vm-1", GRANULE - 30, 9.0, "p", "", {"server_group": "web"})
    await Ingest(store, Silence()).write(Router([alarm]), [live], ())
    archive = Kept([a_resource("vm-1")], {("vm-1-cpu_util", "mean"): minutes(1, 2, 3)})
    summary, router, store = await filled(archive, alarm, store=store)

    assert await points(router, store) == {"vm-1": [(GRANULE - 120, 1.0), (GRANULE - 30, 9.0)]}
    assert summary.points == 1
    again, *_ = await filled(archive, alarm, store=store)
    assert again.points == 0


async def test_a_rate_of_one_resource_ends_at_the_counter_that_was_seen_last() -> None:
    rule = a_rule(match=And((Equals("resource_id", "vm-1"),)), aggregation_method="rate:mean", granularity=60.0)
    archive = Kept([a_resource("vm-1")])
    archive.stored = {("vm-1-cpu_util", "rate:mean"): minutes(5, 7), ("vm-1-cpu_util", "last"): minutes(80, 100)}
    _, router, store = await filled(archive, an_alarm(rule, kind="gnocchi_resources_threshold"))

    assert await points(router, store) == {"vm-1": [(GRANULE - 120, 88.0), (GRANULE - 60, 93.0), (GRANULE, 100.0)]}


async def test_a_metric_that_is_known_by_its_id_is_found_by_it() -> None:
    rule = a_rule(metric="vm-1-cpu_util", single=False, reaggregation_method="max", aggregation_method="max")
    archive = Kept([a_resource("vm-1")], {("vm-1-cpu_util", "mean"): [(NOW - 10, 4.0)]})
    _, router, store = await filled(archive, an_alarm(rule, kind="gnocchi_aggregation_by_metrics_threshold"))

    # the policy has no maxima
    assert await points(router, store) == {"vm-1": [(NOW - 10, 4.0)]}


@pytest.mark.parametrize(
    ("archive", "method", "why"),
    [
        pytest.param(Kept([]), "mean", NO_METRIC, id="nobody-found"),
        pytest.param(Kept([a_resource("vm-1", "other")]), "mean", NO_METRIC, id="another-metric"),
        pytest.param(Kept([]), "count", "no stored aggregate stands for count", id="counted"),
        pytest.param(Kept([], error=PermanentError("400")), "mean", "400", id="refused"),
    ],
)
async def test_what_cannot_be_filled_is_named(archive: Kept, method: str, why: str) -> None:
    rule = a_rule(match=WEB, single=False, reaggregation_method="mean", aggregation_method=method)
    summary, *_ = await filled(archive, an_alarm(rule))

    assert [(each.key, each.why) for each in summary.unfilled] == [("a", why)]
    assert summary.points == 0


async def test_an_archive_that_is_away_is_an_error_of_its_own() -> None:
    rule = a_rule(match=WEB, single=False, reaggregation_method="mean")
    with pytest.raises(TemporaryError, match="away"):
        await filled(Kept([], error=TemporaryError("away")), an_alarm(rule))


@pytest.mark.parametrize(
    ("fields", "method"),
    [
        pytest.param({"aggregation_method": "95pct"}, "95pct", id="plain"),
        pytest.param({"aggregation_method": "rate:max"}, "rate:max", id="rate-of-one"),
        pytest.param({"aggregation_method": "rate:sum", "rate_of_aggregate": True}, "sum", id="rate-of-all"),
        pytest.param({"aggregation_method": "rate_per_second:mean"}, "last", id="per-second"),
        pytest.param({"derivation": Derivation(base="cpu")}, "last", id="derived"),
    ],
)
def test_which_stored_aggregate_stands_for_a_method(fields: dict[str, Any], method: str) -> None:
    assert wanted(a_rule(**fields), NOW) == Wanted(method, 10.0, NOW - a_rule().horizon)


def test_several_alarms_on_a_series_share_the_mean_and_the_finest_granule() -> None:
    some = [Wanted("max", 60.0, 5.0), Wanted("min", 300.0, 3.0)]

    assert together(some) == Wanted("mean", 60.0, 3.0)
    assert together(some[:1]) == some[0]


def test_no_change_is_no_value() -> None:
    assert accumulated([], 5.0, 60.0) == []
