"""What may hold a proposal back, asked in order; the first that objects is the answer.

A guard never proposes anything: it leaves the proposal, or it holds the group at its present size. Their
order is :data:`GUARDS`: later ones need not ask again what earlier ones have settled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from autoscaler.scaling.cooldown import cooling
from autoscaler.scaling.decision import Reason
from autoscaler.scaling.group import Group, GroupRecord
from autoscaler.scaling.policy import Order


@dataclass(frozen=True, slots=True)
class Proposal:
    """A size that something wants a group to have.

    Attributes:
        capacity: members, within the bounds.
        change: members more (or, negative, fewer) than are wanted now.
        policy: name, "" where none asks.
        alarm: name, "" where none asks.
        measured: whether it comes of measures, so that they must be fresh and complete.
        begins: Unix seconds, start of the newest decisive granule; where there was none, the alarm's last transition.
        reporting: series per decisive granule, empty where nothing was reported.
        fullest: series of the fullest granule looked at.
        resting_on_missing: a treatment of missing data decided.
        min_reporting: share of the ready members that must have reported; 0 asks nothing.
        cooldown: seconds to record when the resize ends.
        passes_cooldown: it comes at its own time or by force.
        order: who goes first if it makes the group smaller.
        held_back: why the target would not go as far as was asked for; "" where it would.
    """

    capacity: int
    change: int
    policy: str = ""
    alarm: str = ""
    measured: bool = False
    begins: float = 0.0
    reporting: tuple[int, ...] = ()
    fullest: int = 0
    resting_on_missing: bool = False
    min_reporting: float = 0.0
    cooldown: float = 0.0
    passes_cooldown: bool = False
    order: Order = Order.ANY
    held_back: str = ""


@dataclass(frozen=True, slots=True)
class Situation:
    """What a group is like when a proposal meets it.

    Attributes:
        frozen: why everything is held; "" when it is not.
        scale_outs: proposals to grow that active alarms make at this moment, those that a bound stops included.
        outages: names of alarms most of whose series have stopped at once.
    """

    group: Group
    record: GroupRecord
    now: float
    frozen: str = ""
    scale_outs: Sequence[Proposal] = ()
    outages: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a proposal is held; ``until`` as in :class:`autoscaler.scaling.decision.Decision`."""

    reason: Reason
    text: str
    until: float | None = None


Guard = Callable[[Proposal, Situation], Objection | None]


def iso(time: float) -> str:
    """ISO 8601, UTC; microseconds only where there are some."""
    return datetime.fromtimestamp(time, UTC).isoformat().replace("+00:00", "Z")


def size_known(_: Proposal, at: Situation) -> Objection | None:
    """A group whose target cannot be read is not a group of nobody."""
    if at.record.desired_capacity is None and at.record.busy and not at.record.unreachable:
        return Objection(Reason.SIZE_UNKNOWN, f"the target has not come to rest yet: {at.record.busy}")
    if at.record.desired_capacity is None or at.record.size is None:
        return Objection(Reason.SIZE_UNKNOWN, f"the target was never read{_why(at.record.unreachable)}")
    if at.record.unreachable:
        return Objection(Reason.SIZE_UNKNOWN, f"the target cannot be read{_why(at.record.unreachable)}")
    return None


def _why(unreachable: str) -> str:
    return f": {unreachable}" if unreachable else ""


def changes_something(proposal: Proposal, at: Situation) -> Objection | None:
    """As in Heat, what changes nothing is left before cooldown is looked at."""
    if proposal.change:
        return None
    if proposal.held_back:
        return Objection(Reason.NO_ROOM, f"already {proposal.capacity}: {proposal.held_back}")
    limits = at.record.limits(at.group)
    size = proposal.capacity
    if size in (limits.min_size, limits.max_size):
        bound = "max_size" if size == limits.max_size else "min_size"
        return Objection(Reason.AT_BOUND, f"already at {bound} {size}")
    return Objection(Reason.UNCHANGED, f"already {size}")


