"""Composite alarms: what each leaf comes to by itself, and what the tree of them comes to together.

Source:
    aodh/evaluator/composite.py, 23.0.0, for how trees are resolved, for its laziness, which decides what rules are told
    as causes, and for its texts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from autoscaler.alarms.alarm import AlarmState, Evidence, LeafRecord
from autoscaler.alarms.course import (
    DOUBTED,
    PROBED,
    Finding,
    begin,
    believed_note,
    conclude,
    doubted_since,
    earliest,
    ends_of,
    is_held,
    is_waiting,
    lasting,
    may_call_policies,
    next_opening,
    next_version,
    unheard,
    waits_of,
)
from autoscaler.alarms.explanation import joined, note_of, note_of_observation, renewed
from autoscaler.alarms.granules import MICROSECOND, aggregates
from autoscaler.alarms.imported import keeps_state
from autoscaler.alarms.outage import outage_at, outage_note, turned
from autoscaler.alarms.outcome import RECHECK, Outcome
from autoscaler.alarms.present import Seen, is_taken_as_aligned, next_points, present_spans
from autoscaler.alarms.rules import CompositeRule, Junction, PrometheusRule, Rule
from autoscaler.alarms.verdict import Certain, Explanation, Mixed, assess, assess_observation, next_state

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Final

    from autoscaler.alarms.alarm import Alarm, AlarmRecord, Outage
    from autoscaler.alarms.course import Look
    from autoscaler.alarms.observation import Observation
    from autoscaler.alarms.outcome import Sources
    from autoscaler.alarms.verdict import Assessment
    from autoscaler.measures.window import WindowView

_ENDINGS: Final[Mapping[AlarmState, str]] = {
    AlarmState.ALARM: "outside their threshold.",
    AlarmState.OK: "inside their threshold.",
    AlarmState.INSUFFICIENT_DATA: "state evaluated to unknown.",
}


def evaluate_composite(
    alarm: Alarm,
    record: AlarmRecord,
    views: Mapping[int, WindowView],
    sources: Sources,
    now: float,
    seen: Mapping[int, Observation] | None = None,
) -> Outcome:
    """Look at some leaves of a composite alarm; the others count as they were when they were looked at last. Total.

    Args:
        alarm: its condition is a :class:`autoscaler.alarms.rules.CompositeRule`.
        views: by number, the windows of leaves that are looked at now.
        now: Unix seconds; not before any of the views.
        seen: by number, what a Prometheus server answered to the leaves that ask one.
    """
    rule = alarm.rule
    assert isinstance(rule, CompositeRule), f"{alarm.type} alarms have no leaves"
    if not alarm.enabled:
        return Outcome(record)
    look = begin(alarm, record, now, sources)
    at = _Leaves(look, rule, list(look.record.leaves) or [LeafRecord()] * len(rule.leaves))
    if look.within:
        for number, view in sorted(views.items()):
            _look_at_window(at, number, view)
        for number, observation in sorted((seen or {}).items()):
            _look_at_observation(at, number, observation)
        _conclude(at)
    return Outcome(
        look.record,
        tuple(look.happenings),
        earliest([*at.dues, next_opening(look), *lasting(look, repeats=at.repeats and not look.record.in_outage)]),
        at.held,
        at.as_aligned,
    )


# --- leaves ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Leaves:
    """The leaves while they are looked at.

    Attributes:
        now: evidence of those that were looked at now, by number.
        dues: when one of them must be looked at again.
        ends: Unix seconds, of the newest granule that was looked at.
        step: seconds, of the shortest.
        repeats: whether the actions of the present state are repeated.
    """

    look: Look
    rule: CompositeRule
    records: list[LeafRecord]
    evidence: dict[int, Evidence | None] = field(default_factory=dict)
    dues: list[float | None] = field(default_factory=list)
    ends: float | None = None
    step: float = PROBED
    held: bool = False
    as_aligned: bool = False
    repeats: bool = True

    def looked(self, ends: float, step: float) -> None:
        """Some leaf was looked at; policies are reconsidered by the newest and shortest of their granules."""
        self.step = step if self.ends is None else min(self.step, step)
        self.ends = ends if self.ends is None else max(self.ends, ends)


def _look_at_window(at: _Leaves, number: int, view: WindowView) -> None:
    """Assess a leaf over a window as a plain alarm at its present point."""
    rule, look, leaf = at.rule.leaves[number], at.look, at.records[number]
    assert isinstance(rule, Rule), f"rule{number + 1} does not rest on a window"
    # of a granule that may have been read in part only nothing is said
    read = look.sources.read_by(look.now) if rule.in_order else look.now
    seen = Seen(rule, view, present_spans(rule, view, read))
    at.dues.append(look.now + RECHECK if read < look.now else None)
    at.as_aligned |= is_taken_as_aligned(rule, view)
    at.dues.append(unheard(look, view))
    assessment = assess(rule, aggregates(rule, view, seen.spans), leaf.state)
    since = doubted_since(leaf, assessment, look)
    if is_held(since, look):
        at.held = True
        at.dues.append(look.now + RECHECK)
        at.records[number] = msgspec.structs.replace(leaf, held_since=since, note=DOUBTED)
        return
    outage = outage_at(rule, view, seen.spans[-1], look.now, leaf, look)
    _note_outage(at, leaf.outage, outage)
    if outage is not None and not outage.believed:
        # as it was, but for what the guards of scaling are told of it
        at.evidence[number] = assessment.evidence
        kept = msgspec.structs.replace(leaf, held_since=None, breaching_since=None, clear_since=None, outage=outage)
        at.records[number] = msgspec.structs.replace(kept, note=outage_note(outage, look))
        at.looked(seen.spans[-1].ends, rule.granularity)
        at.dues += [*next_points(rule, view, seen.spans, look.now), outage.since + look.sources.max_hold]
        return
    asked = next_state(leaf.state, assessment.verdict)
    waits = waits_of(rule, leaf, asked, look.now)
    waiting = is_waiting(rule, waits, look.now)
    state = leaf.state if waiting else asked
    at.evidence[number] = assessment.evidence
    at.records[number] = LeafRecord(
        state=state,
        certain=isinstance(assessment.verdict, Certain) and not waiting,
        trend=assessment.verdict.trend if isinstance(assessment.verdict, Mixed) and not waiting else None,
        seen=True,
        breaching_since=waits.breaching_since if waiting else None,
        clear_since=waits.clear_since if waiting else None,
        held_since=since,
        evidence=_kept_evidence(look.alarm, leaf, assessment, rule.granularity),
        note=renewed(
            leaf.note,
            joined(believed_note(since, look), outage_note(outage, look), note_of(seen, look, assessment, state)),
        ),
        outage=outage,
    )
    at.looked(seen.spans[-1].ends, rule.granularity)
    at.dues += [*next_points(rule, view, seen.spans, look.now), *ends_of(rule, at.records[number])]


def _note_outage(at: _Leaves, before: Outage | None, now: Outage | None) -> None:
    # the record's version is raised with the leaves
    note = turned(before, now, at.look.now, next_version(at.look.record, at.look.now))
    at.look.happenings += [] if note is None else [note]


def _look_at_observation(at: _Leaves, number: int, observation: Observation) -> None:
    """Assess a leaf that a Prometheus server was asked for."""
    rule, look, leaf = at.rule.leaves[number], at.look, at.records[number]
    assert isinstance(rule, PrometheusRule), f"rule{number + 1} asks nobody"
    assessment = assess_observation(rule, observation, look.now)
    at.evidence[number] = assessment.evidence
    at.records[number] = LeafRecord(
        state=next_state(leaf.state, assessment.verdict),
        certain=isinstance(assessment.verdict, Certain),
        trend=assessment.verdict.trend if isinstance(assessment.verdict, Mixed) else None,
        seen=True,
        evidence=_kept_evidence(look.alarm, leaf, assessment, PROBED),
        note=renewed(leaf.note, note_of_observation(observation)),
    )
    at.looked(look.now, PROBED)


def _kept_evidence(alarm: Alarm, leaf: LeafRecord, assessment: Assessment, step: float) -> Evidence | None:
    """The newest evidence, taken anew once a granule; only where policies may ask for it."""
    if not may_call_policies(alarm):
        return None
    before, newest = leaf.evidence, assessment.evidence
    if before is None or newest is None or newest.ends + MICROSECOND >= before.ends + step:
        return newest
    return before


# --- the tree --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Resolution:
    """What the leaves come to together; ``causes`` are those that say so, by number, in order."""

    state: AlarmState
    causes: Sequence[int]


def resolved(rule: CompositeRule, leaves: Sequence[LeafRecord], current: AlarmState) -> Resolution:
    """What a tree comes to for an alarm that is in ``current``. Total.

    First leaves whose values are on both sides of their threshold count neither as ``alarm`` nor as ``ok``; only where
    that leaves it open do they take a side.
    """
    first = _resolution(rule, [None if leaf.trend is not None else leaf.state for leaf in leaves], set())
    if first is not None:
        return first
    sides = [_side(leaf, current, as_aodh=rule.mixed_as_aodh) for leaf in leaves]
    everything = set(range(len(leaves)))
    insufficient = [number for number, side in enumerate(sides) if side is AlarmState.INSUFFICIENT_DATA]
    return _resolution(rule, sides, everything) or Resolution(AlarmState.INSUFFICIENT_DATA, insufficient)


def _side(leaf: LeafRecord, current: AlarmState, *, as_aodh: bool) -> AlarmState:
    if leaf.trend is None or not as_aodh:
        return leaf.state
    if current is AlarmState.INSUFFICIENT_DATA:
        return leaf.trend
    return AlarmState.OK if leaf.trend is AlarmState.ALARM else AlarmState.ALARM


def _resolution(rule: CompositeRule, states: Sequence[AlarmState | None], evaluated: set[int]) -> Resolution | None:
    """``alarm`` or ``ok``, the first that holds.

    Args:
        evaluated: leaves that have been evaluated; more are added, in the order in which the tree asks for them.
    """
    for state in (AlarmState.ALARM, AlarmState.OK):
        if _holds(rule.tree, state, states, evaluated):
            return Resolution(state, [number for number in sorted(evaluated) if states[number] is state])
    return None


def _holds(part: Junction | int, state: AlarmState, states: Sequence[AlarmState | None], evaluated: set[int]) -> bool:
    """Whether a part of the tree is in a state; no more of it is evaluated than must be."""
    if isinstance(part, int):
        evaluated.add(part)
        return states[part] is state
    holding = (_holds(each, state, states, evaluated) for each in part.parts)
    # not all are in alarm where one is ok, and the other way about
    is_all = (part.operator == "and") is (state is AlarmState.ALARM)
    return all(holding) if is_all else any(holding)


def composition(part: Junction | int) -> str:
    """The tree as Aodh writes it, leaves by their names."""
    if isinstance(part, int):
        return _name(part)
    return f"({f' {part.operator} '.join(composition(each) for each in part.parts)})"


def _name(number: int) -> str:
    return f"rule{number + 1}"


def explained_composite(rule: CompositeRule, current: AlarmState, resolution: Resolution) -> Explanation:
    """Why a composite alarm that was in ``current`` is in the state of the resolution, in Aodh's words."""
    form, state = composition(rule.tree), resolution.state
    verb = "remaining as" if state is current else "transition to"
    names = ", ".join(sorted(_name(number) for number in resolution.causes))
    text = f"Composite rule alarm with composition form: {form} {verb} {state}, due to rules: {names} {_ENDINGS[state]}"
    causes = {_name(number): rule.documents[number] for number in resolution.causes}
    return Explanation(text, {"type": "composite", "composition_form": form, "causative_rules": causes})


