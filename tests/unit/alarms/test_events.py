from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from autoscaler.alarms.alarm import Alarm, AlarmRecord, AlarmState
from autoscaler.alarms.events import KEPT_EVENTS, hit, is_hit
from autoscaler.alarms.outcome import Transition
from autoscaler.alarms.rules import ComparisonOperator, EventRule, TraitCondition
from autoscaler.alarms.time_constraints import TimeConstraint
from autoscaler.measures.event import Event, Trait
from tests.building import an_alarm

OK, ALARM, INSUFFICIENT = AlarmState.OK, AlarmState.ALARM, AlarmState.INSUFFICIENT_DATA
AT = datetime(2026, 11, 20, 10, 0)  # noqa: DTZ001 - traits are naive, in UTC


def an_event(message_id: str = "m1", event_type: str = "compute.instance.update", **traits: Trait) -> Event:
    return Event(message_id, event_type, "p", traits, {"message_id": message_id, "event_type": event_type})


def waiting(*conditions: dict[str, Any], event_type: str = "compute.*", **fields: Any) -> Alarm:
    query = tuple(TraitCondition(**condition) for condition in conditions)
    rule = EventRule(event_type=event_type, query=query, document=conditions)
    return Alarm(alarm_id="a", name="waits", type="event", rule=rule, **fields)


def test_a_hit_is_told_with_the_event_and_the_query() -> None:
    alarm = waiting({"value": "error", "field": "traits.state", "type": "string"}, revision=7)
    outcome = hit(alarm, AlarmRecord(version=3), an_event(state="error"), 100.0)

    assert outcome is not None
    (happening,) = outcome.happenings
    reason = (
        "Event <id=m1,event_type=compute.instance.update> hits the query "
        '<query=[{"field": "traits.state", "type": "string", "value": "error"}]>.'
    )
    data = {"type": "event", "event": {"message_id": "m1", "event_type": "compute.instance.update"}}
    assert happening == Transition(outcome.record.version, 100.0, INSUFFICIENT, ALARM, reason, data)
    record = outcome.record
    assert (record.state, record.state_timestamp, record.reason, record.reason_data) == (ALARM, 100.0, reason, data)
    assert (record.definition, record.revision, record.events) == (alarm.definition, 7, ("m1",))
    assert outcome.next_due is None


def test_without_repeating_an_alarm_is_hit_once() -> None:
    alarm = waiting()
    first = hit(alarm, AlarmRecord(), an_event("m1"), 100.0)
    assert first is not None

    assert hit(alarm, first.record, an_event("m2"), 101.0) is None


def test_with_repeating_every_hit_is_told_from_alarm_to_alarm() -> None:
    alarm = waiting(repeat_actions=True)
    first = hit(alarm, AlarmRecord(), an_event("m1"), 100.0)
    assert first is not None
    second = hit(alarm, first.record, an_event("m2"), 101.0)
    assert second is not None
    (happening,) = second.happenings

    assert isinstance(happening, Transition)
    assert (happening.previous, happening.current, happening.time) == (ALARM, ALARM, 101.0)
    assert second.record.version > first.record.version
    assert second.record.state_timestamp == 100.0
    assert second.record.repeat_at is None


def test_the_same_event_told_again_hits_nothing() -> None:
    alarm = waiting(repeat_actions=True)
    record = AlarmRecord()
    for number in range(KEPT_EVENTS + 1):
        outcome = hit(alarm, record, an_event(f"m{number}"), 100.0 + number)
        assert outcome is not None
        record = outcome.record

    assert len(record.events) == KEPT_EVENTS
    assert hit(alarm, record, an_event("m1"), 500.0) is None
    assert hit(alarm, record, an_event(f"m{KEPT_EVENTS}"), 500.0) is None


@pytest.mark.parametrize(
    ("alarm", "expected"),
    [
        pytest.param(waiting(enabled=False), False, id="disabled"),
        pytest.param(waiting(event_type="image.*"), False, id="another-type"),
        pytest.param(waiting(event_type="COMPUTE.*"), False, id="in-capitals"),
        pytest.param(waiting(event_type="compute.instance.[ud]*"), True, id="a-set"),
        pytest.param(
            waiting(time_constraints=(TimeConstraint(name="never", start="0 0 30 2 *", duration=1),)),
            True,
            id="time-constraints-do-not-matter",
        ),
    ],
)
def test_not_every_alarm_is_hit(alarm: Alarm, *, expected: bool) -> None:
    assert (hit(alarm, AlarmRecord(), an_event(), 100.0) is not None) is expected


@pytest.mark.parametrize(
    ("kind", "op", "value", "trait", "expected"),
    [
        pytest.param("string", "eq", "error", "error", True, id="texts"),
        pytest.param("", "eq", "error", "error", True, id="no-type-is-a-text"),
        pytest.param("", "eq", "5", 5, False, id="a-text-is-no-number"),
        pytest.param("", "ne", "5", 5, True, id="and-so-unlike"),
        pytest.param("integer", "eq", "5", 5, True, id="integers"),
        pytest.param("integer", "gt", "5", 5.5, True, id="numbers-of-two-kinds"),
        pytest.param("integer", "gt", "five", 6, False, id="what-is-no-number-is-passed-by-nothing"),
        pytest.param("integer", "ne", "five", 6, False, id="nor-unlike-anything"),
        pytest.param("float", "le", "2.5", 2.5, True, id="floats"),
        pytest.param("float", "lt", "2.5", "1", False, id="a-number-and-a-text-have-no-order"),
        pytest.param("datetime", "eq", "2026-11-20T12:00:00+02:00", AT, True, id="times-in-utc"),
        pytest.param("datetime", "ge", "2026-11-20T10:00:00Z", AT, True, id="times-with-a-z"),
        pytest.param("datetime", "lt", "2026-11-20T10:00:00.000001", AT, True, id="times-without-a-zone"),
        pytest.param("datetime", "eq", "noon", AT, False, id="no-time"),
        pytest.param("boolean", "eq", "true", "True", True, id="booleans-in-any-case"),
        pytest.param("boolean", "ne", "true", "False", True, id="booleans-that-differ"),
        pytest.param("boolean", "eq", "true", None, False, id="no-boolean"),
        pytest.param("string", "eq", "error", None, False, id="a-trait-that-is-missing"),
        pytest.param("string", "ne", "error", None, True, id="what-is-missing-is-unlike"),
        pytest.param("string", "gt", "error", None, False, id="what-is-missing-has-no-order"),
    ],
)
def test_a_trait_is_compared_as_its_condition_says(
    kind: str, op: str, value: str, trait: Trait | None, *, expected: bool
) -> None:
    condition = TraitCondition(field="traits.x.y", value=value, op=ComparisonOperator(op), type=kind)
    event = Event("m", "e", "p", {} if trait is None else {"x.y": trait}, {})

    assert is_hit(EventRule(query=(condition,)), event) is expected


def test_all_conditions_must_hold() -> None:
    conditions = [
        {"field": "traits.state", "value": "error"},
        {"field": "traits.size", "value": "5", "type": "integer"},
    ]
    rule = waiting(*conditions).rule
    assert isinstance(rule, EventRule)

    assert is_hit(rule, an_event(state="error", size=5))
    assert not is_hit(rule, an_event(state="error", size=6))


def test_an_alarm_on_measures_waits_for_no_events() -> None:
    with pytest.raises(AssertionError, match="threshold alarms wait for no events"):
        hit(an_alarm(), AlarmRecord(), an_event(), 1.0)
