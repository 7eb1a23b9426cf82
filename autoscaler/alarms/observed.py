"""Alarms on what is asked for rather than told: a Prometheus server's answers, the health of a load balancer's pool."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, assert_never

from autoscaler.alarms.alarm import AlarmState, Evidence
from autoscaler.alarms.composite import evaluate_composite
from autoscaler.alarms.course import PROBED, Finding, begin, conclude, earliest, lasting, next_opening
from autoscaler.alarms.explanation import note_of_observation, renewed
from autoscaler.alarms.imported import keeps_state
from autoscaler.alarms.observation import PoolMembers, Samples, Unknown
from autoscaler.alarms.outcome import Outcome, Transition
from autoscaler.alarms.rules import CompositeRule, EventRule, PoolHealthRule, PrometheusRule, Rule
from autoscaler.alarms.verdict import Certain, Explanation, assess_observation, explained, next_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from autoscaler.alarms.alarm import Alarm, AlarmRecord
    from autoscaler.alarms.course import Look
    from autoscaler.alarms.observation import Observation, Sample
    from autoscaler.alarms.outcome import Sources
    from autoscaler.alarms.verdict import Assessment

MAX_INSTANCES = 1000
"""Series of one alarm that may have a state of their own."""
_NO_ANSWER = "failed to communicate with load balancing service"


def observe(
    alarm: Alarm, record: AlarmRecord, seen: Mapping[int, Observation], now: float, sources: Sources
) -> Outcome:
    """Look at what a service was asked for on behalf of an alarm. Total.

    Args:
        alarm: rests on Prometheus or a load balancer's pool, or is composite with a leaf that does.
        record: as :func:`autoscaler.alarms.evaluation.evaluate` takes it.
        seen: by number of the leaf; 0 where the alarm has no tree.

    Returns:
        ``next_due`` leaves out the next time that the service is asked anyway.
    """
    rule = alarm.rule
    if isinstance(rule, CompositeRule):
        return evaluate_composite(alarm, record, {}, sources, now, seen)
    if not alarm.enabled:
        return Outcome(record)
    look = begin(alarm, record, now, sources)
    # there is no window: the first answer counts, whatever it is
    if look.within and not keeps_state(look, _lacking(seen)):
        match rule:
            case PrometheusRule(per_series=True):
                _observe_each(look, rule, seen[0])
            case PrometheusRule():
                conclude(look, _answer(look, rule, seen[0]), now)
            case PoolHealthRule():
                conclude(look, _health(look, rule, seen[0]), now)
            case Rule() | EventRule():
                raise AssertionError(f"{alarm.type} alarms ask nobody")
            case _:
                assert_never(rule)
    return Outcome(look.record, tuple(look.happenings), earliest([next_opening(look), *lasting(look)]))


def _lacking(seen: Mapping[int, Observation]) -> str:
    return next((each.reason or "no answer" for each in seen.values() if isinstance(each, Unknown)), "")


def _answer(look: Look, rule: PrometheusRule, seen: Observation) -> Finding:
    """All series together, as Aodh takes them."""
    assessment = assess_observation(rule, seen, look.now)
    state = next_state(look.record.state, assessment.verdict)
    return Finding(
        state=state,
        ends=look.now,
        step=PROBED,
        evidence=assessment.evidence,
        explain=lambda current: explained(0, current, state, assessment),
        note=renewed(look.record.note, note_of_observation(seen)),
    )


# --- a state for each series -----------------------------------------------------------------------------------------


def _observe_each(look: Look, rule: PrometheusRule, seen: Observation) -> None:
    """Give each series its own state; the alarm's is the worst of them."""
    if isinstance(seen, Samples) and len(seen.samples) > MAX_INSTANCES:
        many = f"the query is answered with {len(seen.samples)} series; of {MAX_INSTANCES} at most each has a state"
        seen = Unknown(many)
    samples = {_key(sample.labels): sample for sample in seen.samples} if isinstance(seen, Samples) else {}
    finding = _of_all(look, rule, seen, list(samples.values()))
    for key in sorted(look.record.instances.keys() | samples.keys()):
        alone = Samples((samples[key],)) if key in samples else seen if isinstance(seen, Unknown) else Samples(())
        _observe_one(look, finding, key, assess_observation(rule, alone, look.now))
    conclude(look, finding, look.now)


