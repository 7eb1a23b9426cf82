from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from autoscaler.alarms.alarm import Alarm, AlarmRecord, AlarmState, Evidence, LeafRecord
from autoscaler.alarms.composite import composition, evaluate_composite, resolved
from autoscaler.alarms.observation import Observation, Sample, Samples, Unknown
from autoscaler.alarms.outcome import RECHECK, Consideration, Happening, Outcome, Repetition, Sources, Transition
from autoscaler.alarms.rules import CompositeRule, EvaluateWhen, Junction, Leaf, PrometheusRule
from autoscaler.alarms.time_constraints import TimeConstraint
from tests.building import a_rule, a_view, an_alarm

OK, ALARM, INSUFFICIENT = AlarmState.OK, AlarmState.ALARM, AlarmState.INSUFFICIENT_DATA
BEHIND = Sources(caught_up=False, max_hold=600.0)
MEASURE = a_rule(evaluate=EvaluateWhen.MEASURE, evaluation_periods=1)
ASKED = PrometheusRule(query="up", threshold=0.5)
BOTH: Junction = Junction("and", (0, 1))
EITHER: Junction = Junction("or", (0, 1))


def a_tree(tree: Junction | int, *leaves: Leaf, mixed_as_aodh: bool = False) -> CompositeRule:
    documents = tuple({"type": "threshold", "number": number} for number in range(len(leaves)))
    return CompositeRule(leaves=leaves, tree=tree, documents=documents, mixed_as_aodh=mixed_as_aodh)


def composite(tree: Junction | int, *leaves: Leaf, **fields: Any) -> Alarm:
    return Alarm(alarm_id="a", name="both", type="composite", rule=a_tree(tree, *leaves), **fields)


class Tree:
    """A composite alarm, each leaf of which has one series."""

    def __init__(self, alarm: Alarm, sources: Sources | None = None, record: AlarmRecord | None = None) -> None:
        self.alarm = alarm
        self.sources = sources or Sources()
        self.record = record or AlarmRecord()
        self.points: dict[int, dict[float, float]] = {}
        self.happened: list[Happening] = []
        self.outcome = Outcome(self.record)

    def report(self, leaf: int, value: float, *, at: float) -> None:
        self.points.setdefault(leaf, {})[at] = value

    def look(self, now: float, *leaves: int, seen: Mapping[int, Observation] | None = None) -> AlarmRecord:
        views = {}
        for leaf in leaves:
            points = self.points.get(leaf)
            views[leaf] = a_view({"r": points.items()} if points else {}, now=now)
        self.outcome = evaluate_composite(self.alarm, self.record, views, self.sources, now, seen)
        self.record = self.outcome.record
        self.happened += self.outcome.happenings
        return self.record

    def both(self, first: float, second: float, *, at: float) -> AlarmRecord:
        self.report(0, first, at=at)
        self.report(1, second, at=at)
        return self.look(at, 0, 1)


def states(tree: Tree) -> list[tuple[float, AlarmState]]:
    return [(each.time, each.current) for each in tree.happened if isinstance(each, Transition)]


# --- resolving -------------------------------------------------------------------------------------------------------


def leaf(state: AlarmState, trend: AlarmState | None = None) -> LeafRecord:
    return LeafRecord(state=state, certain=trend is None, trend=trend, seen=True)


@pytest.mark.parametrize(
    ("tree", "states_", "expected", "causes"),
    [
        pytest.param(BOTH, [ALARM, ALARM], ALARM, [0, 1], id="and-of-two-alarms"),
        pytest.param(BOTH, [ALARM, OK], OK, [1], id="and-with-one-ok"),
        pytest.param(BOTH, [OK, OK], OK, [0], id="and-with-two-ok-names-the-first"),
        pytest.param(BOTH, [INSUFFICIENT, OK], OK, [1], id="an-ok-decides-whatever-the-other-is"),
        pytest.param(BOTH, [ALARM, INSUFFICIENT], INSUFFICIENT, [1], id="and-with-one-unknown"),
        pytest.param(EITHER, [ALARM, INSUFFICIENT], ALARM, [0], id="an-alarm-decides-whatever-the-other-is"),
        pytest.param(EITHER, [ALARM, ALARM], ALARM, [0], id="or-with-two-alarms-names-the-first"),
        pytest.param(EITHER, [OK, OK], OK, [0, 1], id="or-with-two-ok"),
        pytest.param(EITHER, [OK, INSUFFICIENT], INSUFFICIENT, [1], id="or-with-one-unknown"),
        pytest.param(Junction("or", (BOTH, 2)), [ALARM, OK, ALARM], ALARM, [0, 2], id="nested-names-all-it-asked-for"),
        pytest.param(Junction("and", (EITHER, 2)), [OK, OK, ALARM], OK, [0, 1], id="nested-ok"),
        pytest.param(0, [ALARM], ALARM, [0], id="a-single-leaf"),
    ],
)
def test_a_tree_asks_no_more_leaves_than_it_must(
    tree: Junction | int, states_: list[AlarmState], expected: AlarmState, causes: list[int]
) -> None:
    rule = a_tree(tree, *[MEASURE] * len(states_))
    resolution = resolved(rule, [leaf(state) for state in states_], OK)

    assert (resolution.state, list(resolution.causes)) == (expected, causes)


