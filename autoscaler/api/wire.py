"""JSON as the API speaks it, and how our values become it. Times are ISO 8601, UTC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, assert_never

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from autoscaler.alarms.agreement import Difference, Uncompared
from autoscaler.alarms.alarm import AlarmState, Severity
from autoscaler.alarms.rules import CompositeRule, EventRule, PoolHealthRule, PrometheusRule, Rule
from autoscaler.api.redaction import shown_row
from autoscaler.engine.audit import Change
from autoscaler.engine.letters import Fate
from autoscaler.measures.match import And, Equals, to_search
from autoscaler.redaction import redacted
from autoscaler.scaling.guards import iso

if TYPE_CHECKING:
    from collections.abc import Mapping

    from autoscaler.alarms.rules import Condition, Junction
    from autoscaler.engine.letters import Handled
    from autoscaler.engine.service import AlarmView, GroupView
    from autoscaler.engine.shadow import ShadowReport
    from autoscaler.ports import AuditEntry, DeadLetter, Freeze, HistoryEntry
    from autoscaler.scaling.decision import Decision
    from autoscaler.scaling.group import Actor, Bound, Group, Pause
    from autoscaler.scaling.policy import ScalingPolicy


def iso_or_none(time: float | None) -> str | None:
    """As :func:`iso`; None stays None."""
    return None if time is None else iso(time)


class Answer(BaseModel):
    """What is sent."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class RejectedAnswer(Answer):
    """A measure that was not taken."""

    index: int
    """Of the measure in the body, from 0."""

    reason: str
    detail: str


class TakenAnswer(Answer):
    """What became of measures."""

    accepted: int
    rejected: list[RejectedAnswer]


class AlarmAnswer(Answer):
    """An alarm; fields and their meaning are Aodh's."""

    alarm_id: str
    name: str
    type: str
    description: str
    enabled: bool
    severity: Severity
    state: AlarmState
    state_reason: str
    state_reason_data: dict[str, Any]
    state_timestamp: str | None
    """Of the last change of state; null before the first."""

    ok_actions: list[str]
    """URLs; user names, passwords and values of queries are hidden."""

    alarm_actions: list[str]
    insufficient_data_actions: list[str]
    repeat_actions: bool
    time_constraints: list[dict[str, Any]]
    project_id: str
    rule: dict[str, Any]


class HistoryAnswer(Answer):
    """One line of an alarm's history."""

    event_id: str
    alarm_id: str
    type: str
    detail: dict[str, Any]
    timestamp: str


class PauseAnswer(Answer):
    """A group that a person has asked to be left alone."""

    since: str
    until: str | None
    """Null means until resumed."""

    direction: Literal["in", "out"] | None
    """Null means both."""

    reason: str
    by: str
    actor: dict[str, Any]


class FreezeAnswer(Answer):
    """Everything is held, by a person's word."""

    since: str
    reason: str
    by: str


class BoundAnswer(Answer):
    """A size beyond which a target does not go."""

    size: int
    why: str


class GroupAnswer(Answer):
    """A group as it stands."""

    name: str
    project_id: str
    target: str
    """Type of its target; ``heat`` too where Heat owns the group and alarms signal it."""

    stack: str | None
    """The stack of a group of Heat's and its name in there, STACK/GROUP."""

    min_size: int
    """The bound in force; a schedule may have set it."""

    max_size: int
    """The bound in force; a schedule may have set it."""

    declared_min_size: int
    declared_max_size: int
    desired_capacity: int | None
    """Null until the target was seen for the first time."""

    size: int | None
    """Members last seen; null while the target was never read."""

    ready: int
    members: list[str]
    """Ids of the ready members, where the target names them."""

    failed: list[str]
    """Names of members that have failed; the size counts them."""

    maintenance: list[str]
    """Ids of members that somebody is moving or rebuilding."""

    busy: str | None
    """What is under way at the target, whoever began it."""

    trouble: str | None
    """Why the target could not do what it was last asked for, in its own words."""

    most: BoundAnswer | None
    """What the target would let the group grow to; null where nothing is known."""

    least: BoundAnswer | None
    """What the target would let it shrink to."""

    facts: dict[str, str]
    """What else the target tells."""

    cooldown: float
    """Seconds, for policies that name none."""

    cooldown_until: str | None
    """Null when none runs."""

    cooldown_by: str | None
    paused: PauseAnswer | None
    frozen: FreezeAnswer | None
    resizing: bool
    """The desired capacity was decided and not seen at the target yet."""

    error: str | None
    """The target's own words about the last failure."""

    attempts: int
    retry_at: str | None
    unreachable: str | None
    """Why the target could not be read last time."""

    observed_at: str | None
    resized_at: str | None


