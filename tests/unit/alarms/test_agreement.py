"""What two services make of the same alarm, compared."""

from __future__ import annotations

from typing import Any

import pytest

from autoscaler.alarms.agreement import (
    MOST_OPEN,
    NEWEST,
    REMEMBERED,
    Comparison,
    Difference,
    Side,
    Step,
    Sums,
    Terms,
    Uncompared,
    absent,
    accounted,
    added,
    changed,
    ended,
    most_recent,
    of_unknown,
    restated,
    rounded,
    settled,
    taken,
    terms_of,
)
from autoscaler.alarms.alarm import Alarm, AlarmState
from autoscaler.alarms.rules import CompositeRule, EventRule, Junction
from autoscaler.alarms.time_constraints import TimeConstraint
from tests.building import a_rule, an_alarm

OK, ALARM, SILENT = AlarmState.OK, AlarmState.ALARM, AlarmState.INSUFFICIENT_DATA
TERMS = Terms(tolerance=130.0, poll=60.0, window=30.0)
BEGAN = 1000.0
LATER = 1e11
NOON = 1_800_014_400.0
"""Of a day, UTC."""


class Both:
    """One alarm on both sides, from ok on."""

    def __init__(self, terms: Terms = TERMS, state: AlarmState = OK, began: float = BEGAN) -> None:
        self.terms = terms
        self.found = Comparison(since=began - 500, asof=began, ours=state, aodh=state)

    def __call__(self, side: Side, state: AlarmState, time: float, **said: Any) -> None:
        step = Step(side=side, previous=self.found.state(side), state=state, time=time, **said)
        self.found = taken(self.found, "a", step, self.terms)

    def ours(self, state: AlarmState, time: float, **said: Any) -> None:
        self(Side.OURS, state, time, **said)

    def aodh(self, state: AlarmState, time: float, **said: Any) -> None:
        self(Side.AODH, state, time, **said)

    def settle(self, until: float = LATER) -> Sums:
        self.found = settled(self.found, "a", self.terms, until)
        return self.found.sums

    @property
    def differences(self) -> dict[Difference, int]:
        return self.settle().differences


# --- agreeing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "aodh", "delay"),
    [
        pytest.param(2000, 2030.04, 300, id="ours-is-earlier"),
        pytest.param(2030, 2000, -300, id="ours-is-later"),
        pytest.param(2000, 2130, 1300, id="at-the-end-of-the-tolerance"),
    ],
)
def test_the_same_transition_is_one_decision(ours: float, aodh: float, delay: int) -> None:
    both = Both()
    for side, time in sorted(((Side.OURS, ours), (Side.AODH, aodh)), key=lambda each: each[1]):
        both(side, ALARM, time)

    assert both.found.open == ()
    assert both.settle() == Sums(
        agreed=1, delays={delay: 1}, seconds=both.found.sums.seconds, equal=both.found.sums.equal
    )


def test_what_is_further_apart_than_the_tolerance_is_two_differences() -> None:
    both = Both()
    both.ours(ALARM, 2000)
    both.settle(2140)
    both.aodh(ALARM, 2131)

    sums = both.settle()

    assert sums.agreed == 0
    assert sums.differences == {Difference.ONLY_OURS: 1, Difference.THERE_ALREADY: 1}
    assert sums.newest[0].text == "we had been in alarm already, for 131 s"


def test_nothing_is_settled_before_the_other_side_could_be_heard() -> None:
    both = Both()
    both.ours(ALARM, 2000)

    assert both.settle(2130).disagreed == 0
    assert both.settle(2130.1).differences == {Difference.ONLY_OURS: 1}


def test_a_word_that_repeats_the_state_is_no_transition() -> None:
    both = Both()
    both.aodh(OK, 2000)

    assert both.found.open == ()
    assert both.settle(LATER) == Sums()


def test_of_several_the_nearest_in_time_is_the_same_and_those_before_it_found_none() -> None:
    both = Both()
    for state, time in ((ALARM, 2000), (OK, 2005), (ALARM, 2020)):
        both.ours(state, time)
    both.aodh(ALARM, 2050)

    assert both.found.open == ()
    assert both.found.sums.agreed == 1
    assert both.found.sums.delays == {300: 1}
    assert both.found.sums.differences == {Difference.TOO_SHORT: 2}


def test_a_word_that_comes_late_finds_its_own() -> None:
    both = Both(Terms(tolerance=100.0, poll=60.0))
    for state, time in ((ALARM, 2000), (OK, 2060), (ALARM, 2120), (OK, 2180)):
        both.ours(state, time)
    for state, time in ((ALARM, 2050), (OK, 2110), (ALARM, 2170), (OK, 2230)):
        both.aodh(state, time)

    assert both.found.sums.agreed == 4
    assert both.found.sums.delays == {500: 4}


