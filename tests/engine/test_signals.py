"""Signals to a group that Heat owns, from the alarm to what became of them."""

import pytest
from msgspec.structs import replace

from autoscaler.engine.signal import HEAT
from autoscaler.errors import PermanentError, TemporaryError
from autoscaler.measures.measure import Measure
from autoscaler.ports import GroupPut, Rights, Told
from autoscaler.scaling.decision import Decision, Reason
from autoscaler.scaling.group import Actor, Pause, Word
from tests.engine.bench import Bench
from tests.engine.heat_twin import STACK_ID, HeatTwin, alarm_url, signal_url

GROUP = f"{HEAT}{STACK_ID}:group"
UNREAD = f"{HEAT}{STACK_ID}:up"


def alarms(*actions: str, project: str = "shop", repeat: bool = False) -> str:
    return "alarms:\n" + "".join(
        f"""
  - name: high-{number}
    project_id: {project}
    type: threshold
    rule: {{metric: load, resource_id: vm, aggregation_method: mean, granularity: 60, evaluation_periods: 1,
           comparison_operator: gt, threshold: 50, window: aligned}}
    alarm_actions: ["{action}"]
    repeat_actions: {str(repeat).lower()}
"""
        for number, action in enumerate(actions)
    )


async def bench(heat: HeatTwin, document: str, *, replicas: int = 1) -> Bench:
    found = Bench(document, heat=heat, replicas=replicas)
    await found.begin()
    return found


