from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from autoscaler.alarms.alarm import Alarm, AlarmRecord, AlarmState
from autoscaler.alarms.observation import Observation, PoolMembers, Sample, Samples, Unknown
from autoscaler.alarms.observed import MAX_INSTANCES, observe
from autoscaler.alarms.outcome import Consideration, Happening, Outcome, Repetition, Sources, Transition
from autoscaler.alarms.rules import ComparisonOperator, CompositeRule, PoolHealthRule, PrometheusRule
from autoscaler.alarms.time_constraints import TimeConstraint
from tests.building import an_alarm

OK, ALARM, INSUFFICIENT = AlarmState.OK, AlarmState.ALARM, AlarmState.INSUFFICIENT_DATA
QUERY = PrometheusRule(query="load", threshold=50.0, comparison_operator=ComparisonOperator.GT)
EACH = msgspec.structs.replace(QUERY, per_series=True)
POOL = PoolHealthRule(pool_id="p", stack_id="s", autoscaling_group_id="g")


def asking(rule: PrometheusRule | PoolHealthRule | CompositeRule, **fields: Any) -> Alarm:
    return Alarm(alarm_id="a", name="asks", type="prometheus", rule=rule, **fields)


def answer(*values: float) -> Samples:
    return Samples(tuple(Sample({"n": str(number)}, value) for number, value in enumerate(values)))


def series(**values: float) -> Samples:
    return Samples(tuple(Sample({"__name__": "load", "host": host}, value) for host, value in values.items()))


class Asked:
    """An alarm on a service that is asked again and again."""

    def __init__(self, alarm: Alarm) -> None:
        self.alarm = alarm
        self.record = AlarmRecord()
        self.happened: list[Happening] = []
        self.outcome = Outcome(self.record)

    def see(self, seen: Observation, *, at: float) -> AlarmRecord:
        self.outcome = observe(self.alarm, self.record, {0: seen}, at, Sources())
        self.record = self.outcome.record
        self.happened += self.outcome.happenings
        return self.record

    @property
    def transitions(self) -> list[Transition]:
        return [each for each in self.happened if isinstance(each, Transition)]


# --- all series together ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "seen", "expected"),
    [
        pytest.param(OK, answer(90.0, 80.0), ALARM, id="all-outside"),
        pytest.param(ALARM, answer(10.0, 20.0), OK, id="all-inside"),
        pytest.param(OK, answer(10.0, 90.0), OK, id="mixed-keeps-ok"),
        pytest.param(ALARM, answer(90.0, 10.0), ALARM, id="mixed-keeps-alarm"),
        pytest.param(INSUFFICIENT, answer(90.0, 10.0), OK, id="mixed-takes-the-trend-out-of-insufficient-data"),
        pytest.param(ALARM, answer(), INSUFFICIENT, id="no-series"),
        pytest.param(OK, Unknown("away"), INSUFFICIENT, id="no-answer"),
        pytest.param(ALARM, answer(math.nan), OK, id="nan-is-beyond-nothing"),
    ],
)
def test_every_series_is_a_value(before: AlarmState, seen: Observation, expected: AlarmState) -> None:
    outcome = observe(asking(QUERY), AlarmRecord(state=before), {0: seen}, 100.0, Sources())

    assert outcome.record.state is expected


@pytest.mark.parametrize(
    ("seen", "reason", "data"),
    [
        pytest.param(
            answer(10.0, 90.0, 95.0),
            "Transition to alarm due to 2 samples outside threshold, most recent: 95.0",
            {"type": "threshold", "disposition": "outside", "count": 2, "most_recent": 95.0},
            id="values",
        ),
        pytest.param(
            answer(math.inf),
            "Transition to alarm due to 1 samples outside threshold, most recent: inf",
            {"type": "threshold", "disposition": "outside", "count": 1, "most_recent": None},
            id="what-json-cannot-say-is-null",
        ),
    ],
)
def test_reasons_are_aodhs(seen: Observation, reason: str, data: dict[str, Any]) -> None:
    record = observe(asking(QUERY), AlarmRecord(), {0: seen}, 100.0, Sources()).record

    assert (record.reason, record.reason_data, record.note) == (reason, data, "")


def test_a_server_that_does_not_answer_is_told_once() -> None:
    asked = Asked(asking(QUERY))
    asked.see(Unknown("connection refused"), at=100.0)
    assert asked.record.state_reason == "Not evaluated yet (connection refused)"
    asked.see(answer(90.0), at=115.0)
    asked.see(Unknown("connection refused"), at=130.0)
    assert asked.record.state_reason == "connection refused"
    record = asked.record
    asked.see(Unknown("connection refused"), at=145.0)
    assert asked.record is record
    asked.see(Unknown("bad query"), at=160.0)

    assert asked.record.state_reason == "connection refused (bad query)"
    assert [each.current for each in asked.transitions] == [ALARM, INSUFFICIENT]


