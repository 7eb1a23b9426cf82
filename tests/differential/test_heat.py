from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from autoscaler.scaling.adjustment import new_capacity
from autoscaler.scaling.group import Limits
from autoscaler.scaling.policy import AdjustmentType
from tests.differential.asking import ask
from tests.unit.scaling.test_cooldown import played

pytestmark = pytest.mark.oracle

PERCENT = AdjustmentType.PERCENT_CHANGE_IN_CAPACITY


def drawn_capacity(draw: random.Random) -> list[Any]:
    """Type, current, adjustment, minimum step, bounds; fractions only of a percent."""
    kind = draw.choice(list(AdjustmentType))
    adjustment: float = draw.choice([draw.randrange(-12, 13), draw.randrange(-300, 301)])
    if kind is PERCENT and draw.random() < 0.3:
        adjustment += draw.random()
    step = draw.choice([None, 0, 1, 2, 10]) if kind is PERCENT else None
    least = draw.choice([0, 0, 1, 5])
    return [kind, draw.choice([0, 1, 2, draw.randrange(200)]), adjustment, step, least, least + draw.randrange(150)]


def drawn_signal(draw: random.Random) -> dict[str, Any]:
    kind = draw.choice(list(AdjustmentType))
    adjustments = {AdjustmentType.EXACT_CAPACITY: range(12), AdjustmentType.CHANGE_IN_CAPACITY: range(-4, 5)}
    return {
        "type": str(kind),
        "min_step": draw.choice([None, 1, 2]) if kind is PERCENT else None,
        "adjustment": draw.choice(adjustments.get(kind, range(-60, 101, 10))),
        "cooldown": draw.choice([None, None, 0, 5, 30, 120, 0.5, -3]),
    }


def drawn_trace(draw: random.Random) -> dict[str, Any]:
    least = draw.randrange(3)
    most = least + draw.choice([0, 4, 12, 30])
    time, steps = 0.0, []
    for _ in range(20):
        step = drawn_signal(draw) | {
            "t": time,
            "resize_secs": draw.choice([0, 1, 7, 45, 0.25]),
            "resize_fails": draw.random() < 0.1,
        }
        if draw.random() < 0.3:
            # without a minimum step there is no decided difference within a resize
            step["inner"] = drawn_signal(draw) | {"min_step": None, "after": draw.choice([0, 1])}
        steps.append(step)
        time += step["resize_secs"] + draw.choice([0, 0.5, 1, 5, 30, 61])
    return {
        "min": least,
        "max": most,
        "initial": draw.randint(least, most),
        "group_cooldown": draw.choice([None, 0, 10, 60]),
        "created_at": 0.0,
        "steps": steps,
    }


@pytest.fixture(scope="module")
def drawn() -> dict[str, list[Any]]:
    draw = random.Random(41)
    return {
        "capacity": [drawn_capacity(draw) for _ in range(20_000)],
        "traces": [drawn_trace(draw) for _ in range(1000)],
    }


@pytest.fixture(scope="module")
def answered(drawn: dict[str, list[Any]]) -> dict[str, list[Any]]:
    answers: dict[str, list[Any]] = ask("heat_scaling.py", drawn)
    return answers


def test_drawn_capacities_agree_but_for_growth_by_percent_from_zero(
    drawn: dict[str, list[Any]], answered: dict[str, list[Any]]
) -> None:
    decided = []
    for case, theirs in zip(drawn["capacity"], answered["capacity"], strict=True):
        kind, current, adjustment, step, least, most = case
        ours = new_capacity(current, adjustment, kind, Limits(least, most), step)
        if kind is PERCENT and current == 0 and adjustment > 0 and step and most > least < step:
            assert ours > theirs, case
            decided.append(case)
        else:
            assert ours == theirs, case

    assert 100 < len(decided) < 1000


def test_drawn_traces_agree_but_for_growth_by_percent_from_zero(
    drawn: dict[str, list[Any]], answered: dict[str, list[Any]]
) -> None:
    for trace, theirs in zip(drawn["traces"], answered["traces"], strict=True):
        ours, decided = played(trace)
        for number, (mine, their) in enumerate(zip(ours, theirs, strict=True)):
            if number in decided:
                assert their["result"] == "ignored:no-change"
            else:
                assert mine == their, (trace, number)

    results = Counter(step["result"] for trace in answered["traces"] for step in trace)
    assert set(results) == {"accepted", "failed", "ignored:no-change", "ignored:cooldown"}
    assert min(results.values()) > 300
    assert any(step.get("inner", {}).get("result") == "ignored:in-progress" for t in answered["traces"] for step in t)
