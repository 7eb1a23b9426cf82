"""Every transition of either side is accounted for exactly once, whatever the two do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autoscaler.alarms.agreement import (
    MOST_OPEN,
    Comparison,
    Side,
    Step,
    Terms,
    Uncompared,
    absent,
    accounted,
    changed,
    ended,
    restated,
    settled,
    taken,
)
from autoscaler.alarms.alarm import AlarmState

TERMS = Terms(tolerance=30.0, poll=10.0, window=15.0)
STATES = st.sampled_from(AlarmState)
MOVES = st.tuples(st.sampled_from(Side), STATES, st.floats(-5, 0))
"""What one side does, and how late it is told of."""
OTHERS = st.sampled_from(["settle", "change", "hand", "end", "absence"])
PAUSES = st.floats(0, 40)


@given(st.lists(st.tuples(PAUSES, st.one_of(MOVES, OTHERS)), max_size=60))
def test_each_transition_is_in_a_pair_or_a_difference_or_uncompared_or_open(
    happenings: list[tuple[float, tuple[Side, AlarmState, float] | str]],
) -> None:
    now = 1000.0
    found = Comparison(since=now, asof=now, ours=AlarmState.OK, aodh=AlarmState.OK)
    moves = 0
    for pause, happening in happenings:
        now += pause
        match happening:
            case "settle":
                found = settled(found, "a", TERMS, now)
            case "change":
                found = changed(found, now, counting=not found.counting)
            case "hand":
                found = restated(found, AlarmState.ALARM, now)
            case "end":
                found = ended(found, Uncompared.REMOVED, now)
            case "absence":
                found = absent(found, now, now + 100)
                now += 100
            case (side, state, late):
                moves += state is not found.state(side)
                step = Step(side=side, previous=found.state(side), state=state, time=now + late)
                found = taken(found, "a", step, TERMS)
                assert found.state(side) is state
        sums = found.sums
        counted = 2 * sums.agreed + sums.disagreed + sum(sums.uncompared.values()) + len(found.open)
        assert counted == moves
        assert sum(sums.delays.values()) == sums.agreed
        assert 0 <= sums.equal <= sums.seconds <= found.asof - 1000
        assert len(found.open) <= MOST_OPEN
    whole = settled(found, "a", TERMS, now + 1000)
    assert whole.open == ()
    assert accounted(whole, now + 1000).seconds >= whole.sums.seconds


@given(st.lists(st.tuples(st.floats(31, 100), STATES), max_size=20), st.floats(0, 9))
def test_one_that_does_the_same_a_little_later_agrees_in_everything(
    path: list[tuple[float, AlarmState]], later: float
) -> None:
    now = 1000.0
    found = Comparison(since=now, asof=now, ours=AlarmState.OK, aodh=AlarmState.OK)
    moves = 0
    for pause, state in path:
        now += pause
        for side, time in ((Side.OURS, now), (Side.AODH, now + later)):
            moves += state is not found.state(side)
            step = Step(side=side, previous=found.state(side), state=state, time=time)
            found = settled(taken(found, "a", step, TERMS), "a", TERMS, time)

    assert found.sums.agreed * 2 == moves
    assert found.sums.disagreed == 0