class DecisionAnswer(Answer):
    """A decision or a refusal, with what it rests on."""

    id: str
    time: str
    policy: str
    alarm: str
    group: str
    decision: Literal["scale", "hold"]
    before: int | None = Field(alias="from")
    to: int | None
    reason: str
    text: str
    until: str | None
    """When a hold is worth another look; null means with the next granule."""

    actor: dict[str, Any] | None
    inputs: dict[str, Any]
    generation: str
    times: int
    """How many equal holds in a row this stands for."""

    first: str
    """When the first of them was."""


class PolicyAnswer(Answer):
    """A scaling policy as declared."""

    name: str
    group: str
    project_id: str
    adjustment_type: str
    scaling_adjustment: float
    min_adjustment_step: int | None
    cooldown: float | None
    """Null means the group's."""

    order: str | None
    """Which members go first: oldest, newest or unhealthy; null leaves it to the target."""


class DeadLetterAnswer(Answer):
    """Something that could not be taken or delivered."""

    id: str
    kind: Literal["measure", "event", "notice", "action"]
    time: str
    reason: str
    detail: str
    source: str
    payload: str
    """As received; of an action its row, with the URL's secrets hidden."""


class AuditAnswer(Answer):
    """A change by somebody's word."""

    id: str
    event_id: str
    time: str
    user: str
    """As tokens, Keystone or headers name them; `controller` changes by itself."""

    kind_of_user: str
    project_id: str
    """Of the user."""

    address: str
    request_id: str
    change: Change
    kind: str
    """Of what was changed."""

    target: str
    """Its id or name."""

    target_project_id: str
    before: Any
    """As far as it was otherwise; secrets are hidden, and what is long is cut."""

    after: Any


class HandledAnswer(Answer):
    """What became of a dead letter."""

    id: str
    fate: Fate
    detail: str
    """Why, where it is not what was asked for."""


class ReplicaAnswer(Answer):
    """A controller, as it says of itself."""

    replica: str
    version: str
    clock: str
    caught_up: bool
    behind: float


class SourceAnswer(Answer):
    """Where measures come from."""

    name: str
    connected: bool
    waiting: int
    """Messages that have arrived and are not taken."""

    behind: float | None = None
    """Age in seconds of the newest measure taken, while others wait; 0 when none does, null while nothing is known."""


class StatusAnswer(Answer):
    """How this controller is."""

    version: str
    generation: str
    """Content hash of the declarations in force."""

    missing: list[str]
    """What keeps the controller from doing its work, as `/readyz` says."""

    replicas: list[ReplicaAnswer]
    lag: float
    """Age in seconds of the newest measure of the last batch."""

    pending: int
    """Measures that have arrived and are not written."""

    skew: float
    """Seconds that this clock is ahead of the store's."""

    store_error: str | None
    sources: list[SourceAnswer]


class AgreementAnswer(Answer):
    """How far two agree, in per cent."""

    decisions: float | None
    """Of all decisions, those that both have taken; null while there are none."""

    time: float | None
    """Of the time, that in which alarms were in the same state on both sides."""


class EarlierAnswer(Answer):
    """Seconds by which we took agreed decisions earlier than Aodh, negative where later; null while there are none."""

    median: float | None
    p95: float | None


class DisagreementAnswer(Answer):
    """A transition of one side that the other did not make."""

    alarm_id: str
    name: str | None
    """Null of an alarm that is not here."""

    side: Literal["ours", "aodh"]
    time: str
    previous: AlarmState
    state: AlarmState
    reason: str
    """In the words of the side that moved."""

    beside: str | None
    """What the other side said of itself at that moment, where that is known."""

    actions: list[str]
    """That the transition calls; user names, passwords and values of queries are hidden."""

    difference: Difference
    text: str
    """The same in words."""


class ShadowAnswer(Answer):
    """Where this controller agrees with Aodh, and where it differs."""

    began: str
    alarms: int
    """That are compared."""

    agreed: int
    disagreed: int
    agreement: AgreementAnswer
    earlier: EarlierAnswer
    differences: dict[Difference, int]
    """Decisions of one side only, by why."""

    uncompared: dict[Uncompared, int]
    """Transitions from which nothing is concluded, by why."""

    open: int
    """Transitions that wait for the other side's."""

    notices: int
    """That Aodh has told."""

    not_understood: int
    """Of those; they are among the dead letters."""

    disagreements: list[DisagreementAnswer]
    """Newest first."""


class ReadyAnswer(Answer):
    """What is missing; nothing when ready."""

    missing: list[str]


