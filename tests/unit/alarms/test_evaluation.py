from __future__ import annotations

from dataclasses import replace as replaced

import pytest
from msgspec.structs import replace

from autoscaler.alarms.alarm import AlarmRecord, AlarmState
from autoscaler.alarms.evaluation import (
    RECHECK,
    Consideration,
    LateNote,
    Outcome,
    Repetition,
    Sources,
    Transition,
    evaluate,
)
from autoscaler.alarms.rules import EvaluateWhen, Rule, TreatMissingData, WindowKind
from autoscaler.alarms.time_constraints import TimeConstraint
from tests.building import Watch, a_rule, a_view, an_alarm

OK, ALARM, INSUFFICIENT = AlarmState.OK, AlarmState.ALARM, AlarmState.INSUFFICIENT_DATA
BEHIND = Sources(caught_up=False, max_hold=600.0)


def read_until(time: float) -> Sources:
    """A source is behind, and has been read until then."""
    return Sources(caught_up=False, max_hold=600.0, read_until=time)


BOUNDARY = a_rule(evaluate=EvaluateWhen.BOUNDARY)
MEASURE = a_rule(evaluate=EvaluateWhen.MEASURE)
SLIDING = a_rule(window=WindowKind.SLIDING)


def states(watch: Watch) -> list[tuple[float, AlarmState]]:
    return [(each.time, each.current) for each in watch.happened if isinstance(each, Transition)]


def considered(watch: Watch) -> list[float]:
    return [each.time for each in watch.happened if isinstance(each, Consideration)]


def repeated(watch: Watch) -> list[tuple[float, int]]:
    return [(each.time, each.number) for each in watch.happened if isinstance(each, Repetition)]


def notes(watch: Watch) -> list[LateNote]:
    return [each for each in watch.happened if isinstance(each, LateNote)]


def busy(watch: Watch, start: float, end: float, *, value: float = 90.0) -> None:
    """One measure every ten seconds, each seen at once; between them the alarm sleeps."""
    for at in range(int(start), int(end) + 1, 10):
        watch.sleep(until=at)
        watch.report(value, at=at)
        watch.look(at)


# --- the present point -----------------------------------------------------------------------------------------------


def test_one_measure_a_granule_is_acted_on_at_once() -> None:
    watch = Watch(an_alarm())
    busy(watch, 102, 122, value=10.0)
    busy(watch, 132, 142)

    assert states(watch) == [(112, OK), (142, ALARM)]


def test_what_a_store_has_lost_of_a_record_gives_its_versions_to_nothing_else() -> None:
    # ids of actions are made of them, and some of what was lost was told
    watch = Watch(an_alarm())
    busy(watch, 102, 122, value=10.0)
    kept = watch.record
    busy(watch, 132, 142)
    told = watch.record
    watch.record = kept

    watch.look(143)

    assert (told.state, watch.record.state) == (ALARM, ALARM)
    assert watch.record.version > told.version


def test_ten_measures_a_granule_do_not_fire_on_the_first() -> None:
    watch = Watch(an_alarm(a_rule(evaluation_periods=1)))
    for second in range(100, 111):
        watch.sleep(until=second)
        watch.report(10.0 if second < 110 else 90.0, at=second)
        watch.look(second)

    assert watch.record.state is OK
    assert watch.outcome.next_due == 120.0


def test_a_granule_that_changed_after_it_settled_is_looked_at_again_when_it_is_over() -> None:
    watch = Watch(an_alarm(a_rule(evaluation_periods=1)))
    busy(watch, 102, 112)
    assert watch.record.state is ALARM
    watch.report(-200.0, at=115.0)
    watch.sleep(until=120)

    assert states(watch)[-1] == (120.0, OK)


def test_a_sliding_window_fires_with_the_measure_that_completes_it() -> None:
    watch = Watch(an_alarm(SLIDING))
    for tenth in range(30):
        watch.report(10.0 if tenth < 10 else 90.0, at=100 + tenth * 5)
        watch.look(100 + tenth * 5)

    # at 160 the older granule still holds the last of the low ones
    assert states(watch) == [(110, OK), (165, ALARM)]


def test_a_sliding_window_of_slow_reporters_is_taken_as_aligned_and_says_so() -> None:
    watch = Watch(an_alarm(SLIDING))
    busy(watch, 102, 112)

    assert watch.outcome.as_aligned
    assert not Watch(an_alarm()).outcome.as_aligned


