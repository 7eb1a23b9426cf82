from __future__ import annotations

from typing import Any

import pytest

from autoscaler.alarms.alarm import AlarmState, Evidence
from autoscaler.alarms.rules import ComparisonOperator, Rule, TreatMissingData
from autoscaler.alarms.verdict import Certain, Keep, Mixed, TooFew, Verdict, assess, explained, next_state
from tests.building import a_rule, granules

OK, ALARM, INSUFFICIENT = AlarmState.OK, AlarmState.ALARM, AlarmState.INSUFFICIENT_DATA
BREACHING = TreatMissingData.BREACHING


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        pytest.param([None, 60.0, 70.0], Certain(ALARM), id="all-outside"),
        pytest.param([99.0, 40.0, 50.0], Certain(OK), id="all-inside-older-ones-do-not-count"),
        pytest.param([99.0, 40.0, 60.0], Mixed(ALARM), id="mixed-going-out"),
        pytest.param([10.0, 60.0, 40.0], Mixed(OK), id="mixed-coming-back"),
        pytest.param([60.0, None, 70.0], Certain(ALARM), id="one-may-be-missing"),
        pytest.param([60.0, None, None], TooFew("2 datapoints are unknown"), id="two-may-not"),
        pytest.param([None, None, None], TooFew("No datapoint for granularity 10"), id="none-at-all"),
    ],
)
def test_the_verdict_is_aodhs(values: list[float | None], verdict: Verdict) -> None:
    assessment = assess(a_rule(), granules(values), OK)

    assert assessment.verdict == verdict
    assert assessment.missing is isinstance(verdict, TooFew)


def test_a_broken_granularity_is_told_as_it_is() -> None:
    verdict = assess(a_rule(granularity=0.5), granules([None]), OK).verdict

    assert verdict == TooFew("No datapoint for granularity 0.5")


@pytest.mark.parametrize(
    ("comparison", "outside"),
    [
        pytest.param(ComparisonOperator.LT, [True, False, False], id="lt"),
        pytest.param(ComparisonOperator.LE, [True, True, False], id="le"),
        pytest.param(ComparisonOperator.EQ, [False, True, False], id="eq"),
        pytest.param(ComparisonOperator.NE, [True, False, True], id="ne"),
        pytest.param(ComparisonOperator.GE, [False, True, True], id="ge"),
        pytest.param(ComparisonOperator.GT, [False, False, True], id="gt"),
    ],
)
def test_every_comparison(comparison: ComparisonOperator, outside: list[bool]) -> None:
    rule = a_rule(evaluation_periods=1, comparison_operator=comparison)
    found = [assess(rule, granules([value]), OK).outside == 1 for value in (49.0, 50.0, 51.0)]

    assert found == outside


@pytest.mark.parametrize(
    ("state", "value", "expected"),
    [
        pytest.param(ALARM, 45.0, ALARM, id="in-alarm-it-must-come-back-further"),
        pytest.param(ALARM, 30.0, OK, id="far-enough"),
        pytest.param(OK, 45.0, OK, id="going-in-the-threshold-counts"),
        pytest.param(INSUFFICIENT, 45.0, OK, id="from-nowhere-too"),
    ],
)
def test_the_recovery_threshold_counts_in_alarm_only(state: AlarmState, value: float, expected: AlarmState) -> None:
    rule = a_rule(recovery_threshold=30.0)

    assert assess(rule, granules([value, value]), state).verdict == Certain(expected)


@pytest.mark.parametrize(
    ("current", "verdict", "expected"),
    [
        pytest.param(OK, Certain(ALARM), ALARM, id="certain"),
        pytest.param(ALARM, TooFew(""), INSUFFICIENT, id="too-few"),
        pytest.param(INSUFFICIENT, Mixed(ALARM), ALARM, id="the-trend-leads-out-of-insufficient-data"),
        pytest.param(OK, Mixed(ALARM), OK, id="the-trend-leads-nowhere-else"),
        pytest.param(ALARM, Mixed(OK), ALARM, id="alarm-stays-on-mixed"),
        pytest.param(ALARM, Keep(), ALARM, id="kept"),
    ],
)
def test_the_next_state(current: AlarmState, verdict: Verdict, expected: AlarmState) -> None:
    assert next_state(current, verdict) is expected


TWO_OF_THREE = a_rule(evaluation_periods=3, datapoints_to_alarm=2)