@pytest.mark.parametrize(
    ("current", "own", "trend", "plain", "as_aodh"),
    [
        pytest.param(OK, OK, ALARM, OK, OK, id="ok-rising"),
        pytest.param(OK, OK, OK, OK, ALARM, id="ok-falling"),
        pytest.param(ALARM, ALARM, OK, ALARM, ALARM, id="alarm-falling"),
        pytest.param(ALARM, ALARM, ALARM, ALARM, OK, id="alarm-rising"),
        pytest.param(INSUFFICIENT, ALARM, ALARM, ALARM, ALARM, id="out-of-insufficient-data"),
    ],
)
def test_a_mixed_leaf_keeps_its_state_unless_aodhs_way_is_asked_for(
    current: AlarmState, own: AlarmState, trend: AlarmState, plain: AlarmState, as_aodh: AlarmState
) -> None:
    mixed = [leaf(own, trend)]

    assert resolved(a_tree(0, MEASURE), mixed, current).state is plain
    assert resolved(a_tree(0, MEASURE, mixed_as_aodh=True), mixed, current).state is as_aodh


def test_a_tree_is_written_as_aodh_writes_it() -> None:
    tree = Junction("and", (Junction("or", (0, 1)), Junction("and", (2,)), 3))

    assert composition(tree) == "((rule1 or rule2) and (rule3) and rule4)"


def test_reasons_sort_rules_as_texts_and_data_as_they_come() -> None:
    many = tuple(range(11))
    tree = Tree(composite(Junction("and", many), *[MEASURE] * 11))
    for number in many:
        tree.report(number, 90.0, at=100.0)
    tree.look(100.0, *many)

    names = "rule1, rule10, rule11, rule2, rule3, rule4, rule5, rule6, rule7, rule8, rule9"
    assert tree.record.reason.endswith(f" transition to alarm, due to rules: {names} outside their threshold.")
    assert tree.record.reason_data["causative_rules"] == {
        f"rule{number + 1}": {"type": "threshold", "number": number} for number in many
    }


# --- leaf by leaf ----------------------------------------------------------------------------------------------------


def test_a_leaf_that_is_not_looked_at_counts_as_it_was() -> None:
    tree = Tree(composite(BOTH, MEASURE, MEASURE))
    tree.both(90.0, 10.0, at=100.0)
    assert tree.record.state is OK
    tree.report(1, 90.0, at=103.0)
    tree.report(1, 90.0, at=104.0)
    tree.report(1, 90.0, at=105.0)
    tree.look(105.0, 1)

    assert states(tree) == [(100.0, OK), (105.0, ALARM)]
    assert tree.record.leaves[0] == LeafRecord(state=ALARM, certain=True, seen=True)
    assert tree.record.reason == (
        "Composite rule alarm with composition form: (rule1 and rule2) transition to alarm, due to rules: "
        "rule1, rule2 outside their threshold."
    )


def test_a_spike_of_one_period_moves_nothing() -> None:
    two = a_rule(evaluate=EvaluateWhen.BOUNDARY)
    plain, as_aodh = (
        Tree(Alarm(alarm_id="a", name="n", type="composite", rule=a_tree(0, two, mixed_as_aodh=way)))
        for way in (False, True)
    )
    for tree in (plain, as_aodh):
        for at, value in ((105.0, 10.0), (115.0, 10.0), (125.0, 90.0), (135.0, 10.0), (145.0, 10.0)):
            tree.report(0, value, at=at)
            tree.look(at + 5.0, 0)

    assert states(plain) == [(120.0, OK)]
    assert states(as_aodh) == [(120.0, OK), (140.0, ALARM), (150.0, OK)]


