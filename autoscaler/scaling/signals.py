"""Signals to groups that Heat owns: when one is sent, what has become of it, and what is wrong with a group.

Heat answers a signal before it decides, and drops it without a word while the group is cooling down, being resized,
failed or at a bound. Here it is held until Heat will take it, and then followed until its effect, or the want of one,
is seen. A signal asks for a relative change, so it is never sent again before it is proven that it had no effect.

Source:
    heat/scaling/cooldown.py, heat/engine/resources/openstack/heat/scaling_policy.py and autoscaling_group.py, 27.0.1,
    for what makes Heat drop a signal and what a resize leaves behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from autoscaler.scaling.decision import Reason
from autoscaler.scaling.group import Footprint, GroupRecord, Signal
from autoscaler.scaling.guards import iso

PROMPT: Final = 2.0
"""Seconds after which an action that has not been carried out counts as held, and is looked at anew."""
COOLDOWN_MARGIN: Final = 1.0
"""Seconds that are waited beyond Heat's cooldown: its clock is not ours."""
ANSWERED_PATIENCE: Final = 10.0
"""Seconds in which a signal that Heat has answered shows an effect, or never will; it takes Heat half a second."""
UNKNOWN_PATIENCE: Final = 75.0
"""The same where Heat has not answered: a call to an engine that is away is dropped after 60 s
(``rpc_response_timeout``)."""
SIGNAL_LIFE: Final = 180.0
"""Seconds after which a signal that nobody has followed any further no longer holds up others."""
MOST_TRIES: Final = 5
"""Times that a signal is sent in all."""
CONCLUDED_KEPT: Final = 32
"""Actions that are known as over, so that they are not carried out again."""
FAILED_RECHECK: Final = 30.0
"""Seconds until a group that Heat has given up, or that is wedged, is looked at again."""
FROZEN_RECHECK: Final = 5.0
BUSY_RECHECK: Final = 1.0
EFFECT_RECHECK: Final = 0.5
UPDATED: Final = "ExactCapacity"
"""The adjustment that an update of the stack records, in a spelling that no policy of HOT has."""
_GONE: Final = ("SUSPEND_", "DELETE_")


@dataclass(frozen=True, slots=True)
class HeatGroup:
    """A group that Heat owns, as it was seen.

    Attributes:
        name: that it goes by here.
        project_id: whose.
        stack: name of its stack.
        group: name of the resource.
        stack_status: such as ``UPDATE_IN_PROGRESS``.
        status: of the group's resource.
        nested_status: of the stack of its members.
        in_progress: Heat notes that a signal's resize is under way.
        cooldown_end: Unix seconds until which Heat drops signals.
        cooldown_by: the adjustment that recorded it.
        size: members, without the failed ones, as Heat counts.
        failed: members that have failed.
        updated: Unix seconds at which the last update of the members began.
        nested_id: of the stack of its members.
        adjustment_type: of the policy, as its template has it; "" where that cannot be read.
        limits: the least and the most members, where they can be read; None each where not.
    """

    name: str
    project_id: str
    stack: str
    group: str
    stack_status: str
    status: str
    nested_status: str
    in_progress: bool
    cooldown_end: float | None
    cooldown_by: str
    size: int
    failed: int = 0
    updated: float | None = None
    nested_id: str = ""
    adjustment_type: str = ""
    limits: tuple[int | None, int | None] = (None, None)

    @property
    def footprint(self) -> Footprint:
        """What a resize would change."""
        return Footprint(self.cooldown_end, self.cooldown_by, self.size, self.updated)


@dataclass(frozen=True, slots=True)
class Claim:
    """An action that asks for a signal.

    Attributes:
        id: of the action.
        lane: where it waits.
        policy: name of the policy's resource.
        alarm: name of the alarm.
        asked: the state whose action it is.
        state: of the alarm by now; "" where the alarm is gone.
        created: Unix seconds at which it was asked for.
        begins: Unix seconds at which the newest measures that the state rests on begin.
    """

    id: str
    lane: str
    policy: str
    alarm: str
    asked: str
    state: str
    created: float
    begins: float


