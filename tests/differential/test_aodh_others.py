"""Composite, Prometheus, load-balancer and event alarms do what Aodh's evaluators do with the same answers."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from autoscaler.alarms.alarm import Alarm, AlarmRecord, AlarmState
from autoscaler.alarms.composite import evaluate_composite
from autoscaler.alarms.events import hit
from autoscaler.alarms.observation import Observation, PoolMembers, Sample, Samples, Unknown
from autoscaler.alarms.observed import observe
from autoscaler.alarms.outcome import Outcome, Repetition, Sources, Transition
from autoscaler.alarms.rules import (
    COMPARISONS,
    ComparisonOperator,
    CompositeRule,
    Condition,
    EvaluateWhen,
    EventRule,
    Junction,
    PoolHealthRule,
    PrometheusRule,
    Rule,
    TraitCondition,
    WindowKind,
)
from autoscaler.measures.event import Event, Trait
from autoscaler.measures.match import EVERYTHING
from autoscaler.measures.window import WindowView
from tests.building import a_view
from tests.differential.asking import ask

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(900)]

COMPOSITES = 3000
PROMETHEUS = 1000
POOLS = 400
EVENTS = 4000
EPOCH = 1_790_000_000.0
GRANULARITY = 10.0
THRESHOLD = 50.0

Rounds = list[list[Any]]
"""For each round the state after it, and what was told: [previous, current, reason, reason_data]."""


@dataclass(frozen=True)
class Case:
    """An alarm, and what is answered in each round, by the leaf's name; as Aodh has it."""

    type: str
    rule: Any
    state: str
    repeat_actions: bool
    rounds: Sequence[Any]
    condition: Condition

    def to_aodh(self) -> dict[str, Any]:
        fields = ("type", "rule", "state", "repeat_actions", "rounds")
        return {field: getattr(self, field) for field in fields}


# --- playing ---------------------------------------------------------------------------------------------------------


def an_alarm(case: Case) -> Alarm:
    return Alarm(
        alarm_id="a",
        name="a",
        type=case.type,
        rule=case.condition,
        repeat_actions=case.repeat_actions,
        repeat_interval=1.0,
    )


def a_record(alarm: Alarm, case: Case) -> AlarmRecord:
    """In the case's state, its repetition due at once, as it is in each cycle of Aodh's."""
    repeats = alarm.repeat_actions and case.type != "event"
    return AlarmRecord(definition=alarm.definition, state=AlarmState(case.state), repeat_at=0.0 if repeats else None)


def told(outcome: Outcome) -> list[Any]:
    return [
        [each.previous, each.current, each.reason, each.reason_data]
        if isinstance(each, Transition)
        else [each.state, each.state, each.reason, each.reason_data]
        for each in outcome.happenings
        if isinstance(each, Transition | Repetition)
    ]


def played(case: Case) -> Rounds:
    alarm = an_alarm(case)
    record = a_record(alarm, case)
    rounds = []
    for number, answers in enumerate(case.rounds):
        now = EPOCH + number * 1000.0
        outcome = looked(alarm, record, answers, now) or Outcome(record)
        record = outcome.record
        rounds.append([record.state, told(outcome)])
    return rounds


def looked(alarm: Alarm, record: AlarmRecord, answers: Any, now: float) -> Outcome | None:
    match alarm.rule:
        case CompositeRule(leaves=leaves, documents=documents):
            named = [
                (number, leaf, document) for number, (leaf, document) in enumerate(zip(leaves, documents, strict=True))
            ]
            views = {n: a_window(answers[doc["resource_id"]], now) for n, leaf, doc in named if isinstance(leaf, Rule)}
            seen = {n: samples(answers[doc["query"]]) for n, leaf, doc in named if isinstance(leaf, PrometheusRule)}
            return evaluate_composite(alarm, record, views, Sources(), now, seen)
        case PrometheusRule(query=query):
            return observe(alarm, record, {0: samples(answers[query])}, now, Sources())
        case PoolHealthRule(pool_id=pool_id):
            return observe(alarm, record, {0: pool(answers[pool_id])}, now, Sources())
        case EventRule():
            return hit(alarm, record, an_event(answers), now)
        case Rule():
            raise AssertionError("compared elsewhere")


