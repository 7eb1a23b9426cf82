"""Alarms that are made, changed and removed while controllers run."""

from __future__ import annotations

import pytest
import structlog

from autoscaler.alarms.alarm import AlarmState
from autoscaler.alarms.definition import Definition
from autoscaler.alarms.rules import Rule, leaves_of
from autoscaler.engine.orders import DeclaredError, NotFoundError, Orders
from autoscaler.scaling.group import Actor
from tests.engine.bench import Bench

SOMEBODY = Actor(kind="user", name="u1", project_id="p1")
QUIET = "alarms: []"


def a_definition(**changes: object) -> Definition:
    values: dict[str, object] = {
        "alarm_id": "",
        "type": "gnocchi_resources_threshold",
        "name": "hot",
        "description": "d",
        "enabled": True,
        "severity": "low",
        "ok_actions": (),
        "alarm_actions": ("http://hook/",),
        "insufficient_data_actions": (),
        "repeat_actions": False,
        "time_constraints": (),
        "rule": {
            "metric": "cpu",
            "resource_id": "r1",
            "resource_type": "instance",
            "comparison_operator": "gt",
            "threshold": 50.0,
            "aggregation_method": "mean",
            "evaluation_periods": 1,
            "granularity": 60,
        },
        "user_id": "u1",
        "project_id": "p1",
        "timestamp": 0.0,
        "scope": "any",
    }
    return Definition(**(values | changes))  # type: ignore[arg-type]


async def a_bench(replicas: int = 1) -> tuple[Bench, list[Orders]]:
    bench = Bench(QUIET, replicas=replicas)
    await bench.begin()
    return bench, [Orders(controller, lambda _: None) for controller in bench.controllers]


async def test_an_alarm_made_at_one_replica_fires_upon_a_measure_at_another() -> None:
    bench, (first, _) = await a_bench(replicas=2)
    listing, record = await first.create(a_definition(), None, SOMEBODY)
    await bench.follow()

    await bench.measure("cpu", "r1", 90.0, replica=1)

    assert record.state is AlarmState.INSUFFICIENT_DATA
    assert await bench.state(listing.alarm.alarm_id) is AlarmState.ALARM
    assert [row.url for row in bench.action.delivered] == ["http://hook/"]


async def test_an_alarm_that_another_replica_made_a_moment_ago_is_found() -> None:
    _, (first, second) = await a_bench(replicas=2)
    listing, _ = await first.create(a_definition(), None, SOMEBODY)

    assert (await second.listing(listing.alarm.alarm_id)).definition == listing.definition


async def test_a_changed_threshold_is_acted_on_without_another_measure() -> None:
    bench, (orders,) = await a_bench()
    listing, _ = await orders.create(a_definition(), None, SOMEBODY)
    await bench.follow()
    await bench.measure("cpu", "r1", 40.0)
    assert await bench.state(listing.alarm.alarm_id) is AlarmState.OK

    rule = listing.definition.rule | {"threshold": 30.0}
    await orders.replace(listing.alarm.alarm_id, a_definition(rule=rule), None, SOMEBODY)
    await bench.follow()

    assert await bench.state(listing.alarm.alarm_id) is AlarmState.ALARM


async def test_a_look_by_an_older_definition_is_void() -> None:
    bench, (first, _) = await a_bench(replicas=2)
    listing, _ = await first.create(a_definition(), None, SOMEBODY)
    await bench.follow()
    rule = listing.definition.rule | {"threshold": 99.0}
    await first.replace(listing.alarm.alarm_id, a_definition(rule=rule), None, SOMEBODY)

    # the second replica has yet to learn of it
    await bench.measure("cpu", "r1", 90.0, replica=1)
    assert await bench.state(listing.alarm.alarm_id) is AlarmState.INSUFFICIENT_DATA

    await bench.follow()
    assert await bench.state(listing.alarm.alarm_id) is AlarmState.OK


