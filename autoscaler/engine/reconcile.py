"""Groups brought to the size that was decided, and what their targets say meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import structlog
from msgspec.structs import replace

from autoscaler.engine.decide import Decider
from autoscaler.engine.leases import Leases
from autoscaler.engine.listen import Listener
from autoscaler.engine.plan import Plan
from autoscaler.errors import PermanentError, TemporaryError
from autoscaler.ports import (
    AlreadyDecided,
    Changed,
    GroupPut,
    GroupState,
    Store,
    Target,
    WorkItem,
)
from autoscaler.scaling.decision import Decision, Reason
from autoscaler.scaling.group import Actor, Group, GroupRecord
from autoscaler.scaling.reconcile import asked, failed, looked, seen
from autoscaler.scaling.status import TargetStatus

log = structlog.get_logger()

RESIDENT_HOLD = 4.0
"""Seconds for which a replica holds members that live inside it, unless it renews."""
RESIZE_DEADLINE = 10.0
"""Seconds within which a target must have answered."""
WARNINGS = frozenset({"warning", "wedged"})
"""Names of facts that somebody has to do something about."""
POLL_INTERVAL = 5.0
"""Seconds between two looks at a target that rests."""


class Reconciler:
    """Reconciles groups with their targets.

    Args:
        replica: this process' name; it holds the members that live inside it.
        woken: called with a due time that this process has just set.
        leases: of what this process is at work on.
        poll_interval: seconds between two looks at a target that rests, whatever groups say; None leaves it to them.
    """

    def __init__(
        self,
        store: Store,
        listener: Listener,
        targets: Mapping[str, Target],
        decider: Decider,
        *,
        replica: str,
        woken: Callable[[float], None],
        leases: Leases,
        poll_interval: float | None,
    ) -> None:
        self._store = store
        self._listener = listener
        self._targets = targets
        self._decider = decider
        self._replica = replica
        self._woken = woken
        self._leases = leases
        self._poll_interval = poll_interval
        self._looks: dict[str, float] = {}  # when to look again at what is held here, whoever claims the group's work

    def due(self, now: float) -> list[str]:
        """Groups held here that are to be looked at by ``now``."""
        found = [name for name, due in self._looks.items() if due <= now]
        for name in found:
            self._looks[name] = now + RESIDENT_HOLD / 4  # unless a look says otherwise
        return found

    @property
    def next_due(self) -> float | None:
        """Unix seconds at which the first of them comes up."""
        return min(self._looks.values(), default=None)

    async def reconcile(self, plan: Plan, item: WorkItem) -> None:
        """Look at a group's target and bring it to the size that was decided; it comes up again by itself."""
        group = plan.groups.get(item.key)
        if group is None:
            self._looks.pop(item.key, None)
            await self._leases.finish(item, None)
            return
        target = self._targets[group.target_type]
        state = await self._store.group(group.name)
        if target.resident and not await self._held_here(group, state):
            self._looks.pop(group.name, None)
            await target.release(group)
            # to find the hold run out; whoever has it renews it without this
            again = max(state.now + RESIDENT_HOLD / 4, state.record.owned_until)
        else:
            again = await self._bring(group, target)
            if target.resident:
                self._looks[group.name] = again
            await self._decider.adopt_bounds(plan, group)
        await self._leases.finish(item, again)
        self._woken(again)

    async def _held_here(self, group: Group, state: GroupState) -> bool:
        """Take or keep hold of members that live in one process; False while another holds them."""
        record = state.record
        if record.owner not in ("", self._replica) and state.now < record.owned_until:
            return False
        if record.owner == self._replica and record.owned_until - state.now > RESIDENT_HOLD / 2:
            return True
        held_here = replace(
            record,
            version=record.version + 1,
            owner=self._replica,
            owned_until=state.now + RESIDENT_HOLD,
            restored=False,  # members inside a process have not outlived it: they are begun anew
        )
        if record.owner != self._replica:
            # the members that another held have ended with it
            held_here = replace(held_here, size=None, ready=0, members=())
        put = GroupPut(group.name, record.version, state.freeze, held_here)
        answer = await self._store.put_group(put)
        if isinstance(answer, Changed):
            return await self._held_here(group, answer.state)
        return True

    async def _bring(self, group: Group, target: Target) -> float:
        """One look, one request where one is needed, and a second look; Unix seconds of the next look."""
        state = await self._look(group, target)
        record = state.record
        if self._may_resize(target, state):
            await self._resize(group, target, state)
            state = await self._look(group, target)
            record = state.record
        poll = self._poll_interval or float(group.target.get("poll_interval", POLL_INTERVAL))
        if record.resizing or record.drifted is not None or record.busy:
            return state.now + min(poll, target.pace)
        return state.now + (min(poll, RESIDENT_HOLD / 4) if target.resident else poll)

    def _may_resize(self, target: Target, state: GroupState) -> bool:
        record, now = state.record, state.now
        if record.desired_capacity is None or record.unreachable or record.size is None:
            return False
        if not record.resizing and not target.resident:
            return False
        if record.busy or (record.retry_at is not None and now < record.retry_at):
            return False
        if record.size == record.desired_capacity and record.wanted in (None, record.size) and not record.trouble:
            return False
        change = record.desired_capacity - record.size
        # members that died with their controller are not a change anybody has to allow
        forbidden = record.paused is not None and record.paused.forbids(change, now)
        return not record.resizing or not (forbidden or state.freeze is not None)

    async def _look(self, group: Group, target: Target) -> GroupState:
        before = (await self._store.group(group.name)).record.version
        unreachable, status = "", TargetStatus(0, ())
        try:
            status = await target.status(group)
        except (TemporaryError, PermanentError) as error:
            unreachable = str(error)

        def look(state: GroupState) -> tuple[GroupRecord, Reason | None, str]:
            record = state.record
            if record.version != before:
                # overtaken by a decision or another's look, perhaps long ago: what was seen is not how it is
                return record, None, ""
            if unreachable:
                return replace(record, unreachable=unreachable), None, ""
            lost = target.resident and not record.resizing and status.size != record.desired_capacity
            if lost and record.desired_capacity is not None:
                # members inside a process end with it: that is no wish of anybody
                return looked(record, status, state.now), None, ""
            found = seen(record, group, status, now=state.now)
            return found.record, found.reason, found.text

        return await self._store_seen(group, look)

    async def _resize(self, group: Group, target: Target, state: GroupState) -> None:
        record = state.record
        capacity = record.desired_capacity
        if capacity is None:
            return
        failure: TemporaryError | PermanentError | None = None
        again: float | None = None
        try:
            again = await target.resize(
                group, capacity, fence=record.fence, deadline=RESIZE_DEADLINE, order=record.pending_order
            )
        except (TemporaryError, PermanentError) as error:
            failure = error
            _say_failed(group, capacity, error, before=record)
        if failure is None and target.resident:
            return

        def tried(state: GroupState) -> tuple[GroupRecord, Reason | None, str]:
            if state.record.fence != record.fence or not state.record.resizing:
                return state.record, None, ""
            if failure is None:
                found = asked(state.record, group, now=state.now, again=again)
            else:
                delay, tried = getattr(failure, "delay", None), getattr(failure, "tried", True)
                found = failed(state.record, group, str(failure), now=state.now, delay=delay, tried=tried)
            return found.record, found.reason, found.text

        await self._store_seen(group, tried)

    async def _store_seen(
        self, group: Group, change: Callable[[GroupState], tuple[GroupRecord, Reason | None, str]]
    ) -> GroupState:
        """Store what a look or a try came to, with a decision record where it changes what is wanted."""
        state = await self._store.group(group.name)
        while True:
            record, reason, text = change(state)
            decision = None
            if reason is not None:
                decision = _of_target(group, state, record, reason, text)
            if _same_look(record, state.record):
                return state
            record = replace(record, version=state.record.version + 1)
            answer = await self._store.put_group(
                GroupPut(group.name, state.record.version, state.freeze, record, decision)
            )
            if isinstance(answer, Changed):
                state = answer.state
                continue
            if isinstance(answer, AlreadyDecided):
                # another replica saw the same and was quicker: what it stored is what counts
                state = await self._store.group(group.name)
                continue
            if decision is not None:
                self._listener.decided(answer.decision or decision)
            _say_changes(group, state.record, record)
            return GroupState(record, state.freeze, state.now)

    async def release(self, groups: Sequence[Group]) -> None:
        """Let go of every group: members that live here end, and others may take them over at once."""
        for group in groups:
            target = self._targets[group.target_type]
            await target.release(group)
            if target.resident:
                await self._decider.change(
                    group,
                    lambda record: (
                        replace(record, owner="", owned_until=0.0) if record.owner == self._replica else record
                    ),
                )