# --- time ------------------------------------------------------------------------------------------------------------


def test_the_time_in_which_both_were_in_the_same_state_is_known() -> None:
    both = Both()
    both.ours(ALARM, 1100)
    both.aodh(ALARM, 1140)

    sums = accounted(both.found, 1200)

    assert (sums.seconds, sums.equal) == (200.0, 160.0)
    assert sums.of_time == 0.8
    assert both.found.sums.seconds == 140.0


def test_an_alarm_that_is_disabled_does_not_count_and_one_that_is_changed_begins_anew() -> None:
    both = Both()
    both.found = changed(both.found, 1100, counting=False)
    both.found = changed(both.found, 1500, counting=True)

    assert accounted(both.found, 1600).seconds == 200.0
    assert both.found.since == 1500


def test_an_absence_does_not_count_and_what_it_left_open_is_not_compared() -> None:
    both = Both()
    both.ours(ALARM, 1090)
    both.found = absent(both.found, 1100, 5000)
    both.aodh(ALARM, 3000)
    both.aodh(OK, 5010)
    sums = both.settle()

    assert accounted(both.found, 5100).seconds == 200.0
    assert sums.differences == {}
    assert sums.uncompared == {Uncompared.ABSENT: 3}


def test_what_was_before_the_beginning_only_says_where_a_side_is() -> None:
    both = Both()
    both.aodh(ALARM, 100)

    assert both.found.aodh is ALARM
    assert both.settle().uncompared == {Uncompared.ABSENT: 1}


# --- reasons ---------------------------------------------------------------------------------------------------------


def test_there_and_back_between_two_polls() -> None:
    both = Both()
    both.ours(ALARM, 2000)
    both.ours(OK, 2012)

    assert both.differences == {Difference.TOO_SHORT: 2}
    assert both.found.sums.newest[0].text == "we were in alarm for 12 s, which Aodh, looking each 60 s, did not see"


def test_there_and_back_for_longer_than_a_poll() -> None:
    both = Both()
    both.ours(ALARM, 2000)
    both.ours(OK, 2090)

    assert both.differences == {Difference.OURS_BRIEFLY: 2}


def test_longer_than_the_tolerance_is_no_excuse() -> None:
    both = Both()
    both.ours(ALARM, 2000)
    both.ours(OK, 2140)

    assert both.differences == {Difference.ONLY_OURS: 1, Difference.THERE_ALREADY: 1}


def test_aodh_goes_and_comes_back() -> None:
    both = Both()
    both.aodh(ALARM, 2000)
    both.aodh(OK, 2060)

    assert both.differences == {Difference.AODH_BRIEFLY: 2}
    assert both.found.sums.newest[0].text.startswith("Aodh was in alarm for 60 s")


@pytest.mark.parametrize(
    ("side", "start", "state", "expected"),
    [
        pytest.param(Side.OURS, OK, SILENT, Difference.NO_DATA_HERE, id="we-lost-sight"),
        pytest.param(Side.AODH, OK, SILENT, Difference.NO_DATA_AT_AODH, id="aodh-lost-sight"),
        pytest.param(Side.OURS, SILENT, ALARM, Difference.NO_DATA_AT_AODH, id="we-alone-see"),
        pytest.param(Side.AODH, SILENT, ALARM, Difference.NO_DATA_HERE, id="aodh-alone-sees"),
        pytest.param(Side.OURS, OK, ALARM, Difference.ONLY_OURS, id="ours-alone"),
        pytest.param(Side.AODH, OK, ALARM, Difference.ONLY_AODH, id="aodhs-alone"),
    ],
)
def test_who_had_no_data(side: Side, start: AlarmState, state: AlarmState, expected: Difference) -> None:
    both = Both(state=start)
    both(side, state, 2000)

    assert both.differences == {expected: 1}


def test_values_that_differ_are_named() -> None:
    both = Both()
    reason = "Transition to alarm due to 1 samples outside threshold, most recent: 81.25"
    beside = "Remaining as ok due to 1 samples inside threshold, most recent: 79.5"
    both.aodh(ALARM, 2000, reason=reason, beside=beside)

    assert both.differences == {Difference.VALUES_DIFFER: 1}
    assert both.found.sums.newest[0].text == "the most recent value was 79.5 here and 81.25 at Aodh"


def test_the_same_value_is_no_difference_of_values() -> None:
    both = Both()
    both.aodh(ALARM, 2000, reason="most recent: 81.25", beside="most recent: 81.25")

    assert both.differences == {Difference.ONLY_AODH: 1}


def test_before_both_have_seen_a_full_window() -> None:
    both = Both(began=BEGAN)
    both.found = changed(both.found, 2000, counting=True)
    both.ours(ALARM, 2029)
    both.aodh(SILENT, 2031)

    assert both.differences == {Difference.OTHER_START: 1, Difference.NO_DATA_AT_AODH: 1}


