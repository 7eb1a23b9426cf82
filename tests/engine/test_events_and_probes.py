"""Alarms that do not rest on measures: what is told once, and what is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from autoscaler.alarms.alarm import AlarmRecord, AlarmState
from autoscaler.alarms.observation import Observation, Sample, Samples
from autoscaler.alarms.rules import PoolHealthRule, PrometheusRule
from autoscaler.declarations import load
from autoscaler.engine.orders import Orders
from autoscaler.errors import TemporaryError
from autoscaler.measures.event import Event
from tests.engine.bench import Bench
from tests.engine.test_definitions import SOMEBODY, a_definition

EVENT_RULE = {
    "event_type": "compute.instance.*",
    "query": [{"field": "traits.state", "op": "eq", "value": "error", "type": "string"}],
}
PROMETHEUS_RULE = {"query": "up", "threshold": 1.0, "comparison_operator": "lt"}
POOL_RULE = {"pool_id": "p", "stack_id": "s", "autoscaling_group_id": "g"}


def an_event(message_id: str = "m1", *, project_id: str = "p1", state: str = "error") -> Event:
    document = {"message_id": message_id, "event_type": "compute.instance.update", "traits": [["state", 1, state]]}
    return Event(message_id, "compute.instance.update", project_id, {"state": state}, document)


async def an_event_alarm(*, repeat: bool = False, scope: str = "p1") -> tuple[Bench, str]:
    bench = Bench("alarms: []")
    await bench.begin()
    definition = a_definition(type="event", rule=EVENT_RULE, repeat_actions=repeat, scope=scope)
    listing, _ = await Orders(bench.controller, lambda _: None).create(definition, None, SOMEBODY)
    await bench.follow()
    return bench, listing.alarm.alarm_id


async def test_an_event_that_answers_the_query_fires_its_alarm() -> None:
    bench, alarm_id = await an_event_alarm()

    await bench.hear([an_event("m0", state="active"), an_event("m1")])

    assert await bench.state(alarm_id) is AlarmState.ALARM
    assert [row.body["reason_data"]["event"]["message_id"] for row in bench.action.delivered] == ["m1"]


async def test_nothing_is_read_of_alarms_that_wait_for_other_events(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, alarm_id = await an_event_alarm()
    read: list[str] = []
    alarms = bench.store.alarms

    async def told(alarm_ids: Sequence[str]) -> list[AlarmRecord | None]:
        read.extend(alarm_ids)
        return await alarms(alarm_ids)

    monkeypatch.setattr(bench.store, "alarms", told)
    await bench.hear([an_event(state="active")])
    assert read == []

    await bench.hear([an_event()])
    assert read == [alarm_id]


async def test_an_event_told_again_is_one_event() -> None:
    bench, alarm_id = await an_event_alarm(repeat=True)

    for message_id in ("m1", "m1", "m2"):
        await bench.hear([an_event(message_id)])

    assert len(bench.action.delivered) == 2
    entries = await bench.store.history(alarm_id, limit=10)
    assert [entry.type for entry in entries] == ["state transition", "state transition", "creation"]


async def test_an_event_of_another_project_is_none_of_an_alarms_business() -> None:
    bench, alarm_id = await an_event_alarm()
    await bench.hear([an_event(project_id="p2"), an_event(project_id="")])
    assert await bench.state(alarm_id) is AlarmState.INSUFFICIENT_DATA

    bench, alarm_id = await an_event_alarm(scope="any")
    await bench.hear([an_event(project_id="p2")])
    assert await bench.state(alarm_id) is AlarmState.ALARM


class Gauge:
    """A probe that says what it is told to."""

    def __init__(self) -> None:
        self.value: float | None = 1.0
        self.asked = 0

    async def look(self, rule: PrometheusRule | PoolHealthRule) -> Observation:
        self.asked += 1
        if self.value is None:
            raise TemporaryError("nobody is there")
        return Samples((Sample({"job": "x"}, self.value),))


@pytest.mark.parametrize(
    ("kind", "rule", "missing"),
    [
        pytest.param("prometheus", PROMETHEUS_RULE, "Prometheus server", id="prometheus"),
        pytest.param("loadbalancer_member_health", POOL_RULE, "load balancer service", id="load-balancer"),
    ],
)
async def test_an_alarm_says_which_service_the_controller_was_not_told_of(
    kind: str, rule: dict[str, Any], missing: str
) -> None:
    bench = Bench("alarms: []")
    await bench.begin()
    listing, _ = await Orders(bench.controller, lambda _: None).create(
        a_definition(type=kind, rule=rule), None, SOMEBODY
    )
    await bench.follow()
    await bench.work()

    (record,) = await bench.store.alarms([listing.alarm.alarm_id])
    assert record is not None
    assert record.state_reason == f"Not evaluated yet (the controller is configured without a {missing})"


async def a_prometheus_alarm() -> tuple[Bench, Gauge, str]:
    gauge = Gauge()
    bench = Bench("alarms: []", probes={PrometheusRule: gauge})
    await bench.begin()
    listing, _ = await Orders(bench.controller, lambda _: None).create(
        a_definition(type="prometheus", rule=PROMETHEUS_RULE), None, SOMEBODY
    )
    await bench.follow()
    return bench, gauge, listing.alarm.alarm_id


async def test_a_prometheus_alarm_is_asked_about_again_and_again() -> None:
    bench, gauge, alarm_id = await a_prometheus_alarm()
    assert await bench.state(alarm_id) is AlarmState.OK

    gauge.value = 0.0
    await bench.until(bench.now + 16)
    assert await bench.state(alarm_id) is AlarmState.ALARM

    gauge.value = 1.0
    await bench.until(bench.now + 16)
    assert await bench.state(alarm_id) is AlarmState.OK
    assert gauge.asked == 3


async def test_nobody_is_asked_anew_when_files_change_that_have_nothing_to_do_with_it() -> None:
    bench, gauge, _ = await a_prometheus_alarm()
    document = "alarms: [{name: d, type: prometheus, rule: {query: up, threshold: 1}}]"
    await bench.declare(document)
    asked = gauge.asked

    declared = bench.declared
    groups = load({"web.yaml": "groups: [{name: web, min_size: 1, max_size: 2, target: {type: dry_run}}]"}).groups
    await bench.controller.adopt("another", declared.alarms, groups, {}, {})
    await bench.work()

    assert gauge.asked == asked


async def test_a_server_that_is_away_is_insufficient_data_and_says_why() -> None:
    bench, gauge, alarm_id = await a_prometheus_alarm()

    gauge.value = None
    await bench.until(bench.now + 16)

    (record,) = await bench.store.alarms([alarm_id])
    assert record is not None
    assert record.state is AlarmState.INSUFFICIENT_DATA
    assert "nobody is there" in record.state_reason


async def test_a_removed_alarm_is_not_asked_about_any_more() -> None:
    bench, gauge, alarm_id = await a_prometheus_alarm()
    await Orders(bench.controller, lambda _: None).delete(alarm_id, SOMEBODY)
    await bench.follow()
    asked = gauge.asked

    await bench.until(bench.now + 100)

    assert gauge.asked == asked


COMPOSITE = {
    "and": [
        {
            "type": "gnocchi_resources_threshold", "metric": "cpu", "resource_id": "r1", "resource_type": "instance",
            "aggregation_method": "mean", "comparison_operator": "gt", "threshold": 50.0, "granularity": 60,
            "evaluation_periods": 1,
        },
        {
            "type": "gnocchi_resources_threshold", "metric": "memory", "resource_id": "r1", "resource_type": "instance",
            "aggregation_method": "mean", "comparison_operator": "gt", "threshold": 50.0, "granularity": 60,
            "evaluation_periods": 1,
        },
        {"type": "prometheus", "query": "up", "threshold": 1.0, "comparison_operator": "lt"},
    ]
}  # fmt: skip


async def test_a_composite_alarm_joins_windows_and_prometheus() -> None:
    gauge = Gauge()
    bench = Bench("alarms: []", probes={PrometheusRule: gauge})
    await bench.begin()
    listing, _ = await Orders(bench.controller, lambda _: None).create(
        a_definition(type="composite", rule=COMPOSITE), None, SOMEBODY
    )
    await bench.follow()
    gauge.value = 0.0
    await bench.measure("cpu", "r1", 90.0)
    assert await bench.state(listing.alarm.alarm_id) is not AlarmState.ALARM

    await bench.measure("memory", "r1", 90.0)
    await bench.measure("cpu", "r1", 90.0)

    assert await bench.state(listing.alarm.alarm_id) is AlarmState.ALARM
    assert "due to rules: rule1, rule2, rule3 outside their threshold" in bench.action.delivered[-1].body["reason"]

    await bench.measure("memory", "r1", 10.0)
    assert await bench.state(listing.alarm.alarm_id) is AlarmState.OK