def _say_failed(group: Group, capacity: int, error: TemporaryError | PermanentError, *, before: GroupRecord) -> None:
    if getattr(error, "tried", True):
        log.warning("resize failed", group=group.name, desired_capacity=capacity, error=str(error))
    elif str(error) != before.error:
        log.info("resize waits", group=group.name, desired_capacity=capacity, reason=str(error))


def _say_changes(group: Group, before: GroupRecord, record: GroupRecord) -> None:
    """Tell of what people should know, once each time that it changes."""
    if record.failed != before.failed:
        say = log.warning if record.failed else log.info
        say("members failed", group=group.name, members=record.failed, before=before.failed)
    for name, text in record.facts.items():
        if before.facts.get(name) != text and name in WARNINGS:
            log.warning("target warns", group=group.name, fact=name, text=text)


def _same_look(record: GroupRecord, before: GroupRecord) -> bool:
    return replace(record, observed_at=None, version=0) == replace(before, observed_at=None, version=0)


def _of_target(group: Group, state: GroupState, record: GroupRecord, reason: Reason, text: str) -> Decision:
    return Decision(
        id=f"target:{group.name}:{state.record.version}",
        time=state.now,
        group=group.name,
        decision="scale",
        reason=reason,
        text=text,
        before=state.record.desired_capacity,
        to=record.desired_capacity,
        actor=Actor(kind="target", name=group.name),
        inputs={"size": record.size, "error": record.error},
    )