@pytest.mark.parametrize(
    ("rule", "values", "verdict", "outside"),
    [
        pytest.param(TWO_OF_THREE, [0, 0, 60.0, 0, 60.0], Certain(ALARM), 2, id="two-of-three"),
        pytest.param(TWO_OF_THREE, [60.0, 60.0, 60.0, 0, 0], Certain(OK), 1, id="one-of-three"),
        pytest.param(TWO_OF_THREE, [60.0, 60.0, None, 60.0, None], Certain(ALARM), 3, id="older-values-stand-in"),
        pytest.param(TWO_OF_THREE, [None] * 5, TooFew("3 datapoints are unknown"), 0, id="nothing-came"),
        pytest.param(a_rule(treat_missing_data=BREACHING), [None] * 4, Certain(ALARM), 0, id="breaching"),
        pytest.param(a_rule(treat_missing_data=TreatMissingData.OK), [None] * 4, Certain(OK), 0, id="ok"),
        pytest.param(a_rule(treat_missing_data=TreatMissingData.IGNORE), [None] * 4, Keep(), 0, id="ignore"),
    ],
)
def test_missing_data_and_datapoints_are_treated(
    rule: Rule, values: list[float | None], verdict: Verdict, outside: int
) -> None:
    assessment = assess(rule, granules(values), OK)

    assert (assessment.verdict, assessment.outside) == (verdict, outside)


@pytest.mark.parametrize(
    ("rule", "values", "expected"),
    [
        pytest.param(a_rule(), [10.0, 60.0, 70.0], Evidence(20, 30, (2, 2), 2), id="all-there"),
        pytest.param(a_rule(), [10.0, 60.0, None], Evidence(10, 20, (2, 2), 2), id="as-new-as-what-was-measured"),
        pytest.param(
            a_rule(), [10.0, None, None], Evidence(0, 10, (2,), 2, resting_on_missing=True), id="too-few-never-scale-in"
        ),
        pytest.param(a_rule(), [None, None, None], None, id="nothing-to-judge"),
        pytest.param(
            a_rule(treat_missing_data=BREACHING),
            [None, 60.0, None, None],
            Evidence(30, 40, (0, 0), 2, resting_on_missing=True),
            id="silence-that-speaks-is-as-new-as-the-clock",
        ),
        pytest.param(
            a_rule(treat_missing_data=TreatMissingData.IGNORE),
            [None, 60.0, None, None],
            Evidence(10, 20, (0, 0), 2, resting_on_missing=True),
            id="ignored-silence-is-as-old-as-the-last-measure",
        ),
        pytest.param(a_rule(treat_missing_data=TreatMissingData.IGNORE), [None] * 4, None, id="ignored-and-nothing"),
    ],
)
def test_the_evidence(rule: Rule, values: list[float | None], expected: Evidence | None) -> None:
    assert assess(rule, granules(values, reporting=2), OK).evidence == expected


def data(disposition: str, count: int, most_recent: float | None) -> dict[str, Any]:
    return {"type": "threshold", "disposition": disposition, "count": count, "most_recent": most_recent}


@pytest.mark.parametrize(
    ("values", "current", "text", "reason_data"),
    [
        pytest.param(
            [60.0, 70.0],
            OK,
            "Transition to alarm due to 2 samples outside threshold, most recent: 70.0",
            data("outside", 2, 70.0),
            id="to-alarm",
        ),
        pytest.param(
            [10.0, 20.0],
            ALARM,
            "Transition to ok due to 2 samples inside threshold, most recent: 20.0",
            data("inside", 2, 20.0),
            id="to-ok",
        ),
        pytest.param(
            [60.0, 20.0],
            INSUFFICIENT,
            "Transition to ok due to 1 samples inside threshold, most recent: 20.0",
            data("inside", 1, 20.0),
            id="along-the-trend",
        ),
        pytest.param([20.0, None], OK, "2 datapoints are unknown", data("unknown", 2, 20.0), id="to-insufficient-data"),
        pytest.param(
            [None, None], OK, "No datapoint for granularity 10", data("unknown", 2, None), id="without-any-value"
        ),
        pytest.param(
            [20.0, None],
            INSUFFICIENT,
            "Remaining as insufficient data due to 0 samples outside threshold, most recent: 20.0",
            data("outside", 0, 20.0),
            id="remaining-insufficient",
        ),
        pytest.param(
            [20.0, 60.0],
            ALARM,
            "Remaining as alarm due to 1 samples outside threshold, most recent: 60.0",
            data("outside", 1, 60.0),
            id="remaining-on-mixed",
        ),
    ],
)
def test_the_texts_are_aodhs(
    values: list[float | None], current: AlarmState, text: str, reason_data: dict[str, Any]
) -> None:
    assessment = assess(a_rule(), granules(values), current)
    why = explained(2, current, next_state(current, assessment.verdict), assessment)

    assert (why.reason, why.data) == (text, reason_data)


def test_the_samples_that_stand_in_are_counted() -> None:
    rule = a_rule(evaluation_periods=3, datapoints_to_alarm=2)
    assessment = assess(rule, granules([60.0, 60.0, None, 60.0, None]), OK)

    assert explained(rule.evaluation_periods, OK, ALARM, assessment).data == data("outside", 3, 60.0)
