"""A state put back as it was exported, so that nothing is done by it that was decided before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

import msgspec

from autoscaler.alarms.imported import as_imported
from autoscaler.engine.leases import LEASE
from autoscaler.engine.signal import HEAT
from autoscaler.ports import (
    Acceptance,
    Accepted,
    DeadLetter,
    Saved,
    SavedAlarm,
    SavedChange,
    SavedDeclarations,
    SavedDocument,
    SavedFreeze,
    SavedGroup,
    SavedLetter,
)
from autoscaler.scaling.reconcile import as_restored

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.ports import OutboxRow, Store

LINES_AT_ONCE: Final = 5000
"""Lines of histories that are written in one call."""
ALARMS_AT_ONCE: Final = 500
SET_ASIDE: Final = "restored"
"""Why an action of an export is among the dead letters."""
EVENT: Final = "event"


@dataclass(slots=True)
class Restored:
    """What was put back, counted; ``actions`` are those set aside among the dead letters."""

    alarms: int = 0
    definitions: int = 0
    groups: int = 0
    decisions: int = 0
    documents: int = 0
    history: int = 0
    changes: int = 0
    letters: int = 0
    actions: int = 0
    generation: str = ""
    frozen: bool = False


@dataclass(slots=True)
class Restorer:
    """Puts an export into an empty state.

    What an hour-old export says may be wrong by now. So an alarm keeps its state and acts on nothing until its first
    full window; a group keeps the size that its target has when it is first seen, and rests from then on; an action
    that had yet to be carried out is set aside among the dead letters, to be sent again or dropped by the operator's
    word. Versions and fences are higher than any that were used after the export, whose ids are thus never used again.

    Args:
        store: in an import, see :meth:`autoscaler.ports.Store.begin_import`.
        now: Unix seconds, the store's clock.
    """

    store: Store
    now: float
    counted: Restored = field(default_factory=Restored)
    _waiting: list[SavedAlarm] = field(default_factory=list)
    _documents: list[SavedDocument] = field(default_factory=list)
    _letters: list[DeadLetter] = field(default_factory=list)
    _lines: int = 0

    async def run(self, entries: Iterable[Saved]) -> Restored:
        """Put all of it back. Raises TemporaryError: some of it was."""
        for entry in entries:
            await self._take(entry)
        await self._flush()
        return self.counted

    async def _take(self, entry: Saved) -> None:
        match entry:
            case SavedAlarm():
                self._waiting.append(entry)
                self._lines += len(entry.history) + len(entry.rows)
                if self._lines >= LINES_AT_ONCE or len(self._waiting) >= ALARMS_AT_ONCE:
                    await self._flush()
            case SavedGroup():
                await self._put_group(entry)
            case SavedDocument():
                self._documents.append(entry)
                if len(self._documents) >= ALARMS_AT_ONCE:
                    await self._flush()
            case SavedDeclarations(generation=generation, documents=documents):
                self.counted.generation = await self.store.publish(generation, documents, insist=True)
            case SavedFreeze(freeze=freeze):
                await self.store.freeze(freeze)
                self.counted.frozen = True
            case SavedChange(change=change):
                await self.store.audit(change)
                self.counted.changes += 1
            case SavedLetter(letter=letter):
                self._letters.append(letter)
                self.counted.letters += 1
                if len(self._letters) >= ALARMS_AT_ONCE:
                    await self._flush()
            case _:
                assert_never(entry)

    async def _flush(self) -> None:
        alarms, self._waiting, self._lines = self._waiting, [], 0
        await self._put_alarms(alarms)
        aside = [self._set_aside(row) for alarm in alarms for row in alarm.rows]
        letters, self._letters = [*self._letters, *aside], []
        if letters:
            await self.store.bury(letters)
        documents, self._documents = self._documents, []
        for kind in sorted({document.kind for document in documents}):
            await self.store.keep(kind, {each.key: each.document for each in documents if each.kind == kind})
        self.counted.documents += len(documents)

    async def _put_alarms(self, alarms: list[SavedAlarm]) -> None:
        if not alarms:
            return
        answers = await self.store.accept([self._acceptance(alarm) for alarm in alarms], lease=LEASE)
        for alarm, answer in zip(alarms, answers, strict=True):
            assert isinstance(answer, Accepted), f"{alarm.alarm_id} is there already"
            self.counted.alarms += alarm.record is not None
            self.counted.definitions += alarm.definition is not None
            self.counted.history += len(alarm.history)
            self.counted.actions += len(alarm.rows)
        await self.store.tally({alarm.alarm_id: alarm.tally for alarm in alarms if alarm.tally})

    def _acceptance(self, alarm: SavedAlarm) -> Acceptance:
        record = alarm.record
        if record is not None:
            # an event is a full window
            waits = alarm.definition is None or alarm.definition.type != EVENT
            record = msgspec.structs.replace(as_imported(record) if waits else record, version=self._version)
        return Acceptance(
            alarm_id=alarm.alarm_id,
            window_id="",
            window_version=0,
            expected=0,
            record=record,
            definition=alarm.definition,
            history=alarm.history,
        )

    async def _put_group(self, saved: SavedGroup) -> None:
        record = as_restored(saved.record, version=self._version, fence=int(self.now))
        if saved.name.startswith(HEAT):
            record = msgspec.structs.replace(record, restored=False)  # its size is Heat's to say
        await self.store.restore_group(saved.name, record, saved.decisions)
        self.counted.groups += 1
        self.counted.decisions += len(saved.decisions)

    @property
    def _version(self) -> int:
        """As a record begins that never was: by the clock, in microseconds."""
        return int(self.now * 1e6)

    def _set_aside(self, row: OutboxRow) -> DeadLetter:
        return DeadLetter(
            kind="action",
            time=self.now,
            reason=SET_ASIDE,
            detail="had yet to be carried out when it was exported; whether it was since is not known",
            source=row.alarm_id,
            payload=msgspec.json.encode(row).decode(),
        )