def not_paused(proposal: Proposal, at: Situation) -> Objection | None:
    """A person's word comes before every alarm's."""
    if at.frozen:
        return Objection(Reason.FROZEN, f"everything is frozen: {at.frozen}")
    pause = at.record.paused
    if pause is None or not pause.forbids(proposal.change, at.now):
        return None
    ending = "until resumed" if pause.until is None else f"until {iso(pause.until)}"
    direction = f" (scale-{pause.direction})" if pause.direction else ""
    by = f" by {pause.actor.name}" if pause.actor.name else ""
    return Objection(Reason.PAUSED, f"paused{direction} {ending}{by}: {pause.reason}", pause.until)


def source_speaks(proposal: Proposal, at: Situation) -> Objection | None:
    """While a source is out nothing that is measured makes the group smaller, whichever alarm asks."""
    if not proposal.measured or proposal.change >= 0 or not at.outages:
        return None
    return Objection(Reason.SOURCE_OUTAGE, f"most series of alarm {', '.join(at.outages)} have stopped at once")


def members_reported(proposal: Proposal, at: Situation) -> Objection | None:
    """A scale-in needs word from the members, not their silence."""
    if not proposal.measured or proposal.change >= 0:
        return None
    if proposal.resting_on_missing or not proposal.reporting:
        return Objection(Reason.RESTS_ON_MISSING_DATA, "no data never scales in")
    expected = at.record.ready or proposal.fullest
    needed = math.ceil(proposal.min_reporting * expected - 1e-9)
    heard = min(proposal.reporting)
    if heard >= needed:
        return None
    return Objection(Reason.MEMBERS_SILENT, f"{heard} of {expected} ready members reported, {needed} are needed")


def fresh(proposal: Proposal, at: Situation) -> Objection | None:
    """What was measured before the last resize took effect says nothing about the group as it is."""
    resized = at.record.resized_at
    if not proposal.measured or resized is None or proposal.begins >= resized:
        return None
    text = f"the newest measures begin at {iso(proposal.begins)}, the last resize took effect at {iso(resized)}"
    return Objection(Reason.STALE_DATA, text)


def nothing_in_flight(_: Proposal, at: Situation) -> Objection | None:
    """One resize at a time, whoever makes it."""
    if at.record.resizing:
        return Objection(Reason.IN_FLIGHT, f"a resize to {at.record.desired_capacity} is under way")
    if at.record.busy:
        return Objection(Reason.IN_FLIGHT, f"the target is busy: {at.record.busy}")
    return None


def nobody_in_maintenance(proposal: Proposal, at: Situation) -> Objection | None:
    """Members that somebody is moving or rebuilding do not serve meanwhile, and are not gone."""
    if proposal.change >= 0 or not at.record.maintenance:
        return None
    return Objection(Reason.MAINTENANCE, f"moved or rebuilt at this moment: {', '.join(at.record.maintenance)}")


def rested(proposal: Proposal, at: Situation) -> Objection | None:
    """The cooldown that the resize before recorded, whoever asks now (Heat)."""
    end = None if proposal.passes_cooldown else cooling(at.record.cooldown_end, at.now)
    if end is None:
        return None
    by = f" (recorded for {at.record.cooldown_by})" if at.record.cooldown_by else ""
    return Objection(Reason.COOLDOWN, f"cooling down until {iso(end)}{by}", end)


def no_scale_out_active(proposal: Proposal, at: Situation) -> Objection | None:
    """An alarm that asks for more members stands above any that asks for fewer."""
    if proposal.change >= 0 or not proposal.measured or not at.scale_outs:
        return None
    loudest = max(at.scale_outs, key=lambda other: other.capacity)
    asks = f"asks for {loudest.capacity}" if loudest.change else f"asks for more than {loudest.capacity}"
    return Objection(Reason.SCALE_OUT_ACTIVE, f"alarm {loudest.alarm} {asks}")


GUARDS: Sequence[Guard] = (
    size_known,
    changes_something,
    not_paused,
    source_speaks,
    members_reported,
    fresh,
    nothing_in_flight,
    nobody_in_maintenance,
    rested,
    no_scale_out_active,
)


def objection(proposal: Proposal, at: Situation) -> Objection | None:
    """The first guard's that objects; None when the group may move. Total."""
    for guard in GUARDS:
        if (found := guard(proposal, at)) is not None:
            return found
    return None