@dataclass(frozen=True, slots=True)
class Send:
    """The signal is to be sent, once the record is stored."""

    record: GroupRecord


@dataclass(frozen=True, slots=True)
class Hold:
    """Not now; ``until`` in Unix seconds. With ``quiet`` it is no refusal: a sent signal's effect is waited for."""

    record: GroupRecord
    reason: Reason
    text: str
    until: float
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Concluded:
    """The action is over.

    Attributes:
        before: members before, where they are known.
        to: members afterwards, where they are known.
    """

    record: GroupRecord
    reason: Reason
    text: str
    before: int | None = None
    to: int | None = None


@dataclass(frozen=True, slots=True)
class Over:
    """The action was concluded before, and whoever did it died before it was taken out of its lane."""


Step = Send | Hold | Concluded | Over


def observed(record: GroupRecord, seen: HeatGroup, now: float) -> GroupRecord:
    """The record after a look; its version is left alone."""
    return replace(
        record,
        size=seen.size,
        desired_capacity=record.desired_capacity if seen.in_progress else seen.size,
        resizing=seen.in_progress,
        cooldown_end=seen.cooldown_end,
        cooldown_by=seen.cooldown_by,
        observed_at=now,
        resized_at=_resized_at(record, seen, now),
        unreachable="",
        stuck=seen.footprint if seen.in_progress else None,
        stuck_since=_stuck_since(record, seen, now),
    )


def _resized_at(record: GroupRecord, seen: HeatGroup, now: float) -> float | None:
    """When the last resize took effect, as far as it was witnessed; else when it began."""
    if record.resizing and not seen.in_progress:
        told = record.word.time if record.word is not None and record.word.phase != "start" else now
        return min(now, max(told, record.resized_at or 0.0))
    if seen.in_progress or seen.updated is None:
        return record.resized_at
    return max(record.resized_at or 0.0, seen.updated)


def _stuck_since(record: GroupRecord, seen: HeatGroup, now: float) -> float | None:
    if not seen.in_progress:
        return None
    return record.stuck_since if record.stuck == seen.footprint else now


def is_wedged(record: GroupRecord, seen: HeatGroup, now: float, wedged_after: float) -> bool:
    """Whether Heat says that a group is being scaled and nothing of it has moved for long: its engine died over it.

    Such a group takes no signal any more, for ever (heat/scaling/cooldown.py never forgets the mark).
    """
    since = record.stuck_since
    return seen.in_progress and since is not None and now - since >= wedged_after


def step(
    record: GroupRecord, seen: HeatGroup, claim: Claim, now: float, *, wedged_after: float, frozen: str = ""
) -> Step:
    """What is to be done about an action, given the group's record and a look at it. Total.

    Args:
        wedged_after: seconds, see :func:`is_wedged`.
        frozen: why everything is held; "" where it is not.
    """
    if claim.id in record.concluded:
        return Over()
    record, tries = observed(record, seen, now), 0
    # of the same lane: a repeat may have taken the place of the action that was sent
    if record.signal is not None and record.signal.lane == claim.lane:
        tries = record.signal.tries
        followed = _followed(record, record.signal, seen, now, wedged_after)
        if followed is not None:
            return followed
        record = replace(record, signal=None)
    over = outdated(claim) or _overtaken(record, seen, claim, now)
    if over is not None:
        return Concluded(record, Reason.SUPERSEDED, over, seen.size, seen.size)
    obstacle = _forbidden(record, frozen, now) or _obstacle(record, seen, now, wedged_after)
    return obstacle or Send(replace(record, signal=sent(claim, seen, now, tries + 1)))


def concluded(record: GroupRecord, claim: Claim) -> GroupRecord:
    """The record once an action is over."""
    signal = None if record.signal is not None and record.signal.lane == claim.lane else record.signal
    return replace(record, signal=signal, concluded=(claim.id, *record.concluded)[:CONCLUDED_KEPT])


