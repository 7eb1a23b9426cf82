"""What keeps a group from moving, and what keeps it moving: the whole engine on a clock that tests turn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from autoscaler.errors import PermanentError, Rejection, TemporaryError
from autoscaler.measures.measure import Measure
from autoscaler.ports import Freeze
from autoscaler.scaling.decision import Reason
from autoscaler.scaling.group import Actor, Pause
from tests.engine.bench import Bench

ALICE = Actor(kind="user", name="alice")
AT_ONCE = 0.3
"""Seconds; a window over many series rests 0.2 s between two evaluations."""


def document(**group: Any) -> str:
    """A group that grows above 70 and shrinks below 30, by granules of ten seconds."""
    fields = {"min_size": 1, "max_size": 6, "cooldown": 15} | group
    declared = ", ".join(f"{name}: {value}" for name, value in fields.items())
    return f"""
alarms:
  - name: busy
    type: aggregation
    rule: {{metric: cpu_util, match: {{server_group: web}}, aggregation_method: mean, granularity: 10,
           evaluation_periods: 2, comparison_operator: gt, threshold: 70, window: aligned}}
    alarm_actions: ["policy://out", "log://"]
  - name: idle
    type: aggregation
    rule: {{metric: cpu_util, match: {{server_group: web}}, aggregation_method: mean, granularity: 10,
           evaluation_periods: 2, comparison_operator: lt, threshold: 30, window: aligned}}
    alarm_actions: ["policy://in"]
groups:
  - {{name: web, target: {{type: dry_run}}, {declared}}}
policies:
  - {{name: out, group: web, adjustment_type: change_in_capacity, scaling_adjustment: 2}}
  - {{name: in, group: web, adjustment_type: change_in_capacity, scaling_adjustment: -1}}
