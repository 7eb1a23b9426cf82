"""Targets that take their time, go back by themselves, or have no room: the engine waits, and says so."""

from __future__ import annotations

import pytest

from autoscaler.errors import TemporaryError
from autoscaler.scaling.decision import Decision, Reason
from autoscaler.scaling.group import Actor, Bound
from autoscaler.scaling.policy import Order
from tests.engine.bench import Bench

DOCUMENT = """
groups:
  - {name: web, min_size: 1, max_size: 10, cooldown: 30, max_attempts: 3, target: {type: dry_run}}
policies:
  - {name: out, group: web, adjustment_type: change_in_capacity, scaling_adjustment: 2}
  - {name: in, group: web, adjustment_type: change_in_capacity, scaling_adjustment: -1}
"""


async def begun(document: str = DOCUMENT) -> Bench:
    bench = Bench(document, size=3)
    await bench.begin()
    await bench.until(bench.now + 10)
    return bench


async def execute(bench: Bench, policy: str) -> Decision:
    asked = f"{policy} {bench.now}"
    declared, actor = bench.declared.policies[policy], Actor(kind="user", name="ann")
    decision = await bench.controller.scaler.execute(bench.controller.plan, declared, actor, asked, force=False)
    await bench.work()
    return decision


async def test_a_resize_ends_when_the_target_is_done_and_then_its_cooldown_begins() -> None:
    bench = await begun()
    bench.target.says_then = {"busy": "UPDATE_IN_PROGRESS"}
    await execute(bench, "out")
    await bench.until(bench.now + 20)
    during = await bench.record()
    bench.target.said = {}
    done = bench.now
    await bench.until(bench.now + 10)
    after = await bench.record()

    assert (during.size, during.resizing, during.cooldown_end) == (5, True, None)
    assert not after.resizing
    assert after.cooldown_end == pytest.approx(done + 30, abs=1)
    assert len(bench.target.resizes) == 1


async def test_a_busy_target_is_not_asked_for_anything_and_the_reason_is_told() -> None:
    bench = await begun()
    bench.target.said = {"busy": "an operator's update"}
    await bench.until(bench.now + 10)
    held = await execute(bench, "out")
    bench.target.said = {}
    await bench.until(bench.now + 10)
    moved = await execute(bench, "out")
    await bench.until(bench.now + 10)

    assert (held.reason, held.text) == (Reason.IN_FLIGHT, "the target is busy: an operator's update")
    assert (moved.reason, [resize.capacity for resize in bench.target.resizes]) == (Reason.EXECUTED, [5])


async def test_what_an_update_made_of_the_size_is_respected_once_it_is_over() -> None:
    bench = await begun()
    bench.target.said = {"busy": "an operator's update"}
    bench.target.set_size("web", 6)
    await bench.until(bench.now + 10)
    during = await bench.moves()
    bench.target.said = {}
    await bench.until(bench.now + 10)

    assert during == []
    assert await bench.moves() == [(3, 6)]
    assert bench.target.resizes == []


async def test_a_group_that_would_go_back_is_asked_once_to_stay() -> None:
    bench = await begun()
    bench.target.said = {"wanted": 3}
    await bench.until(bench.now + 10)
    bench.target.set_size("web", 4)
    await bench.until(bench.now + 70)
    record = await bench.record()

    assert [resize.capacity for resize in bench.target.resizes] == [4]
    assert (record.desired_capacity, record.wanted, record.resizing, record.cooldown_end) == (4, 4, False, None)


async def test_steps_are_asked_for_one_after_the_other_until_all_is_done() -> None:
    bench = await begun()
    bench.target.again, bench.target.limit = 1.0, 4
    await execute(bench, "out")
    step = (await bench.record()).size
    bench.target.limit, bench.target.again = None, None
    await bench.until(bench.now + 5)
    record = await bench.record()

    assert (step, record.size, record.resizing, len(bench.target.resizes)) == (4, 5, False, 2)


async def test_a_target_that_asks_for_patience_is_waited_for_and_never_given_up() -> None:
    bench = await begun()
    bench.target.resize_failures.extend([TemporaryError("cooling down", delay=5, tried=False)] * 8)
    await execute(bench, "out")
    waiting = await bench.record()
    await bench.until(bench.now + 60)

    assert (waiting.error, waiting.attempts, waiting.resizing) == ("cooling down", 0, True)
    assert (await bench.record()).size == 5


async def test_a_resize_that_the_target_fails_is_asked_for_again_and_then_given_up_in_its_words() -> None:
    bench = await begun()
    bench.target.says_then = {"trouble": "ResourceInError: no valid host", "failed": ["web-5"]}
    await execute(bench, "out")
    await bench.until(bench.now + 300)
    record, last = await bench.record(), await bench.last()

    assert len(bench.target.resizes) == 4  # the first has moved something
    assert (last.reason, last.text) == (
        Reason.CAPACITY_UNAVAILABLE, "gave up 5 after 3 attempts: ResourceInError: no valid host"
    )  # fmt: skip
    assert (record.desired_capacity, record.failed, record.resizing) == (5, ("web-5",), False)


async def test_a_bound_of_the_target_is_told_before_it_is_run_into() -> None:
    bench = await begun()
    bench.target.said = {"most": Bound(4, "quota: 4 instances")}
    await bench.until(bench.now + 10)
    first = await execute(bench, "out")
    await bench.until(bench.now + 60)
    second = await execute(bench, "out")

    assert (first.to, first.text) == (4, "+1 by out, and not +2: quota: 4 instances")
    assert (second.reason, second.text) == (Reason.NO_ROOM, "already 4: quota: 4 instances")


async def test_members_that_somebody_moves_hold_every_scale_in() -> None:
    bench = await begun()
    bench.target.said = {"maintenance": ["vm-1"]}
    await bench.until(bench.now + 10)
    held = await execute(bench, "in")
    bench.target.said = {}
    await bench.until(bench.now + 10)

    assert (held.reason, held.text) == (Reason.MAINTENANCE, "moved or rebuilt at this moment: vm-1")
    assert (await execute(bench, "in")).to == 2


async def test_the_order_of_a_policy_reaches_the_target() -> None:
    bench = await begun(
        DOCUMENT.replace("{type: dry_run}", "{type: process, command: [x]}").replace("-1}", "-1, order: newest}")
    )
    await execute(bench, "in")

    assert [(resize.capacity, resize.order) for resize in bench.target.resizes] == [(2, Order.NEWEST)]