def shadow_answer(report: ShadowReport, names: Mapping[str, str]) -> ShadowAnswer:
    """What a shadow has seen; ``names`` are of alarms, by id."""
    sums = report.sums
    return ShadowAnswer(
        began=iso(report.began),
        alarms=report.alarms,
        agreed=sums.agreed,
        disagreed=sums.disagreed,
        agreement=AgreementAnswer(decisions=_percent(sums.of_decisions), time=_percent(sums.of_time)),
        earlier=EarlierAnswer(median=sums.delay(0.5), p95=sums.delay(0.95)),
        differences=dict(sorted(sums.differences.items())),
        uncompared=dict(sorted(sums.uncompared.items())),
        open=report.open,
        notices=report.notices,
        not_understood=report.buried,
        disagreements=[
            DisagreementAnswer(
                alarm_id=each.alarm_id,
                name=names.get(each.alarm_id),
                side=each.step.side.value,
                time=iso(each.step.time),
                previous=each.step.previous,
                state=each.step.state,
                reason=each.step.reason,
                beside=each.step.beside or None,
                actions=list(each.step.actions),
                difference=each.difference,
                text=each.text,
            )
            for each in sums.newest
        ],
    )


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 2)


def alarm_answer(view: AlarmView) -> AlarmAnswer:
    """An alarm with its present state."""
    alarm, record = view.alarm, view.record
    return AlarmAnswer(
        alarm_id=alarm.alarm_id,
        name=alarm.name,
        type=alarm.type,
        description=alarm.description,
        enabled=alarm.enabled,
        severity=alarm.severity,
        state=record.state,
        state_reason=record.state_reason,
        state_reason_data=record.reason_data,
        state_timestamp=iso(record.state_timestamp) if record.state_timestamp else None,
        ok_actions=[redacted(url) for url in alarm.ok_actions],
        alarm_actions=[redacted(url) for url in alarm.alarm_actions],
        insufficient_data_actions=[redacted(url) for url in alarm.insufficient_data_actions],
        repeat_actions=alarm.repeat_actions,
        time_constraints=msgspec.to_builtins(alarm.time_constraints),
        project_id=alarm.project_id,
        rule=_rule(alarm.rule),
    )


def _rule(rule: Condition) -> dict[str, Any]:
    """As it is declared: what is off is left out."""
    match rule:
        case Rule():
            return _threshold(rule)
        case CompositeRule():
            return _joined(rule, rule.tree)
        case EventRule():
            return {"event_type": rule.event_type, "query": list(rule.document)}
        case PrometheusRule() | PoolHealthRule():
            told: dict[str, Any] = msgspec.to_builtins(rule)
            return {key: value for key, value in told.items() if value not in (None, False)}
        case _:
            assert_never(rule)


def _joined(rule: CompositeRule, part: Junction | int) -> dict[str, Any]:
    if isinstance(part, int):
        return rule.documents[part]
    return {part.operator: [_joined(rule, inner) for inner in part.parts]}


def _threshold(rule: Rule) -> dict[str, Any]:
    parts = rule.match.parts if isinstance(rule.match, And) else (rule.match,)
    equalities = {part.attribute: part.value for part in parts if isinstance(part, Equals)}
    plain = len(equalities) == len(parts)
    body: dict[str, Any] = {"metric": rule.metric}
    if rule.further_metrics:
        body = {"metrics": [rule.metric, *rule.further_metrics]}
    if rule.single:
        body["resource_id"] = equalities.get("resource_id")
    elif plain and parts:
        body["match"] = equalities
    elif not plain:
        body["query"] = to_search(rule.match)
    always = ("aggregation_method", "granularity", "evaluation_periods", "comparison_operator", "threshold")
    modes = ("window", "evaluate")
    if_set = ("reaggregation_method", "group", "lateness", "datapoints_to_alarm", "treat_missing_data")
    body |= {key: getattr(rule, key) for key in (*always, *modes)}
    body |= {key: getattr(rule, key) for key in if_set if getattr(rule, key)}
    ours = {
        "for": rule.hold_for or None,
        "keep_firing_for": rule.keep_firing_for or None,
        "recovery_threshold": rule.recovery_threshold,
        "min_reporting": rule.min_reporting,
        "outage": None if rule.single else rule.outage,
    }
    return body | {key: value for key, value in ours.items() if value is not None}


def history_answer(entry: HistoryEntry) -> HistoryAnswer:
    """One line of an alarm's history."""
    return HistoryAnswer(
        event_id=entry.event_id,
        alarm_id=entry.alarm_id,
        type=entry.type,
        detail=entry.detail,
        timestamp=iso(entry.timestamp),
    )


