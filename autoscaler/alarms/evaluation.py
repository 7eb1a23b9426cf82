"""One look at an alarm: from a window and a record to the next record, what happened, and when to look again.

Nothing here awaits or reads a clock, so a live run, a replay and a simulation are the same function.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from autoscaler.alarms.alarm import AlarmRecord, AlarmState
from autoscaler.alarms.granules import (
    MICROSECOND,
    aggregates,
    aligned,
    aligned_window,
    comes_into_reach,
    granule_at,
    newest_counting,
    slides,
    slides_on,
    sliding_end,
    sliding_window,
)
from autoscaler.alarms.rules import EvaluateWhen, WindowKind
from autoscaler.alarms.time_constraints import next_edge, within
from autoscaler.alarms.verdict import Assessment, Keep, TooFew, assess, explained, next_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from autoscaler.alarms.alarm import Alarm
    from autoscaler.alarms.granules import Span
    from autoscaler.alarms.rules import Rule
    from autoscaler.measures.window import WindowView

MAX_HOLD = 600.0
"""Seconds after which missing data is believed though a source is still behind."""
RECHECK = 1.0
"""Seconds until an evaluation that was held back is tried again."""
POLICY_SCHEME = "policy://"


@dataclass(frozen=True, slots=True)
class Sources:
    """What is known of the measures' sources.

    Attributes:
        caught_up: nothing is waiting to be read anywhere; what is missing is truly missing.
        max_hold: seconds after which that is believed anyway.
    """

    caught_up: bool = True
    max_hold: float = MAX_HOLD


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of an alarm's state; ``version`` is the record's that it made."""

    version: int
    time: float
    previous: AlarmState
    current: AlarmState
    reason: str
    reason_data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Repetition:
    """The state's actions are due once more; ``number`` counts from 1."""

    version: int
    time: float
    state: AlarmState
    number: int
    reason: str
    reason_data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Consideration:
    """The state lasts, and its policies are to be reconsidered."""

    version: int
    time: float
    state: AlarmState


@dataclass(frozen=True, slots=True)
class LateNote:
    """A measure came when the window had left its time behind; nothing changes.

    Attributes:
        time: when it was noticed.
        measured: Unix seconds, its event time; of several the oldest.
        state: what the alarm would have been at that point, seen from its present state; None where what lies before
            is no longer kept.
        reason: of that state.
    """

    time: float
    measured: float
    state: AlarmState | None
    reason: str


Happening = Transition | Repetition | Consideration | LateNote


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one evaluation came to.

    Attributes:
        record: equal to the one given when nothing changed.
        happenings: in order; each but a note belongs to a version of the record.
        next_due: Unix seconds at which to look again though nothing arrives; None means never.
        held: missing data is not believed yet.
        as_aligned: the window should slide, but its granule is too short for how often series report.
    """

    record: AlarmRecord
    happenings: Sequence[Happening] = ()
    next_due: float | None = None
    held: bool = False
    as_aligned: bool = False


@dataclass(slots=True)
class _Look:
    """The evaluation under way."""

    alarm: Alarm
    view: WindowView
    now: float
    sources: Sources
    record: AlarmRecord
    within: bool
    first: Span | None = None  # the oldest granule that is looked at
    happenings: list[Happening] = field(default_factory=list)
    held: bool = False

    @property
    def in_order(self) -> bool:
        """Whether every boundary is evaluated, and nothing between two of them."""
        return self.alarm.rule.evaluate is EvaluateWhen.BOUNDARY and self.alarm.rule.window is WindowKind.ALIGNED

    def change(self, **fields: Any) -> None:
        """Move the record on by one version, unless that changes nothing."""
        changed = msgspec.structs.replace(self.record, **fields)
        if changed != self.record:
            self.record = msgspec.structs.replace(changed, version=self.record.version + 1)


def evaluate(alarm: Alarm, record: AlarmRecord, view: WindowView, sources: Sources) -> Outcome:
    """Look at ``alarm`` as of ``view.asof``. Total.

    Args:
        record: the present one; for an alarm that was never accepted an empty one, its version never used before.
        view: of the alarm's window; for a rule over a group's members, of their series alone.
    """
    if not alarm.enabled:
        return Outcome(record)
    look = _Look(alarm, view, view.asof, sources, record, within(alarm.time_constraints, view.asof))
    _adopt_definition(look)
    spans = _each_boundary(look) if look.in_order else _present_point(look)
    if record.definition and spans and not look.held and sources.caught_up:
        _note_late(look, look.first or spans[0])
    return Outcome(
        look.record,
        tuple(look.happenings),
        _next_due(look, spans),
        look.held,
        alarm.rule.window is WindowKind.SLIDING and not slides(alarm.rule, view),
    )


def _adopt_definition(look: _Look) -> None:
    """A rule that was changed keeps the alarm's state and starts everything else afresh."""
    definition, repeats = look.alarm.definition, look.alarm.repeat_actions
    if look.record.definition != definition:
        look.change(
            definition=definition,
            point=None,
            considered=None,
            consider_at=None,
            breaching_since=None,
            clear_since=None,
            held_since=None,
            evidence=None,
            repeat_at=None,
        )
    if repeats != (look.record.repeat_at is not None):
        # asked for, or no longer, without a word about the rule
        look.change(repeat_at=look.now + look.alarm.repeat_interval if repeats else None)


