from __future__ import annotations

import msgspec
import pytest

from autoscaler.alarms.alarm import AlarmRecord, AlarmState
from autoscaler.alarms.evaluation import evaluate
from autoscaler.alarms.explanation import renewed
from autoscaler.alarms.outcome import Outcome, Sources, Transition
from autoscaler.alarms.rules import EvaluateWhen, Rule, TreatMissingData
from autoscaler.measures.derived import Derivation, Rate, series_name
from autoscaler.measures.match import Equals
from tests.building import Points, Watch, a_rule, a_view, an_alarm

INSUFFICIENT = AlarmState.INSUFFICIENT_DATA
MEASURE = a_rule(evaluate=EvaluateWhen.MEASURE)
CPU_UTIL = Derivation(
    base="cpu", rate=Rate.PER_SECOND, scale=100 / 1e9, divisor="vcpus", divisor_metadata=("vcpus", "cpu_number")
)
DERIVED = a_rule(evaluate=EvaluateWhen.MEASURE, derivation=CPU_UTIL, single=False, reaggregation_method="mean")
RATE = a_rule(
    evaluate=EvaluateWhen.BOUNDARY,
    single=False,
    aggregation_method="rate:mean",
    reaggregation_method="mean",
    rate_of_aggregate=True,
)
HEARD = Sources(metrics={"": ("cpu_util", "memory.usage")})


def looked(
    rule: Rule, series: dict[str, Points], sources: Sources = HEARD, *, scope: str = "any", now: float = 130.0
) -> Outcome:
    return evaluate(an_alarm(rule, scope=scope), AlarmRecord(), a_view(series, now=now), sources)


@pytest.mark.parametrize(
    ("rule", "sources", "scope", "expected"),
    [
        pytest.param(
            a_rule(metric="cpu_utl"),
            HEARD,
            "any",
            'no measure of "cpu_utl" was heard lately; the nearest name is "cpu_util"',
            id="a-name-that-is-nearly-right",
        ),
        pytest.param(
            a_rule(metric="xyz"),
            HEARD,
            "any",
            'no measure of "xyz" was heard lately; no metric has a name like it',
            id="a-name-like-no-other",
        ),
        pytest.param(
            a_rule(metric="xyz", further_metrics=("memory.usag",)),
            HEARD,
            "any",
            'no measure of "xyz" or "memory.usag" was heard lately; the nearest name is "memory.usage"',
            id="several-metrics",
        ),
        pytest.param(
            a_rule(),
            Sources(),
            "any",
            'no measure of "cpu_util" was heard lately, nor of any other metric',
            id="nothing-at-all-is-heard",
        ),
        pytest.param(
            a_rule(),
            Sources(metrics={"p2": ("cpu_util",)}),
            "p1",
            'no measure of "cpu_util" was heard lately in project p1, nor of any other metric',
            id="nothing-is-heard-of-the-project",
        ),
        pytest.param(
            a_rule(match=Equals("server_group", "web")),
            HEARD,
            "p1",
            '"cpu_util" was heard, but of no resource with {"=": {"server_group": "web"}} in project p1',
            id="nothing-with-these-attributes",
        ),
        pytest.param(
            a_rule(group="web"),
            HEARD,
            "",
            '"cpu_util" was heard, but of no resource of group "web" without a project',
            id="nothing-of-the-group",
        ),
        pytest.param(
            DERIVED,
            Sources(metrics={"": ("cpu",)}),
            "any",
            '"cpu" was heard, but of no resource',
            id="the-base-of-a-derived-metric",
        ),
    ],
)
def test_where_nothing_matched_the_first_look_says_what_was_heard(
    rule: Rule, sources: Sources, scope: str, expected: str
) -> None:
    outcome = looked(rule, {}, sources, scope=scope)

    assert outcome.record.state_reason == f"Not evaluated yet ({expected})"
    assert outcome.happenings == ()


def test_too_few_points_are_counted() -> None:
    outcome = looked(
        a_rule(evaluation_periods=3, evaluate=EvaluateWhen.MEASURE), {"a": [(112.0, 1.0)], "b": [(115.0, 1.0)]}
    )

    assert outcome.record.note == (
        "resources matched: 2, points in the window: 2, newest point: 15 s old, values needed: 3"
    )


