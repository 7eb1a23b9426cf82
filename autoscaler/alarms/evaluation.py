"""One look at an alarm on a window: from a record to the next, what happened, and when to look again.

Nothing here awaits or reads a clock, so a live run, a replay and a simulation are the same function.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from autoscaler.alarms.course import (
    DOUBTED,
    Finding,
    Look,
    begin,
    believed_note,
    conclude,
    doubted_since,
    earliest,
    ends_of,
    is_held,
    is_waiting,
    lasting,
    next_opening,
    remain,
    unheard,
    waits_of,
)
from autoscaler.alarms.explanation import joined, note_of, renewed, too_little
from autoscaler.alarms.granules import (
    MICROSECOND,
    aggregates,
    aligned,
    aligned_window,
    granule_at,
    newest_counting,
    sliding_window,
)
from autoscaler.alarms.imported import keeps_state
from autoscaler.alarms.outage import outage_at, outage_note, turned
from autoscaler.alarms.outcome import (
    MAX_HOLD,
    POLICY_SCHEME,
    RECHECK,
    Consideration,
    Happening,
    LateNote,
    OutageNote,
    OutageTurn,
    Outcome,
    Repetition,
    Sources,
    Transition,
)
from autoscaler.alarms.present import Seen, is_taken_as_aligned, next_boundary, next_points, present_spans
from autoscaler.alarms.rules import Rule
from autoscaler.alarms.time_constraints import within
from autoscaler.alarms.verdict import assess, explained, next_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from autoscaler.alarms.alarm import Alarm, AlarmRecord, AlarmState
    from autoscaler.alarms.granules import Span
    from autoscaler.alarms.verdict import Assessment
    from autoscaler.measures.window import WindowView

__all__ = [
    "MAX_HOLD",
    "POLICY_SCHEME",
    "RECHECK",
    "Consideration",
    "Happening",
    "LateNote",
    "OutageNote",
    "OutageTurn",
    "Outcome",
    "Repetition",
    "Sources",
    "Transition",
    "evaluate",
]


class _WindowLook(msgspec.Struct):
    """The evaluation of a rule over one window."""

    look: Look
    rule: Rule
    view: WindowView
    first: Span | None = None  # the oldest granule that is looked at
    held: bool = False


def evaluate(alarm: Alarm, record: AlarmRecord, view: WindowView, sources: Sources) -> Outcome:
    """Look at an alarm on one window as of ``view.asof``. Total.

    Args:
        alarm: its condition is a :class:`autoscaler.alarms.rules.Rule`.
        record: the present one; for an alarm that was never accepted an empty one, its version never used before.
        view: of the alarm's window; for a rule over a group's members, of their series alone.
    """
    assert isinstance(alarm.rule, Rule), f"{alarm.type} alarms do not rest on one window"
    if not alarm.enabled:
        return Outcome(record)
    rule = alarm.rule
    look = begin(alarm, record, view.asof, sources)
    at = _WindowLook(look, rule, view)
    spans = _each_boundary(at) if at.rule.in_order else _present_point(at)
    if record.definition and not record.imported and spans and not at.held and sources.caught_up:
        _note_late(at, at.first or spans[0])
    return Outcome(
        look.record,
        tuple(look.happenings),
        earliest(_dues(at, spans)),
        at.held,
        is_taken_as_aligned(at.rule, view),
    )


def _present_point(at: _WindowLook) -> Sequence[Span]:
    if not at.look.within:
        return []
    spans = present_spans(at.rule, at.view, at.look.now)
    _judge(at, spans, at.look.now)
    return spans


def _each_boundary(at: _WindowLook) -> Sequence[Span]:
    """Every boundary since the last one, in order, however many measures arrived at once.

    None whose granule may have been read in part only: such a one is waited for.
    """
    look, rule = at.look, at.rule
    newest = newest_counting(rule, at.view, look.sources.read_by(look.now))
    behind = newest < newest_counting(rule, at.view, look.now)
    for index in _boundaries(at, newest, behind=behind):
        boundary = aligned(index, rule.granularity).ends
        if within(look.alarm.time_constraints, boundary):
            _judge(at, aligned_window(rule, index), boundary)
        if at.held:
            break
        look.change(point=boundary)
    at.held = at.held or behind
    spans = aligned_window(rule, newest)
    if not at.held and _is_waited_for(look) and look.within:
        # no boundary, so no new state; but what waits for this time within a granule is not put off to its end
        assessment = assess(rule, aggregates(rule, at.view, spans), look.record.state)
        if not _holds(at, assessment):
            finding = _finding(at, assessment, look.record.state, spans)
            remain(look, replace(finding, repeats=not look.record.in_outage), look.now)
    return spans


def _is_waited_for(look: Look) -> bool:
    return any(due is not None and due <= look.now for due in (look.record.consider_at, look.record.repeat_at))


def _boundaries(at: _WindowLook, newest: int, *, behind: bool) -> Sequence[int]:
    """The granules up to ``newest`` that are not yet evaluated.

    Of a run of empty windows the first and the last are enough: all say the same. One that was never looked at, and
    has no points yet, begins with the first that are read, or when nothing waits.
    """
    rule, view = at.rule, at.view
    following = None
    if at.look.record.point is not None:
        following = granule_at(at.look.record.point + rule.granularity / 2, rule.granularity)
    if not view.series:
        if following is None:
            return [] if behind else [newest]
        return [newest] if following <= newest else []
    oldest = granule_at(min(series.times[0] for series in view.series.values()), rule.granularity)
    filled = granule_at(max(series.times[-1] for series in view.series.values()), rule.granularity) + _echo(rule)
    first = oldest if following is None else max(following, oldest - 1)
    indexes = _told_apart(rule, view, range(first, min(newest, filled) + 1))
    return [*indexes, newest] if max(filled, first - 1) < newest else indexes


def _echo(rule: Rule) -> int:
    """Granules after one with points in which a boundary may come to something new: until what must last has lasted."""
    return rule.granules + math.ceil((rule.hold_for + rule.keep_firing_for) / rule.granularity) + 1


def _told_apart(rule: Rule, view: WindowView, indexes: range) -> Sequence[int]:
    """Of these boundaries all whose windows have points, and of a run of empty ones as many as may say something new.

    A point that is hours older than the others must not cost an evaluation for each granule between them.
    """
    after = _echo(rule)
    if len(indexes) <= after + 2:
        return indexes
    found = {indexes[0], indexes[-1]}
    for series in view.series.values():
        place = bisect_left(series.times, (indexes[0] - rule.granules) * rule.granularity)
        while place < len(series):
            index = granule_at(series.times[place], rule.granularity)
            found.update(range(index - 1, index + after + 1))
            place = max(place + 1, bisect_left(series.times, (index + 1) * rule.granularity, place))
    return sorted(found.intersection(indexes))


def _judge(at: _WindowLook, spans: Sequence[Span], time: float) -> None:
    """Assess one point and take the steps that follow from it."""
    look, rule = at.look, at.rule
    at.first = at.first or spans[0]
    assessment = assess(rule, aggregates(rule, at.view, spans), look.record.state)
    if _keeps_imported(at, assessment, spans) or _holds(at, assessment) or _rides_out(at, assessment, spans, time):
        return
    current = look.record.state
    asked = next_state(current, assessment.verdict)
    waits = waits_of(rule, look.record, asked, time)
    look.change(breaching_since=waits.breaching_since, clear_since=waits.clear_since)
    state = current if is_waiting(rule, waits, time) else asked
    conclude(look, _finding(at, assessment, state, spans), time)


def _keeps_imported(at: _WindowLook, assessment: Assessment, spans: Sequence[Span]) -> bool:
    look, rule = at.look, at.rule
    if not look.record.imported:
        return False
    if assessment.is_full(rule):
        return keeps_state(look, "")
    heard = look.sources.heard(look.alarm.sees)
    return keeps_state(look, too_little(Seen(rule, at.view, spans), look.alarm.sees, look.now, heard))


def _holds(at: _WindowLook, assessment: Assessment) -> bool:
    """Whether nothing is concluded, since what is missing is not believed to be."""
    look = at.look
    since = doubted_since(look.record, assessment, look)
    read = at.rule.in_order and look.sources.read_until is not None
    if read and not look.sources.given_up:
        since = None  # a boundary that is looked at has been read whole
    at.held = not read and is_held(since, look)
    look.change(held_since=since, note=DOUBTED if at.held else look.record.note)
    return at.held


def _rides_out(at: _WindowLook, assessment: Assessment, spans: Sequence[Span], time: float) -> bool:
    """Whether the state is held since most series have stopped at once.

    Policies go on being considered: what still reports may ask for more members. Nothing is repeated, since nobody
    knows what a webhook does.
    """
    look, before = at.look, at.look.record.outage
    now = outage_at(at.rule, at.view, spans[-1], time, look.record, look)
    if now != before:
        look.change(outage=now)
        note = turned(before, now, time, look.record.version)
        look.happenings += [] if note is None else [note]
    if not look.record.in_outage:
        return False
    look.change(breaching_since=None, clear_since=None)
    remain(look, replace(_finding(at, assessment, look.record.state, spans), repeats=False), time)
    return True


def _finding(at: _WindowLook, assessment: Assessment, state: AlarmState, spans: Sequence[Span]) -> Finding:
    rule, look = at.rule, at.look
    note = note_of(Seen(rule, at.view, spans), look, assessment, state)
    return Finding(
        state=state,
        ends=spans[-1].ends,
        step=rule.granularity,
        evidence=assessment.evidence,
        explain=lambda current: explained(rule.evaluation_periods, current, state, assessment),
        note=renewed(
            look.record.note,
            joined(believed_note(look.record.held_since, look), outage_note(look.record.outage, look), note),
        ),
    )


def _note_late(at: _WindowLook, first: Span) -> None:
    """Note what the oldest of the new measures would have meant, if it came too late for the present window."""
    look, rule, view = at.look, at.rule, at.view
    record = look.record
    late = view.late
    if late is None or late > first.begins or (late == first.begins and not first.slides):
        return
    spans = sliding_window(rule, late) if first.slides else aligned_window(rule, granule_at(late, rule.granularity))
    if not within(look.alarm.time_constraints, spans[-1].ends):
        return
    kept_from = look.now - rule.horizon if view.newest is None else min(view.newest, look.now) - rule.horizon
    if spans[0].begins - rule.granularity < kept_from:
        look.happenings.append(LateNote(look.now, late, None, "the measures before it are no longer kept"))
        return
    assessment = assess(rule, aggregates(rule, view, spans), record.state)
    state = next_state(record.state, assessment.verdict)
    why = explained(rule.evaluation_periods, record.state, state, assessment)
    look.happenings.append(LateNote(look.now, late, state, why.reason))


def _dues(at: _WindowLook, spans: Sequence[Span]) -> Iterable[float | None]:
    """Times, later than now, at which another look may come to something else."""
    look, rule = at.look, at.rule
    yield next_opening(look)
    yield unheard(look, at.view)
    if at.held:
        # nothing was concluded, so all that is due stays so; one look at a time
        yield look.now + RECHECK
        return
    yield from next_points(rule, at.view, spans, look.now)
    if rule.in_order:
        # at the next one where that boundary lay outside the constraints
        following = next_boundary(rule, look.now)
        yield from (max(_boundary_after(due, rule), following) for due in ends_of(rule, look.record))
    elif look.within:
        yield from ends_of(rule, look.record)
    if look.record.outage is not None and look.record.in_outage:
        # empty granules have no points of their own; but a state that calls policies goes on
        yield next_boundary(rule, look.now) if rule.in_order else look.record.outage.since + look.sources.max_hold
    yield from lasting(look, repeats=not look.record.in_outage)


def _boundary_after(time: float, rule: Rule) -> float:
    """When the first boundary at or after ``time`` is evaluated."""
    return math.ceil((time - MICROSECOND) / rule.granularity) * rule.granularity + rule.lateness