def test_a_measure_from_a_fast_clock_counts_when_its_time_has_come() -> None:
    watch = Watch(an_alarm(a_rule(window=WindowKind.SLIDING, evaluation_periods=1)))
    for at in (102.0, 106.0, 110.0, 114.0, 117.0):
        watch.report(10.0, at=at)
    watch.report(200.0, at=121.0)
    watch.look(118.0)

    assert watch.record.state is OK
    assert watch.outcome.next_due == 121.0
    watch.look(121.0)
    assert watch.record.state is ALARM


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(BOUNDARY, id="boundary"),
        pytest.param(MEASURE, id="measure"),
        pytest.param(a_rule(), id="settled"),
        pytest.param(SLIDING, id="sliding"),
        pytest.param(a_rule(lateness=4.0), id="with-lateness"),
    ],
)
def test_an_alarm_that_is_only_woken_when_due_learns_of_silence(rule: Rule) -> None:
    watch = Watch(an_alarm(rule))
    for at in range(100, 131, 5):
        watch.report(90.0, at=at)
        watch.look(at)
    watch.sleep(until=140)
    assert watch.record.state is ALARM
    looks = watch.sleep(until=10_000)

    # the newest measure lies in 130-140; two whole granules must be missing
    assert states(watch)[-1] == (160.0 + rule.lateness, INSUFFICIENT)
    assert watch.happened[-1] == states_reason(watch, "2 datapoints are unknown")
    assert looks <= 5
    assert watch.outcome.next_due is None


def states_reason(watch: Watch, reason: str) -> Transition:
    last = watch.happened[-1]
    assert isinstance(last, Transition)
    assert last.reason == reason
    return last


def test_a_disabled_alarm_is_left_as_it_is() -> None:
    record = AlarmRecord(version=3)

    assert evaluate(an_alarm(enabled=False), record, a_view({}, now=1.0), Sources()) == Outcome(record)


def test_nothing_new_leaves_the_record_as_it_was() -> None:
    watch = Watch(an_alarm())
    busy(watch, 102, 122)
    record = watch.record
    watch.look(123.0)

    assert watch.record is record


# --- boundaries ------------------------------------------------------------------------------------------------------


def test_every_boundary_is_judged_in_order_at_its_own_time() -> None:
    watch = Watch(an_alarm(BOUNDARY))
    for at, value in ((5, 90.0), (15, 90.0), (25, 10.0), (35, 10.0)):
        watch.report(value, at=at)
    watch.look(47.0)

    assert states(watch) == [(20.0, ALARM), (40.0, OK)]
    assert watch.record.point == 40.0
    assert watch.outcome.next_due == 50.0


def test_a_gap_between_measures_is_judged_at_each_boundary() -> None:
    watch = Watch(an_alarm(BOUNDARY))
    for at in (5, 15, 75, 85):
        watch.report(90.0, at=at)
    watch.look(90.0)

    assert states(watch) == [(20.0, ALARM), (40.0, INSUFFICIENT), (90.0, ALARM)]


def test_a_gap_of_months_is_not_judged_granule_by_granule() -> None:
    watch = Watch(an_alarm(BOUNDARY))
    for at in (5, 15, 100_000_005, 100_000_015):
        watch.report(90.0, at=at)
    watch.look(100_000_020.0)

    assert states(watch) == [(20.0, ALARM), (40.0, INSUFFICIENT), (100_000_020.0, ALARM)]


def test_of_a_long_silence_only_its_begin_and_its_end_are_judged() -> None:
    watch = Watch(an_alarm(BOUNDARY))
    watch.report(90.0, at=5)
    watch.report(90.0, at=15)
    watch.look(1_000_000.0)

    assert states(watch) == [(20.0, ALARM), (40.0, INSUFFICIENT)]
    assert watch.record.point == 1_000_000.0
    watch.points.clear()
    assert watch.look(1_000_010.0) == ()
    assert watch.record.point == 1_000_010.0
    assert watch.look(1_000_011.0) == ()


def test_a_boundary_outside_the_constraints_is_passed_over() -> None:
    # open from a minute before each full hour until ten seconds after it
    constraint = TimeConstraint(name="hour", start="0 * * * *", duration=10)
    watch = Watch(an_alarm(BOUNDARY, time_constraints=(constraint,)))
    for at in range(3595, 3700, 10):
        watch.report(90.0, at=at)
    watch.look(3620.0)
    watch.points = {"r": dict.fromkeys(range(3605, 3700, 10), 10.0)}
    watch.look(3700.0)

    assert states(watch) == [(3610.0, ALARM)]
    assert watch.record.point == 3700.0