def test_an_empty_answer_says_so() -> None:
    asked = Asked(asking(QUERY))
    asked.see(answer(90.0), at=100.0)
    asked.see(answer(), at=115.0)

    assert asked.record.state_reason == "datapoints are unknown (the query was answered with no series)"
    assert asked.record.reason_data == {
        "type": "threshold", "disposition": "unknown", "count": 0, "most_recent": None
    }  # fmt: skip


def test_actions_are_repeated_by_the_clock() -> None:
    asked = Asked(asking(QUERY, repeat_actions=True))
    asked.see(answer(90.0), at=100.0)
    assert asked.outcome.next_due == 160.0
    asked.see(answer(91.0), at=115.0)
    asked.see(answer(92.0), at=160.0)

    repeated = [each for each in asked.happened if isinstance(each, Repetition)]
    assert [(each.time, each.number) for each in repeated] == [(160.0, 1)]
    assert repeated[0].reason == "Remaining as alarm due to 1 samples outside threshold, most recent: 92.0"


def test_each_answer_is_something_new_to_policies() -> None:
    asked = Asked(asking(QUERY, alarm_actions=("policy://out",)))
    for at in (100.0, 115.0, 115.2, 130.0):
        asked.see(answer(90.0), at=at)

    assert [each.time for each in asked.happened if isinstance(each, Consideration)] == [115.0, 130.0]
    assert asked.record.evidence is not None
    assert asked.record.evidence.begins == 130.0


def test_outside_its_constraints_an_alarm_is_not_evaluated() -> None:
    constraint = TimeConstraint(name="hour", start="0 * * * *", duration=10)
    asked = Asked(asking(QUERY, time_constraints=(constraint,)))
    asked.see(answer(90.0), at=1000.0)

    assert asked.record.state is INSUFFICIENT
    assert asked.outcome.next_due is not None


def test_a_disabled_alarm_is_left_as_it_is() -> None:
    assert Asked(asking(QUERY, enabled=False)).see(answer(90.0), at=1.0) == AlarmRecord()


# --- a state for each series -----------------------------------------------------------------------------------------


def test_each_series_has_its_own_transitions() -> None:
    asked = Asked(asking(EACH))
    asked.see(series(a=90.0, b=10.0), at=100.0)
    asked.see(series(b=95.0, a=90.0), at=115.0)
    asked.see(series(a=10.0, b=95.0), at=130.0)

    told = [(each.time, each.reason_data["labels"]["host"], each.previous, each.current) for each in asked.transitions]
    assert told == [
        (100.0, "a", INSUFFICIENT, ALARM),
        (100.0, "b", INSUFFICIENT, OK),
        (115.0, "b", OK, ALARM),
        (130.0, "a", ALARM, OK),
    ]
    assert asked.record.state is ALARM
    assert asked.record.state_timestamp == 100.0
    assert len({each.version for each in asked.transitions}) == 4
    assert asked.transitions[2].reason == (
        'Transition to alarm due to 1 samples outside threshold, most recent: 95.0 (series load{host="b"})'
    )
    assert asked.transitions[2].reason_data == {
        "type": "threshold",
        "disposition": "outside",
        "count": 1,
        "most_recent": 95.0,
        "labels": {"__name__": "load", "host": "b"},
    }


def test_a_series_that_vanishes_is_told_and_dropped() -> None:
    asked = Asked(asking(EACH))
    asked.see(series(a=90.0, b=10.0), at=100.0)
    asked.see(series(b=10.0), at=115.0)
    last = asked.transitions[-1]

    assert (last.previous, last.current, last.reason_data["labels"]["host"]) == (ALARM, INSUFFICIENT, "a")
    assert last.reason == 'datapoints are unknown (series load{host="a"})'
    assert asked.record.state is OK
    assert len(asked.record.instances) == 1
    asked.see(series(), at=130.0)
    assert (asked.record.state, asked.record.instances) == (INSUFFICIENT, {})
    told = len(asked.transitions)
    asked.see(series(), at=145.0)
    assert len(asked.transitions) == told


def test_where_the_server_is_away_each_series_is_unknown() -> None:
    asked = Asked(asking(EACH))
    asked.see(series(a=90.0, b=10.0), at=100.0)
    asked.see(Unknown("connection refused"), at=115.0)

    assert [each.current for each in asked.transitions[2:]] == [INSUFFICIENT, INSUFFICIENT]
    assert asked.record.reason == 'connection refused (series load{host="b"})'
    assert asked.record.state is INSUFFICIENT


