"""The steps of every look at an alarm, whatever its condition: from what that comes to, to the next record.

Whoever looks at a condition makes a :class:`Finding`; what follows from it is the same for all kinds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from autoscaler.alarms.alarm import AlarmRecord, AlarmState, LeafRecord
from autoscaler.alarms.definition import SET_BY_HAND
from autoscaler.alarms.granules import MICROSECOND
from autoscaler.alarms.outcome import POLICY_SCHEME, Consideration, Repetition, Transition
from autoscaler.alarms.rules import EventRule
from autoscaler.alarms.time_constraints import next_edge, within
from autoscaler.alarms.verdict import Keep, TooFew, next_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from autoscaler.alarms.alarm import Alarm, Evidence
    from autoscaler.alarms.outcome import Happening, Sources
    from autoscaler.alarms.rules import Rule
    from autoscaler.alarms.verdict import Assessment, Explanation
    from autoscaler.measures.window import WindowView

Waited = AlarmRecord | LeafRecord
"""Of what ``for``, ``keep_firing_for`` and doubts about missing data are kept."""
PROBED = 1.0
"""Seconds after which what a service answers is a new granule, as it were, for policies."""
DOUBTED = "data is missing, which is not believed yet since a source of measures is behind"


def next_version(record: AlarmRecord, now: float) -> int:
    """Of the clock, so that no id of an action comes again after the store has lost the last versions of a record."""
    return max(record.version + 1, int(now * 1e6))


class Look(msgspec.Struct):
    """The evaluation of an alarm under way.

    Attributes:
        within: the alarm's time constraints let it be evaluated now.
    """

    alarm: Alarm
    record: AlarmRecord
    now: float
    sources: Sources
    within: bool
    happenings: list[Happening] = []

    def change(self, **fields: Any) -> None:
        """Move the record on to the next version, unless that changes nothing."""
        record = self.record
        # nearly always nothing does, and to compare some fields is cheaper than to make a record and compare all
        if any(getattr(record, name) != value for name, value in fields.items()):
            self.record = msgspec.structs.replace(record, **fields, version=next_version(record, self.now))

    @property
    def has_policies(self) -> bool:
        """Whether the present state calls a policy."""
        return calls_policies(self.alarm, self.record.state)


BY_HAND = 60.0
"""Seconds; in Aodh a state that is set by hand lasts until its next cycle."""
UNHEARD_SHORTEST, UNHEARD_LONGEST = 300.0, 3600.0
"""Seconds between two looks at a window that never held anything."""


class Finding(msgspec.Struct, frozen=True):
    """What a condition comes to at one point.

    Attributes:
        state: the alarm's from now on.
        ends: Unix seconds, end of the newest granule that was looked at.
        step: seconds after which a granule is a new one for policies.
        evidence: for the guards of scaling.
        explain: why an alarm that was in the state given is in ``state``.
        note: what more there is to say.
        repeats: whether the actions of ``state`` are repeated.
    """

    state: AlarmState
    ends: float
    step: float
    evidence: Evidence | None
    explain: Callable[[AlarmState], Explanation]
    note: str = ""
    repeats: bool = True


def begin(alarm: Alarm, record: AlarmRecord, now: float, sources: Sources) -> Look:
    """A look at an alarm by its definition of today."""
    look = Look(alarm, record, now, sources, within(alarm.time_constraints, now))
    _adopt_definition(look)
    return look


def _adopt_definition(look: Look) -> None:
    """A rule that was changed keeps the alarm's state and starts everything else afresh."""
    alarm = look.alarm
    if look.record.definition != alarm.definition:
        look.change(
            definition=alarm.definition,
            revision=alarm.revision,
            point=None,
            considered=None,
            consider_at=None,
            breaching_since=None,
            clear_since=None,
            held_since=None,
            evidence=None,
            outage=None,
            repeat_at=None,
            note=look.record.note if look.record.imported else "",
            leaves=(),
            instances={},
        )
    elif look.record.revision != alarm.revision:
        look.change(revision=alarm.revision)
    # events repeat by themselves what they say
    repeats = alarm.repeat_actions and not isinstance(alarm.rule, EventRule) and not look.record.imported
    if repeats != (look.record.repeat_at is not None):
        # asked for, or no longer, without a word about the rule
        look.change(repeat_at=look.now + alarm.repeat_interval if repeats else None)


def calls_policies(alarm: Alarm, state: AlarmState) -> bool:
    """Whether a state of an alarm calls a policy."""
    return any(action.startswith(POLICY_SCHEME) for action in alarm.actions(state))


def may_call_policies(alarm: Alarm) -> bool:
    """Whether any state of an alarm calls a policy."""
    actions = (*alarm.ok_actions, *alarm.alarm_actions, *alarm.insufficient_data_actions)
    return any(action.startswith(POLICY_SCHEME) for action in actions)


# --- what is waited for ----------------------------------------------------------------------------------------------


def doubted_since(waited: Waited, assessment: Assessment, look: Look) -> float | None:
    """Since when missing data is in doubt; None where nothing rests on it, or no source is behind.

    Silence is believed only when nothing waits to be read, or when that has been so for long.
    """
    changes = next_state(waited.state, assessment.verdict) is not waited.state
    rests_on_silence = assessment.missing and (changes or isinstance(assessment.verdict, TooFew | Keep))
    if not rests_on_silence or look.sources.caught_up:
        return None
    return look.now if waited.held_since is None else waited.held_since


