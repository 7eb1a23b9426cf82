from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.alarms.alarm import AlarmState
from autoscaler.alarms.definition import microseconds, naive
from autoscaler.api.v2.times import ordered, parsed, shown_with, with_state

TIMES = st.integers(min_value=0, max_value=4 * 10**15).map(lambda micros: micros / 1e6)
STATES = st.sampled_from(AlarmState)


@given(TIMES, STATES)
def test_a_shown_timestamp_says_which_state_it_was_shown_with(time: float, state: AlarmState) -> None:
    shown = with_state(time, state)
    assert shown_with(parsed(naive(shown))) is state
    assert abs(shown - microseconds(time)) <= 2


@given(TIMES, STATES, STATES)
def test_a_body_asks_for_a_state_only_if_it_is_not_the_one_that_was_read(
    time: float, read: AlarmState, sent: AlarmState
) -> None:
    assert ordered(sent, with_state(time, read)) is (None if sent is read else sent)


@given(STATES)
def test_a_state_without_a_timestamp_is_asked_for(state: AlarmState) -> None:
    assert ordered(state, None) is state
    assert ordered(None, None) is None


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        pytest.param("1970-01-01T00:00:01", 1_000_000, id="naive-is-utc"),
        pytest.param("1970-01-01T00:00:01Z", 1_000_000, id="zulu"),
        pytest.param("1970-01-01T01:00:01.000002+01:00", 1_000_002, id="offset"),
        pytest.param("1970-01-01 00:00:01", 1_000_000, id="blank"),
        pytest.param("1970-01-02", 86_400_000_000, id="day"),
    ],
)
def test_times_are_read(text: str, micros: int) -> None:
    assert parsed(text) == micros


@pytest.mark.parametrize("text", ["", "x", "1970-13-01", "10:00", "1970-01-01T25:00:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parsed(text)
