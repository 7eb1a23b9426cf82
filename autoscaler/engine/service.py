"""What people and programs may ask of a running controller; the API and nothing else stands above it."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from autoscaler.alarms.alarm import Alarm, AlarmRecord, AlarmState
from autoscaler.alarms.definition import Definition, told, told_with_state
from autoscaler.engine.audit import Audit, Change, difference
from autoscaler.engine.catalogue import Listing
from autoscaler.engine.controller import Controller
from autoscaler.engine.letters import Letters, ReadAgain, unreadable
from autoscaler.engine.orders import ContendedError, DeclaredError, NotFoundError, Orders
from autoscaler.engine.run import Runner
from autoscaler.measures.measure import Measure
from autoscaler.ports import Batch, Freeze, GroupState, HistoryEntry
from autoscaler.scaling.decision import Decision
from autoscaler.scaling.group import Actor, Group, Limits, Pause
from autoscaler.scaling.policy import ScalingPolicy

CLOCK_SKEW_LIMIT = 30.0
"""Seconds by which a replica's clock may differ from the store's before it is not ready."""


QUOTA = "quota"
"""What limits of projects are kept as."""

__all__ = ["ContendedError", "DeclaredError", "Listing", "NotFoundError", "Service"]


@dataclass(frozen=True, slots=True)
class AlarmView:
    """An alarm with its present record."""

    alarm: Alarm
    record: AlarmRecord


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group with its present record and the bounds in force."""

    group: Group
    state: GroupState
    limits: Limits


