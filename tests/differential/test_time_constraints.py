from __future__ import annotations

import random
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from autoscaler.alarms.time_constraints import TimeConstraint, next_edge, within
from tests.differential.asking import ask

pytestmark = pytest.mark.oracle

ZONES = ["", "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Chatham"]
CRONS = [
    "0 8 * * *",
    "30 22 * * 1-5",
    "*/15 * * * *",
    "5,35 2-4 * * *",
    "0 0 1 * *",
    "0 0 * * 0",
    "0 12 29 2 *",
    "15 1 * * sun",
    "0 0 * * * 30",
    "10 3 * * * */20",
    "30 2 * 3,10,11 0",
]
DURATIONS = [0, 1, 59, 60, 600, 3600, 5400, 86400, 7 * 86400]
SUMMER_TIME_CHANGES = [
    datetime(2026, 3, 29, 1, tzinfo=UTC),
    datetime(2026, 10, 25, 1, tzinfo=UTC),
    datetime(2026, 3, 8, 7, tzinfo=UTC),
    datetime(2026, 11, 1, 6, tzinfo=UTC),
    datetime(2026, 4, 4, 15, tzinfo=UTC),
    datetime(2026, 10, 3, 15, 30, tzinfo=UTC),
]


def drawn_constraint(draw: random.Random) -> TimeConstraint:
    cron = draw.choice([*CRONS, f"{draw.randrange(60)} {draw.randrange(24)} * * {draw.randrange(7)}"])
    return TimeConstraint(name="c", start=cron, duration=draw.choice(DURATIONS), timezone=draw.choice(ZONES))


def drawn_instant(draw: random.Random) -> float:
    match draw.randrange(4):
        case 0:
            change = draw.choice(SUMMER_TIME_CHANGES).timestamp()
            return change + draw.randrange(-3 * 3600, 3 * 3600) + draw.choice([0, 0, 0.5])
        case 1:
            day = datetime(2026, 1, 1, 8, tzinfo=ZoneInfo("Europe/Berlin")).timestamp() + 86400 * draw.randrange(365)
            return day + draw.choice([-61, -60, -59.5, -1, 0, 1e-6, 1, 599, 600, 600.000001, 3600, 3600.5, 86400])
        case 2:
            return 1767225600 + 900.0 * draw.randrange(365 * 96) + draw.choice([-60, -1e-6, 0, 0, 1e-6, 30, 60])
        case _:
            return 1767225600 + draw.random() * 365 * 86400


def drawn_cases(seed: int, count: int) -> list[tuple[list[TimeConstraint], float]]:
    draw = random.Random(seed)
    # several instants for each constraint, in and out of order, so that what is remembered of it is put to the test
    constraints = [[drawn_constraint(draw) for _ in range(draw.choice([1, 1, 2]))] for _ in range(count // 10)]
    return [(draw.choice(constraints), drawn_instant(draw)) for _ in range(count)]


def test_an_alarm_is_evaluated_exactly_when_aodh_evaluates_it() -> None:
    cases = drawn_cases(seed=1, count=8000)

    theirs = ask(
        "time_constraints.py",
        [
            {
                "now": now,
                "constraints": [{"start": c.start, "duration": c.duration, "timezone": c.timezone} for c in these],
            }
            for these, now in cases
        ],
    )

    ours = [within(these, now) for these, now in cases]
    different = [(case, our, their) for case, our, their in zip(cases, ours, theirs, strict=True) if our != their]
    assert different == []
    assert 1000 < sum(ours) < 9000


def test_aodh_does_not_change_its_mind_before_the_next_edge() -> None:
    cases = [(these, now, next_edge(these, now)) for these, now in drawn_cases(seed=2, count=3000)]
    draw = random.Random(3)
    asked = []
    for these, now, edge in cases:
        assert edge is not None
        assert edge > now
        constraints = [{"start": c.start, "duration": c.duration, "timezone": c.timezone} for c in these]
        last = max(now, edge - 2e-6)  # a wall clock tells microseconds apart
        between = [now + (last - now) * draw.random() for _ in range(2)]
        asked.append([{"now": at, "constraints": constraints} for at in (now, *between, last)])

    answers = ask("time_constraints.py", [each for group in asked for each in group])

    groups = [answers[index : index + 4] for index in range(0, len(answers), 4)]
    changed = [(case, group) for case, group in zip(cases, groups, strict=True) if len(set(group)) > 1]
    assert changed == []
