"""What people and programs may ask of a running controller; the API and nothing else stands above it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from autoscaler.alarms.alarm import Alarm, AlarmRecord
from autoscaler.engine.controller import Controller
from autoscaler.engine.run import Runner
from autoscaler.measures.measure import Measure
from autoscaler.ports import Batch, DeadLetter, Freeze, GroupState, HistoryEntry
from autoscaler.scaling.decision import Decision
from autoscaler.scaling.group import Actor, Group, Limits, Pause
from autoscaler.scaling.policy import ScalingPolicy

CLOCK_SKEW_LIMIT = 30.0
"""Seconds by which a replica's clock may differ from the store's before it is not ready."""


class NotFoundError(LookupError):
    """There is no such alarm, group or policy; the message says which."""


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
    """

    def __init__(self, controller: Controller, runner: Runner) -> None:
        self._controller = controller
        self._runner = runner

    # --- measures ----------------------------------------------------------------------------------------------------

    async def take(self, batch: Batch) -> list[Measure]:
        """Write measures and bury what could not be decoded; when this returns nothing of it can be lost.

        Returns:
            The measures whose series had no room in their window.
        """
        return await self._runner.take(batch)

    async def dead_letters(self, kind: str, *, limit: int) -> list[DeadLetter]:
        """Newest first; ``kind`` is ``measure`` or ``action``."""
        return await self._controller.store.dead_letters(kind, limit=limit)

    # --- alarms ------------------------------------------------------------------------------------------------------

    async def alarms(self) -> list[AlarmView]:
        """All that are declared, by name."""
        declared = sorted(self._controller.router.by_id.values(), key=lambda alarm: (alarm.name, alarm.alarm_id))
        records = await self._controller.store.alarms([alarm.alarm_id for alarm in declared])
        return [AlarmView(a, record or AlarmRecord()) for a, record in zip(declared, records, strict=True)]

    async def alarm(self, name_or_id: str) -> AlarmView:
        """One alarm.

        Raises:
            NotFoundError: none has this id, nor exactly one this name.
        """
        alarm = self._alarm(name_or_id)
        (record,) = await self._controller.store.alarms([alarm.alarm_id])
        return AlarmView(alarm, record or AlarmRecord())

    async def history(self, name_or_id: str, *, limit: int) -> list[HistoryEntry]:
        """Newest first. Raises NotFoundError as :meth:`alarm`."""
        return await self._controller.store.history(self._alarm(name_or_id).alarm_id, limit=limit)

    def _alarm(self, name_or_id: str) -> Alarm:
        by_id = self._controller.router.by_id
        if name_or_id in by_id:
            return by_id[name_or_id]
        named = [alarm for alarm in by_id.values() if alarm.name == name_or_id]
        if len(named) != 1:
            problem = "no alarm" if not named else f"{len(named)} alarms of different projects"
            raise NotFoundError(f"{problem} named {name_or_id}")
        return named[0]

    # --- groups ------------------------------------------------------------------------------------------------------

    async def groups(self) -> list[GroupView]:
        """All that are declared, by name."""
        return [await self.group(name) for name in sorted(self._controller.plan.groups)]

    async def group(self, name: str) -> GroupView:
        """One group. Raises NotFoundError."""
        group = self._group(name)
        state = await self._controller.store.group(name)
        return GroupView(group, state, state.record.limits(group))

    async def decisions(self, name: str, *, limit: int) -> list[Decision]:
        """Newest first. Raises NotFoundError."""
        return await self._controller.store.decisions(self._group(name).name, limit=limit)

    async def pause(self, name: str, *, seconds: float | None, reason: str, direction: str, actor: Actor) -> GroupView:
        """Leave a group alone, for ``seconds`` or until resumed; ``direction`` is "", ``in`` or ``out``."""
        group = self._group(name)
        now = await self._controller.store.now()
        until = None if seconds is None else now + seconds
        await self._controller.scaler.pause(group, Pause(now, until, reason, actor, direction))
        return await self.group(name)

    async def resume(self, name: str) -> GroupView:
        """Let a group move again; what its alarms ask for is looked at at once."""
        group = self._group(name)
        await self._controller.scaler.pause(group, None)
        await self._controller.scaler.reconsider(self._controller.plan, group)
        return await self.group(name)

    async def freeze(self, reason: str, actor: Actor) -> Freeze:
        """Hold every group, on every replica, from the next decision on."""
        now = await self._controller.store.now()
        freeze = Freeze(token=secrets.token_hex(8), since=now, reason=reason, by=actor.name)
        await self._controller.store.freeze(freeze)
        return freeze

    async def unfreeze(self) -> None:
        """Let groups move again; what alarms ask for is looked at at once."""
        await self._controller.store.freeze(None)
        for _, group in sorted(self._controller.plan.groups.items()):
            await self._controller.scaler.reconsider(self._controller.plan, group)

    def _group(self, name: str) -> Group:
        group = self._controller.plan.groups.get(name)
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
        return await self._controller.scaler.execute(self._controller.plan, policy, actor, request_id, force=force)

    # --- condition ---------------------------------------------------------------------------------------------------

    @property
    def runner(self) -> Runner:
        """The loops, for what they know of themselves: lag, skew, replicas."""
        return self._runner

    @property
    def generation(self) -> str:
        """Content hash of the declarations in force; "" before the first."""
        return self._controller.plan.generation
