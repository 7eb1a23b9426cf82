"""What holds of every alarm, whatever is measured and whenever it is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from autoscaler.alarms.alarm import Alarm, AlarmRecord, AlarmState, LeafRecord
from autoscaler.alarms.composite import evaluate_composite, resolved
from autoscaler.alarms.evaluation import Consideration, Repetition, Sources, Transition, evaluate
from autoscaler.alarms.observation import Observation, Sample, Samples, Unknown
from autoscaler.alarms.observed import observe
from autoscaler.alarms.outcome import Happening, Outcome
from autoscaler.alarms.rules import (
    ComparisonOperator,
    CompositeRule,
    EvaluateWhen,
    Junction,
    PrometheusRule,
    Rule,
    TreatMissingData,
    WindowKind,
)
from autoscaler.alarms.short import ShortWay, short_way
from autoscaler.alarms.time_constraints import TimeConstraint
from tests.building import Watch, a_rule, a_view, an_alarm

EPOCH = 1_790_000_000.0
LOOKS = 30
"""Looks in one gap between measures; more of them are of the same kind."""
unhurried = settings(deadline=None, max_examples=settings.default.max_examples * 6 // 10)

ordering = st.sampled_from(
    [
        (WindowKind.ALIGNED, EvaluateWhen.BOUNDARY),
        (WindowKind.ALIGNED, EvaluateWhen.SETTLED),
        (WindowKind.ALIGNED, EvaluateWhen.MEASURE),
        (WindowKind.SLIDING, EvaluateWhen.SETTLED),
    ]
)


@dataclass(frozen=True)
class Arrival:
    at: float
    value: float
    by: str
    stamped: float


@st.composite
def rules(draw: st.DrawFn, *, waiting: bool = True, treated: bool = True) -> Rule:
    window, evaluate_when = draw(ordering)
    periods = draw(st.integers(1, 4))
    seconds = st.sampled_from([0.0, 0.1, 3.0, 7.3, 15.0, 100.0])
    return a_rule(
        single=False,
        reaggregation_method=draw(st.sampled_from(["mean", "pooled"])),
        window=window,
        evaluate=evaluate_when,
        granularity=draw(st.sampled_from([0.1, 0.3, 1.0, 2.0, 7.0, 10.0, 60.0])),
        evaluation_periods=periods,
        lateness=draw(st.sampled_from([0.0, 0.1, 5.0])),
        hold_for=draw(seconds) if waiting else 0.0,
        keep_firing_for=draw(seconds) if waiting else 0.0,
        recovery_threshold=draw(st.sampled_from([None, 30.0])),
        datapoints_to_alarm=draw(st.none() | st.integers(1, periods)) if treated else None,
        treat_missing_data=draw(st.none() | st.sampled_from(TreatMissingData)) if treated else None,
    )


@st.composite
def arrivals(draw: st.DrawFn, granularity: float) -> list[Arrival]:
    """Measures as they come: in bursts, with gaps, late, from clocks that are ahead, several at once."""
    now, found = EPOCH + draw(st.floats(0, 3)), []
    steps = st.sampled_from([0.0, 0.05, 0.25, 0.5, 1.0, 1.0, 1.0, 2.5, 9.0])
    drifts = st.sampled_from([0.0, 0.0, 0.0, -0.3, -2.0, -9.0, 0.4, 1.6])
    for _ in range(draw(st.integers(0, 25))):
        now += draw(steps) * granularity
        stamped = now + draw(drifts) * granularity
        found.append(Arrival(now, draw(st.sampled_from([10.0, 40.0, 90.0])), draw(st.sampled_from("ab")), stamped))
    return found


@st.composite
def watched(draw: st.DrawFn) -> tuple[Watch, list[Arrival]]:
    constraint = TimeConstraint(name="minutes", start="*/3 * * * *", duration=70)
    rule = draw(rules())
    alarm = an_alarm(
        rule,
        alarm_actions=draw(st.sampled_from([(), ("policy://out",), ("http://x",)])),
        ok_actions=draw(st.sampled_from([(), ("policy://in",)])),
        insufficient_data_actions=draw(st.sampled_from([(), ("policy://out",)])),
        repeat_actions=draw(st.booleans()),
        repeat_interval=draw(st.sampled_from([3.0, 60.0])),
        time_constraints=draw(st.sampled_from([(), (constraint,)])),
    )
    sources = Sources(caught_up=draw(st.booleans()), max_hold=draw(st.sampled_from([5.0, 20.0])))
    return Watch(alarm, sources), draw(arrivals(rule.granularity))


def played(watch: Watch, arriving: list[Arrival]) -> None:
    """Let time pass from due time to due time, with the measures in between; every look is checked."""
    watch.look(EPOCH)
    for arrival in arriving:
        for _ in range(LOOKS):
            due = watch.outcome.next_due
            if due is None or due > arrival.at:
                break
            watch.look(due)
            assert watch.outcome.next_due is None or watch.outcome.next_due > due
        watch.report(arrival.value, at=arrival.stamped, by=arrival.by)
        watch.look(arrival.at, late=arrival.stamped)
        assert watch.outcome.next_due is None or watch.outcome.next_due > arrival.at


class ComparedWatch(Watch):
    """One that is looked at by the short way and by the long one.

    Attributes:
        short: how many looks the short way was enough for.
    """

    short = 0

    @cached_property
    def way(self) -> ShortWay:
        return short_way(self.alarm)

    def look(self, now: float, *, late: float | None = None) -> Sequence[Happening]:
        view = a_view({name: points.items() for name, points in self.points.items()}, now=now, late=late)
        assert isinstance(self.alarm.rule, Rule)
        due = self.way.due(self.record, view)
        if due is not None:
            assert Outcome(self.record, next_due=due) == evaluate(self.alarm, self.record, view, self.sources)
            self.short += 1
        return super().look(now, late=late)


@st.composite
def compared(draw: st.DrawFn) -> tuple[ComparedWatch, list[Arrival]]:
    watch, arriving = draw(watched())
    assert isinstance(watch.alarm.rule, Rule)
    if draw(st.booleans()):  # half of them such that the short way may do
        rule = msgspec.structs.replace(
            watch.alarm.rule,
            window=WindowKind.ALIGNED,
            evaluate=draw(st.sampled_from([EvaluateWhen.SETTLED, EvaluateWhen.MEASURE])),
            hold_for=0.0,
            keep_firing_for=0.0,
            datapoints_to_alarm=None,
            treat_missing_data=None,
            aggregation_method=draw(st.sampled_from(["mean", "max", "last", "std", "rate:mean"])),
        )
        if draw(st.booleans()):
            rule = msgspec.structs.replace(rule, single=True)
            if draw(st.booleans()):
                arriving = [replace(arrival, by="a") for arrival in arriving]
        return ComparedWatch(an_alarm(rule, alarm_actions=("http://x",)), watch.sources), arriving
    return ComparedWatch(watch.alarm, watch.sources), arriving


@settings(deadline=None)
@given(compared())
def test_the_short_way_comes_to_what_the_long_one_does(given_: tuple[ComparedWatch, list[Arrival]]) -> None:
    played(*given_)


@pytest.mark.parametrize("single", [False, True])
def test_the_short_way_is_enough_while_the_state_lasts(*, single: bool) -> None:
    watch = ComparedWatch(an_alarm(a_rule(window=WindowKind.ALIGNED, granularity=10.0, single=single)))
    for second in range(100):
        watch.report(1.0, at=EPOCH + second)
        watch.look(EPOCH + second)

    assert watch.short > 50


@unhurried
@given(watched())
def test_the_next_look_is_always_later_than_this_one(given_: tuple[Watch, list[Arrival]]) -> None:
    played(*given_)


@unhurried
@given(watched())
def test_looking_twice_at_the_same_comes_to_nothing_new(given_: tuple[Watch, list[Arrival]]) -> None:
    watch, arriving = given_
    played(watch, arriving)
    last = arriving[-1].at if arriving else EPOCH
    record, due = watch.record, watch.outcome.next_due

    assert watch.look(last) == ()
    assert watch.record == record
    assert watch.outcome.next_due == due


@unhurried
@given(watched())
def test_versions_rise_with_what_happens_and_only_then(given_: tuple[Watch, list[Arrival]]) -> None:
    watch, arriving = given_
    played(watch, arriving)
    versions = [each.version for each in watch.happened if isinstance(each, Transition | Consideration | Repetition)]

    assert versions == sorted(set(versions))
    assert all(version <= watch.record.version for version in versions)


@unhurried
@given(watched())
def test_transitions_form_a_chain_that_ends_in_the_record(given_: tuple[Watch, list[Arrival]]) -> None:
    watch, arriving = given_
    played(watch, arriving)
    transitions = [each for each in watch.happened if isinstance(each, Transition)]
    states = [AlarmState.INSUFFICIENT_DATA, *(each.current for each in transitions)]

    assert [each.previous for each in transitions] == states[:-1]
    assert all(each.previous is not each.current for each in transitions)
    assert watch.record.state is states[-1]


class Imported(Watch):
    """A watch over an alarm that came with a state; every look that leaves it so is checked."""

    def __init__(self, alarm: Alarm, sources: Sources, state: AlarmState) -> None:
        super().__init__(alarm, sources)
        self.record = AlarmRecord(version=1, definition=alarm.definition, state=state, reason="theirs", imported=True)

    def look(self, now: float, *, late: float | None = None) -> Sequence[Happening]:
        before = self.record
        happened = super().look(now, late=late)
        if self.record.imported:
            told = ("state", "state_timestamp", "reason", "evidence", "considered", "repeats")
            assert happened == ()
            assert not self.outcome.held
            assert all(getattr(self.record, name) == getattr(before, name) for name in told)
        elif before.imported:
            assert isinstance(self.alarm.rule, Rule)
            assert sum(map(len, self.points.values())) >= self.alarm.rule.evaluation_periods
        return happened


@unhurried
@given(watched(), st.sampled_from(AlarmState))
def test_an_imported_alarm_does_nothing_until_its_first_full_window(
    given_: tuple[Watch, list[Arrival]], state: AlarmState
) -> None:
    watch, arriving = given_
    played(Imported(watch.alarm, watch.sources, state), arriving)


@unhurried
@given(st.data(), rules(waiting=False, treated=False), st.floats(0, 100))
def test_an_alarm_whose_data_stops_says_so_in_time(data: st.DataObject, rule: Rule, phase: float) -> None:
    watch = Watch(an_alarm(rule))
    time = EPOCH + phase
    for _ in range(data.draw(st.integers(1, 12))):
        for name in "ab":
            watch.report(data.draw(st.sampled_from([10.0, 90.0])), at=time, by=name)
        watch.look(time)
        time += data.draw(st.sampled_from([0.2, 0.5, 1.0])) * rule.granularity
    newest = max(max(points) for points in watch.points.values())
    # one granule more where the newest measure lies in a granule that has only begun
    limit = newest + (rule.evaluation_periods + 2) * rule.granularity + rule.lateness + 1e-6
    watch.sleep(until=limit)

    assert watch.record.state is AlarmState.INSUFFICIENT_DATA


@unhurried
@given(rules(), st.lists(st.sampled_from([10.0, 90.0]), min_size=1, max_size=8))
def test_an_alarm_without_data_is_left_alone_in_the_end(rule: Rule, values: list[float]) -> None:
    watch = Watch(an_alarm(rule))
    for step, value in enumerate(values):
        watch.report(value, at=EPOCH + step * rule.granularity)
        watch.look(EPOCH + step * rule.granularity)
    newest = EPOCH + (len(values) - 1) * rule.granularity
    waits = rule.lateness + rule.hold_for + rule.keep_firing_for
    watch.sleep(until=newest + (rule.granules + 3) * rule.granularity + waits + 1e-6)

    assert watch.outcome.next_due is None


@unhurried
@given(rules(), st.data())
def test_boundaries_come_to_the_same_however_many_are_evaluated_at_once(rule: Rule, data: st.DataObject) -> None:
    boundary = a_rule(
        granularity=rule.granularity,
        evaluation_periods=rule.evaluation_periods,
        evaluate=EvaluateWhen.BOUNDARY,
        hold_for=rule.hold_for,
        keep_firing_for=rule.keep_firing_for,
        recovery_threshold=rule.recovery_threshold,
    )
    first = int(EPOCH // rule.granularity) + 1
    runs = st.one_of(st.sampled_from([[10.0], [40.0], [90.0]]), st.integers(1, 40).map(lambda count: [None] * count))
    present = [value for run in data.draw(st.lists(runs, max_size=15)) for value in run]
    present[:1] = [40.0]
    points = {(first + n + 0.5) * rule.granularity: value for n, value in enumerate(present) if value is not None}
    last = first + len(present)
    alarm = an_alarm(boundary)

    at_once = evaluate(alarm, AlarmRecord(), a_view({"r": points.items()}, now=last * rule.granularity), Sources())
    one_by_one: list[Happening] = []
    record = AlarmRecord()
    for index in range(first, last + 1):
        now = index * rule.granularity
        seen = {time: value for time, value in points.items() if time < now}
        view = a_view({"r": seen.items()} if seen else {}, now=now)
        outcome = evaluate(alarm, record, view, Sources())
        record = outcome.record
        one_by_one += outcome.happenings

    def told(happenings: object) -> list[tuple[float, str, str, str]]:
        assert isinstance(happenings, list | tuple)
        return [(each.time, each.previous, each.current, each.reason) for each in happenings]

    assert told(at_once.happenings) == told(one_by_one)


# --- trees -----------------------------------------------------------------------------------------------------------


def of_one_leaf(alarm: Alarm) -> Alarm:
    """The same alarm as a composite one."""
    assert isinstance(alarm.rule, Rule)
    return msgspec.structs.replace(alarm, rule=CompositeRule(leaves=(alarm.rule,), tree=0, documents=({},)))


@unhurried
@given(watched())
def test_a_composite_alarm_of_one_leaf_is_as_that_alarm_would_be(given_: tuple[Watch, list[Arrival]]) -> None:
    watch, arriving = given_
    rule = watch.alarm.rule
    assert isinstance(rule, Rule)
    # a plain alarm passes through every boundary, a leaf is looked at where it is
    assume(rule.evaluate is not EvaluateWhen.BOUNDARY)
    alarm, record, due = of_one_leaf(watch.alarm), AlarmRecord(), None
    changes: list[tuple[float, AlarmState]] = []

    def look(now: float) -> None:
        nonlocal record, due
        watch.look(now)
        view = a_view({name: points.items() for name, points in watch.points.items()}, now=now)
        outcome = evaluate_composite(alarm, record, {0: view}, watch.sources, now)
        record, due = outcome.record, outcome.next_due
        changes.extend((each.time, each.current) for each in outcome.happenings if isinstance(each, Transition))
        assert record.state is watch.record.state
        assert due is None or due > now

    look(EPOCH)
    for arrival in arriving:
        for _ in range(LOOKS):
            dues = [each for each in (due, watch.outcome.next_due) if each is not None and each <= arrival.at]
            if not dues:
                break
            look(min(dues))
        watch.report(arrival.value, at=arrival.stamped, by=arrival.by)
        look(arrival.at)

    assert changes == [(each.time, each.current) for each in watch.happened if isinstance(each, Transition)]


trees = st.recursive(
    st.integers(0, 3),
    lambda inner: st.builds(
        Junction, st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3).map(tuple)
    ),
    max_leaves=6,
)
states = st.sampled_from(AlarmState)
sides = st.sampled_from([None, AlarmState.OK, AlarmState.ALARM])


@unhurried
@given(trees, st.lists(st.tuples(states, sides), min_size=4, max_size=4), states)
def test_the_causes_of_a_trees_state_are_leaves_that_are_in_it(
    tree: Junction | int, drawn: list[tuple[AlarmState, AlarmState | None]], current: AlarmState
) -> None:
    leaves = [LeafRecord(state=state, trend=trend) for state, trend in drawn]
    resolution = resolved(CompositeRule(leaves=(a_rule(),) * 4, tree=tree, documents=({},) * 4), leaves, current)
    present = {leaf.state for leaf in leaves}

    assert resolution.causes
    assert all(leaves[number].state is resolution.state for number in resolution.causes)
    assert len(present) > 1 or present == {resolution.state}


# --- observations ----------------------------------------------------------------------------------------------------

answers = st.one_of(
    st.just(Unknown("away")),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from([10.0, 90.0]), max_size=3).map(
        lambda values: Samples(tuple(Sample({"host": host}, value) for host, value in values.items()))
    ),
)


@unhurried
@given(st.data(), st.lists(answers, max_size=12))
def test_the_transitions_of_each_series_form_a_chain_and_the_worst_is_the_alarms(
    data: st.DataObject, seen: list[Observation]
) -> None:
    rule = PrometheusRule(query="load", threshold=50.0, comparison_operator=ComparisonOperator.GT, per_series=True)
    alarm = Alarm(alarm_id="a", name="n", type="prometheus", rule=rule, repeat_actions=data.draw(st.booleans()))
    record, chains = AlarmRecord(), dict.fromkeys("abc", AlarmState.INSUFFICIENT_DATA)
    versions: list[int] = []
    for number, each in enumerate(seen):
        outcome = observe(alarm, record, {0: each}, EPOCH + number * 15.0, Sources())
        record = outcome.record
        for happening in outcome.happenings:
            assert isinstance(happening, Transition | Repetition)
            versions.append(happening.version)
            if isinstance(happening, Transition):
                host = happening.reason_data["labels"]["host"]
                assert happening.previous is chains[host]
                chains[host] = happening.current

    present = set(chains.values())
    worst = min(present, key=[AlarmState.ALARM, AlarmState.OK, AlarmState.INSUFFICIENT_DATA].index)
    assert record.state is worst
    assert versions == sorted(set(versions))
    assert len(record.instances) == sum(state is not AlarmState.INSUFFICIENT_DATA for state in chains.values())