class Service:
    """Reads and changes a running controller.

    Every method that touches the store raises :class:`autoscaler.errors.TemporaryError` while it is away.

    Args:
        read_again: reads what could not be taken.

    Attributes:
        letters: what could not be taken or delivered.
        audit: who changed what.
    """

    def __init__(
        self,
        controller: Controller,
        runner: Runner,
        read_again: ReadAgain = unreadable,
        *,
        tell_changes: bool = False,
    ) -> None:
        self.audit = Audit(controller.store, runner.carry_out, notify=tell_changes)
        self.letters = Letters(controller.store, runner.take, runner.carry_out, self.audit, read_again)
        self._controller = controller
        self._runner = runner
        self._orders = Orders(controller, runner.carry_out)

    # --- measures ----------------------------------------------------------------------------------------------------

    async def take(self, batch: Batch) -> list[Measure]:
        """Write measures and bury what could not be decoded; when this returns nothing of it can be lost.

        Returns:
            The measures whose series had no room in their window.
        """
        return await self._runner.take(batch)

    # --- alarms ------------------------------------------------------------------------------------------------------

    async def listing(self, alarm_id: str) -> Listing:
        """One alarm, also where another replica has made it a moment ago. Raises NotFoundError."""
        return await self._orders.listing(alarm_id)

    def listings(self, project_id: str | None) -> Collection[Listing]:
        """The alarms of a project, or (None) of all; those declared in files among them."""
        return self._controller.catalogue.of(project_id)

    def known(self, alarm_ids: Collection[str]) -> list[Listing]:
        """Those of these alarms that are here."""
        found = (self._controller.catalogue.get(alarm_id) for alarm_id in alarm_ids)
        return [listing for listing in found if listing is not None]

    async def records(self, alarm_ids: Sequence[str]) -> list[AlarmRecord]:
        """Present records in the order asked."""
        return [record or AlarmRecord() for record in await self._controller.store.alarms(alarm_ids)]

    def understood(self, definition: Definition) -> Alarm:
        """What a definition means. Raises ValueError, naming the key, where it cannot be evaluated."""
        return self._controller.understood(definition)

    async def create(
        self, definition: Definition, state: AlarmState | None, actor: Actor
    ) -> tuple[Listing, AlarmRecord]:
        """Make an alarm; its id, times and revision are given here. Raises ValueError as :meth:`understood`."""
        listing, record = await self._orders.create(definition, state, actor)
        await self._audited(Change.CREATED, listing, actor, after=told_with_state(listing.definition, record))
        return listing, record

    async def replace(
        self, alarm_id: str, definition: Definition, state: AlarmState | None, actor: Actor
    ) -> tuple[Listing, AlarmRecord]:
        """Give an alarm another definition, and another state only where ``state`` is given.

        Raises:
            NotFoundError, DeclaredError, ContendedError: it cannot be changed.
            ValueError: the definition cannot be understood.
        """
        was = await self.listing(alarm_id)
        (state_was,) = await self.records([alarm_id])
        listing, record = await self._orders.replace(alarm_id, definition, state, actor)
        before, after = difference(
            told_with_state(was.definition, state_was), told_with_state(listing.definition, record)
        )
        await self._audited(Change.REPLACED, listing, actor, before=before, after=after)
        return listing, record

    async def set_state(self, alarm_id: str, state: AlarmState, actor: Actor) -> AlarmRecord:
        """Set an alarm's state by hand. Raises NotFoundError, DeclaredError, ContendedError."""
        listing = await self.listing(alarm_id)
        (was,) = await self.records([alarm_id])
        record = await self._orders.set_state(alarm_id, state, actor)
        await self._audited(Change.STATE_SET, listing, actor, before=was.state, after=record.state)
        return record

    async def delete(self, alarm_id: str, actor: Actor) -> None:
        """Remove an alarm; its history stays. Raises NotFoundError, DeclaredError, ContendedError."""
        was = await self.listing(alarm_id)
        await self._orders.delete(alarm_id, actor)
        await self._audited(Change.DELETED, was, actor, before=told(was.definition))

    async def _audited(
        self, change: Change, listing: Listing, actor: Actor, *, before: Any = None, after: Any = None
    ) -> None:
        alarm = listing.alarm
        await self.audit.record(
            actor, change, "alarm", alarm.alarm_id, project_id=alarm.project_id, before=before, after=after
        )

    async def history_of(self, alarm_id: str, *, limit: int) -> list[HistoryEntry]:
        """Newest first, also of an alarm that is gone; empty where nothing is known of it."""
        return await self._controller.store.history(alarm_id, limit=limit)

    async def entries(self, alarm_ids: Sequence[str], *, limit: int) -> list[list[HistoryEntry]]:
        """The histories of several alarms, each as :meth:`history_of`, in the order asked."""
        return await self._controller.store.entries(alarm_ids, limit=limit)

    async def histories(self, project_id: str | None) -> list[str]:
        """Ids of the alarms of a project, or (None) of all, that have a history."""
        return await self._controller.store.histories(project_id)

    def count(self, project_id: str) -> int:
        """How many alarms a project has; those declared in files are the operator's affair and not counted."""
        return self._controller.catalogue.count_made_in(project_id)

    def count_of_user(self, user_id: str) -> int:
        """How many alarms a user has made."""
        return self._controller.catalogue.count_of_user(user_id)

    async def quota(self, project_id: str) -> int | None:
        """How many alarms a project may have; None where nothing was said of it, -1 for any number."""
        (kept,) = await self._controller.store.kept(QUOTA, [project_id])
        return None if kept is None else int(kept)

    async def set_quota(self, project_id: str, limit: int | None, actor: Actor) -> None:
        """Say how many alarms a project may have; None leaves it to the settings."""
        before = await self.quota(project_id)
        await self._controller.store.keep(QUOTA, {project_id: None if limit is None else str(limit).encode()})
        await self.audit.record(
            actor, Change.QUOTA_SET, "quota", project_id, project_id=project_id, before=before, after=limit
        )

    async def tallies(self, alarm_ids: Sequence[str]) -> list[Mapping[str, int]]:
        """How often each alarm was evaluated to each state, in the order asked."""
        return await self._controller.store.tallies(alarm_ids)

    # --- small documents ---------------------------------------------------------------------------------------------

    async def keep(self, kind: str, entries: Mapping[str, bytes | None]) -> None:
        """See :meth:`autoscaler.ports.Store.keep`."""
        await self._controller.store.keep(kind, entries)

    async def kept(self, kind: str, keys: Sequence[str]) -> list[bytes | None]:
        """See :meth:`autoscaler.ports.Store.kept`."""
        return await self._controller.store.kept(kind, keys)

    # --- groups ------------------------------------------------------------------------------------------------------

    async def groups(self) -> list[GroupView]:
        """All that are declared, by name."""
        return [await self.group(name) for name in sorted(self._controller.plan.groups)]

    async def group(self, name: str) -> GroupView:
        """One group, also one that Heat owns. Raises NotFoundError."""
        group = await self._group(name)
        state = await self._controller.store.group(name)
        return GroupView(group, state, state.record.limits(group))

    async def signalled(self, project_id: str | None) -> list[GroupView]:
        """The groups that Heat owns and that alarms of a project, or (None) of all, have signalled; by name."""
        signaller = self._controller.signaller
        if signaller is None:
            return []
        alarms = [listing.alarm for listing in self._controller.catalogue.of(project_id)]
        found = sorted((await signaller.watched(alarms)).items())
        states = [await self._controller.store.group(name) for name, _ in found]
        return [
            GroupView(group, state, state.record.limits(group)) for (_, group), state in zip(found, states, strict=True)
        ]

    async def decisions(self, name: str, *, limit: int) -> list[Decision]:
        """Newest first. Raises NotFoundError."""
        return await self._controller.store.decisions((await self._group(name)).name, limit=limit)

    async def pause(self, name: str, *, seconds: float | None, reason: str, direction: str, actor: Actor) -> GroupView:
        """Leave a group alone, for ``seconds`` or until resumed; ``direction`` is "", ``in`` or ``out``."""
        group = await self._group(name)
        now = await self._controller.store.now()
        until = None if seconds is None else now + seconds
        before = (await self._controller.store.group(name)).record.paused
        pause = Pause(now, until, reason, actor, direction)
        await self._controller.scaler.pause(group, pause)
        await self._audited_pause(Change.PAUSED, group, actor, before, pause)
        return await self.group(name)

    async def resume(self, name: str, actor: Actor) -> GroupView:
        """Let a group move again; what its alarms ask for is looked at at once."""
        group = await self._group(name)
        before = (await self._controller.store.group(name)).record.paused
        await self._controller.scaler.pause(group, None)
        await self._audited_pause(Change.RESUMED, group, actor, before, None)
        await self._controller.scaler.reconsider(self._controller.plan, group)
        return await self.group(name)

    async def _audited_pause(
        self, change: Change, group: Group, actor: Actor, before: Pause | None, after: Pause | None
    ) -> None:
        was, now = (None if pause is None else msgspec.to_builtins(pause) for pause in (before, after))
        await self.audit.record(actor, change, "group", group.name, project_id=group.project_id, before=was, after=now)

    async def freeze(self, reason: str, actor: Actor) -> Freeze:
        """Hold every group, on every replica, from the next decision on."""
        now = await self._controller.store.now()
        freeze = Freeze(token=secrets.token_hex(8), since=now, reason=reason, by=actor.name)
        await self._controller.store.freeze(freeze)
        await self.audit.record(actor, Change.FROZEN, "groups", "all", after={"reason": reason})
        return freeze

    async def unfreeze(self, actor: Actor) -> None:
        """Let groups move again; what alarms ask for is looked at at once."""
        await self._controller.store.freeze(None)
        await self.audit.record(actor, Change.UNFROZEN, "groups", "all")
        for _, group in sorted(self._controller.plan.groups.items()):
            await self._controller.scaler.reconsider(self._controller.plan, group)

    async def _group(self, name: str) -> Group:
        group = self._controller.plan.groups.get(name)
        if group is None and self._controller.signaller is not None:
            group = await self._controller.signaller.group(name)
        if group is None:
            raise NotFoundError(f"no group named {name}")
        return group

    # --- policies ----------------------------------------------------------------------------------------------------

    def policies(self) -> Sequence[ScalingPolicy]:
        """All that are declared, by name."""
        return [policy for _, policy in sorted(self._controller.plan.policies.items())]

    async def execute(self, name: str, *, actor: Actor, request_id: str, force: bool) -> Decision:
        """Apply a policy by a person's word. The same ``request_id`` is decided once. Raises NotFoundError."""
        policy = self._controller.plan.policies.get(name)
        if policy is None:
            raise NotFoundError(f"no policy named {name}")
        decision = await self._controller.scaler.execute(self._controller.plan, policy, actor, request_id, force=force)
        await self.audit.record(
            actor,
            Change.FORCED if force else Change.EXECUTED,
            "policy",
            name,
            project_id=policy.project_id,
            before={"capacity": decision.before},
            after={"capacity": decision.to, "decision": decision.decision, "reason": decision.reason},
        )
        return decision

    # --- condition ---------------------------------------------------------------------------------------------------

    @property
    def runner(self) -> Runner:
        """The loops, for what they know of themselves: lag, skew, replicas."""
        return self._runner

    @property
    def generation(self) -> str:
        """Content hash of the declarations in force; "" before the first."""
        return self._controller.plan.generation