def a_window(values: Sequence[float | None], now: float) -> WindowView:
    """One point in each of the granules before ``now``, the newest last."""
    points = [(now - back * GRANULARITY + 5.0, value) for back, value in enumerate(reversed(values), 1)]
    present = [(time, value) for time, value in points if value is not None]
    return a_view({"r": present} if present else {}, now=now)


def samples(values: Sequence[float]) -> Observation:
    return Samples(tuple(Sample({"instance": str(number)}, float(value)) for number, value in enumerate(values)))


def pool(members: Sequence[Mapping[str, Any]] | None) -> Observation:
    if members is None:
        return Unknown("away")
    return PoolMembers(
        tuple(
            member
            for member in members
            if member["admin_state_up"]
            and member["operating_status"] == "ERROR"
            and member["created_at"] < "2026-11-20T11:58:00"
        )
    )


def an_event(document: Mapping[str, Any]) -> Event:
    traits = {name: trait(value, kind) for name, kind, value in document["traits"]}
    return Event(document["message_id"], document["event_type"], "p", traits, document)


def trait(value: Any, kind: int) -> Trait:
    match kind:
        case 2:
            return int(value)
        case 3:
            return float(value)
        case 4:
            time = datetime.fromisoformat(value)
            return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
        case _:
            return str(value)


# --- drawing ---------------------------------------------------------------------------------------------------------


def drawn_state(draw: random.Random) -> str:
    return str(draw.choice(list(AlarmState)))


def drawn_leaf(draw: random.Random, number: int) -> tuple[Rule | PrometheusRule, dict[str, Any]]:
    operator = draw.choice([ComparisonOperator.GT] * 5 + list(ComparisonOperator))
    if draw.random() < 0.2:
        query = f"query{number}"
        document = {"type": "prometheus", "query": query, "threshold": THRESHOLD, "comparison_operator": str(operator)}
        return PrometheusRule(query=query, threshold=THRESHOLD, comparison_operator=operator), document
    periods = draw.choice([1, 2, 2, 3])
    document = {
        "type": "gnocchi_resources_threshold",
        "metric": "cpu",
        "resource_id": f"r{number}",
        "resource_type": "generic",
        "aggregation_method": "mean",
        "granularity": int(GRANULARITY),
        "evaluation_periods": periods,
        "comparison_operator": str(operator),
        "threshold": THRESHOLD,
    }
    rule = Rule(
        metric="cpu",
        match=EVERYTHING,
        single=True,
        aggregation_method="mean",
        threshold=THRESHOLD,
        comparison_operator=operator,
        granularity=GRANULARITY,
        evaluation_periods=periods,
        window=WindowKind.ALIGNED,
        evaluate=EvaluateWhen.BOUNDARY,
    )
    return rule, document


def drawn_tree(draw: random.Random, first: int, last: int) -> Junction | int:
    """Over the leaves from ``first`` to before ``last``."""
    if last - first == 1 and draw.random() < 0.7:
        return first
    cuts = sorted(draw.sample(range(first + 1, last), draw.randrange(0, last - first)))
    bounds = [first, *cuts, last]
    if len(cuts) == 0 and last - first > 1:
        return Junction(draw.choice(["and", "or"]), tuple(range(first, last)))
    parts = tuple(drawn_tree(draw, begin, end) for begin, end in pairwise(bounds))
    return Junction(draw.choice(["and", "or"]), parts)