def sent(claim: Claim, seen: HeatGroup | None, now: float, tries: int = 1) -> Signal:
    """The signal that an action is carried out by; ``seen`` is None of a group that nobody here may read."""
    return Signal(
        id=claim.id,
        lane=claim.lane,
        policy=claim.policy,
        alarm=claim.alarm,
        sent_at=now,
        before=Footprint(None, "", 0, None) if seen is None else seen.footprint,
        tries=tries,
    )


def outdated(claim: Claim) -> str | None:
    """Why nobody asks for the signal any more; None where the alarm still does."""
    if not claim.state:
        return "the alarm is gone"
    return None if claim.state == claim.asked else f"the alarm is {claim.state} by now"


def _overtaken(record: GroupRecord, seen: HeatGroup, claim: Claim, now: float) -> str | None:
    """What makes a signal that is still asked for pointless; None where nothing does."""
    if seen.stack_status.startswith(_GONE) or seen.status.startswith(_GONE):
        return f"stack {seen.stack} is {seen.stack_status}"
    held = now - claim.created > PROMPT
    if held and record.resized_at is not None and claim.begins < record.resized_at:
        begun, resized = iso(claim.begins), iso(record.resized_at)
        return f"held, and since then the group was resized: the newest measures begin at {begun}, it was at {resized}"
    return None


def _forbidden(record: GroupRecord, frozen: str, now: float) -> Hold | None:
    """A person's word; which way a signal would move the group is not known, so a pause of one way holds it, too."""
    if frozen:
        return Hold(record, Reason.FROZEN, f"everything is frozen: {frozen}", now + FROZEN_RECHECK)
    pause = record.paused
    if pause is None or (pause.until is not None and now >= pause.until):
        return None
    until = now + FROZEN_RECHECK if pause.until is None else min(pause.until, now + FROZEN_RECHECK)
    return Hold(record, Reason.PAUSED, f"paused: {pause.reason}", until)


def _obstacle(record: GroupRecord, seen: HeatGroup, now: float, wedged_after: float) -> Hold | None:
    """What would make Heat drop the signal, or leave open whose effect is seen."""
    if is_wedged(record, seen, now, wedged_after):
        return Hold(record, Reason.WEDGED, wedged_text(record), now + FAILED_RECHECK)
    if seen.in_progress:
        return Hold(record, Reason.IN_FLIGHT, "Heat is resizing the group", now + BUSY_RECHECK)
    # that of its members plays no part: after an engine has died over it, it stays under way until the next resize
    busy = next((status for status in (seen.stack_status, seen.status) if status.endswith("_IN_PROGRESS")), "")
    if busy:
        return Hold(record, Reason.IN_FLIGHT, f"stack {seen.stack} is {busy}", now + BUSY_RECHECK)
    if not seen.status.endswith("_COMPLETE"):
        text = f"the group is {seen.status}: Heat drops its signals until the stack is updated"
        return Hold(record, Reason.GROUP_FAILED, text, now + FAILED_RECHECK)
    other = record.signal
    if other is not None and now - other.sent_at < SIGNAL_LIFE:
        text = f"the effect of alarm {other.alarm}'s signal to {other.policy} has yet to be seen"
        return Hold(record, Reason.IN_FLIGHT, text, now + EFFECT_RECHECK)
    if seen.cooldown_end is not None and now < seen.cooldown_end + COOLDOWN_MARGIN:
        text = f"Heat cools the group down until {iso(seen.cooldown_end)} (recorded for {seen.cooldown_by})"
        return Hold(record, Reason.COOLDOWN, text, seen.cooldown_end + COOLDOWN_MARGIN)
    return None


def wedged_text(record: GroupRecord) -> str:
    """What people are told of a group that is wedged."""
    since = iso(record.stuck_since or 0.0)
    return (
        f"Heat says that it is scaling the group, and nothing of it has moved since {since}: its engine died over it, "
        "and it drops every signal"
    )


