"""The arithmetic of what is measured beside Aodh, and from a load step on."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from bench.beside.plan import AGENTS, HIGH, LOW, Plan
from bench.beside.usage import Usage
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