def test_what_waits_for_a_time_between_boundaries_does_not_wait_for_the_next() -> None:
    alarm = an_alarm(
        a_rule(evaluate=EvaluateWhen.BOUNDARY, granularity=300.0),
        alarm_actions=("policy://out",),
        repeat_actions=True,
        repeat_interval=100.0,
    )
    watch = Watch(alarm)
    watch.report(90.0, at=10)
    watch.report(90.0, at=310)
    watch.look(600.0)
    assert watch.outcome.next_due == 700.0
    watch.record = change(watch.record, consider_at=650.0)
    watch.look(651.0)
    watch.look(700.0)

    assert considered(watch) == [651.0]
    assert repeated(watch) == [(700.0, 1)]
    assert watch.outcome.next_due == 800.0
    watch.sources = BEHIND
    watch.points.clear()
    assert watch.look(800.0) == ()
    assert watch.outcome.held


def change(record: AlarmRecord, **fields: object) -> AlarmRecord:
    return replace(record, version=record.version + 1, **fields)


# --- constraints -----------------------------------------------------------------------------------------------------


def test_outside_its_constraints_an_alarm_sleeps_until_they_may_open() -> None:
    constraint = TimeConstraint(name="hour", start="0 * * * *", duration=10)
    watch = Watch(an_alarm(MEASURE, time_constraints=(constraint,), repeat_actions=True, repeat_interval=5.0))
    watch.report(90.0, at=1000.0)
    watch.report(90.0, at=1010.0)
    watch.look(1011.0)

    assert watch.record.state is INSUFFICIENT
    due = watch.outcome.next_due
    assert due is not None
    assert 1011.0 < due <= 3540.1
    assert watch.happened == []


# --- waiting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "first", "fired"),
    [
        pytest.param(a_rule(evaluate=EvaluateWhen.MEASURE, hold_for=25.0), 112.0, 137.0, id="at-the-very-second"),
        pytest.param(a_rule(evaluate=EvaluateWhen.BOUNDARY, hold_for=25.0), 120.0, 150.0, id="at-the-next-boundary"),
    ],
)
def test_for_delays_the_alarm(rule: Rule, first: float, fired: float) -> None:
    watch = Watch(an_alarm(rule))
    busy(watch, 82, 92, value=10.0)
    busy(watch, 102, 172)

    assert watch.record.breaching_since is None
    assert first + rule.hold_for <= fired
    assert states(watch)[-1] == (fired, ALARM)


def test_for_begins_anew_when_the_verdict_was_gone() -> None:
    watch = Watch(an_alarm(a_rule(evaluation_periods=1, evaluate=EvaluateWhen.MEASURE, hold_for=25.0)))
    busy(watch, 92, 92, value=10.0)
    busy(watch, 102, 112)
    busy(watch, 122, 122, value=10.0)
    busy(watch, 132, 152)
    assert watch.record.breaching_since == 132.0
    busy(watch, 162, 162)

    assert states(watch)[-1] == (157.0, ALARM)


def test_keep_firing_for_outlasts_the_verdict_even_where_data_stops() -> None:
    watch = Watch(an_alarm(a_rule(keep_firing_for=1000.0)))
    busy(watch, 102, 112)
    watch.sleep(until=10_000)

    # silent since 112: too few from 140 on
    assert states(watch) == [(112, ALARM), (1140.0, INSUFFICIENT)]
    assert watch.outcome.next_due is None


def test_keep_firing_for_outlasts_silence_at_boundaries_too() -> None:
    watch = Watch(an_alarm(a_rule(evaluate=EvaluateWhen.BOUNDARY, keep_firing_for=1005.0, lateness=2.0)))
    busy(watch, 102, 112)
    looks = watch.sleep(until=10_000)

    assert states(watch) == [(120.0, ALARM), (1150.0, INSUFFICIENT)]
    assert looks < 10
    assert watch.outcome.next_due is None


def test_a_recovery_threshold_keeps_the_alarm_between_the_two() -> None:
    watch = Watch(an_alarm(a_rule(recovery_threshold=30.0)))
    busy(watch, 102, 112)
    busy(watch, 122, 142, value=40.0)
    assert watch.record.state is ALARM
    busy(watch, 152, 162, value=20.0)
    busy(watch, 172, 192, value=40.0)

    assert states(watch) == [(112, ALARM), (162, OK)]


# --- missing data and sources that are behind ------------------------------------------------------------------------


