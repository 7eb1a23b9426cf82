"""What follows from a decision and from each look at a target.

The functions leave ``version`` alone; whoever stores a record raises it.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from autoscaler.scaling.cooldown import recorded
from autoscaler.scaling.decision import Reason
from autoscaler.scaling.group import Group, GroupRecord, Limits
from autoscaler.scaling.policy import Order
from autoscaler.scaling.status import TargetStatus

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


def moved(record: GroupRecord, capacity: int, *, cooldown: float, by: str, order: Order = Order.ANY) -> GroupRecord:
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
        pending_order=order,
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


def looked(record: GroupRecord, status: TargetStatus, now: float) -> GroupRecord:
    """The record with what a target has just said, and nothing concluded from it."""
    return replace(
        record,
        size=status.size,
        ready=status.ready_count,
        members=tuple(status.ready),
        failed=tuple(status.failed),
        maintenance=tuple(status.maintenance),
        busy=status.busy,
        trouble=status.trouble,
        most=status.most,
        least=status.least,
        wanted=status.wanted,
        facts=dict(status.facts),
        unreachable="",
        observed_at=now,
    )


def as_restored(record: GroupRecord, *, version: int, fence: int) -> GroupRecord:
    """The record of an export as it is put into force: nothing of it moves the group, whatever has become of it since.

    Args:
        version: higher than the group ever had.
        fence: as high.
    """
    known = record.cooldown_end is not None and record.resized_at is not None
    cooldown = (record.cooldown_end or 0.0) - (record.resized_at or 0.0) if known else 0.0
    return GroupRecord(
        version=version,
        desired_capacity=record.desired_capacity,
        fence=fence,
        restored=record.desired_capacity is not None,
        pending_cooldown=max(record.pending_cooldown, cooldown),
        min_size=record.min_size,
        max_size=record.max_size,
        declared=record.declared,
        paused=record.paused,
        concluded=record.concluded,
        repairing=record.repairing,
    )


def seen(before: GroupRecord, group: Group, status: TargetStatus, *, now: float) -> Seen:
    """The record after the target was read."""
    record, size, wanted = looked(before, status, now), status.size, before.desired_capacity
    if wanted is None:
        if status.busy:
            return Seen(record)  # what it begins with is not known before that is over
        capacity = _first_capacity(record, group, size)
        return Seen(replace(record, desired_capacity=capacity, resizing=not _kept(record, capacity), fence=1))
    if before.restored:
        return Seen(record) if status.busy else _found_again(record, group, wanted, now)
    if record.resizing:
        return Seen(_under_way(before, record, wanted, now))
    if status.busy:
        return Seen(replace(record, drifted=None))  # somebody else's doing, which is not over yet
    if size == wanted:
        # a number that was changed since is an operator's word
        return Seen(replace(record, drifted=None, resizing=before.wanted is None and not _kept(record, wanted)))
    return _drifted(record, group, wanted, now)


def _kept(record: GroupRecord, capacity: int) -> bool:
    """Whether the target has ``capacity`` members, and would not go back to another number by itself."""
    return record.size == capacity and record.wanted in (None, capacity)


def _under_way(before: GroupRecord, record: GroupRecord, wanted: int, now: float) -> GroupRecord:
    """A look at a resize."""
    if not record.busy and not record.trouble and _kept(record, wanted):
        return _arrived(record, now)
    # what moves is not given up
    moves = before.size is not None and record.size != before.size
    return replace(record, drifted=None, attempts=0 if moves else record.attempts)


def _drifted(record: GroupRecord, group: Group, wanted: int, now: float) -> Seen:
    """A look at a size that nobody here has asked for."""
    size = record.size
    if record.drifted != size:
        return Seen(replace(record, drifted=size))
    if group.enforce:
        text = f"somebody else made it {size}; set back to {wanted}"
        return Seen(moved(record, wanted, cooldown=0.0, by="enforce"), Reason.OUT_OF_BAND, text)
    text = f"somebody else made it {size}; respected"
    respected = replace(record, desired_capacity=size, drifted=None, resized_at=now)
    if record.wanted not in (None, size):
        # else the target would undo it at the next opportunity
        respected = replace(respected, resizing=True, fence=record.fence + 1, attempts=0, retry_at=None, error="")
        text += f", and kept: the target would go back to {record.wanted}"
    return Seen(respected, Reason.OUT_OF_BAND, text)


def _found_again(record: GroupRecord, group: Group, wanted: int, now: float) -> Seen:
    """The first look at a group that comes from an export: it keeps its size, and rests as after a resize."""
    size = record.size
    found = replace(
        record,
        desired_capacity=size,
        restored=False,
        resized_at=now,
        cooldown_end=recorded(None, now, max(group.cooldown, record.pending_cooldown)),
        cooldown_by="import",
        pending_cooldown=0.0,
    )
    return Seen(found, Reason.RESTORED, f"the export says {wanted}, the target has {size}; left as it is")


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
        pending_order=Order.ANY,
    )


def asked(record: GroupRecord, group: Group, *, now: float, again: float | None = None) -> Seen:
    """The record after a target took the request for a resize, which it may take its time to follow.

    It is asked again each minute, or after ``again`` seconds; one that shows no progress at all for ``max_attempts`` of
    these is given up.
    """
    delay = LONGEST_RETRY if again is None else again
    text = f"asked for {record.desired_capacity}, {record.size} so far"
    return failed(record, group, record.trouble or text, now=now, delay=delay)


def failed(
    record: GroupRecord, group: Group, error: str, *, now: float, delay: float | None, tried: bool = True
) -> Seen:
    """The record after a resize could not be asked for, or did not come about.

    Backs off up to a minute; after ``max_attempts`` the wish is given up for the size that is there. A failed resize
    records no cooldown, as in Heat.

    Args:
        tried: False where the target has to be waited for, which is no attempt.
    """
    attempts = record.attempts + tried
    if not tried or attempts < group.max_attempts or record.size is None:
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
        pending_order=Order.ANY,
    )
    text = f"gave up {record.desired_capacity} after {attempts} attempts: {error}"
    return Seen(given_up, Reason.CAPACITY_UNAVAILABLE, text)