"""


def cpu(member: str, time: float, value: float) -> Measure:
    return Measure("cpu_util", member, time, value, metadata={"server_group": "web"})


def message(member: str, time: float, value: float) -> dict[str, Any]:
    return {
        "metric": "cpu_util",
        "resource_id": member,
        "timestamp": time,
        "value": value,
        "metadata": {"server_group": "web"},
    }


async def begun(text: str | None = None, *, replicas: int = 1, size: int = 1) -> Bench:
    bench = Bench(text or document(), replicas=replicas, size=size)
    await bench.begin()
    return bench


async def reports(bench: Bench, members: Sequence[str], value: float, *, until: float) -> None:
    """Each member reports every five seconds."""
    while bench.now < until:
        await bench.take([cpu(member, bench.now, value) for member in members])
        await bench.until(bench.now + 5)


def reasons(decisions: Sequence[Any]) -> set[str]:
    return {str(made.reason) for made in decisions if made.decision == "hold"}


# --- overload --------------------------------------------------------------------------------------------------------


async def test_a_sustained_overload_grows_the_group_to_its_bound_by_one_transition() -> None:
    bench = await begun()
    await reports(bench, ["web-1"], 95.0, until=1200.0)

    assert await bench.transitions("busy") == ["alarm"]
    assert len(bench.action.delivered) == 1
    assert await bench.moves() == [(1, 3), (3, 5), (5, 6)]
    assert (await bench.last()).reason == Reason.AT_BOUND


async def test_each_step_waits_for_measures_of_after_the_one_before() -> None:
    bench = await begun(document(cooldown=0).replace("window: aligned", "window: aligned, evaluate: boundary"))
    # the resize takes effect when the next granule has begun
    bench.target.resize_failures.append(TemporaryError("busy", delay=7.0))
    await reports(bench, ["web-1"], 95.0, until=1200.0)

    moved = [made for made in await bench.decisions() if made.decision == "scale"]
    assert [(made.before, made.to) for made in moved] == [(1, 3), (3, 5), (5, 6)]
    assert Reason.STALE_DATA in reasons(await bench.decisions())
    for earlier, later in pairwise(moved):
        assert later.inputs["begins"] >= earlier.time


async def test_a_pause_stops_growth_at_the_next_decision_and_its_end_lets_it_go_on_at_once() -> None:
    bench = await begun()
    await reports(bench, ["web-1"], 95.0, until=1025.0)
    assert await bench.moves() == [(1, 3)]

    await bench.controller.scaler.pause(bench.group, Pause(bench.now, None, "maintenance", ALICE))
    await reports(bench, ["web-1"], 95.0, until=1100.0)
    held = await bench.last()
    assert (held.reason, held.to) == (Reason.PAUSED, 3)
    assert "maintenance" in held.text
    assert "alice" in held.text

    await bench.controller.scaler.pause(bench.group, None)
    await bench.controller.scaler.reconsider(bench.controller.plan, bench.group)
    resumed = bench.now
    await bench.until(resumed + AT_ONCE)
    assert await bench.moves() == [(1, 3), (3, 5)]


async def test_a_pause_that_runs_out_lets_the_group_go_on_by_itself() -> None:
    bench = await begun()
    await reports(bench, ["web-1"], 95.0, until=1025.0)
    await bench.controller.scaler.pause(bench.group, Pause(bench.now, 1087.0, "maintenance", ALICE))
    await reports(bench, ["web-1"], 95.0, until=1090.0)

    last = await bench.last()
    assert (last.decision, last.before, last.to, last.time) == ("scale", 3, 5, pytest.approx(1087.0, abs=0.3))


async def test_a_freeze_holds_the_group_until_it_is_taken_away() -> None:
    bench = await begun()
    await bench.store.freeze(Freeze(token="t", since=bench.now, reason="incident 7", by="alice"))
    await reports(bench, ["web-1"], 95.0, until=1100.0)
    assert await bench.moves() == []
    held = await bench.last()
    assert held.reason == Reason.FROZEN
    assert "incident 7" in held.text

    await bench.store.freeze(None)
    await bench.controller.scaler.reconsider(bench.controller.plan, bench.group)
    await bench.until(bench.now + AT_ONCE)
    assert await bench.moves() == [(1, 3)]


# --- silence and clocks ----------------------------------------------------------------------------------------------


async def test_members_falling_silent_scale_nothing_in() -> None:
    believing = document(max_size=10).replace("window: aligned", "window: aligned, outage: believe")
    bench = await begun(believing, size=10)
    everybody = [f"web-{number}" for number in range(10)]
    await reports(bench, everybody, 50.0, until=1050.0)
    await reports(bench, everybody[:2], 10.0, until=1150.0)

    assert await bench.transitions("idle") == ["ok", "alarm"]
    assert await bench.moves() == []
    held = await bench.last()
    assert held.reason == Reason.MEMBERS_SILENT
    assert held.text == "2 of 10 ready members reported, 8 are needed"


async def test_all_members_falling_silent_scale_nothing_in() -> None:
    bench = await begun(document(max_size=10), size=10)
    await reports(bench, [f"web-{number}" for number in range(10)], 50.0, until=1050.0)
    await bench.until(1200.0)
    assert await bench.transitions("idle") == ["ok"]
    await bench.until(1700.0)

    assert await bench.transitions("idle") == ["ok", "insufficient data"]
    assert await bench.moves() == []


@pytest.mark.parametrize(
    ("ahead", "refused"),
    [
        pytest.param(240.0, True, id="four-minutes-ahead"),
        pytest.param(50.0, False, id="within-what-is-allowed"),
    ],
)
async def test_a_host_whose_clock_is_ahead_disturbs_nobody_elses_granule(ahead: float, *, refused: bool) -> None:
    alone, disturbed = await begun(), await begun()
    for bench in (alone, disturbed):
        while bench.now < 1100.0:
            value = 95.0 if bench.now >= 1040.0 else 50.0
            await bench.received([message(f"web-{number}", bench.now, value) for number in range(3)])
            if bench is disturbed:
                rejected = await bench.received([message("fast", bench.now + ahead, 50.0)])
                assert [found.rejection for found in rejected] == ([Rejection.TOO_FAR_AHEAD] if refused else [])
            await bench.until(bench.now + 5)

    assert await disturbed.transitions("busy") == await alone.transitions("busy") == ["ok", "alarm"]
    assert await disturbed.moves() == await alone.moves() == [(1, 3), (3, 5), (5, 6)]


# --- one thing before the other --------------------------------------------------------------------------------------


async def test_an_active_scale_out_alarm_blocks_a_scale_in() -> None:
    text = document(cooldown=0, max_size=3).replace("threshold: 30", "threshold: 100")
    bench = await begun(text)
    await reports(bench, ["web-1", "web-2", "web-3"], 95.0, until=1200.0)

    # both alarms are on: the group grows to its bound, and while it is there nothing shrinks it
    assert await bench.transitions("idle") == ["alarm"]
    assert await bench.moves() == [(1, 3)]


async def test_a_scale_in_is_told_which_alarm_asks_for_more() -> None:
    text = document(cooldown=0, max_size=9).replace("threshold: 30", "threshold: 100")
    bench = await begun(text.replace("scaling_adjustment: 2", "scaling_adjustment: 1"), size=3)
    await reports(bench, ["web-1", "web-2", "web-3"], 95.0, until=1040.0)

    assert all(to > before for before, to in await bench.moves() if before is not None and to is not None)
    assert Reason.SCALE_OUT_ACTIVE in reasons(await bench.decisions())


async def test_a_cooldown_outlives_the_controller_that_began_it() -> None:
    bench = await begun(document(cooldown=60))
    await reports(bench, ["web-1"], 95.0, until=1025.0)
    (begun_at,) = [made.time for made in await bench.decisions() if made.decision == "scale"]
    end = (await bench.record()).cooldown_end
    assert end == pytest.approx(begun_at + 60, abs=1)

    await bench.restart()
    assert (await bench.record()).cooldown_end == end
    await reports(bench, ["web-1"], 95.0, until=1120.0)
    first, second = [made for made in await bench.decisions() if made.decision == "scale"]
    assert (first.to, second.to) == (3, 5)
    assert end <= second.time < end + 1


async def test_a_guard_that_ends_within_a_granule_is_not_waited_for_longer() -> None:
    text = document(cooldown=33).replace("window: aligned", "window: aligned, evaluate: boundary")
    bench = await begun(
        text.replace("type: aggregation", "type: threshold").replace("match: {server_group: web}", "resource_id: web-1")
    )
    await reports(bench, ["web-1"], 95.0, until=1100.0)

    moved = [made.time for made in await bench.decisions() if made.decision == "scale"]
    assert moved == [1020.0, 1053.0, 1086.0]


async def test_an_alarm_that_was_forgotten_and_declared_anew_moves_the_group_again() -> None:
    bench = await begun(document(cooldown=0))
    await reports(bench, ["web-1"], 95.0, until=1025.0)
    assert await bench.moves() == [(1, 3)]
    without = document(cooldown=0)
    await bench.declare(without[: without.index("alarms:")] + without[without.index("groups:") :])
    await bench.until(1100.0)
    await bench.declare(document(cooldown=0))
    await reports(bench, ["web-1"], 95.0, until=1125.0)

    assert await bench.moves() == [(1, 3), (3, 5)]
    assert len({row.id for row in bench.action.delivered}) == len(bench.action.delivered) == 2


# --- schedules -------------------------------------------------------------------------------------------------------


async def test_a_schedule_fires_once_however_many_controllers_there_are() -> None:
    text = document() + '\nschedules:\n  - {name: hourly, group: web, cron: "0 * * * *", min_size: 3}\n'
    bench = await begun(text, replicas=2)
    await bench.until(3 * 3600 + 1.0)

    fired = [made for made in await bench.decisions() if made.actor is not None and made.actor.kind == "schedule"]
    assert [(made.time, made.before, made.to) for made in fired if made.decision == "scale"] == [(3600.0, 1, 3)]
    assert [made.id for made in fired] == ["schedule:hourly:3600", "schedule:hourly:10800"]
    assert sum(made.times for made in fired) == 3


# --- targets ---------------------------------------------------------------------------------------------------------


async def test_a_change_behind_our_back_is_respected() -> None:
    bench = await begun()
    await bench.until(1010.0)
    bench.target.set_size("web", 4)
    await bench.until(1020.0)

    record, last = await bench.record(), await bench.last()
    assert (record.desired_capacity, record.size, bench.target.resizes) == (4, 4, [])
    assert (last.reason, last.before, last.to) == (Reason.OUT_OF_BAND, 1, 4)


async def test_a_change_behind_our_back_is_corrected_where_the_group_says_so() -> None:
    bench = await begun(document(enforce="true"))
    await bench.until(1010.0)
    bench.target.set_size("web", 4)
    await bench.until(1020.0)

    record, last = await bench.record(), await bench.last()
    assert (record.desired_capacity, record.size) == (1, 1)
    assert [resize.capacity for resize in bench.target.resizes] == [1]
    assert (last.reason, last.to) == (Reason.OUT_OF_BAND, 1)


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(TemporaryError("no valid host was found"), id="temporary"),
        pytest.param(PermanentError("no valid host was found"), id="permanent"),
    ],
)
async def test_a_resize_that_never_works_falls_back_to_the_size_that_is_there(error: Exception) -> None:
    bench = await begun(document(max_attempts=3))
    bench.target.resize_failures.extend([error] * 3)  # type: ignore[list-item]
    await reports(bench, ["web-1"], 95.0, until=1024.0)
    await bench.until(1029.0)

    record = await bench.record()
    given_up = [made for made in await bench.decisions() if made.reason == Reason.CAPACITY_UNAVAILABLE]
    assert [(made.before, made.to) for made in given_up] == [(3, 1)]
    assert "no valid host was found" in given_up[0].text
    assert (record.desired_capacity, record.size, record.resizing, record.cooldown_end) == (1, 1, False, None)


async def test_a_group_that_gave_up_grows_with_the_next_decision() -> None:
    bench = await begun(document(max_attempts=1))
    bench.target.resize_failures.append(TemporaryError("no valid host was found"))
    await reports(bench, ["web-1"], 95.0, until=1060.0)

    assert (await bench.moves())[:3] == [(1, 3), (3, 1), (1, 3)]
    assert (await bench.record()).size == 6


async def test_a_target_that_cannot_be_read_is_not_a_group_of_nobody() -> None:
    bench = await begun(size=4)
    await bench.until(1002.0)
    bench.target.status_failures.extend([TemporaryError("connection refused")] * 100)
    await reports(bench, ["web-1", "web-2", "web-3", "web-4"], 10.0, until=1060.0)

    assert await bench.moves() == []
    held = await bench.last()
    assert held.reason == Reason.SIZE_UNKNOWN
    assert "connection refused" in held.text


async def test_a_target_that_takes_requests_and_never_follows_is_given_up() -> None:
    bench = await begun(document(cooldown=0, max_attempts=3))
    bench.target.deaf = True
    await reports(bench, ["web-1"], 95.0, until=1136.0)

    given_up = [made for made in await bench.decisions() if made.reason is Reason.CAPACITY_UNAVAILABLE]
    assert [(made.time, made.before, made.to) for made in given_up] == [(1135.0, 3, 1)]
    assert "asked for 3, 1 so far" in given_up[0].text
    assert [made.fence for made in bench.target.resizes].count(2) == 3


async def test_a_measure_without_metadata_that_has_no_room_is_kept_as_a_dead_letter() -> None:
    bench = await begun()

    await bench.controllers[0].bury_refused([Measure("cpu_util", "web-1", 1000.0, 0.5)])

    (letter,) = await bench.store.dead_letters("measure", limit=2)
    assert letter.reason == Rejection.TOO_MANY_SERIES
    assert json.loads(letter.payload)["metadata"] == {}
