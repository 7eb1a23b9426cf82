"""A group whose collector dies keeps its size; one that we have made smaller is not taken for an outage."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from autoscaler.declarations import load
from autoscaler.measures.measure import Measure
from autoscaler.simulation.plant import Plant
from autoscaler.simulation.world import Happening, World

MEMBERS = tuple(f"web-{number}" for number in range(6))
QUIET, BUSY = 5.0, 95.0
BEGINS = 1_790_000_040

RULE = """
    type: aggregation
    rule: {metric: cpu_util, match: {server_group: web}, aggregation_method: mean, granularity: 60,
           evaluation_periods: 1, window: aligned, comparison_operator: %s, threshold: %s}
"""
DOCUMENT = f"""
alarms:
  - name: busy{RULE % ("gt", 80)}
    alarm_actions: ["policy://out"]
  - name: idle{RULE % ("lt", 20)}
    alarm_actions: ["policy://in"]
groups:
  - {{name: web, min_size: 1, max_size: 9, desired_capacity: 6, cooldown: 0, min_reporting: 0,
      target: {{type: dry_run}}}}
policies:
  - {{name: out, group: web, adjustment_type: change_in_capacity, scaling_adjustment: 1}}
  - {{name: in, group: web, adjustment_type: exact_capacity, scaling_adjustment: 2}}
"""


class Cloud:
    """Members that report every 20 seconds."""

    def __init__(self, document: str = DOCUMENT) -> None:
        self.world = World(Plant(obedient=True))
        self.world.declare(load({"outages.yaml": document}))
        self.now = BEGINS
        self.happened: list[Happening] = []

    async def report(self, names: Sequence[str], value: float, seconds: int) -> None:
        for second in range(0, seconds, 20):
            for number, name in enumerate(names):
                time = self.now + second + number / 10
                metadata = {"server_group": "web"}
                self.happened += await self.world.feed(Measure("cpu_util", name, time, value, metadata=metadata))
        self.now += seconds
        self.happened += await self.world.advance(self.now)

    def decisions(self) -> list[tuple[str, str]]:
        return [(each["decision"], each["reason"]) for each in self.happened if each["event"] == "decision"]

    def states(self, alarm: str) -> list[str]:
        return [each["current"] for each in self.happened if each["event"] == "transition" and each["alarm"] == alarm]


def test_what_is_left_scales_nothing_in_and_speaks_for_nobody_else() -> None:
    async def run() -> Cloud:
        cloud = Cloud()
        await cloud.report(MEMBERS, 50.0, 180)
        await cloud.report(MEMBERS[:2], QUIET, 180)
        return cloud

    cloud = asyncio.run(run())

    assert cloud.states("idle") == ["ok"]
    assert cloud.decisions() == []


def test_an_alarm_that_asks_for_less_is_refused_while_the_source_is_out() -> None:
    async def run() -> Cloud:
        one_less = DOCUMENT.replace(
            "exact_capacity, scaling_adjustment: 2", "change_in_capacity, scaling_adjustment: -1"
        )
        cloud = Cloud(one_less.replace("cooldown: 0", "cooldown: 3600"))
        await cloud.report(MEMBERS, QUIET, 120)
        await cloud.report(MEMBERS[1:], QUIET, 60)
        await cloud.report(MEMBERS[4:], QUIET, 180)
        return cloud

    cloud = asyncio.run(run())

    assert cloud.states("idle") == ["alarm"]
    first, *_, last = cloud.decisions()
    assert first == ("scale", "policy")
    assert last == ("hold", "source outage")
    assert cloud.happened[-1]["text"] == "most series of alarm idle, busy have stopped at once"


def test_members_that_the_controller_removes_are_not_missed() -> None:
    async def run() -> Cloud:
        cloud = Cloud()
        await cloud.report(MEMBERS, 50.0, 120)
        await cloud.report(MEMBERS, QUIET, 60)
        # four of six are gone at once, by our own resize
        await cloud.report(MEMBERS[:2], 50.0, 120)
        await cloud.report(MEMBERS[:2], BUSY, 120)
        return cloud

    cloud = asyncio.run(run())

    assert cloud.decisions()[0] == ("scale", "policy")
    assert cloud.states("idle") == ["ok", "alarm", "ok"]
    assert cloud.states("busy") == ["ok", "alarm"]
    assert cloud.decisions()[-1] == ("scale", "policy")
