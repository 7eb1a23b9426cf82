"""What people do to alarms: define, change and remove them, or set their state by hand."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from autoscaler.alarms.alarm import Alarm, AlarmRecord, AlarmState
from autoscaler.alarms.course import next_version
from autoscaler.alarms.definition import (
    NOT_EVALUATED,
    SET_BY_HAND,
    Definition,
    encode,
    told,
    told_with_state,
    trust_of,
)
from autoscaler.alarms.granules import rate_note
from autoscaler.alarms.rules import Rule, leaves_of
from autoscaler.engine.catalogue import Listing
from autoscaler.engine.controller import Controller
from autoscaler.engine.ledger import Leased
from autoscaler.engine.tell import notifications
from autoscaler.ports import Acceptance, HistoryEntry, event_id
from autoscaler.scaling.group import Actor

log = structlog.get_logger()

ROUNDS = 50
"""Lost races after which a change is given up."""
_UNTOLD = frozenset(("timestamp", "alarm_id"))
_Changed = tuple[Definition | None, AlarmRecord, HistoryEntry | None]
"""The new definition (None leaves it), the new record and what the history says of it."""


class NotFoundError(LookupError):
    """There is no such alarm, group or policy; the message says which."""


class DeclaredError(Exception):
    """The alarm is declared in a file and is changed there.

    Attributes:
        origin: file and line.
    """

    def __init__(self, name: str, origin: str) -> None:
        super().__init__(f"alarm {name} is declared in {origin}; change it there")
        self.origin = origin


class ContendedError(Exception):
    """Others changed the alarm again and again at the same time."""


class Orders:
    """Changes of alarms by people's word, each atomic with its line in the history.

    Args:
        leased: told of lanes that a change made non-empty.
    """

    def __init__(self, controller: Controller, leased: Leased) -> None:
        self._controller = controller
        self._leased = leased

    async def listing(self, alarm_id: str) -> Listing:
        """An alarm; one that another replica has made a moment ago too. Raises NotFoundError."""
        found = self._controller.catalogue.get(alarm_id)
        if found is None:
            await self._controller.catch_up()
            found = self._controller.catalogue.get(alarm_id)
        if found is None:
            raise NotFoundError(f"Alarm {alarm_id} not found")
        return found

    async def create(
        self, definition: Definition, state: AlarmState | None, actor: Actor
    ) -> tuple[Listing, AlarmRecord]:
        """Make an alarm; its id, times and revision are given here.

        Raises:
            ValueError: the definition cannot be understood.
        """
        now = await self._controller.store.now()
        definition, alarm, record = self._new(definition, str(uuid.uuid4()), state, now)
        await self._begin(definition, alarm, record, actor, now)
        return await self._learned(definition, alarm), record

    async def adopt(self, definition: Definition, state: AlarmState, actor: Actor) -> Listing:
        """Have an alarm of Aodh's here as it is there, under its own id, whether it was here before or not.

        Raises:
            DeclaredError, ContendedError: what has its id cannot be changed.
            ValueError: the definition cannot be understood.
        """
        now = await self._controller.store.now()
        new, alarm, record = self._new(definition, definition.alarm_id, state, now)
        if await self._begin(new, alarm, record, actor, now):
            return await self._learned(new, alarm)
        listing, _ = await self.replace(definition.alarm_id, definition, state, actor)
        return listing

    def _new(
        self, definition: Definition, alarm_id: str, state: AlarmState | None, now: float
    ) -> tuple[Definition, Alarm, AlarmRecord]:
        definition = msgspec.structs.replace(
            definition, alarm_id=alarm_id, timestamp=now, created=now, revision=int(now * 1e6)
        )
        alarm = self._controller.understood(definition)
        record = AlarmRecord(
            version=definition.revision,
            definition=alarm.definition,
            revision=definition.revision,
            state=state or AlarmState.INSUFFICIENT_DATA,
            state_timestamp=now,
            reason=NOT_EVALUATED,
        )
        return definition, alarm, record

    async def _begin(self, definition: Definition, alarm: Alarm, record: AlarmRecord, actor: Actor, now: float) -> bool:
        """Store a new alarm; False where its id is taken."""
        entry = _entry(alarm, record, "creation", told_with_state(definition, record), actor, actor.project_id, now)
        return await self._accept(alarm.alarm_id, 0, record, entry, now, definition=definition)

    async def replace(
        self, alarm_id: str, definition: Definition, state: AlarmState | None, actor: Actor
    ) -> tuple[Listing, AlarmRecord]:
        """Give an alarm another definition, and another state only where ``state`` is given.

        Raises:
            NotFoundError, DeclaredError, ContendedError: it cannot be changed.
            ValueError: the definition cannot be understood.
        """

        def changed(listing: Listing, record: AlarmRecord, now: float) -> _Changed:
            before = listing.definition
            revision = max(int(now * 1e6), before.revision + 1)
            after = msgspec.structs.replace(
                definition, alarm_id=alarm_id, timestamp=now, created=before.created, revision=revision
            )
            alarm = self._controller.understood(after)
            moved = record if state is None else _moved(record, state, now)
            renewed = msgspec.structs.replace(
                moved, version=next_version(record, now), revision=revision, trust_gone=_still_gone(record, after)
            )
            detail = _difference(told(before), told(after))
            if renewed.state is not record.state:
                detail["state"] = renewed.state
                if renewed.reason != record.reason:
                    detail["state_reason"] = renewed.reason
            entry = _entry(alarm, renewed, "rule change", detail, actor, alarm.project_id, now) if detail else None
            return after, renewed, entry

        return await self._change(alarm_id, changed)

    async def set_state(self, alarm_id: str, state: AlarmState, actor: Actor) -> AlarmRecord:
        """Set an alarm's state by hand; no action is called, as in Aodh.

        Raises:
            NotFoundError, DeclaredError, ContendedError: it cannot be changed.
        """

        def changed(listing: Listing, record: AlarmRecord, now: float) -> _Changed:
            moved = _moved(record, state, now)
            if moved is record:
                return None, record, None
            renewed = msgspec.structs.replace(moved, version=next_version(record, now))
            detail = {"state": state, "state_reason": SET_BY_HAND}
            alarm = listing.alarm
            return None, renewed, _entry(alarm, renewed, "state transition", detail, actor, alarm.project_id, now)

        _, record = await self._change(alarm_id, changed)
        return record

    async def delete(self, alarm_id: str, actor: Actor) -> None:
        """Remove an alarm; its history stays, with a last line.

        Raises:
            NotFoundError, DeclaredError, ContendedError: it cannot be removed.
        """
        for _ in range(ROUNDS):
            listing, record, now = await self._present(alarm_id)
            alarm = listing.alarm
            gone = msgspec.structs.replace(record, version=next_version(record, now))
            entry = _entry(alarm, gone, "deletion", {"state": record.state}, actor, alarm.project_id, now)
            if await self._accept(alarm_id, record.version, None, entry, now, removed=True):
                await self._controller.learn({alarm_id: None})
                return
        raise ContendedError(f"alarm {alarm_id} is being changed by others")

    async def _change(
        self,
        alarm_id: str,
        changed: Callable[[Listing, AlarmRecord, float], _Changed],
    ) -> tuple[Listing, AlarmRecord]:
        for _ in range(ROUNDS):
            listing, record, now = await self._present(alarm_id)
            definition, renewed, entry = changed(listing, record, now)
            if definition is None and renewed is record:
                return listing, record
            if await self._accept(alarm_id, record.version, renewed, entry, now, definition=definition):
                if definition is None:
                    return listing, renewed
                return await self._learned(definition, self._controller.understood(definition)), renewed
        raise ContendedError(f"alarm {alarm_id} is being changed by others")

    async def _present(self, alarm_id: str) -> tuple[Listing, AlarmRecord, float]:
        """An alarm that may be changed here, its record of the same revision, and the time."""
        for _ in range(ROUNDS):
            listing = await self.listing(alarm_id)
            if listing.origin:
                raise DeclaredError(listing.alarm.name, listing.origin)
            (record,) = await self._controller.store.alarms([alarm_id])
            if record is not None and record.revision == listing.alarm.revision:
                return listing, record, await self._controller.store.now()
            await self._controller.catch_up()
        raise ContendedError(f"alarm {alarm_id} is being changed by others")

    async def _accept(
        self,
        alarm_id: str,
        expected: int,
        record: AlarmRecord | None,
        entry: HistoryEntry | None,
        now: float,
        *,
        definition: Definition | None = None,
        removed: bool = False,
    ) -> bool:
        entries = [] if entry is None else [entry]
        told_rows = notifications(entries, publisher="aodh.api", now=now) if self._controller.notify else []
        acceptance = Acceptance(
            alarm_id=alarm_id,
            window_id="",
            window_version=0,
            expected=expected,
            record=record,
            rows=told_rows,
            history=entries,
            definition=definition,
            removed=removed,
        )
        return await self._controller.accept(acceptance, self._leased)

    async def _learned(self, definition: Definition, alarm: Alarm) -> Listing:
        await self._controller.learn({definition.alarm_id: definition})
        for note in dict.fromkeys(rate_note(leaf) for leaf in leaves_of(alarm.rule) if isinstance(leaf, Rule)):
            if note:
                log.warning("alarm on a rate of an aggregate", alarm=alarm.alarm_id, name=alarm.name, note=note)
        known = self._controller.catalogue.get(definition.alarm_id)
        # somebody may have changed or removed it meanwhile
        return known or Listing(alarm, definition.user_id, definition.timestamp, "", encode(definition))


def _moved(record: AlarmRecord, state: AlarmState, now: float) -> AlarmRecord:
    """The record with a state that somebody has set; the same object where it was that already."""
    if state is record.state:
        return record
    return msgspec.structs.replace(
        record,
        state=state,
        state_timestamp=now,
        reason=SET_BY_HAND,
        reason_data={},
        note="",
        repeats=0,
        repeat_at=None,
        imported=False,
    )


def _still_gone(record: AlarmRecord, after: Definition) -> str:
    """The trust that is known to be gone, if the alarm still has it."""
    urls = (*after.ok_actions, *after.alarm_actions, *after.insufficient_data_actions)
    return record.trust_gone if record.trust_gone in map(trust_of, urls) else ""


def _difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What is otherwise, in Aodh's storage form."""
    return {key: value for key, value in after.items() if key not in _UNTOLD and before.get(key) != value}


def _entry(
    alarm: Alarm, record: AlarmRecord, kind: str, detail: dict[str, Any], actor: Actor, behalf: str, now: float
) -> HistoryEntry:
    return HistoryEntry(
        event_id=event_id(alarm.alarm_id, record.version, kind),
        alarm_id=alarm.alarm_id,
        type=kind,
        detail=detail,
        timestamp=now,
        user_id=actor.name,
        project_id=actor.project_id,
        on_behalf_of=behalf,
        severity=alarm.severity,
    )
