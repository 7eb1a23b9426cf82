"""A source that never rests and is read in time is no source that is behind."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from autoscaler.adapters.memory import MemoryStore
from autoscaler.adapters.sources.memory import MemorySource
from autoscaler.declarations import load
from autoscaler.engine.run import Wake
from autoscaler.ports import Heartbeat, WindowReply, WindowWrite
from tests.engine.running import a_runner
from tests.virtual_time import in_no_time

DOCUMENT = """
alarms:
  - name: silent
    type: threshold
    rule: {metric: cpu_util, resource_id: silent, aggregation_method: mean, granularity: 1,
           evaluation_periods: 1, comparison_operator: gt, threshold: 70, window: aligned}
    alarm_actions: ["log://"]
  - name: busy
    type: threshold
    rule: {metric: cpu_util, resource_id: busy, aggregation_method: mean, granularity: 1,
           evaluation_periods: 1, comparison_operator: gt, threshold: 70, window: aligned}
    alarm_actions: ["log://"]
"""
SILENT_AFTER = 2.0


class SlowStore(MemoryStore):
    """Each write takes longer than it is from measure to measure, so something always waits."""

    async def write(self, writes: list[WindowWrite]) -> list[WindowReply]:  # type: ignore[override]
        await asyncio.sleep(0.05)
        return await super().write(writes)


def now() -> float:
    return 1_790_000_000.0 + asyncio.get_running_loop().time()


async def state_of(
    seconds: float, age: Callable[[float], float], other: Heartbeat | None, silent_from: float
) -> tuple[str, bool]:
    """The state of an alarm whose series falls silent while others go on, and whether a source is behind.

    Args:
        age: seconds since each measure was made when it comes, by the seconds that have passed.
        other: what another replica says of itself.
        silent_from: seconds after which it says nothing new.
    """
    store, wake, source = SlowStore(now), Wake(), MemorySource(now=now, at_most=20)
    runner = a_runner(store, wake, now, source)
    controller = runner.controller
    declared = load({"prompt.yaml": DOCUMENT})
    await controller.adopt(declared.generation, declared.alarms, {}, {}, {})
    (alarm,) = [alarm for alarm in declared.alarms.values() if alarm.name == "silent"]
    begun = now()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        running = group.create_task(runner.run())
        while (passed := now() - begun) < seconds:
            if other is not None:
                await store.beat(replace(other, clock=min(now(), begun + silent_from)))
            for resource in ["busy"] if passed > SILENT_AFTER else ["busy", "silent"]:
                at = now() - age(passed)
                measure = {"metric": "cpu_util", "resource_id": resource, "timestamp": at, "value": 99}
                source.publish(json.dumps(measure).encode())
            await asyncio.sleep(0.01)
        (record,) = await store.alarms([alarm.alarm_id])
        caught_up = controller.sources.caught_up
        runner.stop()
        await running
    assert record is not None
    return record.state, caught_up


def state_after(
    seconds: float,
    age: Callable[[float], float],
    other: Heartbeat | None = None,
    silent_from: float = math.inf,
) -> tuple[str, bool]:
    """See :func:`state_of`."""
    return in_no_time(state_of(seconds, age, other, silent_from))


def test_what_is_missing_is_believed_while_others_report_without_a_pause() -> None:
    assert state_after(8.0, lambda _: 0.0) == ("insufficient data", True)


def test_a_source_that_brings_what_was_measured_long_ago_is_behind() -> None:
    assert state_after(8.0, lambda _: 3.0)[1] is False


def test_a_backlog_that_has_just_been_read_is_believed_a_moment_later() -> None:
    def age(passed: float) -> float:
        return 3.0 if passed < 4.0 else 0.0

    assert state_after(4.5, age)[1] is False
    assert state_after(8.0, age)[1] is True


@pytest.mark.parametrize(("prompt", "state"), [(False, "alarm"), (True, "insufficient data")])
def test_another_replica_must_say_so_of_its_sources_too(*, prompt: bool, state: str) -> None:
    other = Heartbeat(replica="other", clock=0.0, caught_up=False, prompt=prompt)

    assert state_after(8.0, lambda _: 0.0, other) == (state, prompt)


def test_of_one_that_has_fallen_silent_it_is_not_known_what_waits() -> None:
    other = Heartbeat(replica="other", clock=0.0, caught_up=False, prompt=True)

    assert state_after(7.0, lambda _: 0.0, other, silent_from=2.0)[1] is False
