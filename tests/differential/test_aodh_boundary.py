"""With ``evaluate: boundary`` an alarm does what Aodh does when it is evaluated at each boundary of its granules."""

from __future__ import annotations

import json
import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from autoscaler.alarms.alarm import Alarm, AlarmRecord
from autoscaler.alarms.evaluation import Sources, Transition, evaluate
from autoscaler.alarms.rules import ComparisonOperator, EvaluateWhen, Rule, WindowKind
from autoscaler.measures.match import EVERYTHING
from autoscaler.measures.series import merged, unpack
from autoscaler.measures.window import WindowView
from tests.differential.asking import ask

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(900)]

CASES = 2400
EPOCH = 1_790_000_000
WITHIN = ["mean", "sum", "min", "max", "count", "std", "median", "last", "first", "1pct", "90pct", "99pct"]
ACROSS = ["mean", "sum", "min", "max", "count", "std", "median"]
GRANULARITIES = [1, 2, 10, 60, 300, 3600]

Points = Sequence[tuple[float, float]]
Happened = list[list[Any]]


@dataclass(frozen=True)
class Case:
    """A rule, and the measures of each resource in order of arrival; each arrives before its granule ends."""

    rule: Rule
    series: Mapping[str, Points]
    first: int
    last: int


Played = Sequence[tuple[Case, Happened, Happened]]


def drawn_value(draw: random.Random, style: str, before: float) -> float:
    match style:
        case "noise":
            return draw.uniform(0, 100)
        case "steps":
            return float(draw.choice([10, 50, 50, 50, 90]))
        case "counter":
            return 0.0 if draw.random() < 0.03 else before + draw.choice([0.0, 1.0, draw.uniform(0, 60)])
        case _:
            return before + draw.uniform(-25, 25)


def drawn_points(draw: random.Random, granularity: float, granules: range) -> Points:
    """Points in order of arrival: several a granule or less than one, with gaps, repeated and backward times."""
    style = draw.choice(["noise", "steps", "counter", "walk"])
    a_granule = draw.choice([0.5, 1, 1, 2, 5, 12])
    points: list[tuple[float, float]] = []
    value, silent = draw.uniform(0, 100), 0
    for index in granules:
        silent = max(0, silent - 1) or (draw.randrange(2, 9) if draw.random() < 0.05 else 0)
        many = 0 if silent else int(a_granule) or draw.randrange(2)
        times = sorted(index * granularity + draw.randrange(8000) / 8000 * granularity for _ in range(many))
        if many and draw.random() < 0.1:
            times[0] = index * granularity  # exactly on the boundary
        if many > 1 and draw.random() < 0.2:
            draw.shuffle(times)
        if many and draw.random() < 0.1:
            times.append(draw.choice(times))
        for time in times:
            value = drawn_value(draw, style, value)
            points.append((time, value))
    return points


def drawn_rule(draw: random.Random, *, single: bool, values: Sequence[float]) -> Rule:
    base = draw.choice(WITHIN if single else ACROSS)
    rate = draw.random() < 0.3
    levels = sorted(values)
    typical = levels[int(draw.random() * len(levels))] if levels else 50.0
    threshold = draw.choice([typical, typical, 50.0, 0.0, 3.0, round(typical)])
    return Rule(
        metric="metric",
        match=EVERYTHING,
        single=single,
        aggregation_method=f"rate:{base}" if rate else base,
        reaggregation_method="" if single else base,
        rate_of_aggregate=rate and not single,
        threshold=float(threshold),
        comparison_operator=draw.choice(list(ComparisonOperator)),
        granularity=float(draw.choice(GRANULARITIES)),
        evaluation_periods=draw.choice([1, 1, 2, 3, 5]),
        window=WindowKind.ALIGNED,
        evaluate=EvaluateWhen.BOUNDARY,
    )