def written(tree: Junction | int, documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if isinstance(tree, int):
        return documents[tree]
    return {tree.operator: [written(part, documents) for part in tree.parts]}


def drawn_value(draw: random.Random) -> float:
    return draw.choice([90.0, 90.0, 10.0, 10.0, 50.0, round(draw.uniform(0, 100), 2)])


def drawn_values(draw: random.Random, leaf: Rule | PrometheusRule) -> list[float | None]:
    """Mostly on one side of the threshold."""
    many = leaf.granules if isinstance(leaf, Rule) else draw.choice([0, 1, 1, 2, 3])
    steady = drawn_value(draw)
    values: list[float | None] = [steady if draw.random() < 0.7 else drawn_value(draw) for _ in range(many)]
    if isinstance(leaf, Rule) and draw.random() < 0.3:
        values = [None if draw.random() < 0.5 else value for value in values]
    return values


def drawn_composite(draw: random.Random) -> Case:
    many = draw.randrange(1, 7)
    leaves, documents = zip(*(drawn_leaf(draw, number) for number in range(many)), strict=True)
    tree = drawn_tree(draw, 0, many)
    return Case(
        type="composite",
        rule=written(tree, documents),
        state=drawn_state(draw),
        repeat_actions=draw.random() < 0.5,
        rounds=[
            {
                document.get("resource_id") or document["query"]: drawn_values(draw, leaf)
                for leaf, document in zip(leaves, documents, strict=True)
            }
            for _ in range(draw.randrange(1, 7))
        ],
        condition=CompositeRule(leaves=leaves, tree=tree, documents=documents, mixed_as_aodh=True),
    )


def drawn_prometheus(draw: random.Random) -> Case:
    leaf, document = drawn_leaf(draw, 0)
    while not isinstance(leaf, PrometheusRule):
        leaf, document = drawn_leaf(draw, 0)
    odd = [math.nan, math.inf, -math.inf] if draw.random() < 0.1 else []
    rounds = [
        {"query0": [draw.choice([drawn_value(draw), *odd]) for _ in range(draw.choice([0, 1, 1, 2, 3]))]}
        for _ in range(5)
    ]
    return Case("prometheus", document, drawn_state(draw), draw.random() < 0.5, rounds, leaf)


def drawn_pool(draw: random.Random) -> Case:
    rule = {"pool_id": "pool", "stack_id": "stack", "autoscaling_group_id": "group"}

    def member() -> dict[str, Any]:
        return {
            "id": f"m{draw.randrange(9)}",
            "admin_state_up": draw.random() < 0.8,
            "operating_status": draw.choice(["ERROR", "ONLINE"]),
            "created_at": draw.choice(["2026-11-20T11:00:00", "2026-11-20T11:59:30"]),
            "weight": draw.choice([1, None]),
        }

    rounds = [{"pool": None if draw.random() < 0.2 else [member() for _ in range(draw.randrange(4))]} for _ in range(5)]
    kind = "loadbalancer_member_health"
    return Case(kind, rule, drawn_state(draw), draw.random() < 0.5, rounds, PoolHealthRule(**rule))


TIMES = ["2026-11-20T10:00:00", "2026-11-20T10:00:00.500000+00:00", "2026-11-20T12:00:00+02:00", "2026-11-20T10:00:00Z"]
TRAITS: dict[int, list[Any]] = {
    1: ["error", "active", "5", "2.5", "", "True", True, None],
    2: [5, "5", -1, 0, True],
    3: [2.5, "2.5", 5, "5"],
    4: TIMES,
}
VALUES: dict[str, list[str]] = {
    "": ["error", "active", "5", ""],
    "string": ["error", "active", "5", "2026-11-20 10:00:00"],
    "integer": ["5", "0", "-1", " 5 "],
    "float": ["2.5", "5", "1e1", "nan"],
    "datetime": TIMES,
    "boolean": ["true", "True", "false"],
}


def drawn_event(draw: random.Random) -> dict[str, Any]:
    traits = []
    for name in ("state", "size", "at"):
        if draw.random() < 0.8:
            kind = draw.choice([1, 1, 2, 3, 4])
            traits.append([name, kind, draw.choice(TRAITS[kind])])
    return {
        "message_id": f"m{draw.getrandbits(60):x}",
        "event_type": draw.choice(["compute.instance.update", "compute.instance.delete.end", "image.upload"]),
        "generated": "2026-11-20T10:00:00",
        "traits": traits,
        "raw": {},
    }


def drawn_condition(draw: random.Random) -> dict[str, Any]:
    kind = draw.choice(list(VALUES)) if draw.random() < 0.9 else "string"
    document = {
        "field": draw.choice(["traits.state", "traits.state", "traits.size", "traits.at", "traits.none"]),
        "op": str(draw.choice([ComparisonOperator.EQ, ComparisonOperator.EQ, *ComparisonOperator])),
        "value": draw.choice(VALUES[kind]),
        "type": kind,
    }
    if draw.random() < 0.1:
        del document["type"]
    return document


def drawn_listening(draw: random.Random) -> Case:
    query = [drawn_condition(draw) for _ in range(draw.choice([0, 1, 1, 1, 2]))]
    pattern = draw.choice(["*", "*", "compute.*", "compute.instance.update", "compute.instance.delete.*", "Compute.*"])
    return Case(
        type="event",
        rule={"event_type": pattern, "query": query},
        state=drawn_state(draw),
        repeat_actions=draw.random() < 0.5,
        rounds=[drawn_event(draw) for _ in range(3)],
        condition=EventRule(
            event_type=pattern,
            query=tuple(TraitCondition(**each) for each in query),
            document=tuple(query),
        ),
    )


# --- comparing -------------------------------------------------------------------------------------------------------

Compared = list[tuple[Case, Rounds, Rounds]]
"""Each case with our rounds and theirs."""


def compared(cases: list[Case]) -> Compared:
    theirs = ask("aodh_others.py", [case.to_aodh() for case in cases], timeout_seconds=600)
    return [(case, played(case), their) for case, their in zip(cases, theirs, strict=True)]


def same(ours: Rounds, theirs: Rounds) -> bool:
    """Equal to the letter, 1 and 1.0 being different."""
    return json.dumps(ours) == json.dumps(theirs)


@pytest.fixture(scope="module")
def composites() -> Compared:
    draw = random.Random(31)
    return compared([drawn_composite(draw) for _ in range(COMPOSITES)])


def test_composite_alarms_with_aodhs_resolution_are_aodhs(composites: Compared) -> None:
    assert [(case, ours, theirs) for case, ours, theirs in composites if not same(ours, theirs)] == []
    assert len(composites) >= 1000


def is_mixed(leaf: Rule | PrometheusRule, values: Sequence[float | None]) -> bool:
    """Values on both sides of the threshold."""
    present = [value for value in values if value is not None]
    counting = present[-leaf.evaluation_periods :] if isinstance(leaf, Rule) else present
    enough = len(counting) == leaf.evaluation_periods if isinstance(leaf, Rule) else bool(counting)
    return enough and len({COMPARISONS[leaf.comparison_operator](value, THRESHOLD) for value in counting}) > 1


def has_mixed_leaf(case: Case, answers: Mapping[str, Any]) -> bool:
    assert isinstance(case.condition, CompositeRule)
    leaves = zip(case.condition.leaves, case.condition.documents, strict=True)
    return any(is_mixed(leaf, answers[doc.get("resource_id") or doc["query"]]) for leaf, doc in leaves)


def test_composite_alarms_differ_from_aodh_in_what_mixed_leaves_come_to_and_in_nothing_else(
    composites: Compared,
) -> None:
    different = 0
    for case, _, theirs in composites:
        assert isinstance(case.condition, CompositeRule)
        condition = CompositeRule(
            leaves=case.condition.leaves, tree=case.condition.tree, documents=case.condition.documents
        )
        ours = played(Case(case.type, case.rule, case.state, case.repeat_actions, case.rounds, condition))
        mixed = (number for number, answers in enumerate(case.rounds) if has_mixed_leaf(case, answers))
        alike = next(mixed, len(case.rounds))
        assert same(ours[:alike], theirs[:alike]), case
        different += not same(ours, theirs)

    # had mixed leaves no say at all, the two would agree everywhere
    assert 0.05 * len(composites) < different < 0.5 * len(composites)


def test_the_composite_cases_are_worth_comparing(composites: Compared) -> None:
    changes = Counter(tuple(each[:2]) for _, _, theirs in composites for _, tells in theirs for each in tells)
    causes = Counter(
        len(each[3]["causative_rules"]) for _, _, theirs in composites for _, tells in theirs for each in tells
    )
    nested = [
        case
        for case, _, _ in composites
        if json.dumps(case.rule).count('{"and"') + json.dumps(case.rule).count('{"or"') > 1
    ]

    # every change, and alarm and ok repeated; insufficient data is not
    assert len(changes) == 8
    assert min(changes.values()) >= 100
    assert set(causes) >= {1, 2, 3, 4}
    assert len(nested) >= 500
    assert sum(1 for case, _, _ in composites for answers in case.rounds if has_mixed_leaf(case, answers)) >= 1000


def finite(rounds: Rounds) -> Rounds:
    """With null for what is not finite in ``reason_data``: JSON has no word for it, and Aodh sends one all the same."""
    return [
        [
            state,
            [
                [before, after, reason, data | {"most_recent": data["most_recent"] if is_finite(data) else None}]
                for before, after, reason, data in tells
            ],
        ]
        for state, tells in rounds
    ]


def is_finite(data: Mapping[str, Any]) -> bool:
    return data["most_recent"] is not None and math.isfinite(data["most_recent"])


def test_prometheus_alarms_are_aodhs() -> None:
    draw = random.Random(32)
    cases = compared([drawn_prometheus(draw) for _ in range(PROMETHEUS)])
    changes = Counter(tuple(each[:2]) for _, _, theirs in cases for _, tells in theirs for each in tells)

    assert [(case, ours, theirs) for case, ours, theirs in cases if not same(ours, finite(theirs))] == []
    assert len(changes) == 9
    assert sum(1 for _, ours, theirs in cases if not same(ours, theirs)) > 10


def test_load_balancer_alarms_are_aodhs() -> None:
    draw = random.Random(33)
    cases = compared([drawn_pool(draw) for _ in range(POOLS)])
    changes = Counter(tuple(each[:2]) for _, _, theirs in cases for _, tells in theirs for each in tells)

    assert [(case, ours, theirs) for case, ours, theirs in cases if not same(ours, theirs)] == []
    assert len(changes) == 9


def fails_in_aodh(case: Case) -> bool:
    """A query that asks for a boolean: Aodh takes it and then fails on every event of the whole project."""
    return any(each.get("type") == "boolean" for each in case.rule["query"])


def test_event_alarms_are_aodhs() -> None:
    draw = random.Random(34)
    cases = compared([drawn_listening(draw) for _ in range(EVENTS)])
    sound = [each for each in cases if not fails_in_aodh(each[0])]
    broken = [each for each in cases if fails_in_aodh(each[0])]
    hits = Counter(tuple(each[:2]) for _, _, theirs in sound for _, tells in theirs for each in tells)

    assert [(case, ours, theirs) for case, ours, theirs in sound if not same(ours, theirs)] == []
    assert len(sound) >= 1000
    assert len(hits) == 3
    assert min(hits.values()) >= 300
    assert {state for _, _, theirs in broken for state, _ in theirs} == {"KeyError"}
    assert sum(1 for _, ours, _ in broken for _, tells in ours if tells) > 10