async def test_a_removed_alarm_is_not_made_again_by_a_replica_that_still_knows_it() -> None:
    bench, (first, _) = await a_bench(replicas=2)
    listing, _ = await first.create(a_definition(), None, SOMEBODY)
    await bench.follow()
    await first.delete(listing.alarm.alarm_id, SOMEBODY)

    await bench.measure("cpu", "r1", 90.0, replica=1)

    assert await bench.store.alarms([listing.alarm.alarm_id]) == [None]
    assert not bench.action.delivered
    await bench.follow()
    assert not any(controller.router.by_id for controller in bench.controllers)


async def test_the_history_outlives_the_alarm_and_says_who_did_what() -> None:
    bench, (orders,) = await a_bench()
    listing, _ = await orders.create(a_definition(), None, SOMEBODY)
    alarm_id = listing.alarm.alarm_id
    await orders.replace(alarm_id, a_definition(name="hotter"), None, SOMEBODY)
    await orders.set_state(alarm_id, AlarmState.ALARM, SOMEBODY)
    await orders.delete(alarm_id, SOMEBODY)

    entries = await bench.store.history(alarm_id, limit=10)

    assert [(entry.type, entry.user_id) for entry in entries] == [
        ("deletion", "u1"),
        ("state transition", "u1"),
        ("rule change", "u1"),
        ("creation", "u1"),
    ]
    assert entries[0].detail == {"state": "alarm"}
    assert entries[1].detail == {"state": "alarm", "state_reason": "Manually set via API"}
    assert entries[2].detail == {"name": "hotter"}
    assert entries[3].detail["rule"]["threshold"] == 50.0
    assert await bench.store.histories("p1") == [alarm_id]


async def test_the_id_of_a_change_never_comes_again_after_a_store_has_lost_its_last_writes() -> None:
    bench, (orders,) = await a_bench()
    listing, _ = await orders.create(a_definition(), None, SOMEBODY)
    for state in (AlarmState.ALARM, AlarmState.OK):
        bench.now += 1.0
        record = await orders.set_state(listing.alarm.alarm_id, state, SOMEBODY)
        # the ids are made of versions, and those are of the clock
        assert record.version == bench.now * 1e6


async def test_a_change_that_sets_the_state_tells_the_reason_only_when_it_is_another() -> None:
    bench, (orders,) = await a_bench()
    listing, _ = await orders.create(a_definition(), None, SOMEBODY)
    alarm_id = listing.alarm.alarm_id
    await orders.replace(alarm_id, a_definition(), AlarmState.ALARM, SOMEBODY)
    await orders.replace(alarm_id, a_definition(), AlarmState.OK, SOMEBODY)

    again, first, _ = await bench.store.history(alarm_id, limit=10)

    assert first.detail == {"state": "alarm", "state_reason": "Manually set via API"}
    assert again.detail == {"state": "ok"}


async def test_a_replaced_definition_keeps_the_live_state() -> None:
    bench, (orders,) = await a_bench()
    listing, _ = await orders.create(a_definition(), None, SOMEBODY)
    await bench.follow()
    await bench.measure("cpu", "r1", 90.0)

    _, record = await orders.replace(listing.alarm.alarm_id, a_definition(name="hotter"), None, SOMEBODY)

    assert record.state is AlarmState.ALARM


async def test_a_declared_alarm_refuses_change_and_names_its_file() -> None:
    bench = Bench(
        """
alarms:
  - name: declared
    type: threshold
    rule: {metric: cpu, resource_id: r1, aggregation_method: mean, threshold: 1}
"""
    )
    await bench.begin()
    (alarm_id,) = bench.declared.alarms
    orders = Orders(bench.controller, lambda _: None)

    with pytest.raises(DeclaredError, match=r"bench\.yaml"):
        await orders.delete(alarm_id, SOMEBODY)
    assert (await orders.listing(alarm_id)).definition.type == "gnocchi_resources_threshold"


async def test_an_unknown_alarm_is_not_found() -> None:
    _, (orders,) = await a_bench()

    with pytest.raises(NotFoundError, match="Alarm nope not found"):
        await orders.set_state("nope", AlarmState.OK, SOMEBODY)


