"""What a look at an alarm leaves behind: nothing that only the garbage collector could find."""

from __future__ import annotations

import gc

from tests.engine.bench import Bench

MEAN = "aggregation_method: mean, granularity: 60, evaluation_periods: 1, comparison_operator: gt, threshold: 50"
OF = f"metric: m, {MEAN}"
DOCUMENT = f"""
alarms:
  - {{name: one, type: threshold, rule: {{{OF}, resource_id: r1}}, alarm_actions: ["log://"]}}
  - {{name: all, type: aggregation, rule: {{{OF}, match: {{}}}}, repeat_actions: true}}
  - name: both
    type: composite
    rule: {{and: [{{type: threshold, {OF}, resource_id: r1}}, {{type: threshold, {OF}, resource_id: r2}}]}}
"""


async def test_what_looks_leave_goes_without_the_garbage_collector() -> None:
    # else it stays until the oldest generation is looked through, which after a flood may be hours
    bench = Bench(DOCUMENT)
    await bench.begin()
    for value in (10.0, 90.0):
        await bench.measure("m", "r1", value)
    gc.collect()
    gc.disable()
    try:
        for value in (90.0, 10.0) * 10:
            await bench.measure("m", "r1", value)
        found = gc.collect()
    finally:
        gc.enable()

    assert bench.action.delivered
    assert found == 0
