from datetime import date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.adapters.schedule import CronCalendar

CALENDAR = CronCalendar()
BERLIN = "Europe/Berlin"


def firings(cron: str, after: str, count: int, timezone: str = BERLIN) -> list[str]:
    """Local times of the next firings, with their offset from UTC."""
    zone = ZoneInfo(timezone)
    moment: float | None = datetime.fromisoformat(after).replace(tzinfo=zone).timestamp()
    found = []
    for _ in range(count):
        assert moment is not None
        moment = CALENDAR.following(cron, timezone, moment)
        found.append("never" if moment is None else datetime.fromtimestamp(moment, zone).isoformat(" ", "minutes"))
    return found


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        pytest.param(
            "0 8 * * mon-fri",
            "2026-11-20 08:00",
            ["2026-11-23 08:00+01:00", "2026-11-24 08:00+01:00"],
            id="weekdays-by-name-and-strictly-later",
        ),
        pytest.param("0 0 * * sun", "2026-11-20 12:00", ["2026-11-22 00:00+01:00"], id="sunday-is-sunday"),
        pytest.param(
            "30 2 * * *",
            "2026-03-28 12:00",
            ["2026-03-29 03:30+02:00", "2026-03-30 02:30+02:00"],
            id="a-time-left-out-in-spring-is-made-up-for",
        ),
        pytest.param(
            "30 2 * * *",
            "2026-10-24 12:00",
            ["2026-10-25 02:30+02:00", "2026-10-26 02:30+01:00"],
            id="a-time-shown-twice-in-autumn-fires-once",
        ),
        pytest.param(
            "30 * * * *",
            "2026-10-25 01:00",
            ["2026-10-25 01:30+02:00", "2026-10-25 02:30+02:00", "2026-10-25 03:30+01:00"],
            id="an-hour-shown-twice-counts-once",
        ),
        pytest.param(
            "*/30 * * * *",
            "2026-03-29 01:10",
            ["2026-03-29 01:30+01:00", "2026-03-29 03:00+02:00", "2026-03-29 03:30+02:00", "2026-03-29 04:00+02:00"],
            id="an-hour-left-out-doubles-nothing",
        ),
        pytest.param(
            "10,50 2,3 * * *",
            "2026-03-29 01:00",
            ["2026-03-29 03:10+02:00", "2026-03-29 03:50+02:00", "2026-03-30 02:10+02:00"],
            id="times-left-out-and-times-shown-are-in-order",
        ),
        pytest.param(
            "30 2 * * *",
            "2026-03-29 03:10",
            ["2026-03-29 03:30+02:00"],
            id="a-time-left-out-is-still-made-up-for-after-the-change",
        ),
        pytest.param(
            "0 0 * * *",
            "2024-03-30 12:00",
            ["2024-03-31 00:00+01:00", "2024-04-01 00:00+02:00", "2024-04-02 00:00+02:00"],
            id="midnight-after-the-change-is-not-left-out",
        ),
        pytest.param(
            "0 8 * * *",
            "2026-03-28 07:00",
            ["2026-03-28 08:00+01:00", "2026-03-29 08:00+02:00"],
            id="eight-stays-eight-over-the-change",
        ),
        pytest.param("0 0 29 feb *", "2026-01-01 00:00", ["2028-02-29 00:00+01:00"], id="leap-day"),
    ],
)
def test_schedules_follow_the_clock_on_the_wall(cron: str, after: str, expected: list[str]) -> None:
    assert firings(cron, after, len(expected)) == expected


def test_what_never_comes_is_none() -> None:
    assert CALENDAR.following("0 0 30 feb *", "UTC", 0.0) is None


def test_fractions_of_seconds_are_no_second_firing() -> None:
    eight = datetime(2026, 11, 20, 8, tzinfo=ZoneInfo("UTC")).timestamp()

    assert CALENDAR.following("0 8 * * *", "UTC", eight - 0.001) == eight
    assert CALENDAR.following("0 8 * * *", "UTC", eight) == eight + 86_400
    assert CALENDAR.following("0 8 * * *", "UTC", eight + 0.999) == eight + 86_400


@given(
    st.integers(0, 59),
    st.integers(0, 23),
    st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]),
    st.dates(date(2024, 1, 1), date(2030, 1, 1)),
)
def test_a_daily_schedule_fires_once_each_day(minute: int, hour: int, timezone: str, start: date) -> None:
    zone = ZoneInfo(timezone)
    moment = datetime.combine(start, time(12), zone).timestamp()
    days = []
    for _ in range(5):
        following = CALENDAR.following(f"{minute} {hour} * * *", timezone, moment)
        assert following is not None
        assert following > moment
        moment = following
        days.append(datetime.fromtimestamp(moment, zone).date())

    assert all(later - earlier == timedelta(days=1) for earlier, later in pairwise(days))


@given(
    st.sampled_from(["*/20 * * * *", "10,50 2,3 * * *", "30 2 * * *", "0 0 * * *", "5 1-3 * * sun"]),
    st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "Antarctica/Troll"]),
    st.floats(1.7e9, 1.9e9),
    st.floats(0, 86_400),
)
def test_the_first_firing_is_the_same_whenever_one_asks(cron: str, timezone: str, after: float, later: float) -> None:
    first = CALENDAR.following(cron, timezone, after)
    assert first is not None

    if after + later < first:
        assert CALENDAR.following(cron, timezone, after + later) == first
    else:
        second = CALENDAR.following(cron, timezone, after + later)
        assert second is not None
        assert second > first