def test_silence_is_not_believed_while_a_source_is_behind() -> None:
    watch = Watch(an_alarm(), BEHIND)
    busy(watch, 102, 112)
    watch.look(140.0)

    assert watch.record.state is ALARM
    assert watch.outcome.held
    assert watch.outcome.next_due == 140.0 + RECHECK
    watch.sources = Sources()
    watch.look(141.0)
    assert states(watch)[-1] == (141.0, INSUFFICIENT)
    assert watch.record.held_since is None


def test_after_a_long_time_silence_is_believed_and_the_reason_says_so() -> None:
    watch = Watch(an_alarm(), BEHIND)
    busy(watch, 102, 112)
    looks = watch.sleep(until=2000)

    assert states(watch)[-1] == (740.0, INSUFFICIENT)
    assert watch.record.reason == "No datapoint for granularity 10"
    assert watch.record.note.startswith("sources have been behind for more than 600 s; resources matched: 1, ")
    assert looks == pytest.approx(600, abs=10)


def test_what_was_measured_counts_while_a_source_is_behind() -> None:
    watch = Watch(an_alarm(), BEHIND)
    busy(watch, 102, 112)

    assert states(watch) == [(112, ALARM)]


def test_no_boundary_is_passed_while_it_is_not_believed() -> None:
    watch = Watch(an_alarm(BOUNDARY))
    for at in (5, 15, 25):
        watch.report(90.0, at=at)
    watch.look(30.0)
    watch.sources = BEHIND
    watch.look(65.0)
    assert watch.record.point == 40.0
    for at in (35, 45, 55):
        watch.report(10.0, at=at)
    watch.look(66.0)

    assert states(watch) == [(20.0, ALARM), (50.0, OK)]


def test_a_granule_that_is_read_in_part_is_not_judged() -> None:
    watch = Watch(an_alarm(a_rule(evaluate=EvaluateWhen.BOUNDARY, evaluation_periods=1)), read_until(20.0))
    for at in (5, 15, 25):
        watch.report(90.0, at=at)
    watch.look(3600.0)
    assert (watch.record.point, watch.outcome.held, watch.outcome.next_due) == (20.0, True, 3600.0 + RECHECK)
    watch.report(-200.0, at=26)
    watch.sources = read_until(29.0)
    watch.look(3601.0)
    assert watch.record.point == 20.0
    watch.sources = Sources()
    watch.look(3602.0)

    assert states(watch) == [(10.0, ALARM), (30.0, OK), (50.0, INSUFFICIENT)]
    assert not watch.outcome.held


def test_lateness_is_waited_for_in_what_was_read() -> None:
    watch = Watch(an_alarm(a_rule(evaluate=EvaluateWhen.BOUNDARY, evaluation_periods=1, lateness=5.0)))
    watch.report(90.0, at=5)
    watch.sources = read_until(14.0)
    watch.look(3600.0)
    assert watch.record.point is None
    watch.sources = read_until(15.0)
    watch.look(3601.0)

    assert watch.record.point == 10.0


def test_what_is_missing_of_what_was_read_is_believed_at_once() -> None:
    watch = Watch(an_alarm(a_rule(evaluate=EvaluateWhen.BOUNDARY, evaluation_periods=1)), read_until(50.0))
    watch.report(90.0, at=5)
    watch.report(90.0, at=45)
    watch.look(3600.0)

    assert states(watch) == [(10.0, ALARM), (30.0, INSUFFICIENT), (50.0, ALARM)]
    assert watch.record.held_since is None


def test_an_alarm_that_was_never_looked_at_begins_with_what_is_read_first() -> None:
    watch = Watch(an_alarm(a_rule(evaluate=EvaluateWhen.BOUNDARY, evaluation_periods=1)), read_until(0.0))
    watch.look(3600.0)
    assert (watch.record.point, watch.outcome.held) == (None, True)
    watch.report(90.0, at=105)
    watch.look(3601.0)
    assert watch.record.point is None
    watch.sources = read_until(110.0)
    watch.look(3602.0)

    assert states(watch) == [(110.0, ALARM)]


def test_of_a_source_that_is_not_waited_for_the_reason_says_so() -> None:
    dead = replaced(read_until(3600.0), given_up=True)
    watch = Watch(an_alarm(a_rule(evaluate=EvaluateWhen.BOUNDARY, evaluation_periods=1)), dead)
    watch.report(90.0, at=3575)
    watch.look(3600.0)

    assert states(watch) == [(3580.0, ALARM), (3600.0, INSUFFICIENT)]
    assert "sources have been behind for more than 600 s" in watch.record.note