def test_an_alarm_whose_rule_was_changed_keeps_its_state_until_every_leaf_had_its_turn() -> None:
    tree = Tree(composite(BOTH, MEASURE, MEASURE))
    tree.both(90.0, 90.0, at=100.0)
    tree.alarm = composite(BOTH, MEASURE, a_rule(metric="other", evaluate=EvaluateWhen.MEASURE))
    tree.look(101.0, 0)
    assert tree.record.state is ALARM
    assert [each.seen for each in tree.record.leaves] == [True, False]
    assert tree.record.note == "rule2: not looked at yet"
    tree.points.pop(1)
    tree.look(102.0, 1)

    assert states(tree) == [(100.0, ALARM), (102.0, INSUFFICIENT)]


def test_nothing_new_leaves_the_record_as_it_was() -> None:
    tree = Tree(composite(BOTH, MEASURE, MEASURE))
    record = tree.both(90.0, 90.0, at=100.0)

    assert tree.look(100.5, 0, 1) is record
    assert tree.outcome.happenings == ()


def test_each_leaf_brings_itself_up_again() -> None:
    tree = Tree(composite(BOTH, MEASURE, a_rule(granularity=300.0, evaluate=EvaluateWhen.MEASURE)))
    tree.both(90.0, 90.0, at=101.0)
    assert tree.outcome.next_due == 110.0
    tree.look(102.0, 1)

    assert tree.outcome.next_due == 300.0


def test_for_delays_a_leaf() -> None:
    tree = Tree(composite(EITHER, a_rule(evaluate=EvaluateWhen.MEASURE, evaluation_periods=1, hold_for=25.0), MEASURE))
    tree.both(10.0, 10.0, at=95.0)
    for at in (101.0, 109.0, 116.0, 125.0):
        tree.report(0, 90.0, at=at)
        tree.report(1, 10.0, at=at)
        tree.look(at, 0, 1)
    assert states(tree) == [(95.0, OK)]
    assert tree.record.leaves[0].breaching_since == 101.0
    assert tree.outcome.next_due == 126.0
    tree.look(126.0, 0)

    assert states(tree)[-1] == (126.0, ALARM)
    assert tree.record.leaves[0].breaching_since is None


def test_outside_its_constraints_nothing_is_looked_at() -> None:
    constraint = TimeConstraint(name="hour", start="0 * * * *", duration=10)
    tree = Tree(composite(BOTH, MEASURE, MEASURE, time_constraints=(constraint,), repeat_actions=True))
    tree.both(90.0, 90.0, at=1000.0)

    assert tree.record.leaves == ()
    assert tree.happened == []
    assert tree.outcome.next_due is not None
    assert 1000.0 < tree.outcome.next_due <= 3540.1


def test_a_disabled_alarm_is_left_as_it_is() -> None:
    tree = Tree(composite(BOTH, MEASURE, MEASURE, enabled=False))

    assert tree.both(90.0, 90.0, at=100.0) == AlarmRecord()


# --- missing data ----------------------------------------------------------------------------------------------------


def test_a_silent_leaf_counts_as_it_was_while_a_source_is_behind() -> None:
    tree = Tree(composite(BOTH, MEASURE, MEASURE), BEHIND)
    tree.both(90.0, 90.0, at=100.0)
    tree.look(130.0, 1)
    assert tree.record.state is ALARM
    assert tree.outcome.held
    assert tree.outcome.next_due == 130.0 + RECHECK
    assert "data is missing" in tree.record.note
    # the other leaf's measures neither end the doubt nor renew it
    tree.report(0, 90.0, at=500.0)
    tree.look(500.0, 0)
    assert not tree.outcome.held
    assert tree.record.leaves[1].held_since == 130.0
    tree.look(731.0, 1)

    assert states(tree) == [(100.0, ALARM), (731.0, INSUFFICIENT)]
    assert tree.record.note.startswith("rule2: sources have been behind for more than 600 s; ")


def test_a_leaf_looks_at_the_newest_boundary_that_was_read_whole() -> None:
    boundary = a_rule(evaluate=EvaluateWhen.BOUNDARY, evaluation_periods=1)
    tree = Tree(composite(0, boundary), Sources(caught_up=False, read_until=119.0))
    tree.report(0, 10.0, at=105.0)
    tree.report(0, 90.0, at=115.0)
    tree.look(3600.0, 0)
    assert tree.record.state is OK
    assert tree.outcome.next_due == 3600.0 + RECHECK
    tree.report(0, 90.0, at=118.0)
    tree.sources = Sources(caught_up=False, read_until=120.0)
    tree.look(3601.0, 0)

    assert states(tree) == [(3600.0, OK), (3601.0, ALARM)]


def test_what_was_measured_counts_while_another_leaf_is_in_doubt() -> None:
    tree = Tree(composite(EITHER, MEASURE, MEASURE), BEHIND)
    tree.both(10.0, 10.0, at=100.0)
    tree.report(0, 90.0, at=135.0)
    tree.look(135.0, 0, 1)

    assert states(tree) == [(100.0, OK), (135.0, ALARM)]


