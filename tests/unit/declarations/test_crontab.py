from datetime import UTC, datetime

import pytest
from apscheduler.triggers.cron import CronTrigger
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.declarations import crontab

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@pytest.mark.parametrize(
    "line",
    [
        "* * * * *",
        "0 8 * * mon-fri",
        "*/5 0-6/2,12 1,15 JAN-Mar,11 *",
        "59 23 31 12 sun",
        "0 0 29 feb *",
        "0 0 31 2,3 *",
        "  0   8 * *  *  ",
    ],
)
def test_lines_that_all_readers_agree_on_are_taken(line: str) -> None:
    crontab.check(line)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param("", "expected five columns (minute, hour, day of month, month, day of week), got 0", id="empty"),
        pytest.param(
            "0 0 * * * *", "expected five columns (minute, hour, day of month, month, day of week), got 6", id="seconds"
        ),
        pytest.param("60 * * * *", "expected 0 to 59 as minute, got '60'", id="minute"),
        pytest.param("* -1 * * *", "expected 0 to 23 as hour, got '-1'", id="hour"),
        pytest.param("* * 0 * *", "expected 1 to 31 as day of month, got '0'", id="day"),
        pytest.param("* * last * *", "expected 1 to 31 as day of month, got 'last'", id="only-apscheduler"),
        pytest.param("* * * 13 *", "expected 1 to 12 as month, got '13'", id="month"),
        pytest.param("* * * january *", "expected 1 to 12 as month, got 'january'", id="long-name"),
        pytest.param(
            "* * * * 0",
            "expected names (mon, tue, wed, thu, fri, sat, sun; numbers mean different days to different readers) "
            "as day of week, got '0'",
            id="weekday-number",
        ),
        pytest.param("5-1 * * * *", "expected a rising range in the minute, got '5-1'", id="falling"),
        pytest.param(
            "*/0 * * * *",
            "expected a step of at least 1 and at most the range in the minute, got '*/0'",
            id="step-zero",
        ),
        pytest.param(
            "* */24 * * *",
            "expected a step of at least 1 and at most the range in the hour, got '*/24'",
            id="step-too-wide",
        ),
        pytest.param("* * * 1-feb *", "expected a rising range in the month, got '1-feb'", id="mixed-range"),
        pytest.param("5/10 * * * *", "expected a range or * before /10 in the minute, got '5/10'", id="step-of-one"),
        pytest.param("1,,2 * * * *", "expected 0 to 59 as minute, got ''", id="empty-part"),
        pytest.param(f"{'9' * 5000} * * * *", f"expected 0 to 59 as minute, got '{'9' * 5000}'", id="long-number"),
        pytest.param("* 0000000008 * * *", "expected 0 to 23 as hour, got '0000000008'", id="many-zeros"),
        pytest.param("* 0000000008000 * * *", "expected 0 to 23 as hour, got '0000000008000'", id="more-after-zeros"),
        pytest.param("0 0 30 feb *", "expected a day that comes, got day 30 of month feb", id="no-such-day"),
        pytest.param("0 0 31 4,6,9,11 *", "expected a day that comes, got day 31 of month 4,6,9,11", id="short-months"),
    ],
)
def test_other_lines_are_refused(line: str, expected: str) -> None:
    with pytest.raises(ValueError) as refused:
        crontab.check(line)

    assert str(refused.value) == expected


def column(low: int, high: int, words: tuple[str, ...] = (), *, numbers: bool = True) -> st.SearchStrategy[str]:
    spelled = [
        word for i in range(low, high + 1) for word in ([str(i)] if numbers else []) + list(words[i - low :][:1])
    ]
    one = st.sampled_from(spelled)
    step = st.integers(1, high - low)
    span = st.tuples(one, one).map("-".join)
    part = st.one_of(
        one, st.just("*"), step.map("*/{}".format), span, st.tuples(span, step).map("{0[0]}/{0[1]}".format)
    )
    return st.lists(part, min_size=1, max_size=3).map(",".join)


LINES = st.tuples(
    column(0, 59), column(0, 23), column(1, 31), column(1, 12, MONTHS), column(0, 6, WEEKDAYS, numbers=False)
).map(" ".join)


@given(st.one_of(LINES, st.text("0123456789*/,-monjafebrydlst ", max_size=20)))
def test_every_line_that_is_taken_means_to_apscheduler_what_it_says(line: str) -> None:
    try:
        crontab.check(line)
    except ValueError:
        return
    trigger = CronTrigger.from_crontab(line, timezone=UTC)
    fires = trigger.get_next_fire_time(None, datetime(2026, 1, 1, tzinfo=UTC))

    minute, hour, day, month, weekday = line.lower().split()
    if day == "*" or weekday == "*":  # both restricted may never meet
        assert fires is not None
        assert minute == "*" or not minute.isdigit() or fires.minute == int(minute)
        assert not hour.isdigit() or fires.hour == int(hour)
        assert not day.isdigit() or fires.day == int(day)
        assert month not in MONTHS or fires.month == MONTHS.index(month) + 1
        assert weekday not in WEEKDAYS or fires.weekday() == WEEKDAYS.index(weekday)


@pytest.mark.parametrize(
    ("line", "both"),
    [("0 0 * * mon", False), ("0 0 1 * *", False), ("0 0 1 * mon", True), ("0 0 * * *", False)],
)
def test_two_restricted_days_are_noticed(line: str, *, both: bool) -> None:
    assert crontab.narrows_both_days(line) is both
