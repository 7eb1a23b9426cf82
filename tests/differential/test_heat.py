from __future__ import annotations

import random
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
            step["inner"] = drawn_signal(draw) | {"after": draw.choice([0, 1])}
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


def test_drawn_capacities_and_traces_agree_with_heat() -> None:
    draw = random.Random(41)
    capacities = [drawn_capacity(draw) for _ in range(20_000)]
    traces = [drawn_trace(draw) for _ in range(1000)]

    theirs = ask("heat_scaling.py", {"capacity": capacities, "traces": traces})

    different = []
    for case, their in zip(capacities, theirs["capacity"], strict=True):
        kind, current, adjustment, step, least, most = case
        our = new_capacity(current, adjustment, kind, Limits(least, most), step)
        # decided: growth by percent from zero takes the minimum step upwards
        grows_from_zero = kind is PERCENT and current == 0 and adjustment > 0 and step and most > least < step
        if (our != their) is not bool(grows_from_zero):
            different.append((case, our, their))
    assert different == []
    # steps that were left out as decided stand without an answer in ours
    for trace, their in zip(traces, theirs["traces"], strict=True):
        ours, decided = played(trace)
        for number, (our, answer) in enumerate(zip(ours, their, strict=True)):
            if number in decided:
                assert answer["result"] == "ignored:no-change"
            else:
                assert our == answer, (trace, number)