async def load(bench: Bench, value: float, project: str = "shop") -> None:
    """Time passes until the end of the minute, and then its measure comes."""
    end = (bench.now // 60 + 1) * 60
    await bench.until(end)
    await bench.take([Measure("load", "vm", end - 60, value, project_id=project)])


async def decisions(bench: Bench, name: str = GROUP) -> list[Decision]:
    return list(reversed(await bench.store.decisions(name, limit=1000)))


async def reasons(bench: Bench, name: str = GROUP) -> list[Reason]:
    return [made.reason for made in await decisions(bench, name)]


async def lanes(bench: Bench) -> dict[str, int]:
    found: dict[str, int] = {}
    for alarm_id in bench.declared.alarms:
        found |= await bench.store.lanes(alarm_id)
    return found


async def test_a_signal_is_followed_until_its_effect_is_seen() -> None:
    heat = HeatTwin()
    there = await bench(heat, alarms(alarm_url("up")))
    await load(there, 90)
    assert heat.signals == ["up"]
    await there.until(there.now + 10)

    (made,) = await decisions(there)
    assert (made.decision, made.reason, made.before, made.to) == ("scale", "signalled", 1, 2)
    assert (made.policy, made.alarm, made.text) == ("up", "high-0", "signal to up confirmed: 1 -> 2")
    assert await lanes(there) == {}


async def test_ten_alarms_at_once_are_one_resize_and_the_others_are_explained() -> None:
    heat = HeatTwin(most=20)
    there = await bench(heat, alarms(*[alarm_url("up")] * 10), replicas=2)
    await load(there, 90)
    await there.until(there.now + 30)

    assert heat.signals == ["up"]
    assert heat.sizes == [2]
    made = await decisions(there)
    (first,) = [each.alarm for each in made if each.decision == "scale"]
    over = {each.alarm: each.text for each in made if each.reason is Reason.SUPERSEDED}
    assert sorted((first, *over)) == [f"high-{number}" for number in range(10)]
    assert all("since then the group was resized" in text for text in over.values())
    assert await lanes(there) == {}


async def test_a_signal_waits_for_the_end_of_heats_cooldown() -> None:
    heat = HeatTwin(cooldown=200)
    there = await bench(heat, alarms(alarm_url("up")))
    heat.cooldown_end, heat.cooldown_by = there.now + 60, "ExactCapacity : 1"
    await load(there, 90)
    assert heat.signals == []
    held = (await decisions(there))[-1]
    assert (held.decision, held.reason, held.until) == ("hold", "cooldown", heat.cooldown_end + 1)
    assert "ExactCapacity : 1" in held.text
    await there.until(heat.cooldown_end + 0.5)
    assert heat.signals == []
    await there.until(there.now + 10)

    assert heat.signals == ["up"]
    assert (await reasons(there))[-1] is Reason.SIGNALLED


async def test_a_signal_whose_alarm_is_over_when_heat_would_take_it_is_not_sent() -> None:
    heat = HeatTwin()
    there = await bench(heat, alarms(alarm_url("up")))
    heat.cooldown_end = there.now + 150
    await load(there, 90)
    await load(there, 10)
    await there.until(there.now + 100)

    assert heat.signals == []
    last = (await decisions(there))[-1]
    assert (last.reason, last.text) == (Reason.SUPERSEDED, "the alarm is ok by now")


async def test_a_signal_that_heat_drops_at_a_bound_says_so() -> None:
    heat = HeatTwin(least=5, most=5)
    there = await bench(heat, alarms(alarm_url("up")))
    await load(there, 90)
    await there.until(there.now + 30)

    assert heat.signals == ["up"]
    (made,) = await decisions(there)
    assert (made.decision, made.reason, made.to) == ("hold", "dropped by Heat", 5)
    assert made.text == "dropped by Heat: already at max_size 5"


async def test_a_repeated_action_asks_again_with_newer_measures() -> None:
    heat = HeatTwin()
    there = await bench(heat, alarms(alarm_url("up"), repeat=True))
    for _ in range(3):
        await load(there, 90)
        await there.until(there.now + 30)

    assert heat.sizes == [2, 3, 4]
    assert await reasons(there) == [Reason.SIGNALLED] * 3


# --- answers that are lost -------------------------------------------------------------------------------------------


async def test_a_signal_whose_answer_is_lost_is_not_sent_again_once_its_effect_is_seen() -> None:
    heat = HeatTwin()
    there = await bench(heat, alarms(alarm_url("up")))
    heat.answer = TemporaryError("no answer within 10 s")
    await load(there, 90)
    await there.until(there.now + 300)

    assert heat.signals == ["up"]
    assert heat.sizes == [2]
    assert await reasons(there) == [Reason.SIGNALLED]


async def test_a_signal_that_was_lost_is_sent_again_once_that_is_proven() -> None:
    heat = HeatTwin()
    there = await bench(heat, alarms(alarm_url("up")))
    heat.lost = TemporaryError("the connection was reset")
    await load(there, 90)
    await there.until(there.now + 5)
    heat.lost = None
    await load(there, 90)
    assert heat.signals == []  # it may still be on its way to an engine
    await load(there, 90)

    assert heat.signals == ["up"]
    assert await reasons(there) == [Reason.SIGNALLED]


async def test_a_signal_that_never_left_is_simply_tried_again() -> None:
    heat = HeatTwin()
    there = await bench(heat, alarms(alarm_url("up")))
    heat.lost = TemporaryError("connection refused", reached=False)
    await load(there, 90)
    heat.lost = None
    await there.until(there.now + 5)

    assert heat.sizes == [2]


async def test_what_heat_refuses_is_kept_and_frees_the_group_for_others() -> None:
    heat = HeatTwin()
    there = await bench(heat, alarms(alarm_url("up"), alarm_url("up")))
    heat.lost = PermanentError("answered 403")
    await load(there, 90)
    await there.until(there.now + 5)

    assert await reasons(there) == [Reason.REFUSED, Reason.REFUSED]
    letters = await there.store.dead_letters("action", limit=10)
    assert [letter.detail for letter in letters] == ["answered 403"] * 2


@pytest.mark.parametrize("answer", [None, TemporaryError("no answer")], ids=["answered", "not-answered"])
async def test_a_controller_that_dies_over_a_signal_leaves_it_to_another(answer: TemporaryError | None) -> None:
    heat = HeatTwin()
    heat.answer = answer
    there = await bench(heat, alarms(alarm_url("up")))
    await load(there, 90)
    assert heat.signals == ["up"]
    await there.restart()
    await there.until(there.now + 120)

    assert heat.sizes == [2]
    assert await reasons(there) == [Reason.SIGNALLED]


async def test_a_repeat_takes_over_where_the_action_before_it_has_yet_to_see_its_effect() -> None:
    heat = HeatTwin()
    heat.resize_time, heat.wedged_after = 100, 200
    there = await bench(heat, alarms(alarm_url("up"), repeat=True))
    await load(there, 90)
    begun = there.now
    await load(there, 90)
    await there.until(begun + 100)
    assert heat.signals == ["up"]
    await there.until(begun + 110)

    assert (await reasons(there))[0] is Reason.SIGNALLED


# --- groups that may not be read -------------------------------------------------------------------------------------


async def test_a_signal_to_a_group_that_nobody_may_read_is_sent_once_and_unconfirmed() -> None:
    heat = HeatTwin()
    heat.readable = set()
    there = await bench(heat, alarms(alarm_url("up")))
    await load(there, 90)
    await there.until(there.now + 300)

    assert heat.signals == ["up"]
    (made,) = await decisions(there, UNREAD)
    assert (made.reason, made.before, made.to) == (Reason.UNCONFIRMED, None, None)


async def test_an_answer_that_is_lost_there_leaves_the_effect_unknown_and_is_not_repeated_for_it() -> None:
    heat = HeatTwin()
    heat.readable = set()
    heat.answer = TemporaryError("no answer within 10 s")
    there = await bench(heat, alarms(alarm_url("up")))
    await load(there, 90)
    await there.until(there.now + 300)

    assert heat.signals == ["up"]
    assert await reasons(there, UNREAD) == [Reason.EFFECT_UNKNOWN]
    assert await lanes(there) == {}


async def test_repeats_there_are_sent_once_per_interval() -> None:
    heat = HeatTwin()
    heat.readable = set()
    heat.answer = TemporaryError("no answer within 10 s")
    there = await bench(heat, alarms(alarm_url("up"), repeat=True))
    await load(there, 90)
    assert len(heat.signals) == 1
    await load(there, 90)
    await there.until(there.now + 30)

    assert len(heat.signals) == 2


async def test_an_alarms_own_trust_reads_the_group_and_another_projects_operator_does_not() -> None:
    heat = HeatTwin()
    heat.readable = {Rights("abc"), Rights()}
    document = alarms(signal_url("up", "abc@"), project="other")
    there = await bench(heat, document)
    await load(there, 90, "other")
    await there.until(there.now + 10)
    assert await reasons(there) == [Reason.SIGNALLED]

    stranger = HeatTwin()
    there = await bench(stranger, alarms(alarm_url("up"), project="other"))
    await load(there, 90, "other")
    await there.until(there.now + 10)
    assert await reasons(there) == []
    assert await reasons(there, f"{UNREAD}@other") == [Reason.UNCONFIRMED]


async def test_an_action_without_a_trust_is_sent_by_the_controllers_own_rights() -> None:
    heat = HeatTwin()
    there = await bench(heat, alarms(signal_url("up")))
    await load(there, 90)
    await there.until(there.now + 10)

    assert heat.tokens == ["operator"]
    assert await reasons(there) == [Reason.SIGNALLED]


# --- what is wrong with a group --------------------------------------------------------------------------------------


async def test_heat_away_is_waited_for_and_nothing_is_given_up() -> None:
    heat = HeatTwin()
    there = await bench(heat, alarms(alarm_url("up")))
    heat.away = TemporaryError("connection refused")
    await load(there, 90)
    begun = there.now
    await there.until(begun + 50)
    assert heat.signals == []
    heat.away = None
    await there.until(begun + 60)

    assert heat.sizes == [2]


@pytest.mark.parametrize(
    ("key", "status", "reason"),
    [
        ("stack_status", "UPDATE_IN_PROGRESS", Reason.IN_FLIGHT),
        ("status", "UPDATE_FAILED", Reason.GROUP_FAILED),
    ],
)
async def test_a_group_that_would_drop_a_signal_is_waited_for(key: str, status: str, reason: Reason) -> None:
    heat = HeatTwin()
    there = await bench(heat, alarms(alarm_url("up")))
    setattr(heat, key, status)
    await load(there, 90)
    await there.until(there.now + 5)
    assert heat.signals == []
    assert await reasons(there) == [reason]
    setattr(heat, key, "UPDATE_COMPLETE")
    await there.until(there.now + 40)

    assert heat.sizes == [2]


async def test_a_suspended_stack_takes_no_signal_and_the_action_is_over() -> None:
    heat = HeatTwin()
    heat.stack_status = "SUSPEND_COMPLETE"
    there = await bench(heat, alarms(alarm_url("up")))
    await load(there, 90)

    (made,) = await decisions(there)
    assert (made.reason, made.text) == (Reason.SUPERSEDED, "stack web is SUSPEND_COMPLETE")
    assert await lanes(there) == {}


@pytest.mark.parametrize("repairable", [False, True], ids=["reported", "repaired"])
async def test_a_group_whose_engine_died_over_a_resize(*, repairable: bool) -> None:
    heat = HeatTwin(repairable=repairable)
    there = await bench(heat, alarms(alarm_url("up"), alarm_url("up"), repeat=True))
    heat.engine_dies = True
    await load(there, 90)
    assert Reason.WEDGED not in await reasons(there)
    await load(there, 90)
    await there.until(there.now + 15)

    found = await reasons(there)
    assert Reason.WEDGED in found
    assert (Reason.REPAIRED in found) == repairable
    assert heat.marks == ([True, False] if repairable else [])
    if repairable:
        await load(there, 90)
        await there.until(there.now + 20)
        assert heat.sizes[:2] == [2, 3]


async def test_a_mark_that_was_left_by_whoever_died_is_taken_back() -> None:
    heat = HeatTwin(repairable=True)
    there = await bench(heat, alarms(alarm_url("up")))
    heat.engine_dies = True
    await load(there, 90)
    await load(there, 90)
    # it dies after the first of the two marks
    state = await there.store.group(GROUP)
    assert state.record.signal is not None or heat.marks
    heat.marks.clear()
    heat.status = "CHECK_FAILED"
    marked = replace(state.record, version=state.record.version + 1, repairing=True)
    await there.store.put_group(GroupPut(GROUP, state.record.version, None, marked))
    await there.until(there.now + 60)

    assert heat.marks[0] is False
    assert not (await there.store.group(GROUP)).record.repairing


async def test_an_update_of_the_stack_at_the_same_moment_is_not_taken_for_the_signals_effect() -> None:
    heat = HeatTwin()
    there = await bench(heat, alarms(alarm_url("up")))
    heat.updates = 4  # which has Heat drop the signal
    await load(there, 90)
    await there.until(there.now + 30)

    (made,) = await decisions(there)
    assert (made.reason, made.before, made.to) == (Reason.SUPERSEDED, 1, 4)
    assert "updated at the same moment" in made.text
    assert heat.signals == ["up"]


# --- people ----------------------------------------------------------------------------------------------------------


async def test_a_paused_group_of_heats_is_not_signalled_until_it_is_resumed() -> None:
    heat = HeatTwin()
    there = await bench(heat, alarms(alarm_url("up"), repeat=True))
    await load(there, 90)
    await there.until(there.now + 10)
    assert there.controller.signaller is not None
    (group,) = (await there.controller.signaller.watched(there.declared.alarms.values())).values()
    assert (group.name, group.project_id, group.min_size, group.max_size) == (GROUP, "shop", 1, 5)
    pause = Pause(there.now, None, "incident", Actor(kind="user", name="ada"))
    await there.controller.scaler.pause(group, pause)
    await load(there, 90)
    assert heat.sizes == [2]
    assert (await reasons(there))[-1] is Reason.PAUSED
    await there.controller.scaler.pause(group, None)
    await load(there, 90)
    await there.until(there.now + 20)

    assert heat.sizes[:2] == [2, 3]


# --- what heat tells -------------------------------------------------------------------------------------------------


async def test_heats_word_of_a_failed_resize_is_what_the_decision_says() -> None:
    heat = HeatTwin()
    there = await bench(heat, alarms(alarm_url("up")))
    await load(there, 90)
    there.now += 3
    word = Word("error", 0.0, 1, "change_in_capacity : 1", "No valid host was found")
    await there.controller.hear_of_groups([Told("nested", word), Told("somebody-elses", word)])
    await there.until(there.now + 5)

    (made,) = await decisions(there)
    assert (made.reason, made.decision) == (Reason.RESIZE_FAILED, "hold")
    assert "No valid host was found" in made.text