def is_held(since: float | None, look: Look) -> bool:
    """Whether missing data that has been in doubt since then is not believed yet."""
    return since is not None and look.now < since + look.sources.max_hold


def believed_note(since: float | None, look: Look) -> str:
    """Says so where missing data is believed though it is in doubt."""
    return "" if since is None else f"sources have been behind for more than {look.sources.max_hold:g} s"


class Waits(msgspec.Struct, frozen=True):
    """What a verdict that must last has lasted since; see :class:`autoscaler.alarms.alarm.AlarmRecord`."""

    breaching_since: float | None = None
    clear_since: float | None = None


def waits_of(rule: Rule, waited: Waited, asked: AlarmState, time: float) -> Waits:
    """What is waited for when the verdict asks for a state."""
    asks = asked is AlarmState.ALARM
    breaching = clear = None
    if rule.hold_for and asks and waited.state is not AlarmState.ALARM:
        breaching = time if waited.breaching_since is None else waited.breaching_since
    if rule.keep_firing_for and not asks and waited.state is AlarmState.ALARM:
        clear = time if waited.clear_since is None else waited.clear_since
    return Waits(breaching, clear)


def is_waiting(rule: Rule, waits: Waits, time: float) -> bool:
    """Whether the verdict has not lasted long enough yet."""
    return any(due > time + MICROSECOND for due in ends_of(rule, waits))


def ends_of(rule: Rule, waits: Waits | Waited) -> Iterable[float]:
    """When a verdict will have lasted as long as it must."""
    if waits.breaching_since is not None:
        yield waits.breaching_since + rule.hold_for
    if waits.clear_since is not None:
        yield waits.clear_since + rule.keep_firing_for


# --- what follows ----------------------------------------------------------------------------------------------------


def conclude(look: Look, finding: Finding, time: float) -> None:
    """Take the steps that follow from what was found: a transition, or what is due while the state lasts."""
    if finding.state is look.record.state:
        remain(look, finding, time)
    elif finding.state is AlarmState.INSUFFICIENT_DATA and look.now < by_hand_until(look.record):
        return
    else:
        _transition(look, finding, time)


def by_hand_until(record: AlarmRecord) -> float:
    """Until when silence alone does not end a state that somebody has set; measures do at once."""
    return record.state_timestamp + BY_HAND if record.reason == SET_BY_HAND else -math.inf


def _transition(look: Look, finding: Finding, time: float) -> None:
    previous = look.record.state
    why = finding.explain(previous)
    note = _unsaid(finding.note, why.reason)
    look.change(
        state=finding.state,
        state_timestamp=time,
        reason=why.reason,
        reason_data=why.data,
        note=note,
        considered=finding.ends,
        consider_at=None,
        evidence=finding.evidence,
        repeats=0,
        repeat_at=time + look.alarm.repeat_interval if look.alarm.repeat_actions else None,
        breaching_since=None,
        clear_since=None,
    )
    happened = Transition(look.record.version, time, previous, finding.state, why.reason, why.data, note)
    look.happenings.append(happened)


def remain(look: Look, finding: Finding, time: float) -> None:
    """Reconsider policies and repeat actions where that is due; the state stays."""
    look.change(note=_unsaid(finding.note, look.record.reason))
    record = look.record
    if look.has_policies:
        newly_settled = record.considered is None or finding.ends + MICROSECOND >= record.considered + finding.step
        if newly_settled or (record.consider_at is not None and look.now >= record.consider_at):
            considered = max(finding.ends, record.considered or finding.ends)
            look.change(considered=considered, consider_at=None, evidence=finding.evidence)
            look.happenings.append(Consideration(look.record.version, time, record.state))
    if finding.repeats and record.repeat_at is not None and look.now >= record.repeat_at:
        why = finding.explain(record.state)
        following = record.repeat_at + look.alarm.repeat_interval
        if following <= look.now:
            following = look.now + look.alarm.repeat_interval  # repetitions that were slept through are not made up for
        look.change(repeats=record.repeats + 1, repeat_at=following)
        repetition = Repetition(look.record.version, time, record.state, look.record.repeats, why.reason, why.data)
        look.happenings.append(repetition)


def _unsaid(note: str, reason: str) -> str:
    return "" if note in reason else note


def next_opening(look: Look) -> float | None:
    """When the time constraints may let the alarm be evaluated, or no longer; None where that never changes."""
    return next_edge(look.alarm.time_constraints, look.now) if look.alarm.time_constraints else None


def lasting(look: Look, *, repeats: bool = True) -> Iterable[float | None]:
    """When something is due though the state lasts: repetitions, and guards that end.

    Args:
        repeats: as in the finding.
    """
    if look.within:
        until = by_hand_until(look.record)
        yield until if until > look.now else None
        yield look.record.repeat_at if repeats else None
        yield look.record.consider_at if look.has_policies else None


def unheard(look: Look, view: WindowView) -> float | None:
    """When to look again at a window that never held anything: what is said of it may no longer be so.

    The longer nothing has come, the seldomer.
    """
    if view.newest is not None:
        return None
    silent = look.now - look.record.state_timestamp if look.record.state_timestamp else UNHEARD_SHORTEST
    return look.now + min(max(silent, UNHEARD_SHORTEST), UNHEARD_LONGEST)


def earliest(times: Iterable[float | None]) -> float | None:
    """The first of them; None where there is none."""
    return min((time for time in times if time is not None), default=None)