# --- both ------------------------------------------------------------------------------------------------------------


def _conclude(at: _Leaves) -> None:
    """Keep what was seen of the leaves, and take the steps that follow from all of them."""
    look, rule = at.look, at.rule
    look.change(leaves=tuple(at.records))
    current = look.record.state
    resolution = resolved(rule, at.records, current)
    at.repeats = resolution.state is not AlarmState.INSUFFICIENT_DATA  # as in Aodh
    # nothing was known of the leaves of an imported alarm: those in alarm or ok have had a full window since
    if keeps_state(look, "" if at.repeats else _note(at.records) or "its parts leave the state open"):
        return
    if not at.repeats and not all(leaf.seen for leaf in at.records):
        # an alarm whose rule was changed keeps its state until every leaf has had its turn
        resolution = Resolution(current, ())
    finding = Finding(
        state=resolution.state,
        # where no leaf says anything new, no granule is new
        ends=(look.record.considered or look.now) if at.ends is None else at.ends,
        step=at.step,
        evidence=_evidence(at, resolution),
        explain=lambda before: explained_composite(rule, before, resolution),
        note=_note(at.records),
        repeats=at.repeats and not look.record.in_outage,
    )
    conclude(look, finding, look.now)


def _note(leaves: Sequence[LeafRecord]) -> str:
    told = [leaf.note if leaf.seen or leaf.note else "not looked at yet" for leaf in leaves]
    return joined(*(f"{_name(number)}: {note}" for number, note in enumerate(told) if note))


def _evidence(at: _Leaves, resolution: Resolution) -> Evidence | None:
    """What all causes rest on: as old as the oldest of them, and as little reported as the least."""
    found: list[Evidence] = []
    of_many: list[Evidence] = []
    for number in resolution.causes:
        leaf, evidence = at.rule.leaves[number], at.evidence.get(number, at.records[number].evidence)
        if evidence is not None:
            found.append(evidence)
            if isinstance(leaf, Rule) and not leaf.single:
                of_many.append(evidence)
    if not found:
        return None
    speaking = of_many or found  # of how many members reported
    return Evidence(
        begins=min(each.begins for each in found),
        ends=min(each.ends for each in found),
        reporting=tuple(count for each in speaking for count in each.reporting),
        fullest=max(each.fullest for each in speaking),
        resting_on_missing=len(found) < len(resolution.causes) or any(each.resting_on_missing for each in found),
    )