def test_insufficient_data_says_which_leaf_lacks_what() -> None:
    tree = Tree(composite(BOTH, MEASURE, a_rule(metric="cpu_utl")), Sources(metrics={"": ("cpu_util", "memory")}))
    tree.report(0, 90.0, at=100.0)
    tree.look(100.0, 0, 1)

    assert tree.record.reason == "Not evaluated yet"
    assert tree.record.note == 'rule2: no measure of "cpu_utl" was heard lately; the nearest name is "cpu_util"'


# --- repeating and policies ------------------------------------------------------------------------------------------


def test_alarm_and_ok_are_repeated_and_insufficient_data_is_not() -> None:
    tree = Tree(composite(BOTH, MEASURE, MEASURE, repeat_actions=True))
    tree.look(50.0, 0, 1)
    tree.look(110.0, 0, 1)
    assert tree.happened == []
    tree.both(90.0, 90.0, at=150.0)
    tree.report(0, 90.0, at=210.0)
    tree.look(210.0, 0)

    (_, repetition) = tree.happened
    assert isinstance(repetition, Repetition)
    assert (repetition.time, repetition.state, repetition.number) == (210.0, ALARM, 1)
    assert " remaining as alarm, due to rules: rule1, rule2 outside" in repetition.reason
    assert tree.record.repeat_at == 270.0


def test_a_policy_is_reconsidered_once_for_each_granule_of_any_leaf() -> None:
    tree = Tree(composite(BOTH, MEASURE, MEASURE, alarm_actions=("policy://out",)))
    for at in (101.0, 104.0, 112.0, 113.0, 121.0):
        tree.both(90.0, 90.0, at=at)
    tree.look(121.5, 1)

    considered = [each.time for each in tree.happened if isinstance(each, Consideration)]
    assert states(tree) == [(101.0, ALARM)]
    assert considered == [112.0, 121.0]


def test_evidence_is_as_old_as_the_oldest_cause_and_counts_members_where_there_are_many() -> None:
    many = a_rule(single=False, reaggregation_method="mean", evaluate=EvaluateWhen.MEASURE, evaluation_periods=1)
    tree = Tree(composite(BOTH, MEASURE, many, alarm_actions=("policy://out",)))
    tree.report(1, 90.0, at=105.0)
    tree.look(105.0, 1)
    tree.report(0, 90.0, at=112.0)
    tree.look(112.0, 0)

    assert tree.record.evidence == Evidence(begins=100.0, ends=110.0, reporting=(1,), fullest=1)


def test_evidence_that_is_not_at_hand_counts_as_missing() -> None:
    tree = Tree(composite(BOTH, MEASURE, MEASURE))
    tree.both(90.0, 90.0, at=105.0)
    tree.alarm = composite(BOTH, MEASURE, MEASURE, alarm_actions=("policy://out",))
    tree.report(0, 90.0, at=112.0)
    tree.look(112.0, 0)

    assert [type(each) for each in tree.outcome.happenings] == [Consideration]
    assert tree.record.evidence is not None
    assert tree.record.evidence.resting_on_missing


# --- Prometheus ------------------------------------------------------------------------------------------------------


def test_a_leaf_that_asks_prometheus_is_one_of_the_tree() -> None:
    tree = Tree(
        composite(
            BOTH, MEASURE, PrometheusRule(query="up", threshold=50.0, comparison_operator=MEASURE.comparison_operator)
        )
    )
    tree.report(0, 90.0, at=100.0)
    tree.look(100.0, 0)
    tree.look(101.0, seen={1: Samples((Sample({}, 80.0),))})
    assert states(tree) == [(101.0, ALARM)]
    tree.look(102.0, seen={1: Unknown("connection refused")})

    assert states(tree)[-1] == (102.0, INSUFFICIENT)
    assert tree.record.note == "rule2: connection refused"


@pytest.mark.parametrize("number", [pytest.param(0, id="window"), pytest.param(1, id="prometheus")])
def test_a_look_at_the_wrong_kind_of_leaf_is_a_mistake(number: int) -> None:
    alarm = composite(BOTH, ASKED, MEASURE)
    views = {0: a_view({}, now=1.0)} if number == 0 else {}
    seen = {1: Samples(())} if number == 1 else None

    with pytest.raises(AssertionError, match=f"rule{number + 1}"):
        evaluate_composite(alarm, AlarmRecord(), views, Sources(), 1.0, seen)
    with pytest.raises(AssertionError, match="threshold alarms have no leaves"):
        evaluate_composite(an_alarm(), AlarmRecord(), {}, Sources(), 1.0)