def test_a_time_constraint_that_begins_between_two_looks() -> None:
    constraint = TimeConstraint(name="day", start="0 12 * * *", duration=3600, timezone="", description="")
    both = Both(Terms(tolerance=130, poll=60, constraints=(constraint,)), began=NOON - 600)
    both.ours(ALARM, NOON - 30)  # a start within the next minute counts as one that is now, as in Aodh

    assert both.differences == {Difference.TIME_CONSTRAINT: 1}


def test_what_aodh_does_with_an_alarm_that_is_not_here() -> None:
    step = Step(side=Side.AODH, previous=SILENT, state=OK, time=1.0)
    sums = of_unknown("a", step)

    assert sums.differences == {Difference.UNKNOWN_ALARM: 1}
    assert sums.newest[0].alarm_id == "a"


def test_a_change_a_hand_and_an_end_leave_nothing_open() -> None:
    both = Both()
    both.ours(ALARM, 2000)
    both.found = changed(both.found, 2001, counting=True)
    both.ours(OK, 2002)
    both.found = restated(both.found, SILENT, 2003)
    both.aodh(ALARM, 2004)
    both.found = ended(both.found, Uncompared.REMOVED, 2005)

    assert (both.found.ours, both.found.aodh) == (SILENT, ALARM)
    assert both.found.open == ()
    assert both.settle().uncompared == {Uncompared.CHANGED: 1, Uncompared.BY_HAND: 1, Uncompared.REMOVED: 1}


# --- bounds and sums -------------------------------------------------------------------------------------------------


def test_what_is_kept_is_bounded() -> None:
    both = Both(Terms(tolerance=1e8, poll=60))
    for number in range(3 * MOST_OPEN):
        both.ours((ALARM, OK)[number % 2], 2000 + 100.0 * number)

    assert len(both.found.open) == MOST_OPEN
    assert len(both.found.past) == REMEMBERED
    assert len(both.settle().newest) == NEWEST
    assert both.found.sums.disagreed == 3 * MOST_OPEN
    assert len({rounded(float(seconds)) for seconds in range(-86_400, 86_400)}) < 5000


def test_sums_are_added() -> None:
    one = Sums(agreed=3, delays={10: 2, 50: 1}, seconds=10, equal=9, differences={Difference.ONLY_OURS: 1})
    other = of_unknown("a", Step(side=Side.AODH, previous=SILENT, state=OK, time=1.0))
    both = added((one, other, one), newest=5)

    assert both.agreed == 6
    assert both.disagreed == 3
    assert both.of_decisions == 6 / 9
    assert both.of_time == 0.9
    assert (both.delay(0.5), both.delay(0.95)) == (1.0, 5.0)
    assert len(both.newest) == 1


def test_the_newest_of_many_are_kept() -> None:
    many = [of_unknown("a", Step(side=Side.AODH, previous=SILENT, state=OK, time=float(at))) for at in range(200)]

    assert [each.step.time for each in added(many, newest=3).newest] == [199.0, 198.0, 197.0]


def test_nothing_is_no_share() -> None:
    assert (Sums().of_decisions, Sums().of_time, Sums().delay(0.5)) == (None, None, None)


@pytest.mark.parametrize(
    ("reason", "value"),
    [
        ("Transition to ok due to 1 samples inside threshold, most recent: 20.5", 20.5),
        ("Transition to ok due to 1 samples inside threshold, most recent: -1.5e-07 (one of 3 is silent)", -1.5e-07),
        ("Remaining as ok due to 0 samples inside threshold, most recent: None", None),
        ("most recent: 1-2", None),
        ("2 datapoints are unknown", None),
    ],
)
def test_the_value_in_a_reason(reason: str, value: float | None) -> None:
    assert most_recent(reason) == value


def test_an_alarm_says_how_it_is_compared() -> None:
    alarm = an_alarm(a_rule(granularity=300.0, evaluation_periods=2))
    event = Alarm(alarm_id="e", name="e", type="event", rule=EventRule(event_type="*", query=(), document=()))
    leaves = (a_rule(granularity=60.0), a_rule(granularity=10.0))
    composite = Alarm(
        alarm_id="c",
        name="c",
        type="composite",
        rule=CompositeRule(leaves=leaves, tree=Junction("or", (0, 1)), documents=({}, {})),
    )

    assert terms_of(alarm, poll=60, tolerance=None) == Terms(tolerance=420, poll=60, window=900)
    assert terms_of(alarm, poll=60, tolerance=5) == Terms(tolerance=5, poll=60, window=900)
    assert terms_of(event, poll=60, tolerance=None) == Terms(tolerance=120, poll=60)
    assert terms_of(composite, poll=60, tolerance=None).tolerance == 180
