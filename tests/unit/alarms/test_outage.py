"""Most series of a window stop at once: the state is held, and what is left is not taken for the whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest

from autoscaler.alarms.alarm import AlarmState
from autoscaler.alarms.composite import evaluate_composite
from autoscaler.alarms.evaluation import (
    Consideration,
    OutageNote,
    OutageTurn,
    Outcome,
    Repetition,
    Sources,
    Transition,
    evaluate,
)
from autoscaler.alarms.rules import CompositeRule, EvaluateWhen, Junction, OnOutage, Rule, WindowKind
from tests.building import Watch, a_rule, a_view, an_alarm

OK, ALARM, INSUFFICIENT = AlarmState.OK, AlarmState.ALARM, AlarmState.INSUFFICIENT_DATA
QUIET, BUSY = 10.0, 90.0
MEMBERS = tuple(f"m{number}" for number in range(5))


def holding(**fields: object) -> Rule:
    """Over many series, which report every five seconds into granules of ten."""
    plain = {"single": False, "reaggregation_method": "mean", "evaluation_periods": 1, "outage": OnOutage.HOLD}
    return a_rule(**(plain | fields))


class Group(Watch):
    """Members whose measures are looked at as they come."""

    members: int | None = None

    def look(self, now: float, *, late: float | None = None) -> Sequence[object]:  # type: ignore[override]
        view = a_view({name: points.items() for name, points in self.points.items()}, now=now, late=late)
        view.members = self.members
        self.outcome = evaluate(self.alarm, self.record, view, self.sources)
        self.record = self.outcome.record
        self.happened += self.outcome.happenings
        return self.outcome.happenings

    def run(self, names: Iterable[str], begins: int, ends: int, value: float) -> None:
        """They report every five seconds, each a little later than the one before."""
        for tick in range(begins, ends, 5):
            for number, name in enumerate(names):
                self.sleep(until=tick + number / 10)
                self.report(value, at=tick + number / 10, by=name)
                self.look(tick + number / 10)
        self.sleep(until=ends)

    @property
    def states(self) -> list[tuple[float, AlarmState]]:
        return [(each.time, each.current) for each in self.happened if isinstance(each, Transition)]

    @property
    def turns(self) -> list[OutageTurn]:
        return [each.turn for each in self.happened if isinstance(each, OutageNote)]


KINDS = [
    pytest.param({"window": WindowKind.ALIGNED, "evaluate": EvaluateWhen.SETTLED}, id="settled"),
    pytest.param({"window": WindowKind.ALIGNED, "evaluate": EvaluateWhen.BOUNDARY}, id="boundary"),
    pytest.param({"window": WindowKind.ALIGNED, "evaluate": EvaluateWhen.MEASURE}, id="measure"),
    pytest.param({"window": WindowKind.SLIDING}, id="sliding"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_is_not_taken_for_the_whole(kind: dict[str, object]) -> None:
    group = Group(an_alarm(holding(**kind)))
    group.run(MEMBERS, 100, 140, QUIET)
    assert group.record.state is OK
    # three stop, and the two that are left are busy
    group.run(MEMBERS[:2], 140, 200, BUSY)

    if kind.get("evaluate") is not EvaluateWhen.MEASURE:
        assert group.record.state is OK
    assert group.turns == [OutageTurn.BEGAN]
    assert group.record.in_outage
    assert group.record.state_reason.endswith("(source outage: 3 of 5 series stopped at once, state held)")
    group.run(MEMBERS, 200, 240, BUSY)
    assert group.record.state is ALARM
    assert group.turns == [OutageTurn.BEGAN, OutageTurn.ENDED]
    assert group.record.outage is None


@pytest.mark.parametrize("kind", KINDS)
def test_silence_of_all_is_held_and_believed_after_a_long_time(kind: dict[str, object]) -> None:
    group = Group(an_alarm(holding(**kind)), Sources(max_hold=60.0))
    group.run(MEMBERS, 100, 140, BUSY)
    group.sleep(until=185)
    assert group.record.state is ALARM
    group.sleep(until=400)

    assert group.record.state is INSUFFICIENT
    assert group.turns == [OutageTurn.BEGAN, OutageTurn.BELIEVED]
    (began, believed) = (each for each in group.happened if isinstance(each, OutageNote))
    assert believed.time == pytest.approx(began.time + 60, abs=10)
    assert "source outage: 5 of 5 series stopped at once, believed after 60 s" in group.record.state_reason


def test_those_that_stay_away_are_taken_to_be_gone() -> None:
    group = Group(an_alarm(holding()), Sources(max_hold=30.0))
    group.run(MEMBERS, 100, 140, QUIET)
    group.run(MEMBERS[:2], 140, 240, BUSY)

    assert group.states[-1][1] is ALARM
    assert group.turns == [OutageTurn.BEGAN, OutageTurn.BELIEVED]


@pytest.mark.parametrize(
    ("stopping", "rule"),
    [
        pytest.param(2, holding(), id="less-than-half"),
        pytest.param(3, holding(outage=OnOutage.BELIEVE), id="unless-asked-for"),
    ],
)
def test_no_outage(stopping: int, rule: Rule) -> None:
    group = Group(an_alarm(rule))
    group.run(MEMBERS, 100, 140, QUIET)
    group.run(MEMBERS[stopping:], 140, 180, BUSY)

    assert group.states[-1][1] is ALARM
    assert group.turns == []


def test_of_two_series_nothing_can_be_told() -> None:
    group = Group(an_alarm(holding()))
    group.run(MEMBERS[:2], 100, 140, QUIET)
    group.sleep(until=300)

    assert group.record.state is INSUFFICIENT
    assert group.turns == []


def test_members_that_leave_one_by_one_are_no_outage() -> None:
    group = Group(an_alarm(holding()))
    for stopped in range(5):
        group.run(MEMBERS[stopped:], 100 + stopped * 30, 130 + stopped * 30, QUIET)

    assert group.turns == []


def test_members_that_we_remove_are_no_outage() -> None:
    group = Group(an_alarm(holding()))
    group.members = 5
    group.run(MEMBERS, 100, 140, QUIET)
    group.members = 2
    group.run(MEMBERS[:2], 140, 180, BUSY)

    assert group.states[-1][1] is ALARM
    assert group.turns == []


def test_what_may_wait_to_be_read_is_no_outage() -> None:
    group = Group(an_alarm(holding()))
    group.run(MEMBERS, 100, 140, QUIET)
    group.sources = Sources(caught_up=False)
    group.look(170.0)

    assert group.turns == []


def test_policies_are_considered_and_nothing_is_repeated_meanwhile() -> None:
    actions = {"alarm_actions": ("policy://out", "https://example.org/"), "repeat_actions": True}
    group = Group(an_alarm(holding(), **actions))
    group.run(MEMBERS, 0, 100, BUSY)
    before = len(group.happened)
    group.run(MEMBERS[:2], 100, 200, BUSY)
    found = [type(each) for each in group.happened[before:]]

    assert OutageNote in found
    noted = found.index(OutageNote)
    assert Consideration in found[noted:]
    assert Repetition not in found[noted:]
    assert group.outcome.next_due is None or group.outcome.next_due > 200


@pytest.mark.parametrize("interval", [10, 25])
def test_series_that_report_seldom_are_given_time(interval: int) -> None:
    """Granules of ten seconds, of which most or none has a report."""
    group = Group(an_alarm(holding(evaluation_periods=1)))
    for tick in range(100, 400, interval):
        for number, name in enumerate(MEMBERS):
            at = tick + number / 10
            group.sleep(until=at)
            group.report(QUIET, at=at, by=name)
            group.look(at)

    assert group.turns == []


def test_a_part_of_a_composite_alarm_is_held_alone() -> None:
    leaf = holding()
    tree = CompositeRule(leaves=(leaf, leaf), tree=Junction("or", (0, 1)), documents=({"a": 1}, {"b": 1}))
    alarm = an_alarm(tree)  # type: ignore[arg-type]
    healthy = {name: [(at + 0.1, QUIET) for at in range(100, 200, 5)] for name in MEMBERS}
    half = {name: points if name in MEMBERS[:2] else points[:8] for name, points in healthy.items()}
    record = None
    outcome: Outcome
    for now in (141.0, 171.0):
        views = {0: a_view(healthy, now=now), 1: a_view(half, now=now)}
        for view in views.values():
            for series in view.series.values():
                del series.times[sum(1 for at in series.times if at < now) :]  # type: ignore[attr-defined]
                del series.values[len(series.times) :]  # type: ignore[attr-defined]
        outcome = evaluate_composite(alarm, record or an_empty(), views, Sources(), now)
        record = outcome.record

    assert record is not None
    assert record.state is OK
    assert record.in_outage
    assert record.leaves[0].outage is None
    assert "rule2: source outage: 3 of 5 series stopped at once" in record.state_reason
    assert [type(each) for each in outcome.happenings] == [OutageNote]


def an_empty() -> object:
    from autoscaler.alarms.alarm import AlarmRecord

    return AlarmRecord()
