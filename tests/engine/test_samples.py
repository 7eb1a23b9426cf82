"""Threshold alarms of old, from samples to states; what is expected was worked out by hand."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from autoscaler.adapters.sources.ceilometer import Reading, decode
from autoscaler.alarms.alarm import AlarmState
from autoscaler.engine.orders import Orders
from autoscaler.measures.measure import Measure
from tests.engine.bench import Bench
from tests.engine.test_definitions import QUIET, SOMEBODY, a_definition

TAGGED = [{"field": "metadata.user_metadata.server_group", "op": "eq", "value": "web", "type": ""}]


def a_rule(**changes: Any) -> dict[str, Any]:
    rule = {
        "meter_name": "load",
        "statistic": "avg",
        "period": 60,
        "evaluation_periods": 1,
        "comparison_operator": "gt",
        "threshold": 50.0,
        "exclude_outliers": False,
        "query": TAGGED,
    }
    return rule | changes


def samples(resource_id: str, points: dict[float, float], *, tag: str = "web", project: str = "p1") -> list[Measure]:
    metadata = {"metering.server_group": tag, "server_group": tag}
    return [Measure("load", resource_id, time, value, project, "", metadata) for time, value in points.items()]


async def watched(kind: str, rule: dict[str, Any], **fields: Any) -> tuple[Bench, str]:
    bench = Bench(QUIET)
    await bench.begin()
    definition = a_definition(type=kind, rule=rule, **({"scope": "p1"} | fields))
    listing, _ = await Orders(bench.controller, lambda _: None).create(definition, None, SOMEBODY)
    await bench.follow()
    return bench, listing.alarm.alarm_id


async def reasons(bench: Bench, alarm_id: str) -> list[str]:
    entries = reversed(await bench.store.history(alarm_id, limit=100))
    return [entry.detail["transition_reason"] for entry in entries if entry.type == "state transition"]


ONE_MINUTE = [
    *samples("vm-1", {1001.0: 10.0, 1010.0: 20.0, 1020.0: 30.0, 1030.0: 40.0, 1050.0: 50.0, 1060.0: 60.0}),
    *samples("vm-2", {1030.0: 90.0, 1060.0: 91.0}),
    # those of the minute before, of other servers, and of another project's by the same name do not count
    *samples("vm-1", {1000.0: 1.0}),
    *samples("db-1", {1060.0: 2.0}, tag="db"),
    *samples("vm-3", {1060.0: 1000.0}, project="p2"),
]


@pytest.mark.parametrize(
    ("statistic", "expected"),
    [
        pytest.param("avg", 48.875, id="avg-of-all-eight-and-not-of-two-averages"),
        pytest.param("sum", 391.0, id="sum"),
        pytest.param("min", 10.0, id="min"),
        pytest.param("max", 91.0, id="max"),
        pytest.param("count", 8.0, id="count"),
    ],
)
async def test_a_statistic_is_of_all_samples_of_a_period(statistic: str, expected: float) -> None:
    bench, alarm_id = await watched(
        "threshold", a_rule(statistic=statistic, comparison_operator="eq", threshold=expected)
    )
    await bench.until(1060.0)

    await bench.take(ONE_MINUTE)

    assert await reasons(bench, alarm_id) == [
        f"Transition to alarm due to 1 samples outside threshold, most recent: {expected}"
    ]


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        *[(operator, AlarmState.ALARM) for operator in ("le", "ge", "eq")],
        *[(operator, AlarmState.OK) for operator in ("lt", "gt", "ne")],
    ],
)
async def test_every_comparison_is_known(operator: str, expected: AlarmState) -> None:
    bench, alarm_id = await watched("threshold", a_rule(comparison_operator=operator, threshold=48.875))
    await bench.until(1060.0)

    await bench.take(ONE_MINUTE)

    assert await bench.state(alarm_id) is expected


SILENT = "resources matched: 1, points in the window: 1, newest point: 180 s old, values needed: 1"


def dense(values: dict[int, float]) -> list[Measure]:
    """Six samples of a value in the minute that ends then."""
    return samples("vm-1", {end - back: value for end, value in values.items() for back in range(0, 60, 10)})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param({1180: 60.0}, "", id="one-period-of-two"),
        pytest.param({1120: 60.0, 1180: 60.0}, "Transition to alarm due to 2 samples outside", id="two-above"),
        pytest.param(
            {1060: 60.0, 1180: 60.0}, "Transition to alarm due to 2 samples outside", id="one-looked-back-for"
        ),
        pytest.param({1060: 60.0, 1120: 40.0, 1180: 40.0}, "Transition to ok due to 2 samples inside", id="newest-two"),
        pytest.param({1060: 40.0, 1120: 40.0, 1180: 60.0}, "Transition to alarm due to 1 samples outside", id="trend"),
        pytest.param({1120: 60.0, 1180: 40.0}, "Transition to ok due to 1 samples inside", id="trend-downwards"),
    ],
)
async def test_periods_without_samples_are_left_out_and_one_is_made_up_for(
    values: dict[int, float], expected: str
) -> None:
    bench, alarm_id = await watched("threshold", a_rule(evaluation_periods=2))
    await bench.until(1180.0)

    await bench.take(dense(values))

    said = await reasons(bench, alarm_id)
    assert [reason.startswith(expected) for reason in said] == ([True] if expected else [])


async def test_an_alarm_comes_back_goes_silent_and_calls_its_actions() -> None:
    actions = {f"{state}_actions": (f"http://{state}/",) for state in ("ok", "alarm", "insufficient_data")}
    bench, alarm_id = await watched("threshold", a_rule(), **actions)
    await bench.until(1060.0)
    await bench.take(dense({1060: 60.0}))
    await bench.until(1120.0)
    await bench.take(dense({1120: 40.0}))
    await bench.until(1500.0)

    assert await reasons(bench, alarm_id) == [
        "Transition to alarm due to 1 samples outside threshold, most recent: 60.0",
        "Transition to ok due to 1 samples inside threshold, most recent: 40.0",
        f"No datapoint for granularity 60 ({SILENT})",
    ]
    assert [row.url for row in bench.action.delivered] == ["http://alarm/", "http://ok/", "http://insufficient_data/"]


async def test_where_a_sample_comes_once_a_period_every_period_is_judged_when_all_have_reported() -> None:
    bench, alarm_id = await watched("threshold", a_rule())
    seen = []
    for minute, (one, other) in enumerate([(60.0, 30.0), (60.0, 30.0), (60.0, 50.0), (20.0, 100.0), (60.0, 30.0)]):
        await bench.until(1020.0 + 60 * minute)
        await bench.take(samples("vm-1", {bench.now: one}))
        await bench.until(bench.now + 20)
        seen.append(await bench.state(alarm_id))
        await bench.take(samples("vm-2", {bench.now: other}))
        seen.append(await bench.state(alarm_id))

    # the very first sample is all there is; from the second of a server on the mean of both counts, never that of one
    ok, alarm = AlarmState.OK, AlarmState.ALARM
    assert seen == [alarm, ok, ok, ok, ok, alarm, alarm, alarm, alarm, ok]


def ceilometers(server: str, time: float, seconds_of_cpu: float, *, project: str = "p1") -> dict[str, Any]:
    return {
        "counter_name": "cpu",
        "counter_type": "cumulative",
        "counter_unit": "ns",
        "counter_volume": int(seconds_of_cpu * 1e9),
        "resource_id": server,
        "project_id": project,
        "user_id": "u1",
        "timestamp": datetime.fromtimestamp(time, UTC).replace(tzinfo=None).isoformat(),
        "resource_metadata": {"vcpus": 2, "user_metadata": {"stack": "s1"}},
    }


async def test_the_example_of_old_works_on_what_ceilometer_sends_today() -> None:
    query = [{"field": "metadata.user_metadata.stack", "op": "eq", "value": "s1", "type": ""}]
    bench, alarm_id = await watched("threshold", a_rule(meter_name="cpu_util", query=query))
    for step in range(13):
        await bench.until(1000.0 + 10 * step)
        # of its two processors vm-1 uses 80 %, vm-2 30 % and the other project's all
        used = {("vm-1", "p1"): 16.0, ("vm-2", "p1"): 6.0, ("vm-9", "p2"): 20.0}
        sent = [
            ceilometers(server, bench.now, each * step, project=project) for (server, project), each in used.items()
        ]
        decoded = decode(json.dumps(sent).encode(), Reading(trusted=True), now=bench.now)
        assert not decoded.rejected
        await bench.take(decoded.measures)

    (reason,) = await reasons(bench, alarm_id)
    assert reason.startswith("Transition to alarm due to 1 samples outside threshold, most recent: 55.0")


async def test_a_composite_alarm_joins_samples_with_what_there_is_today() -> None:
    of_one = {
        "type": "gnocchi_resources_threshold",
        "metric": "load",
        "resource_id": "vm-1",
        "resource_type": "instance",
        "aggregation_method": "max",
        "comparison_operator": "gt",
        "threshold": 50.0,
        "granularity": 60,
        "evaluation_periods": 1,
    }
    pooled = {"type": "threshold", **a_rule(threshold=45.0)}
    bench, alarm_id = await watched("composite", {"and": [of_one, pooled]})
    await bench.until(1060.0)

    await bench.take(ONE_MINUTE)
    await bench.until(1090.0)

    (record,) = await bench.store.alarms([alarm_id])
    assert record is not None
    assert record.state is AlarmState.ALARM
    assert record.reason_data["causative_rules"] == {"rule1": of_one, "rule2": pooled}