def drawn_case(draw: random.Random) -> Case:
    single = draw.random() < 0.5
    many = 1 if single else draw.choice([1, 2, 3, 5, 12])
    rule = drawn_rule(draw, single=single, values=[draw.uniform(0, 100) for _ in range(9)])
    first = int(EPOCH // rule.granularity) + draw.randrange(1000)
    last = first + draw.randrange(5, 30)
    series = {f"r{n:02}": drawn_points(draw, rule.granularity, range(first, last + 1)) for n in range(many)}
    return Case(rule, series, first, last + draw.choice([0, rule.evaluation_periods + 3]))


def to_aodh(case: Case) -> dict[str, Any]:
    rule = case.rule
    return {
        "single": rule.single,
        "first": case.first,
        "last": case.last,
        "series": case.series,
        "rule": {
            "metric": rule.metric,
            "resource_id": next(iter(case.series)),
            "resource_type": "generic",
            "query": json.dumps({"=": {"server_group": "g"}}),
            "aggregation_method": rule.aggregation_method,
            "granularity": int(rule.granularity),
            "evaluation_periods": rule.evaluation_periods,
            "comparison_operator": str(rule.comparison_operator),
            "threshold": rule.threshold,
        },
    }


def views(case: Case, boundaries: Iterable[int], *, trimmed: bool) -> Iterable[WindowView]:
    """The window as it is stored as of each of these boundaries, trimmed to the rule's horizon unless asked not to."""
    horizon = case.rule.horizon if trimmed else math.inf
    packed = dict.fromkeys(case.series, b"")
    taken = dict.fromkeys(case.series, 0)
    for version, boundary in enumerate(boundaries, 1):
        now = boundary * case.rule.granularity
        for name, points in case.series.items():
            arrived = next((n for n, (time, _) in enumerate(points) if time >= now), len(points))
            newest = max((time for time, _ in points[:arrived]), default=now)
            packed[name] = merged(
                packed[name],
                points[taken[name] : arrived],
                newer_than=min(newest, now) - horizon,
                at_most=10_000,
            )
            taken[name] = arrived
        series = {name: unpack(points) for name, points in packed.items() if points}
        newest_of_all = max((each.times[-1] for each in series.values()), default=None)
        yield WindowView(version, now, newest_of_all, series)


def transitions(case: Case, boundaries: Iterable[int], *, trimmed: bool = True) -> Happened:
    alarm = Alarm(alarm_id="a", name="a", type="threshold", rule=case.rule)
    record = AlarmRecord()
    happened = []
    for view in views(case, boundaries, trimmed=trimmed):
        outcome = evaluate(alarm, record, view, Sources())
        record = outcome.record
        happened += [
            [each.time, str(each.previous), str(each.current), each.reason, each.reason_data]
            for each in outcome.happenings
            if isinstance(each, Transition)
        ]
    return happened


@pytest.fixture(scope="module")
def played() -> list[tuple[Case, Happened, Happened]]:
    draw = random.Random(23)
    cases = [drawn_case(draw) for _ in range(CASES)]
    theirs = ask("aodh_boundary.py", list(map(to_aodh, cases)), timeout_seconds=800)
    return [
        (case, transitions(case, range(case.first + 1, case.last + 2)), their)
        for case, their in zip(cases, theirs, strict=True)
    ]


def same(ours: Happened, theirs: Happened) -> bool:
    """Equal to the letter, 1 and 1.0 being different."""
    return json.dumps(ours) == json.dumps(theirs)


def without_last_digits(happened: Happened) -> str:
    """As text, each number with 12 significant digits."""
    return re.sub(r"-?\d+\.\d+(e[-+]?\d+)?", lambda found: f"{float(found[0]):.12g}", json.dumps(happened))


def counts_across(case: Case) -> bool:
    """Gnocchi's count across series is a NumPy integer, which its JSON refuses: every request fails."""
    return not case.rule.single and case.rule.reaggregation_method == "count"


def may_be_added_pairwise(case: Case) -> bool:
    """NumPy adds the values of a single granule in another order from eight series on."""
    return len(case.series) >= 8 and case.rule.reaggregation_method in {"mean", "sum", "std"}


def test_transitions_and_their_reasons_are_aodhs(played: Played) -> None:
    compared = [each for each in played if not counts_across(each[0])]
    different = [each for each in compared if not same(each[1], each[2])]
    in_last_digits = [
        (case, ours, theirs)
        for case, ours, theirs in different
        if may_be_added_pairwise(case) and without_last_digits(ours) == without_last_digits(theirs)
    ]

    assert [each for each in different if each not in in_last_digits] == []
    assert len(in_last_digits) < 0.01 * len(compared)
    assert len(compared) >= 2000


def test_all_boundaries_at_once_come_to_the_same(played: Played) -> None:
    for case, ours, _ in played:
        # the whole series is at hand when the first boundary is evaluated
        assert same(transitions(case, [case.last + 1], trimmed=False), ours), case


def test_a_count_across_series_works_here_and_never_in_aodh(played: Played) -> None:
    counting = [each for each in played if counts_across(each[0])]

    assert [theirs for _, _, theirs in counting if theirs] == []
    assert sum(1 for _, ours, _ in counting if ours) > len(counting) / 2


def test_the_cases_are_worth_comparing(played: Played) -> None:
    seen = Counter((each[1], each[2]) for _, _, theirs in played for each in theirs)
    reasons = Counter(" ".join(each[3].split()[-3:]) for _, _, theirs in played for each in theirs)

    assert len(seen) == 6
    assert min(seen.values()) >= 100
    assert reasons["datapoints are unknown"] >= 100
    assert sum(1 for case, _, theirs in played if case.rule.aggregation_method.startswith("rate:") and theirs) >= 400
    assert {case.rule.comparison_operator for case, _, theirs in played if theirs} == set(ComparisonOperator)