def test_nothing_new_leaves_the_record_as_it_was() -> None:
    asked = Asked(asking(EACH))
    record = asked.see(series(a=90.0, b=10.0), at=100.0)

    assert asked.see(series(b=11.0, a=91.0), at=115.0) is record


def test_one_repetition_tells_of_all_series_that_are_in_the_state() -> None:
    asked = Asked(asking(EACH, repeat_actions=True))
    asked.see(series(a=90.0, b=10.0), at=100.0)
    asked.see(series(a=90.0, b=10.0, c=91.0), at=120.0)
    asked.see(series(a=90.0, b=10.0, c=91.0), at=160.0)
    last = asked.happened[-1]

    assert isinstance(last, Repetition)
    assert (last.time, last.state, last.reason) == (
        160.0,
        ALARM,
        "Remaining as alarm due to 2 samples outside threshold, most recent: 91.0",
    )
    assert [labels["host"] for labels in last.reason_data["series"]] == ["a", "c"]


def test_a_state_that_was_set_by_hand_does_not_last() -> None:
    asked = Asked(asking(EACH))
    asked.see(series(a=90.0), at=100.0)
    asked.record = msgspec.structs.replace(asked.record, state=OK)
    asked.see(series(a=90.0), at=115.0)

    assert asked.record.state is ALARM
    assert (asked.transitions[-1].previous, asked.transitions[-1].current) == (OK, ALARM)


def test_too_many_series_are_refused_and_the_alarm_says_so() -> None:
    asked = Asked(asking(EACH))
    many = answer(*[90.0] * (MAX_INSTANCES + 1))
    asked.see(many, at=100.0)

    assert asked.record.instances == {}
    assert asked.record.state is INSUFFICIENT
    assert asked.record.note == "the query is answered with 1001 series; of 1000 at most each has a state"


# --- pools -----------------------------------------------------------------------------------------------------------


def test_an_unhealthy_member_is_told_as_aodh_tells_it() -> None:
    asked = Asked(asking(POOL))
    asked.see(PoolMembers(()), at=100.0)
    asked.see(PoolMembers(({"id": "m1"}, {"id": "m2"})), at=115.0)

    assert asked.transitions[0].reason == "Transition to ok due to 0 members unhealthy, most recent: None"
    assert asked.record.reason == "Transition to alarm due to 2 members unhealthy, most recent: {'id': 'm2'}"
    assert asked.record.reason_data == {
        "type": "loadbalancer_member_health",
        "count": 2,
        "most_recent": {"id": "m2"},
        "unhealthy_members": [{"id": "m1"}, {"id": "m2"}],
        "pool_id": "p",
        "stack_id": "s",
        "asg_id": "g",
    }


def test_a_load_balancer_that_is_away_is_told_with_its_error() -> None:
    asked = Asked(asking(POOL))
    asked.see(PoolMembers(()), at=100.0)
    asked.see(Unknown("503 from http://octavia"), at=115.0)

    assert asked.record.state is INSUFFICIENT
    assert asked.record.state_reason == ("failed to communicate with load balancing service (503 from http://octavia)")


def test_a_pools_actions_are_repeated() -> None:
    asked = Asked(asking(POOL, repeat_actions=True))
    asked.see(PoolMembers(({"id": "m1"},)), at=100.0)
    asked.see(PoolMembers(({"id": "m1"},)), at=160.0)
    last = asked.happened[-1]

    assert isinstance(last, Repetition)
    assert last.reason == "Remaining as alarm"


@pytest.mark.parametrize(
    ("alarm", "seen"),
    [
        pytest.param(asking(QUERY), PoolMembers(()), id="a-pool-for-a-query"),
        pytest.param(asking(POOL), answer(1.0), id="a-query-for-a-pool"),
        pytest.param(an_alarm(), answer(1.0), id="an-alarm-on-a-window"),
    ],
)
def test_the_wrong_kind_of_observation_is_a_mistake(alarm: Alarm, seen: Observation) -> None:
    with pytest.raises(AssertionError, match=r"asked in place of|ask nobody"):
        observe(alarm, AlarmRecord(), {0: seen}, 1.0, Sources())


def test_a_composite_alarm_may_ask_too() -> None:
    rule = CompositeRule(leaves=(QUERY,), tree=0, documents=({"type": "prometheus"},))
    asked = Asked(asking(rule))
    asked.see(answer(90.0), at=100.0)

    assert asked.record.reason == (
        "Composite rule alarm with composition form: rule1 transition to alarm, due to rules: rule1 outside their "
        "threshold."
    )