async def test_a_restarted_controller_knows_the_alarms_again() -> None:
    bench, (orders,) = await a_bench()
    listing, _ = await orders.create(a_definition(), None, SOMEBODY)

    await bench.restart()
    await bench.follow()
    await bench.measure("cpu", "r1", 90.0)

    assert await bench.state(listing.alarm.alarm_id) is AlarmState.ALARM


async def test_definitions_are_understood_anew_only_where_that_may_differ() -> None:
    bench, (orders,) = await a_bench()
    listing, _ = await orders.create(a_definition(), None, SOMEBODY)
    before = bench.controller.catalogue.get(listing.alarm.alarm_id)

    await bench.declare("groups: [{name: web, min_size: 1, max_size: 2, target: {type: dry_run}}]")
    assert bench.controller.catalogue.get(listing.alarm.alarm_id) is before

    await bench.declare("derived_metrics: [{name: cpu, from: ticks, rate: per_second}]")
    after = bench.controller.catalogue.get(listing.alarm.alarm_id)
    assert after is not None
    assert [leaf.metrics for leaf in leaves_of(after.alarm.rule) if isinstance(leaf, Rule)] == [("cpu", "ticks")]


async def test_a_projects_alarms_are_counted_without_those_of_files() -> None:
    bench = Bench(
        """
alarms:
  - name: declared
    type: threshold
    project_id: p1
    rule: {metric: m, resource_id: r, aggregation_method: mean, threshold: 1}
"""
    )
    await bench.begin()
    orders = Orders(bench.controller, lambda _: None)
    made = [(await orders.create(a_definition(), None, SOMEBODY))[0].alarm.alarm_id for _ in range(3)]
    await orders.replace(made[0], a_definition(name="hotter"), None, SOMEBODY)
    await orders.delete(made[1], SOMEBODY)

    assert bench.controller.catalogue.count_made_in("p1") == 2
    assert len(bench.controller.catalogue.of("p1")) == 3


async def test_work_of_a_removed_alarm_is_dropped_after_a_while() -> None:
    bench, (orders,) = await a_bench()
    listing, _ = await orders.create(a_definition(), None, SOMEBODY)
    await bench.follow()
    await bench.measure("cpu", "r1", 90.0)
    await orders.delete(listing.alarm.alarm_id, SOMEBODY)
    await bench.follow()

    bench.now += 3600
    await bench.work()
    bench.now += 30
    await bench.work()

    assert (await bench.controller.claim()).next_due is None


async def test_a_rate_of_an_aggregate_is_warned_of_in_the_log() -> None:
    _, (orders,) = await a_bench()
    rule = {
        "metric": "cpu", "query": '{"=": {"server_group": "web"}}', "resource_type": "instance", "threshold": 1.0,
        "comparison_operator": "gt", "aggregation_method": "rate:mean", "evaluation_periods": 1, "granularity": 60,
    }  # fmt: skip

    with structlog.testing.capture_logs() as logs:
        await orders.create(a_definition(type="gnocchi_aggregation_by_resources_threshold", rule=rule), None, SOMEBODY)

    assert ["jumps whenever a series joins" in entry["note"] for entry in logs if "note" in entry] == [True]


async def test_a_state_that_was_set_is_not_ended_by_silence_at_once_and_by_a_measure_it_is() -> None:
    bench, (orders,) = await a_bench()
    listing, _ = await orders.create(a_definition(), None, SOMEBODY)
    alarm_id = listing.alarm.alarm_id
    await orders.set_state(alarm_id, AlarmState.ALARM, SOMEBODY)
    await bench.follow()
    assert await bench.state(alarm_id) is AlarmState.ALARM

    await bench.until(bench.now + 61)
    assert await bench.state(alarm_id) is AlarmState.INSUFFICIENT_DATA

    await orders.set_state(alarm_id, AlarmState.ALARM, SOMEBODY)
    await bench.measure("cpu", "r1", 10.0)
    assert await bench.state(alarm_id) is AlarmState.OK