def _of_all(look: Look, rule: PrometheusRule, seen: Observation, samples: Sequence[Sample]) -> Finding:
    """The finding on the alarm as a whole: in alarm if any series is, with those that are told."""
    each = [assess_observation(rule, Samples((sample,)), look.now) for sample in samples]
    together = assess_observation(rule, Samples(tuple(samples)) if samples else seen, look.now)
    states = [next_state(AlarmState.INSUFFICIENT_DATA, assessment.verdict) for assessment in each]
    state = _worst(states)

    def explain(current: AlarmState) -> Explanation:
        why = explained(0, current, state, together)
        those = [dict(sample.labels) for sample, its in zip(samples, states, strict=True) if its is state]
        return Explanation(why.reason, why.data | {"series": those})

    note = renewed(look.record.note, note_of_observation(seen))
    return Finding(state, look.now, PROBED, together.evidence, explain, note)


def _observe_one(look: Look, whole: Finding, key: str, assessment: Assessment) -> None:
    """Move one series to its state and tell so; one that is gone is dropped once that is told."""
    previous = look.record.instances.get(key, AlarmState.INSUFFICIENT_DATA)
    state = next_state(previous, assessment.verdict)
    if state is previous:
        return
    instances = look.record.instances | {key: state}
    if not isinstance(assessment.verdict, Certain):
        del instances[key]
    labels = json.loads(key)
    why = explained(0, previous, state, assessment)
    reason, data = f"{why.reason} (series {_named(labels)})", why.data | {"labels": labels}
    changed: dict[str, Any] = {}
    if whole.state is not look.record.state:
        repeat_at = look.now + look.alarm.repeat_interval if look.alarm.repeat_actions else None
        changed = {"state": whole.state, "state_timestamp": look.now, "repeats": 0, "repeat_at": repeat_at}
    look.change(
        instances=instances,
        reason=reason,
        reason_data=data,
        note=whole.note,
        considered=look.now,
        consider_at=None,
        evidence=whole.evidence,
        **changed,
    )
    look.happenings.append(Transition(look.record.version, look.now, previous, state, reason, data))


def _worst(states: Iterable[AlarmState]) -> AlarmState:
    present = set(states)
    for state in (AlarmState.ALARM, AlarmState.OK):
        if state in present:
            return state
    return AlarmState.INSUFFICIENT_DATA


def _key(labels: Mapping[str, str]) -> str:
    """The same for the same labels, in whatever order they come."""
    return json.dumps(dict(labels), sort_keys=True, ensure_ascii=False)


def _named(labels: Mapping[str, str]) -> str:
    """A series as Prometheus writes it."""
    inner = ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in labels.items() if name != "__name__"
    )
    return f"{labels.get('__name__', '')}{{{inner}}}"


# --- pools -----------------------------------------------------------------------------------------------------------


def _health(look: Look, rule: PoolHealthRule, seen: Observation) -> Finding:
    """In alarm while any member is unhealthy.

    Source:
        aodh/evaluator/loadbalancer.py, 23.0.0.
    """
    evidence: Evidence | None = Evidence(begins=look.now, ends=look.now, reporting=(1,), fullest=1)
    match seen:
        case PoolMembers(unhealthy):
            members = [dict(member) for member in unhealthy]
            state = AlarmState.ALARM if members else AlarmState.OK
        case Unknown():
            members, state, evidence = [], AlarmState.INSUFFICIENT_DATA, None
        case Samples():
            raise AssertionError("a Prometheus server was asked in place of a load balancer")
        case _:
            assert_never(seen)
    most_recent = members[-1] if members else None
    data = {
        "type": "loadbalancer_member_health",
        "count": len(members),
        "most_recent": most_recent,
        "unhealthy_members": members,
        "pool_id": rule.pool_id,
        "stack_id": rule.stack_id,
        "asg_id": rule.autoscaling_group_id,
    }

    def explain(current: AlarmState) -> Explanation:
        if state is AlarmState.INSUFFICIENT_DATA:
            return Explanation(_NO_ANSWER, data)
        changed = f"Transition to {state} due to {len(members)} members unhealthy, most recent: {most_recent}"
        return Explanation(f"Remaining as {state}" if current is state else changed, data)

    return Finding(
        state=state,
        ends=look.now,
        step=PROBED,
        evidence=evidence,
        explain=explain,
        note=renewed(look.record.note, note_of_observation(seen)),
    )