def group_answer(view: GroupView) -> GroupAnswer:
    """A group as it stands at ``view.state.now``."""
    group, record, now = view.group, view.state.record, view.state.now
    cooling = record.cooldown_end is not None and now < record.cooldown_end
    return GroupAnswer(
        name=group.name,
        project_id=group.project_id,
        target=group.target_type,
        stack=_stack(group),
        min_size=view.limits.min_size,
        max_size=view.limits.max_size,
        declared_min_size=group.min_size,
        declared_max_size=group.max_size,
        desired_capacity=record.desired_capacity,
        size=record.size,
        ready=record.ready,
        members=list(record.members),
        failed=list(record.failed),
        maintenance=list(record.maintenance),
        busy=record.busy or None,
        trouble=record.trouble or None,
        most=_bound(record.most),
        least=_bound(record.least),
        facts=dict(record.facts),
        cooldown=group.cooldown,
        cooldown_until=iso_or_none(record.cooldown_end) if cooling else None,
        cooldown_by=record.cooldown_by or None if cooling else None,
        paused=None if record.paused is None else _pause(record.paused, now),
        frozen=None if view.state.freeze is None else freeze_answer(view.state.freeze),
        resizing=record.resizing,
        error=record.error or None,
        attempts=record.attempts,
        retry_at=iso_or_none(record.retry_at),
        unreachable=record.unreachable or None,
        observed_at=iso_or_none(record.observed_at),
        resized_at=iso_or_none(record.resized_at),
    )


def _stack(group: Group) -> str | None:
    if group.target_type != "heat":
        return None
    return "/".join(str(part) for part in (group.target.get("stack"), group.target.get("group")) if part)


def _bound(bound: Bound | None) -> BoundAnswer | None:
    return None if bound is None else BoundAnswer(size=bound.size, why=bound.why)


def _pause(pause: Pause, now: float) -> PauseAnswer | None:
    if pause.until is not None and now >= pause.until:
        return None
    direction: Literal["in", "out"] | None = None
    if pause.direction:
        direction = "in" if pause.direction == "in" else "out"
    return PauseAnswer(
        since=iso(pause.since),
        until=iso_or_none(pause.until),
        direction=direction,
        reason=pause.reason,
        by=pause.actor.name,
        actor=_actor(pause.actor),
    )


def freeze_answer(freeze: Freeze) -> FreezeAnswer:
    """The freeze in force."""
    return FreezeAnswer(since=iso(freeze.since), reason=freeze.reason, by=freeze.by)


def decision_answer(decision: Decision) -> DecisionAnswer:
    """A decision or refusal."""
    return DecisionAnswer(
        id=decision.id,
        time=iso(decision.time),
        policy=decision.policy,
        alarm=decision.alarm,
        group=decision.group,
        decision="scale" if decision.decision == "scale" else "hold",
        **{"from": decision.before},
        to=decision.to,
        reason=decision.reason,
        text=decision.text,
        until=iso_or_none(decision.until),
        actor=None if decision.actor is None else _actor(decision.actor),
        inputs=decision.inputs,
        generation=decision.generation,
        times=decision.times,
        first=iso(decision.time if decision.first is None else decision.first),
    )


def _actor(actor: Actor) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(actor)
    return found


def policy_answer(policy: ScalingPolicy) -> PolicyAnswer:
    """A scaling policy as declared."""
    return PolicyAnswer(
        name=policy.name,
        group=policy.group,
        project_id=policy.project_id,
        adjustment_type=policy.adjustment_type,
        scaling_adjustment=policy.scaling_adjustment,
        min_adjustment_step=policy.min_adjustment_step,
        cooldown=policy.cooldown,
        order=policy.order or None,
    )


def handled_answer(handled: Handled) -> HandledAnswer:
    """What became of a dead letter."""
    return HandledAnswer(id=handled.id, fate=handled.fate, detail=handled.detail)


def audit_answer(entry: AuditEntry) -> AuditAnswer:
    """A change by somebody's word."""
    actor = entry.actor
    return AuditAnswer(
        id=entry.id,
        event_id=entry.event_id,
        time=iso(entry.time),
        user=actor.name,
        kind_of_user=actor.kind,
        project_id=actor.project_id,
        address=actor.address,
        request_id=actor.request_id,
        change=Change(entry.change),
        kind=entry.kind,
        target=entry.target,
        target_project_id=entry.project_id,
        before=entry.before,
        after=entry.after,
    )


def dead_letter_answer(letter: DeadLetter) -> DeadLetterAnswer:
    """What could not be taken or delivered."""
    of_action = letter.kind == "action"
    return DeadLetterAnswer(
        id=letter.id,
        kind=letter.kind,  # type: ignore[arg-type] # the store keeps no other
        time=iso(letter.time),
        reason=letter.reason,
        detail=letter.detail,
        source=letter.source,
        payload=shown_row(letter.payload) if of_action else letter.payload,
    )
