"""The arithmetic of what is measured beside Aodh, and from a load step on."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from bench.beside.plan import AGENTS, HIGH, LOW, Plan
from bench.beside.usage import Usage
from bench.capacity import BUSY, Costs, Load, needs
from bench.soak.verdict import OTHERS, column, line
from bench.step import COURSES, PARTS, chained, declared, parted

FIRST_OF_2026 = 1_767_225_600.0


@pytest.mark.parametrize("interval", [10.0, 60.0])
def test_each_resource_is_measured_once_in_each_granule(interval: float) -> None:
    plan = Plan(50, interval, 5, 60)
    first = plan.first(FIRST_OF_2026 + 3.21)
    seen: dict[tuple[str, int], int] = {}
    for number in range(4 * AGENTS):
        due = first + number * interval / AGENTS
        assert 0 < due % interval < interval
        for resource in plan.batch(number, -1):
            seen[resource, int(due // interval)] = seen.get((resource, int(due // interval)), 0) + 1

    assert set(seen.values()) == {1}
    assert {resource for resource, _ in seen} == set(plan.resources)


def test_a_resource_is_high_from_its_breach_on() -> None:
    plan = Plan(50, 10, 5, 60)
    for number, into in itertools.product(range(AGENTS), (-1.0, 0.0, 30.0, 61.0)):
        for resource, value in plan.batch(number, into).items():
            breached = resource in plan.breaches and into >= plan.breaches[resource]
            assert value == (HIGH if breached else LOW)

    assert len(plan.breaches) == 5
    assert all(0 <= at <= 60 for at in plan.breaches.values())


def test_cpu_is_told_per_minute() -> None:
    assert Usage(40, 100, 3).since(Usage(10, 90, 3), 120) == Usage(15, 100, 3)


def test_the_parts_are_the_whole() -> None:
    parts = parted([10, 15, 15.5, 15.75, 16, 17, 20])

    assert sum(parts[part] for part in PARTS) == parts["all"] == 10
    assert parts["wait"] == 5
    assert parts["start"] == 3


def test_a_chain_is_half_an_interval_then_the_alarm_then_the_member() -> None:
    trial = parted([0, 1, 2, 3, 4, 4.5, 6])
    beside = {
        "contestants": [{"interval_s": 60, "title": "Aodh", "latency_median_s": 20, "latency_worst_s": 65}]
    }  # fmt: skip

    assert "| 60 s | Aodh | 30.0 s | 20.0 s (65.0 s) | 2.0 s | 52.0 s |" in chained({"1": [trial]}, beside)


def test_each_group_that_is_tried_has_an_alarm_and_two_policies() -> None:
    found = declared([COURSES["60"]], Path("folder"), {})

    assert [len(found[key]) for key in ("alarms", "groups", "policies")] == [6, 6, 12]


COSTS = Costs(
    message=100.0, measure=4.0, window=150.0, stored_measure=1.0, stored_window=70.0, base_mib=90.0, alarm_kib=4.0,
    alarm_bytes=1000.0,
)  # fmt: skip


def measured_by(costs: Costs) -> dict[str, list[dict[str, float]]]:
    """What a machine with such costs is measured to take."""

    def point(at: int, *, windows: float, messages: float, alarms: int) -> dict[str, float]:
        return {
            "at": at,
            "controller": costs.message * messages + costs.measure + costs.window * windows,
            "redis": costs.stored_measure + costs.stored_window * windows,
            "alarms": alarms,
            "resident_mib": costs.base_mib + alarms * costs.alarm_kib / 1024,
            "stored_mib": 3 + alarms * costs.alarm_bytes / 2**20,
        }

    return {
        "members": [point(10_000, windows=0, messages=0.01, alarms=1)],
        "series": [point(100_000, windows=1, messages=0.01, alarms=100_000)],
        "batch": [point(each, windows=1, messages=1 / each, alarms=10_000) for each in (1, 10, 100)],
        "alarms": [point(each, windows=0.1, messages=0.01, alarms=each) for each in (100, 100_000)],
    }


def test_what_each_thing_takes_is_told_from_what_was_measured() -> None:
    assert vars(Costs.of(measured_by(COSTS))) == pytest.approx(vars(COSTS))


def test_what_a_load_needs_is_the_sum_of_its_parts() -> None:
    # 10 000 measures a second, half of them watched, 100 messages
    need = needs(COSTS, Load(series=100_000, every=10, alarms=50_000, batch=100, points=30))

    assert need.controllers == -(-(10_000 * (1 + 4) + 5_000 * 150) // (1e6 * BUSY))
    assert need.redis == 1
    assert need.messages == 100
    assert need.resident_mib == pytest.approx(90 + 50_000 * 4 / 1024)
    assert need.stored_mib == pytest.approx(50_000 * (1000 + 480) / 2**20)


def test_more_takes_more_and_the_least_is_one_of_each() -> None:
    small, large = (needs(COSTS, Load(series=series, alarms=series)) for series in (10, 10_000_000))

    assert (small.controllers, small.redis) == (1, 1)
    assert large.controllers > 100
    assert large.redis > 10


def test_keys_of_a_kind_that_is_not_there_are_none() -> None:
    # in every other sample the keys are not counted
    samples = [
        {"seconds": 0.0, "steady": 1.0, OTHERS: 9.0},
        {"seconds": 5.0, "steady": 1.0},
        {"seconds": 10.0, "steady": 1.0, OTHERS: 9.0, "keys lane": 4.0},
        {"seconds": 15.0, "steady": 1.0},
        {"seconds": 20.0, "steady": 1.0, OTHERS: 9.0},
    ]

    assert column(samples, "keys lane") == [(0.0, 0.0), (10.0, 4.0), (20.0, 0.0)]
    assert line(samples, "keys lane", 20.0).rise == 0