def test_points_before_the_window_are_too_old() -> None:
    outcome = looked(MEASURE, {"a": [(62.0, 1.0)]}, now=150.0)

    assert outcome.record.note == (
        "resources matched: 1, no point in the last 30 s, newest point: 88 s old, values needed: 2"
    )


def test_resources_without_a_divisor_are_counted() -> None:
    base, divisor = series_name("a", "cpu", DERIVED.metric), series_name("b", "vcpus", DERIVED.metric)
    other = series_name("b", "cpu", DERIVED.metric)
    points = [(float(at), at * 1e9) for at in range(100, 131, 5)]
    outcome = looked(DERIVED, {base: points, other: points[-1:], divisor: [(100.0, 2.0)]})

    assert outcome.record.state is INSUFFICIENT
    assert outcome.record.note == (
        'resources matched: 2, without metadata "vcpus" and metadata "cpu_number" and metric "vcpus": 1, '
        "no point in the last 30 s, newest point: 0 s old, values needed: 2"
    )


def test_what_has_fallen_silent_is_told_from_what_never_came() -> None:
    view = a_view({}, now=500.0)
    view.newest = 100.0
    outcome = evaluate(an_alarm(), AlarmRecord(), view, HEARD)

    assert outcome.record.note == "all that matched has fallen silent, its newest point is 400 s old"


def test_the_note_goes_with_the_transition_and_leaves_with_the_next() -> None:
    watch = Watch(an_alarm(MEASURE), HEARD)
    for at in (102.0, 112.0):
        watch.report(90.0, at=at)
        watch.look(at)
    watch.sleep(until=140)
    last = watch.happened[-1]
    assert isinstance(last, Transition)
    assert last.current is INSUFFICIENT
    assert last.note == watch.record.note
    assert last.note.startswith("resources matched: 1, points in the window: 1")
    assert last.reason == watch.record.reason == "2 datapoints are unknown"
    for at in (1002.0, 1012.0):
        watch.report(90.0, at=at)
        watch.look(at)

    assert watch.record.state is AlarmState.ALARM
    assert watch.record.note == ""


def test_a_note_is_renewed_with_the_kind_of_cause_only() -> None:
    watch = Watch(an_alarm(MEASURE), HEARD)
    watch.look(100.0)
    watch.report(90.0, at=105.0)
    watch.look(105.0)
    first = watch.record
    watch.look(107.0)
    assert watch.record is first
    assert first.note.startswith("resources matched: 1, points in the window: 1, newest point: 0 s old")
    watch.look(400.0)

    assert watch.record.note.startswith("resources matched: 1, no point in the last 30 s")


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        pytest.param("points: 1, 3 s old", "points: 12, 45 s old", "points: 1, 3 s old", id="numbers"),
        pytest.param("points: 1", "no points", "no points", id="words"),
        pytest.param("", "points: 1", "points: 1", id="nothing-yet"),
        pytest.param("points: 1", "", "", id="nothing-more"),
    ],
)
def test_numbers_alone_are_no_news(before: str, now: str, expected: str) -> None:
    assert renewed(before, now) == expected


def test_a_treatment_that_keeps_insufficient_data_says_why_too() -> None:
    outcome = looked(a_rule(treat_missing_data=TreatMissingData.IGNORE), {})

    assert outcome.record.state is INSUFFICIENT
    assert outcome.record.note.startswith('"cpu_util" was heard, but of no resource')


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        pytest.param({"a": range(105, 131, 5), "b": range(105, 131, 5)}, "", id="all-stay"),
        pytest.param(
            {"a": range(105, 131, 5), "b": range(121, 131, 5)},
            "series that begin in the window: 1, that end in it: 0; rate:mean is the difference",
            id="one-joins",
        ),
        pytest.param(
            {"a": range(105, 131, 5), "b": range(75, 116, 5)},
            "series that begin in the window: 0, that end in it: 1; rate:mean is the difference",
            id="one-leaves",
        ),
        pytest.param({"a": [105]}, "", id="a-single-granule"),
    ],
)
def test_a_rate_over_a_group_that_changes_is_warned_of(series: dict[str, range], expected: str) -> None:
    rule = msgspec.structs.replace(RATE, evaluation_periods=1)
    outcome = looked(rule, {name: [(float(at), at * 1.0) for at in times] for name, times in series.items()})

    warning = outcome.record.note.partition("values needed: 1; ")[2] or outcome.record.note
    assert warning.startswith(expected) if expected else "rate:mean" not in warning, outcome.record.note
