"""An AutoScalingGroup: what is declared of it, and its live record."""

from __future__ import annotations

from collections.abc import Mapping  # looked up when a record is decoded
from typing import Any

import msgspec

from autoscaler.scaling.policy import Order


class Limits(msgspec.Struct, frozen=True):
    """The sizes a group may have, in members; 0 <= min_size <= max_size."""

    min_size: int
    max_size: int

    def clamp(self, wanted: int) -> int:
        """``wanted``, moved to the nearest allowed size."""
        return max(self.min_size, min(self.max_size, wanted))


class Bound(msgspec.Struct, frozen=True):
    """A size beyond which a target does not go, in members, and the target's reason."""

    size: int
    why: str


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A group as declared.

    Attributes:
        project_id: owner; "" is the operator's.
        desired_capacity: members to begin with, where the target has none of its own yet; None means min_size.
        cooldown: seconds, for policies that name none; Heat's meaning.
        target_type: ``process``, ``heat``, ``http`` or ``dry_run``.
        target: the target's own options.
        enforce: a change made behind our back is corrected instead of respected.
        min_reporting: share of the ready members that must report in each decisive granule before a scale-in.
        max_attempts: after so many failed tries a resize is given up.
    """

    name: str
    min_size: int
    max_size: int
    project_id: str = ""
    desired_capacity: int | None = None
    cooldown: float = 0.0
    target_type: str = "dry_run"
    target: Mapping[str, Any] = msgspec.field(default_factory=dict)
    enforce: bool = False
    min_reporting: float = 0.8
    max_attempts: int = 10


class Actor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who or what moved, paused or asked.

    Attributes:
        kind: ``alarm``, ``schedule``, ``user``, ``target`` (the group's own doing) or ``controller``.
        name: alarm or schedule name, or the user's.
    """

    kind: str
    name: str = ""
    project_id: str = ""
    request_id: str = ""
    address: str = ""


class Pause(msgspec.Struct, frozen=True):
    """A group that a person has asked to be left alone.

    Attributes:
        until: Unix seconds; None means until resumed.
        direction: "" for both, ``in`` or ``out`` for one.
    """

    since: float
    until: float | None
    reason: str
    actor: Actor
    direction: str = ""

    def forbids(self, change: int, now: float) -> bool:
        """Whether a change by ``change`` members is held at ``now``."""
        if self.until is not None and now >= self.until:
            return False
        return self.direction == "" or (self.direction == "out") == (change > 0)


class Footprint(msgspec.Struct, frozen=True):
    """What a resize of a group that Heat owns changes of it; two that are equal prove that there was none.

    Attributes:
        cooldown_end: Unix seconds.
        cooldown_by: the adjustment that recorded it.
        size: members.
        updated: Unix seconds at which the last update of its nested stack began.
    """

    cooldown_end: float | None
    cooldown_by: str
    size: int
    updated: float | None


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """A signal to a group that Heat owns whose effect has yet to be seen.

    Attributes:
        id: of the action that it carries out.
        lane: where that waits.
        sent_at: Unix seconds, just before it was sent.
        answered: Heat has taken it; False where that is not known.
        tries: how often it was sent, this time included.
        before: the group just before.
    """

    id: str
    lane: str
    policy: str
    alarm: str
    sent_at: float
    before: Footprint
    answered: bool = False
    tries: int = 1


class Word(msgspec.Struct, frozen=True):
    """What Heat told last of a resize that a signal set off.

    Attributes:
        phase: ``start``, ``end`` or ``error``.
        time: Unix seconds at which it arrived.
        capacity: members; after ``end`` the new size.
    """

    phase: str
    time: float
    capacity: int | None = None
    adjustment: str = ""
    message: str = ""


class GroupRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of a group; replaced as a whole by compare-and-set on its version.

    Attributes:
        version: raised by whatever changes the record; 0 was never stored.
        desired_capacity: members wanted; None until the target was seen for the first time.
        size: members last seen at the target, serving or not; None while it was never read.
        ready: of them, those that serve.
        members: ids of the ready members; a measure's resource_id is compared with them.
        failed: names of members that have failed; ``size`` counts them.
        maintenance: ids of members that somebody is moving or rebuilding.
        busy: what is under way at the target; while it is not "" no size there is final.
        trouble: why the target could not do what it was last asked for; "" where it could.
        most: what the target would let the group grow to; None where nothing is known.
        least: what it would let it shrink to.
        wanted: members that the target would go back to by itself; None where it keeps what it has.
        facts: what else the target tells, by a short name.
        observed_at: Unix seconds of that look.
        unreachable: why the target could not be read last time; "" when it could.
        drifted: size seen once that nobody here asked for; believed when seen again.
        resizing: desired_capacity was decided and not yet seen at the target, or not yet kept there.
        fence: raised by each new desired_capacity; a target refuses an older one.
        attempts: failed tries of the resize that is under way.
        retry_at: Unix seconds before which it is not tried again.
        error: the target's own words about the last failure.
        resized_at: Unix seconds at which the last resize was seen to have taken effect.
        cooldown_end: Unix seconds; recorded when a resize has ended, as Heat does.
        cooldown_by: policy or schedule that it was recorded for.
        pending_cooldown: seconds to record when the resize that is under way ends.
        pending_by: policy or schedule that asked for it.
        pending_order: who goes first in the resize that is under way.
        min_size: bound set by a schedule; None means the declared one.
        max_size: bound set by a schedule; None means the declared one.
        declared: the declared limits that these bounds were set over; others undo them.
        restored: it comes from an export, and the target has not been seen since; what it has is what is wanted.
        owner: replica that holds the members of a target which lives inside the controller.
        owned_until: Unix seconds at which its hold ends unless renewed.
        signal: of a group that Heat owns: the signal whose effect has yet to be seen, one at a time.
        concluded: actions that are over, newest first.
        word: what Heat told of it last.
        stuck: what it has looked like since ``stuck_since`` while Heat said that it was being scaled.
        stuck_since: Unix seconds.
        repairing: it is marked unhealthy by us, and that must be taken back.
    """

    version: int = 0
    desired_capacity: int | None = None
    size: int | None = None
    ready: int = 0
    members: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    maintenance: tuple[str, ...] = ()
    busy: str = ""
    trouble: str = ""
    most: Bound | None = None
    least: Bound | None = None
    wanted: int | None = None
    facts: Mapping[str, str] = msgspec.field(default_factory=dict)
    observed_at: float | None = None
    unreachable: str = ""
    drifted: int | None = None
    resizing: bool = False
    fence: int = 0
    attempts: int = 0
    retry_at: float | None = None
    error: str = ""
    resized_at: float | None = None
    cooldown_end: float | None = None
    cooldown_by: str = ""
    pending_cooldown: float = 0.0
    pending_by: str = ""
    pending_order: Order = Order.ANY
    min_size: int | None = None
    max_size: int | None = None
    declared: Limits | None = None
    paused: Pause | None = None
    restored: bool = False
    owner: str = ""
    owned_until: float = 0.0
    signal: Signal | None = None
    concluded: tuple[str, ...] = ()
    word: Word | None = None
    stuck: Footprint | None = None
    stuck_since: float | None = None
    repairing: bool = False

    def limits(self, group: Group) -> Limits:
        """The bounds in force: the declared ones, or those a schedule set over exactly them."""
        declared = Limits(group.min_size, group.max_size)
        if self.declared != declared:
            return declared
        return Limits(
            declared.min_size if self.min_size is None else self.min_size,
            declared.max_size if self.max_size is None else self.max_size,
        )
