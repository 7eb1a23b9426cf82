"""Event alarms: whether an event hits one, and what follows.

Source:
    aodh/evaluator/event.py, 23.0.0.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING

from autoscaler.alarms.alarm import AlarmState, Evidence
from autoscaler.alarms.course import begin
from autoscaler.alarms.outcome import Outcome, Sources, Transition
from autoscaler.alarms.rules import COMPARISONS, EventRule

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.alarms.alarm import Alarm, AlarmRecord
    from autoscaler.alarms.rules import TraitCondition
    from autoscaler.measures.event import Event, Trait

KEPT_EVENTS: Final = 64
"""Events that are known as taken: what a broker may send again after a connection is lost."""
TRAITS: Final = "traits."


def hit(alarm: Alarm, record: AlarmRecord, event: Event, now: float) -> Outcome | None:
    """What follows for an alarm when an event happens; None where it does not hit it. Total.

    Each hit is a :class:`autoscaler.alarms.outcome.Transition`, with ``repeat_actions`` also from ``alarm`` to
    ``alarm``. Time constraints do not matter, as in Aodh. An event that was taken before hits nothing.

    Args:
        alarm: its condition is an :class:`autoscaler.alarms.rules.EventRule`.
    """
    rule = alarm.rule
    assert isinstance(rule, EventRule), f"{alarm.type} alarms wait for no events"
    fired = record.state is AlarmState.ALARM and not alarm.repeat_actions
    if not alarm.enabled or fired or event.message_id in record.events or not is_hit(rule, event):
        return None
    look = begin(alarm, record, now, Sources())
    previous = record.state
    query = json.dumps(list(rule.document), sort_keys=True)
    reason = f"Event <id={event.message_id},event_type={event.event_type}> hits the query <query={query}>."
    data = {"type": "event", "event": dict(event.document)}
    look.change(
        state=AlarmState.ALARM,
        state_timestamp=record.state_timestamp if previous is AlarmState.ALARM else now,
        reason=reason,
        reason_data=data,
        note="",
        imported=False,
        considered=now,
        evidence=Evidence(begins=now, ends=now, reporting=(1,), fullest=1),
        events=(event.message_id, *record.events)[:KEPT_EVENTS],
    )
    look.happenings.append(Transition(look.record.version, now, previous, AlarmState.ALARM, reason, data))
    return Outcome(look.record, tuple(look.happenings))


def is_hit(rule: EventRule, event: Event) -> bool:
    """Whether an event is of the type that a rule asks for and has all the traits. Total."""
    return fnmatchcase(event.event_type, rule.event_type) and all(_holds(each, event) for each in rule.query)


def _holds(condition: TraitCondition, event: Event) -> bool:
    trait = event.traits.get(condition.field.removeprefix(TRAITS))
    if condition.type == "boolean" and trait is not None:
        trait = str(trait).lower()  # traits have no such type: who sends one writes True or true
    try:
        wanted = converted(condition.value, condition.type)
        return bool(COMPARISONS[condition.op](trait, wanted))
    except (TypeError, ValueError):
        # what cannot be converted or compared is unlike; Aodh logs it, and takes none of the event then
        return False


@lru_cache(maxsize=4096)
def converted(value: str, kind: str) -> Trait:
    """What an event alarm compares a trait with.

    Args:
        kind: as :class:`autoscaler.alarms.rules.TraitCondition` has it.

    Raises:
        ValueError: the value is not of that kind.
    """
    match kind:
        case "integer":
            return int(value)
        case "float":
            return float(value)
        case "boolean":
            return value.lower()
        case "datetime":
            time = datetime.fromisoformat(value)
            return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
        case _:
            return value
