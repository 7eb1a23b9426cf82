"""What follows from a decision and from each look at a target.

The functions leave ``version`` alone; whoever stores a record raises it.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from autoscaler.scaling.cooldown import recorded
from autoscaler.scaling.decision import Reason
from autoscaler.scaling.group import Group, GroupRecord, Limits

FIRST_RETRY = 1.0
LONGEST_RETRY = 60.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at the target came to.

    Attributes:
        reason: of a change that needs a decision record; None where nothing was decided.
        text: why, for people.
    """

    record: GroupRecord
    reason: Reason | None = None
    text: str = ""


def moved(record: GroupRecord, capacity: int, *, cooldown: float, by: str) -> GroupRecord:
    """The record once ``capacity`` members are wanted; the cooldown counts from the end of the resize, as in Heat."""
    return replace(
        record,
        desired_capacity=capacity,
        resizing=True,
        fence=record.fence + 1,
        attempts=0,
        retry_at=None,
        error="",
        drifted=None,
        pending_cooldown=cooldown,
        pending_by=by,
    )


def bounded(record: GroupRecord, group: Group, *, min_size: int | None, max_size: int | None) -> GroupRecord:
    """The record with bounds that a schedule sets over the declared ones.

    Another schedule's bound that they cross gives way to the declared one.
    """
    declared = Limits(group.min_size, group.max_size)
    kept = record if record.declared == declared else replace(record, min_size=None, max_size=None)
    least = kept.min_size if min_size is None else min_size
    most = kept.max_size if max_size is None else max_size
    if least is not None and most is not None and least > most:
        least, most = min_size, max_size
    return replace(kept, declared=declared, min_size=least, max_size=most)


def seen(record: GroupRecord, group: Group, *, size: int, ready: int, members: tuple[str, ...], now: float) -> Seen:
    """The record after the target was read.

    Args:
        size: members the target has, serving or not.
        ready: of them, those that serve.
        members: ids of those, where the target names them.
    """
    looked = replace(record, size=size, ready=ready, members=members, unreachable="", observed_at=now)
    if record.desired_capacity is None:
        capacity = _first_capacity(record, group, size)
        return Seen(replace(looked, desired_capacity=capacity, resizing=size != capacity, fence=1))
    if record.resizing and size == record.desired_capacity:
        return Seen(_arrived(looked, now))
    if record.resizing:
        # what moves is not given up
        moves = record.size is not None and size != record.size
        return Seen(replace(looked, drifted=None, attempts=0 if moves else record.attempts))
    if size == record.desired_capacity:
        return Seen(replace(looked, drifted=None))
    if record.drifted != size:
        return Seen(replace(looked, drifted=size))
    if group.enforce:
        text = f"somebody else made it {size}; set back to {record.desired_capacity}"
        enforced = moved(looked, record.desired_capacity, cooldown=0.0, by="enforce")
        return Seen(enforced, Reason.OUT_OF_BAND, text)
    text = f"somebody else made it {size}; respected"
    return Seen(replace(looked, desired_capacity=size, drifted=None, resized_at=now), Reason.OUT_OF_BAND, text)


def _first_capacity(record: GroupRecord, group: Group, size: int) -> int:
    """Members that a group begins with: those it has, or the declared number where it has none."""
    if size:
        return size
    limits = record.limits(group)
    return limits.clamp(limits.min_size if group.desired_capacity is None else group.desired_capacity)


def _arrived(record: GroupRecord, now: float) -> GroupRecord:
    # a group that has only just been found was not resized by anybody
    begun = not record.pending_by
    end = record.cooldown_end if begun else recorded(record.cooldown_end, now, record.pending_cooldown)
    return replace(
        record,
        resizing=False,
        attempts=0,
        retry_at=None,
        error="",
        drifted=None,
        resized_at=record.resized_at if begun else now,
        cooldown_end=end,
        cooldown_by=record.cooldown_by if end == record.cooldown_end else record.pending_by,
        pending_cooldown=0.0,
        pending_by="",
    )


def asked(record: GroupRecord, group: Group, *, now: float) -> Seen:
    """The record after a target took the request for a resize, which it may take its time to follow.

    It is asked again each minute; one that shows no progress at all for ``max_attempts`` of these is given up.
    """
    return failed(
        record, group, f"asked for {record.desired_capacity}, {record.size} so far", now=now, delay=LONGEST_RETRY
    )


def failed(record: GroupRecord, group: Group, error: str, *, now: float, delay: float | None) -> Seen:
    """The record after a resize could not be asked for, or did not come about.

    Backs off up to a minute; after ``max_attempts`` the wish is given up for the size that is there. A failed resize
    records no cooldown, as in Heat.
    """
    attempts = record.attempts + 1
    if attempts < group.max_attempts or record.size is None:
        wait = delay if delay is not None else min(LONGEST_RETRY, FIRST_RETRY * 2 ** min(attempts - 1, 10))
        return Seen(replace(record, attempts=attempts, error=error, retry_at=now + wait))
    given_up = replace(
        record,
        desired_capacity=record.size,
        resizing=False,
        attempts=0,
        retry_at=None,
        error=error,
        pending_cooldown=0.0,
        pending_by="",
    )
    text = f"gave up {record.desired_capacity} after {attempts} attempts: {error}"
    return Seen(given_up, Reason.CAPACITY_UNAVAILABLE, text)