def _present_point(look: _Look) -> Sequence[Span]:
    rule = look.alarm.rule
    if not look.within:
        return []
    if slides(rule, look.view):
        spans = sliding_window(rule, sliding_end(rule, look.view, look.now))
    else:
        spans = aligned_window(rule, newest_counting(rule, look.view, look.now))
    _judge(look, spans, look.now)
    return spans


def _each_boundary(look: _Look) -> Sequence[Span]:
    """Every boundary since the last one, in order, however many measures arrived at once."""
    rule = look.alarm.rule
    newest = newest_counting(rule, look.view, look.now)
    for index in _boundaries(look, newest):
        boundary = aligned(index, rule.granularity).ends
        if within(look.alarm.time_constraints, boundary):
            _judge(look, aligned_window(rule, index), boundary)
        if look.held:
            break
        look.change(point=boundary)
    spans = aligned_window(rule, newest)
    if not look.held and _is_waited_for(look) and look.within:
        # no boundary, so no new state; but what waits for this time within a granule is not put off to its end
        assessment = assess(rule, aggregates(rule, look.view, spans), look.record.state)
        look.held = _is_held(look, assessment)
        if not look.held:
            _remain(look, assessment, look.now, spans[-1].ends)
    return spans


def _is_waited_for(look: _Look) -> bool:
    return any(due is not None and due <= look.now for due in (look.record.consider_at, look.record.repeat_at))


def _boundaries(look: _Look, newest: int) -> Sequence[int]:
    """The granules up to ``newest`` that are not yet evaluated.

    Of a run of empty windows the first and the last are enough: all say the same.
    """
    rule, view = look.alarm.rule, look.view
    following = None
    if look.record.point is not None:
        following = granule_at(look.record.point + rule.granularity / 2, rule.granularity)
    if not view.series:
        return [newest] if following is None or following <= newest else []
    oldest = granule_at(min(series.times[0] for series in view.series.values()), rule.granularity)
    filled = granule_at(max(series.times[-1] for series in view.series.values()), rule.granularity) + rule.granules
    first = oldest if following is None else max(following, oldest - 1)
    indexes = list(range(first, min(newest, filled) + 1))
    return [*indexes, newest] if max(filled, first - 1) < newest else indexes


def _judge(look: _Look, spans: Sequence[Span], time: float) -> None:
    """Assess one point and take the steps that follow from it."""
    alarm = look.alarm
    look.first = look.first or spans[0]
    assessment = assess(alarm.rule, aggregates(alarm.rule, look.view, spans), look.record.state)
    look.held = _is_held(look, assessment)
    if look.held:
        return
    current = look.record.state
    state = _after_waiting(look, next_state(current, assessment.verdict), time)
    if state is not current:
        _transition(look, assessment, state, time, spans[-1].ends)
    else:
        _remain(look, assessment, time, spans[-1].ends)


def _is_held(look: _Look, assessment: Assessment) -> bool:
    """Silence is believed only when nothing waits to be read, or when that has been so for long."""
    changes = next_state(look.record.state, assessment.verdict) is not look.record.state
    rests_on_silence = assessment.missing and (changes or isinstance(assessment.verdict, TooFew | Keep))
    if not rests_on_silence or look.sources.caught_up:
        look.change(held_since=None)
        return False
    since = look.now if look.record.held_since is None else look.record.held_since
    look.change(held_since=since)
    return look.now < since + look.sources.max_hold


def _after_waiting(look: _Look, state: AlarmState, time: float) -> AlarmState:
    """``state``, unless ``for`` has not lasted yet or ``keep_firing_for`` still lasts."""
    rule, current = look.alarm.rule, look.record.state
    asks = state is AlarmState.ALARM
    breaching = clear = None
    if rule.hold_for and asks and current is not AlarmState.ALARM:
        breaching = time if look.record.breaching_since is None else look.record.breaching_since
    if rule.keep_firing_for and not asks and current is AlarmState.ALARM:
        clear = time if look.record.clear_since is None else look.record.clear_since
    look.change(breaching_since=breaching, clear_since=clear)
    waits = [due for due in _waits(look) if due > time + MICROSECOND]
    return current if waits else state


