"""Alarms that another system has given their state."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from autoscaler.alarms.alarm import Alarm, AlarmRecord, AlarmState
from autoscaler.alarms.evaluation import Consideration, Repetition, Sources, Transition, evaluate
from autoscaler.alarms.events import hit
from autoscaler.alarms.imported import IMPORTED
from autoscaler.alarms.observation import PoolMembers, Sample, Samples, Unknown
from autoscaler.alarms.observed import observe
from autoscaler.alarms.rules import (
    EvaluateWhen,
    EventRule,
    PoolHealthRule,
    PrometheusRule,
    TreatMissingData,
    WindowKind,
)
from autoscaler.measures.event import Event
from tests.building import Watch, a_rule, a_view, an_alarm
from tests.unit.alarms.test_composite import EITHER, MEASURE, Tree, composite

OK, ALARM, INSUFFICIENT = AlarmState.OK, AlarmState.ALARM, AlarmState.INSUFFICIENT_DATA
ACTIONS = {
    "alarm_actions": ("http://x", "policy://out"),
    "ok_actions": ("http://y", "policy://in"),
    "insufficient_data_actions": ("http://z",),
    "repeat_actions": True,
}


def imported(alarm: Alarm, state: AlarmState = ALARM, **fields: Any) -> AlarmRecord:
    return AlarmRecord(
        version=7,
        definition=alarm.definition,
        state=state,
        state_timestamp=3.0,
        reason="as Aodh said",
        note=IMPORTED,
        imported=True,
        **fields,
    )


def watch(state: AlarmState = ALARM, sources: Sources | None = None, **rule: Any) -> Watch:
    watching = Watch(an_alarm(a_rule(**rule), **ACTIONS), sources)
    watching.record = imported(watching.alarm, state)
    return watching


def test_a_window_that_is_not_full_changes_nothing_but_the_note() -> None:
    watching = watch()
    watching.report(10.0, at=95.0)

    assert watching.look(105.0, late=95.0) == ()
    kept = watching.record
    assert (kept.state, kept.state_timestamp, kept.reason, kept.repeat_at, kept.considered) == (
        *(ALARM, 3.0, "as Aodh said"),
        *(None, None),
    )
    assert kept.state_reason.startswith(f"as Aodh said ({IMPORTED}; resources matched: 1, points in the window: 1")


def test_silence_changes_nothing_however_long_it_lasts() -> None:
    watching = watch()
    watching.look(100.0)
    looks = watching.sleep(until=86_400.0)

    assert watching.happened == []
    assert looks < 300
    assert watching.record.imported


def test_a_source_that_is_behind_has_nothing_looked_at_again_and_again() -> None:
    watching = watch(OK, Sources(caught_up=False))
    watching.look(100.0)

    assert not watching.outcome.held
    assert watching.outcome.next_due is not None
    assert watching.outcome.next_due >= 110.0


def test_the_first_full_window_is_judged_as_any_other() -> None:
    watching = watch()
    watching.report(10.0, at=85.0)
    watching.report(10.0, at=95.0)
    watching.look(105.0, late=85.0)

    (moved,) = watching.happened
    assert isinstance(moved, Transition)
    assert (moved.previous, moved.current, moved.note) == (ALARM, OK, "")
    assert not watching.record.imported
    assert watching.record.state_reason == "Transition to ok due to 2 samples inside threshold, most recent: 10.0"


def test_a_first_full_window_of_the_same_state_repeats_nothing_at_once() -> None:
    watching = watch()
    watching.report(90.0, at=85.0)
    watching.report(90.0, at=95.0)
    watching.look(105.0)

    assert [type(each) for each in watching.happened] == [Consideration]
    assert watching.record.state_reason == "as Aodh said"
    assert watching.record.repeat_at == 165.0
    watching.report(90.0, at=155.0)
    watching.report(90.0, at=165.0)
    watching.look(166.0)
    assert Repetition in {type(each) for each in watching.happened}


def test_mixed_values_fill_a_window_and_keep_the_state() -> None:
    watching = watch()
    watching.report(10.0, at=85.0)
    watching.report(90.0, at=95.0)
    watching.look(105.0)

    assert not watching.record.imported
    assert watching.record.state is ALARM


@pytest.mark.parametrize("treatment", list(TreatMissingData))
def test_a_treatment_of_missing_data_fills_no_window(treatment: TreatMissingData) -> None:
    watching = watch(treat_missing_data=treatment)
    watching.report(90.0, at=95.0)
    watching.look(105.0)

    assert watching.record.imported
    assert watching.happened == []


def test_every_boundary_counts_in_order_until_a_window_is_full() -> None:
    watching = watch(evaluate=EvaluateWhen.BOUNDARY, window=WindowKind.ALIGNED)
    for time in (75.0, 85.0, 95.0):
        watching.report(10.0, at=time)
    watching.look(101.0)

    # the boundary at 80 saw one value, the one at 90 two
    (moved,) = [each for each in watching.happened if isinstance(each, Transition)]
    assert moved.time == 90.0


def test_a_rule_that_is_changed_still_waits_for_a_full_window() -> None:
    watching = watch()
    watching.alarm = an_alarm(a_rule(threshold=5.0), **ACTIONS)
    watching.look(105.0)

    assert watching.record.definition == watching.alarm.definition
    assert watching.record.imported
    assert IMPORTED in watching.record.note


def test_a_disabled_alarm_is_left_as_it_came() -> None:
    alarm = an_alarm(enabled=False)
    record = imported(alarm)

    assert evaluate(alarm, record, a_view({}, now=100.0), Sources()).record == record


# --- other kinds -----------------------------------------------------------------------------------------------------


def test_a_composite_alarm_waits_until_its_parts_decide() -> None:
    alarm = composite(EITHER, MEASURE, MEASURE, **ACTIONS)
    tree = Tree(alarm, record=imported(alarm, OK))
    tree.look(100.0, 0, 1)
    tree.report(0, 10.0, at=105.0)
    tree.look(105.0, 0)

    assert tree.happened == []
    assert tree.record.imported
    assert "rule2: no measure of" in tree.record.note
    tree.report(0, 990.0, at=106.0)
    tree.look(106.0, 0)
    assert [type(each) for each in tree.happened] == [Transition]
    assert not tree.record.imported


PROMETHEUS = PrometheusRule(query="up", threshold=0.5)
POOL = PoolHealthRule(pool_id="p", stack_id="s", autoscaling_group_id="g")


def test_the_first_answer_of_prometheus_is_a_full_window() -> None:
    alarm = Alarm(alarm_id="a", name="asked", type="prometheus", rule=PROMETHEUS, **ACTIONS)
    silent = observe(alarm, imported(alarm), {0: Unknown("nobody answers")}, 100.0, Sources())

    assert silent.happenings == ()
    assert silent.record.note == f"{IMPORTED}; nobody answers"
    assert silent.next_due is None
    answered = observe(alarm, silent.record, {0: Samples((Sample({}, 0.0),))}, 115.0, Sources())
    assert [type(each) for each in answered.happenings] == [Transition]
    assert not answered.record.imported


def test_an_answer_without_series_is_an_answer() -> None:
    alarm = Alarm(alarm_id="a", name="asked", type="prometheus", rule=PROMETHEUS)
    answered = observe(alarm, imported(alarm), {0: Samples(())}, 100.0, Sources())

    assert answered.record.state is INSUFFICIENT


def test_the_first_answer_of_a_load_balancer_is_a_full_window() -> None:
    alarm = Alarm(alarm_id="a", name="pool", type="loadbalancer_member_health", rule=POOL, **ACTIONS)
    silent = observe(alarm, imported(alarm), {0: Unknown("")}, 100.0, Sources())
    answered = observe(alarm, silent.record, {0: PoolMembers(())}, 115.0, Sources())

    assert silent.happenings == ()
    assert silent.record.imported
    assert answered.record.state is OK


def test_an_event_hits_at_once() -> None:
    alarm = Alarm(alarm_id="a", name="event", type="event", rule=EventRule())
    event = Event(message_id="m", event_type="compute", project_id="", traits={}, document={})
    outcome = hit(alarm, imported(alarm, OK), event, 100.0)

    assert outcome is not None
    assert (outcome.record.state, outcome.record.imported, outcome.record.note) == (ALARM, False, "")


def test_records_that_were_stored_before_are_not_imported() -> None:
    assert not msgspec.json.decode(b'{"version": 3}', type=AlarmRecord).imported