def _followed(record: GroupRecord, signal: Signal, seen: HeatGroup, now: float, wedged_after: float) -> Step | None:
    """What has become of a signal that was sent; None where it is proven that nothing has, and it may be sent again."""
    if is_wedged(record, seen, now, wedged_after):
        # it did begin: another signal would ask for it twice
        return Concluded(replace(record, signal=None), Reason.WEDGED, wedged_text(record), signal.before.size, None)
    if seen.in_progress:
        return _waiting(record, signal, "Heat is resizing the group", now + EFFECT_RECHECK)
    if _had_effect(record, signal, seen):
        return _effect(record, signal, seen, now)
    patience = ANSWERED_PATIENCE if signal.answered else UNKNOWN_PATIENCE
    if now - signal.sent_at < patience:
        wait = EFFECT_RECHECK if now - signal.sent_at < ANSWERED_PATIENCE else 5.0
        return _waiting(record, signal, "its effect has yet to be seen", now + wait)
    return _without_effect(record, signal, seen)


def _waiting(record: GroupRecord, signal: Signal, text: str, until: float) -> Hold:
    return Hold(record, Reason.IN_FLIGHT, f"signal to {signal.policy}: {text}", until, quiet=True)


def _had_effect(record: GroupRecord, signal: Signal, seen: HeatGroup) -> bool:
    told = record.word is not None and record.word.time >= signal.sent_at
    return told or seen.footprint != signal.before


def _effect(record: GroupRecord, signal: Signal, seen: HeatGroup, now: float) -> Step:
    word = record.word if record.word is not None and record.word.time >= signal.sent_at else None
    if word is not None and word.phase == "start" and now - signal.sent_at < SIGNAL_LIFE:
        return _waiting(record, signal, "Heat has begun to resize the group", now + EFFECT_RECHECK)
    # a stack update that came between ends in its own time; an engine that died leaves it so
    if seen.nested_status.endswith("_IN_PROGRESS") and now - signal.sent_at < SIGNAL_LIFE:
        return _waiting(record, signal, f"its members are {seen.nested_status}", now + BUSY_RECHECK)
    over = replace(record, signal=None, resized_at=now if record.resized_at is None else max(record.resized_at, now))
    before = signal.before.size
    if (word is not None and word.phase == "error") or seen.nested_status.endswith("_FAILED"):
        said = f": {word.message}" if word is not None and word.message else f"; {seen.failed} members have failed"
        text = f"Heat could not resize the group by {signal.policy}{said}"
        return Concluded(over, Reason.RESIZE_FAILED, text, before, seen.size)
    if word is None and _is_of_an_update(signal, seen):
        text = f"the stack was updated at the same moment, {before} -> {seen.size}; what the signal did is not known"
        return Concluded(over, Reason.SUPERSEDED, text, before, seen.size)
    text = f"signal to {signal.policy} confirmed: {before} -> {seen.size}"
    return Concluded(over, Reason.SIGNALLED, text, before, seen.size)


def _is_of_an_update(signal: Signal, seen: HeatGroup) -> bool:
    """Whether what was seen is what an update of the stack leaves behind, in whose course Heat drops signals."""
    by_update = seen.cooldown_by.startswith(UPDATED) and seen.footprint != signal.before
    return by_update and seen.adjustment_type != UPDATED


def _without_effect(record: GroupRecord, signal: Signal, seen: HeatGroup) -> Step | None:
    """Nothing of the group has moved: Heat dropped the signal, or never had it."""
    cooled = seen.cooldown_end is not None and seen.cooldown_end + COOLDOWN_MARGIN > signal.sent_at
    if signal.answered and not cooled:
        text = f"dropped by Heat: {_no_change(seen)}"
    elif signal.tries < MOST_TRIES:
        return None
    else:
        text = f"dropped by Heat: sent {signal.tries} times, and the group never moved"
    return Concluded(replace(record, signal=None), Reason.DROPPED, text, seen.size, seen.size)


def _no_change(seen: HeatGroup) -> str:
    least, most = seen.limits
    if most is not None and seen.size >= most:
        return f"already at max_size {most}"
    if least is not None and seen.size <= least:
        return f"already at min_size {least}"
    return f"nothing to change at size {seen.size}: it is at a bound, or the adjustment comes to nothing"