def _waits(look: _Look) -> Iterable[float]:
    """When a verdict will have lasted as long as it must."""
    if look.record.breaching_since is not None:
        yield look.record.breaching_since + look.alarm.rule.hold_for
    if look.record.clear_since is not None:
        yield look.record.clear_since + look.alarm.rule.keep_firing_for


def _transition(look: _Look, assessment: Assessment, state: AlarmState, time: float, ends: float) -> None:
    previous = look.record.state
    why = explained(look.alarm.rule, previous, state, assessment)
    reason = why.reason
    if assessment.missing and not look.sources.caught_up:
        reason += f" (sources have been behind for more than {look.sources.max_hold:g} s)"
    look.change(
        state=state,
        state_timestamp=time,
        reason=reason,
        reason_data=why.data,
        considered=ends,
        consider_at=None,
        evidence=assessment.evidence,
        repeats=0,
        repeat_at=time + look.alarm.repeat_interval if look.alarm.repeat_actions else None,
        breaching_since=None,
        clear_since=None,
    )
    look.happenings.append(Transition(look.record.version, time, previous, state, reason, why.data))


def _remain(look: _Look, assessment: Assessment, time: float, ends: float) -> None:
    record, alarm = look.record, look.alarm
    if _has_policies(look):
        newly_settled = record.considered is None or ends + MICROSECOND >= record.considered + alarm.rule.granularity
        if newly_settled or (record.consider_at is not None and look.now >= record.consider_at):
            look.change(considered=max(ends, record.considered or ends), consider_at=None, evidence=assessment.evidence)
            look.happenings.append(Consideration(look.record.version, time, record.state))
    if record.repeat_at is not None and look.now >= record.repeat_at:
        why = explained(alarm.rule, record.state, record.state, assessment)
        following = record.repeat_at + alarm.repeat_interval
        if following <= look.now:
            following = look.now + alarm.repeat_interval  # repetitions that were slept through are not made up for
        look.change(repeats=record.repeats + 1, repeat_at=following)
        repetition = Repetition(look.record.version, time, record.state, look.record.repeats, why.reason, why.data)
        look.happenings.append(repetition)


def _has_policies(look: _Look) -> bool:
    return any(action.startswith(POLICY_SCHEME) for action in look.alarm.actions(look.record.state))


def _note_late(look: _Look, first: Span) -> None:
    """Note what the oldest of the new measures would have meant, if it came too late for the present window."""
    rule, view, record = look.alarm.rule, look.view, look.record
    late = view.late
    if late is None or late > first.begins or (late == first.begins and not first.slides):
        return
    spans = sliding_window(rule, late) if first.slides else aligned_window(rule, granule_at(late, rule.granularity))
    if not within(look.alarm.time_constraints, spans[-1].ends):
        return
    kept_from = look.now - rule.horizon if view.newest is None else min(view.newest, look.now) - rule.horizon
    if spans[0].begins - rule.granularity < kept_from:
        why = "the measures before it are no longer kept"
        look.happenings.append(LateNote(look.now, late, None, why))
        return
    assessment = assess(rule, aggregates(rule, view, spans), record.state)
    state = next_state(record.state, assessment.verdict)
    look.happenings.append(LateNote(look.now, late, state, explained(rule, record.state, state, assessment).reason))


def _next_due(look: _Look, spans: Sequence[Span]) -> float | None:
    """The earliest time, later than now, at which another look may come to something else."""
    return min((due for due in _dues(look, spans) if due is not None), default=None)


def _dues(look: _Look, spans: Sequence[Span]) -> Iterable[float | None]:
    record, rule = look.record, look.alarm.rule
    if look.alarm.time_constraints:
        yield next_edge(look.alarm.time_constraints, look.now)
    if look.held:
        # nothing was concluded, so all that is due stays so; one look at a time
        yield look.now + RECHECK
        return
    if spans and any(series.times[-1] >= spans[0].begins for series in look.view.series.values()):
        yield _next_granule(look)
        yield comes_into_reach(rule, look.view, look.now)
    if look.in_order:
        # at the next one where that boundary lay outside the constraints
        yield from (max(_boundary_after(due, rule), _next_boundary(look)) for due in _waits(look))
    if not look.within:
        return
    if not look.in_order:
        yield from _waits(look)
    yield record.repeat_at
    yield record.consider_at if _has_policies(look) else None


def _next_granule(look: _Look) -> float:
    if slides(look.alarm.rule, look.view):
        return slides_on(look.alarm.rule, look.view, look.now)
    return _next_boundary(look)


def _next_boundary(look: _Look) -> float:
    rule = look.alarm.rule
    return (granule_at(look.now - rule.lateness, rule.granularity) + 1) * rule.granularity + rule.lateness


def _boundary_after(time: float, rule: Rule) -> float:
    """When the first boundary at or after ``time`` is evaluated."""
    return math.ceil((time - MICROSECOND) / rule.granularity) * rule.granularity + rule.lateness