@pytest.mark.parametrize(
    ("treatment", "expected"),
    [
        pytest.param(TreatMissingData.MISSING, INSUFFICIENT, id="missing"),
        pytest.param(TreatMissingData.IGNORE, OK, id="ignore"),
        pytest.param(TreatMissingData.BREACHING, ALARM, id="breaching"),
        pytest.param(TreatMissingData.OK, OK, id="ok"),
    ],
)
def test_silence_stands_for_what_it_is_treated_as(treatment: TreatMissingData, expected: AlarmState) -> None:
    watch = Watch(an_alarm(a_rule(treat_missing_data=treatment)))
    busy(watch, 102, 112, value=10.0)
    watch.sleep(until=1000)

    assert watch.record.state is expected


# --- repeating and reconsidering -------------------------------------------------------------------------------------


def test_actions_are_repeated_by_the_clock_with_aodhs_text() -> None:
    watch = Watch(an_alarm(repeat_actions=True))
    busy(watch, 102, 112)
    watch.sleep(until=232)

    # in insufficient data since 140, with nothing left in the window
    assert repeated(watch) == [(200.0, 1)]
    watch.sleep(until=400)
    assert repeated(watch) == [(200.0, 1), (260.0, 2), (320.0, 3), (380.0, 4)]
    last = watch.happened[-1]
    assert isinstance(last, Repetition)
    assert last.reason == "Remaining as insufficient data due to 0 samples outside threshold, most recent: None"


def test_repetitions_that_were_slept_through_are_not_made_up_for() -> None:
    watch = Watch(an_alarm(repeat_actions=True))
    busy(watch, 102, 112)
    busy(watch, 1000, 1000)
    watch.record = change(watch.record, repeat_at=400.0)
    watch.look(1001.0)
    watch.look(1001.5)

    assert repeated(watch)[-1][0] == 1001.0
    assert watch.record.repeat_at == 1061.0


def test_repeating_is_turned_on_and_off_without_a_word_about_the_rule() -> None:
    watch = Watch(an_alarm())
    busy(watch, 102, 112)
    watch.alarm = an_alarm(repeat_actions=True)
    watch.look(113.0)
    assert watch.record.repeat_at == 173.0
    watch.alarm = an_alarm()
    watch.look(114.0)

    assert watch.record.repeat_at is None
    assert watch.record.state is ALARM


def test_a_policy_is_reconsidered_once_for_each_newly_settled_granule() -> None:
    watch = Watch(an_alarm(alarm_actions=("policy://out",)))
    busy(watch, 102, 142)
    watch.look(143.0)
    watch.look(144.0)

    assert states(watch) == [(112, ALARM)]
    assert considered(watch) == [122, 132, 142]


def test_a_sliding_alarm_is_reconsidered_once_a_granule_however_often_it_reports() -> None:
    watch = Watch(an_alarm(a_rule(window=WindowKind.SLIDING), alarm_actions=("policy://out",)))
    for at in range(100, 151):
        watch.report(90.0, at=at)
        watch.look(at)

    fired = states(watch)[0][0]
    assert considered(watch) == [fired + 10, fired + 20, fired + 30, fired + 40]


def test_a_guards_end_brings_a_policy_up_again() -> None:
    watch = Watch(an_alarm(alarm_actions=("policy://out",)))
    busy(watch, 102, 112)
    watch.record = change(watch.record, consider_at=115.0)
    watch.look(114.0)
    assert watch.outcome.next_due == 115.0
    watch.look(115.0)

    assert considered(watch) == [115.0]
    assert watch.record.consider_at is None
    assert watch.outcome.next_due == 120.0


def test_a_state_without_policies_has_nothing_to_reconsider() -> None:
    watch = Watch(an_alarm(alarm_actions=("http://x",)))
    busy(watch, 102, 112)
    watch.record = change(watch.record, consider_at=115.0)
    watch.look(116.0)
    busy(watch, 122, 132)

    assert considered(watch) == []
    assert watch.outcome.next_due == 140.0


def test_a_changed_rule_keeps_the_state_and_nothing_else() -> None:
    watch = Watch(an_alarm(repeat_actions=True))
    busy(watch, 102, 112)
    assert watch.record.evidence is not None
    watch.alarm = an_alarm(a_rule(metric="other"), repeat_actions=True)
    watch.points.clear()
    watch.sources = BEHIND
    watch.look(113.0)

    record = watch.record
    assert (record.state, record.definition) == (ALARM, watch.alarm.definition)
    assert (record.point, record.considered, record.consider_at, record.evidence) == (None, None, None, None)
    assert record.repeat_at == 173.0


# --- late measures ---------------------------------------------------------------------------------------------------


def test_a_late_measure_inside_the_window_changes_the_present_point() -> None:
    watch = Watch(an_alarm(MEASURE))
    busy(watch, 102, 112)
    watch.report(-300.0, at=103.0)
    watch.report(-300.0, at=113.0)
    watch.look(114.0, late=103.0)

    assert states(watch)[-1] == (114.0, OK)
    assert notes(watch) == []


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        pytest.param(
            MEASURE, "Transition to alarm due to 2 samples outside threshold, most recent: 300.0", id="aligned"
        ),
        pytest.param(
            BOUNDARY, "Transition to alarm due to 2 samples outside threshold, most recent: 300.0", id="boundary"
        ),
    ],
)
def test_an_older_one_is_noted_with_what_the_verdict_would_have_been(rule: Rule, reason: str) -> None:
    watch = Watch(an_alarm(rule))
    busy(watch, 92, 92)
    busy(watch, 112, 142, value=10.0)
    watch.look(150.0)
    before = watch.record
    watch.report(300.0, at=105.0)
    happened = watch.look(151.0, late=105.0)

    assert happened == (LateNote(151.0, 105.0, ALARM, reason),)
    assert watch.record == before


def test_a_sliding_alarm_notes_it_too() -> None:
    watch = Watch(an_alarm(a_rule(window=WindowKind.SLIDING, evaluation_periods=1)))
    for at in range(100, 141, 2):
        watch.report(10.0, at=at)
        watch.look(at)
    watch.report(3000.0, at=120.0)
    (note,) = watch.look(141.0, late=120.0)

    assert isinstance(note, LateNote)
    assert (note.measured, note.state) == (120.0, ALARM)


def test_where_the_measures_before_it_are_gone_the_note_says_so() -> None:
    watch = Watch(an_alarm(MEASURE))
    busy(watch, 102, 192, value=10.0)
    watch.report(300.0, at=115.0)
    happened = watch.look(193.0, late=115.0)

    assert happened == (LateNote(193.0, 115.0, None, "the measures before it are no longer kept"),)


def test_measures_that_come_at_once_and_are_judged_in_order_are_not_late() -> None:
    watch = Watch(an_alarm(BOUNDARY))
    watch.report(10.0, at=5.0)
    watch.look(10.0)
    for at in range(15, 200, 10):
        watch.report(10.0, at=at)
    watch.look(200.0, late=15.0)

    assert notes(watch) == []


@pytest.mark.parametrize(
    ("alarm", "sources"),
    [
        pytest.param(an_alarm(MEASURE), BEHIND, id="a-source-that-is-behind-is-late-with-everything"),
        pytest.param(
            an_alarm(MEASURE, time_constraints=(TimeConstraint(name="m", start="*/5 * * * *", duration=60),)),
            Sources(),
            id="it-would-not-have-been-evaluated-then",
        ),
    ],
)
def test_not_every_late_measure_is_noted(alarm: object, sources: Sources) -> None:
    watch = Watch(an_alarm(MEASURE), sources)
    watch.alarm = alarm  # type: ignore[assignment]
    busy(watch, 202, 252, value=10.0)
    watch.report(300.0, at=215.0)
    watch.look(253.0, late=215.0)

    assert notes(watch) == []


def test_the_first_look_at_a_window_finds_nothing_late() -> None:
    watch = Watch(an_alarm(MEASURE))
    watch.report(300.0, at=105.0)
    watch.report(300.0, at=195.0)
    watch.look(196.0, late=105.0)

    assert notes(watch) == []


def test_a_rule_without_any_measure_left_notes_what_came_too_late() -> None:
    watch = Watch(an_alarm(MEASURE))
    watch.look(1000.0)
    view = a_view({}, now=1001.0, late=500.0)
    outcome = evaluate(watch.alarm, watch.record, view, Sources())

    assert [type(each) for each in outcome.happenings] == [LateNote]


def test_a_definition_that_changes_without_its_rule_is_adopted_with_its_revision() -> None:
    watch = Watch(an_alarm(revision=7))
    busy(watch, 102, 112)
    assert watch.record.revision == 7
    before = watch.record
    watch.alarm = an_alarm(revision=8, name="renamed")
    watch.look(113.0)

    assert watch.record.revision == 8
    assert (watch.record.state, watch.record.evidence) == (before.state, before.evidence)
