"""Alarms, histories and quotas out of an Aodh's database into the store, while controllers run or none does.

They are put into force as those that the API takes, so every replica learns of them by the stream of changes. Done
again, it takes only what has changed in Aodh since.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

import msgspec

from autoscaler.alarms.alarm import Alarm, AlarmRecord, AlarmState
from autoscaler.alarms.course import next_version
from autoscaler.alarms.definition import NOT_EVALUATED, SET_BY_HAND, Definition
from autoscaler.alarms.imported import as_imported
from autoscaler.alarms.rules import EventRule
from autoscaler.engine.leases import LEASE
from autoscaler.engine.moved import (
    MARKS,
    QUOTA_MARKS,
    Left,
    Mark,
    Remark,
    Summary,
    content_of,
    count,
    has_trusts,
    is_moved,
    is_set_here,
    keep_marks,
    mark_of,
    marks,
    pieces,
)
from autoscaler.engine.service import QUOTA
from autoscaler.measures.window import ANY_PROJECT
from autoscaler.ports import (
    HISTORY_ENTRIES,
    Acceptance,
    Accepted,
    AodhAlarm,
    AodhDatabase,
    HistoryEntry,
    Retry,
    Store,
    event_id,
)

if TYPE_CHECKING:
    from typing import Final

ROUNDS: Final = 20
"""Lost races after which an alarm is given up."""
LINES_AT_ONCE: Final = 5000
"""Lines of histories that are written in one call."""

REMOVED_HERE: Final = "was removed here since it was imported"
CHANGED_HERE: Final = "was changed here since it was imported"
SET_HERE: Final = "its state was set by hand here since it was imported"
NOT_IMPORTED: Final = "an alarm with this id is here that was not imported"
GONE_THERE: Final = "is gone in Aodh since it was imported"
CONTENDED: Final = "was changed here again and again at the same time"


class Step(Enum):
    """What is done with a row."""

    NEW = auto()
    CHANGE = auto()
    CHANGE_AND_STATE = auto()
    STATE = auto()
    NOTHING = auto()


def decided(row: AodhAlarm, mark: Mark | None, record: AlarmRecord | None, *, overwrite: bool) -> Step | Left:
    """What is done with a row. Total.

    Args:
        mark: as both sides were when it was last moved; None where it never was.
        record: of the alarm here; None where there is none.
        overwrite: what was changed here counts for nothing.
    """
    if mark is None or record is None:
        if mark is None and record is None:
            return Step.NEW
        if overwrite:
            return Step.NEW if record is None else Step.CHANGE_AND_STATE
        return Left(REMOVED_HERE if record is None else NOT_IMPORTED)
    changed_here = record.revision != mark.revision
    if changed_here and not overwrite:
        return Left(CHANGED_HERE)
    set_here = is_set_here(record, mark, SET_BY_HAND)
    takes_state = (is_moved(row, mark) and not set_here) or (overwrite and (set_here or changed_here))
    differs = row.state != record.state or record.imported
    if changed_here or content_of(row) != mark.content:
        return Step.CHANGE_AND_STATE if takes_state and differs else Step.CHANGE
    if takes_state and differs:
        return Step.STATE
    return Left(SET_HERE) if set_here and is_moved(row, mark) else Step.NOTHING


@dataclass(frozen=True, slots=True)
class Importer:
    """Takes what an Aodh has.

    Args:
        definition_of: a row as it is stored here; raises ValueError where the API would refuse it.
        understood: what a definition means; raises ValueError where it cannot be evaluated.
        history_ttl: seconds for which histories are kept.
        overwrite: alarms and quotas that were changed here since the last import are taken nevertheless.
        prune: alarms that are gone in Aodh since are removed here.
        dry_run: nothing is written.
    """

    store: Store
    database: AodhDatabase
    definition_of: Callable[[AodhAlarm], Definition]
    understood: Callable[[Definition], Alarm]
    history_ttl: float
    overwrite: bool = False
    prune: bool = False
    dry_run: bool = False
    summary: Summary = field(default_factory=Summary)

    async def run(self) -> Summary:
        """Take all of it.

        Raises:
            TemporaryError: the store or the database cannot be reached; what was taken before stays taken.
            PermanentError: the database is none of Aodh's.
        """
        found = await self.database.alarms()
        known = {definition.alarm_id: definition for definition in (await self.store.definitions()).definitions}
        for alarm_id, why in sorted(found.unreadable.items()):
            self.summary.failed.append(Remark("alarm", alarm_id, "", why))
        for rows in pieces(found.alarms):
            await self._take(rows, known)
        await self._look_for_gone({row.alarm_id for row in found.alarms} | found.unreadable.keys(), known)
        self.summary.too_old = await self.database.lines_until(await self.store.now() - self.history_ttl)
        await self._take_quotas()
        return self.summary

    # --- alarms ------------------------------------------------------------------------------------------------------

    async def _take(self, rows: Sequence[AodhAlarm], known: Mapping[str, Definition]) -> None:
        ids = [row.alarm_id for row in rows]
        kept = dict(zip(ids, await marks(self.store, ids), strict=True))
        records = dict(zip(ids, await self.store.alarms(ids), strict=True))
        now = await self.store.now()
        lines = await self._lines(ids, now - self.history_ttl)
        takes = [_Take(row, kept[row.alarm_id], records[row.alarm_id], lines.get(row.alarm_id, [])) for row in rows]
        for take in takes:
            self._adopt(take, known.get(take.row.alarm_id))
            self._plan(take, now)
        await self._put(takes, now)
        if not self.dry_run:
            made = {take.row.alarm_id: take.made for take in takes if take.made not in {None, kept[take.row.alarm_id]}}
            await keep_marks(self.store, made)

    async def _lines(self, ids: Sequence[str], oldest: float) -> dict[str, list[HistoryEntry]]:
        """The lines that are not here yet, of those that would be kept."""
        theirs = await self.database.event_ids(ids, after=oldest)
        some = list(theirs)
        ours = await self.store.entries(some, limit=HISTORY_ENTRIES)
        here = {alarm_id: {entry.event_id for entry in entries} for alarm_id, entries in zip(some, ours, strict=True)}
        lacking = [alarm_id for alarm_id in some if not theirs[alarm_id] <= here[alarm_id]]
        found = await self.database.histories(lacking, after=oldest, limit=HISTORY_ENTRIES)
        return {
            alarm_id: [entry for entry in entries if entry.event_id not in here[alarm_id]]
            for alarm_id, entries in found.items()
        }

    def _adopt(self, take: _Take, present: Definition | None) -> None:
        """Take an alarm for imported that is here as it would be taken: an import was broken off before it said so."""
        if take.mark is not None or take.record is None or present is None or not take.record.imported:
            return
        try:
            same = _alike(self.definition_of(take.row), present)
        except ValueError:
            return
        if same and take.row.state == take.record.state:
            take.mark = mark_of(take.row, take.record.revision)

    def _plan(self, take: _Take, now: float) -> None:
        """Decide on a row, and make what is to be accepted for it."""
        take.acceptance = take.definition = take.made = None
        take.step = decided(take.row, take.mark, take.record, overwrite=self.overwrite)
        try:
            match take.step:
                case Step.NEW | Step.CHANGE | Step.CHANGE_AND_STATE:
                    self._define(take, now)
                case Step.STATE:
                    assert take.record is not None
                    _check_state(take.row)
                    take.acceptance = take.accepting(with_state(take.record, take.row))
                    take.made = mark_of(take.row, take.record.revision)
                case Step.NOTHING:
                    assert take.record is not None
                    take.acceptance = take.accepting(None) if take.lines else None
                    take.made = mark_of(take.row, take.record.revision)
                case Left():
                    take.acceptance = take.accepting(None) if take.lines and take.record is not None else None
        except ValueError as error:
            take.failure, take.acceptance = str(error), None

    def _define(self, take: _Take, now: float) -> None:
        row, before = take.row, take.record
        _check_state(row)
        revision = int(now * 1e6) if before is None else max(int(now * 1e6), before.revision + 1)
        made = next((line.timestamp for line in take.lines if line.type == "creation"), row.timestamp)
        definition = msgspec.structs.replace(self.definition_of(row), revision=revision, created=made)
        alarm = self.understood(definition)
        take.definition = definition
        if before is None or take.step is not Step.CHANGE:
            fresh = AlarmRecord(definition=alarm.definition, version=0 if before is None else before.version)
            record = with_state(fresh, row)
            if isinstance(alarm.rule, EventRule):
                record = msgspec.structs.replace(record, imported=False, note="")  # an event is a full window
        else:
            record = msgspec.structs.replace(before, version=before.version + 1)
        version = max(record.version, revision)
        record = msgspec.structs.replace(record, revision=revision, version=version)
        take.acceptance = take.accepting(record, definition)
        take.made = mark_of(row, revision)

    async def _put(self, takes: Sequence[_Take], now: float) -> None:
        """Have what was planned accepted; planned anew where somebody was faster."""
        waiting = [take for take in takes if take.acceptance is not None]
        for _ in range(ROUNDS):
            if not waiting or self.dry_run:
                break
            lost: list[_Take] = []
            for some in _portions(waiting):
                acceptances = [take.acceptance for take in some if take.acceptance is not None]
                answers = await self.store.accept(acceptances, lease=LEASE)
                for take, answer in zip(some, answers, strict=True):
                    if isinstance(answer, Accepted):
                        continue
                    take.record = answer.record if isinstance(answer, Retry) else take.record
                    self._plan(take, now)
                    if take.acceptance is not None:
                        lost.append(take)
            waiting = lost
        for take in waiting if not self.dry_run else ():
            take.failure, take.made = CONTENDED, None
        for take in takes:
            self._tell(take)

    def _tell(self, take: _Take) -> None:
        row, summary = take.row, self.summary
        if take.failure:
            summary.failed.append(Remark("alarm", row.alarm_id, row.name, take.failure))
            return
        if take.acceptance is not None:
            summary.history += len(take.lines)
        match take.step:
            case Step.NEW:
                count(summary.new, row.type)
            case Step.CHANGE | Step.CHANGE_AND_STATE:
                count(summary.changed, row.type)
            case Step.STATE:
                count(summary.states, row.type)
            case Step.NOTHING:
                summary.unchanged += 1
            case Left(why):
                summary.left.append(Remark("alarm", row.alarm_id, row.name, why))
        if take.definition is not None:
            summary.with_trusts += has_trusts(take.definition)
            if take.definition.scope == ANY_PROJECT:
                summary.unconfined.append(row.alarm_id)

    async def _look_for_gone(self, there: AbstractSet[str], known: Mapping[str, Definition]) -> None:
        """Name the alarms that are gone in Aodh since, or remove them."""
        ids = sorted(known.keys() - there)
        for some in pieces(ids):
            kept = await marks(self.store, some)
            records = await self.store.alarms(some)
            now = await self.store.now()
            for alarm_id, mark, record in zip(some, kept, records, strict=True):
                if mark is None or record is None:
                    continue
                unchanged = record.revision == mark.revision
                if self.prune and (unchanged or self.overwrite):
                    await self._remove(known[alarm_id], record, now)
                else:
                    why = GONE_THERE if unchanged else f"{GONE_THERE}, and {CHANGED_HERE}"
                    self.summary.left.append(Remark("alarm", alarm_id, known[alarm_id].name, why))
        if not self.dry_run:
            nowhere = set(await self.store.kept_keys(MARKS)) - there - known.keys()
            await keep_marks(self.store, dict.fromkeys(nowhere))

    async def _remove(self, definition: Definition, record: AlarmRecord, now: float) -> None:
        alarm_id = definition.alarm_id
        entry = HistoryEntry(
            event_id=event_id(alarm_id, next_version(record, now), "deletion"),
            alarm_id=alarm_id,
            type="deletion",
            detail={"state": record.state},
            timestamp=now,
            on_behalf_of=definition.project_id,
            severity=definition.severity,
        )
        gone = Acceptance(
            alarm_id=alarm_id,
            window_id="",
            window_version=0,
            expected=record.version,
            history=[entry],
            removed=True,
        )
        if not self.dry_run:
            (answer,) = await self.store.accept([gone], lease=LEASE)
            if not isinstance(answer, Accepted):
                self.summary.failed.append(Remark("alarm", alarm_id, definition.name, CONTENDED))
                return
            await keep_marks(self.store, {alarm_id: None})
        self.summary.removed += 1

    # --- quotas ------------------------------------------------------------------------------------------------------

    async def _take_quotas(self) -> None:
        """Take limits; -1, which a mere look at a quota has Aodh write, is no limit, as it is here."""
        theirs = sorted((await self.database.quotas()).items())
        projects = [project_id for project_id, _ in theirs]
        ours = await self.store.kept(QUOTA, projects)
        before = await self.store.kept(QUOTA_MARKS, projects)
        taken: dict[str, bytes] = {}
        for (project_id, limit), present, mark in zip(theirs, ours, before, strict=True):
            wanted = str(limit).encode()
            if not project_id or limit < -1:
                self.summary.failed.append(Remark("quota", project_id, "", f"{limit} is no limit of a project"))
            elif present == wanted:
                taken.setdefault(project_id, wanted)
            elif present == mark or self.overwrite:
                taken[project_id] = wanted
                self.summary.quotas += 1
            elif wanted != mark:
                said = "nothing is said here" if present is None else f"it is {present.decode()} here"
                self.summary.left.append(Remark("quota", project_id, "", f"{CHANGED_HERE}: {said}, {limit} in Aodh"))
        if taken and not self.dry_run:
            await self.store.keep(QUOTA, taken)
            await self.store.keep(QUOTA_MARKS, taken)


@dataclass(slots=True)
class _Take:
    """A row on its way.

    Attributes:
        lines: of its history, that are not here yet.
        made: what is to be kept of it; None where nothing is.
        failure: why it cannot be taken; "" where it can.
    """

    row: AodhAlarm
    mark: Mark | None
    record: AlarmRecord | None
    lines: list[HistoryEntry]
    step: Step | Left = Step.NOTHING
    acceptance: Acceptance | None = None
    definition: Definition | None = None
    made: Mark | None = None
    failure: str = ""

    def accepting(self, record: AlarmRecord | None, definition: Definition | None = None) -> Acceptance:
        """What is to be accepted, with the lines."""
        return Acceptance(
            alarm_id=self.row.alarm_id,
            window_id="",
            window_version=0,
            expected=0 if self.record is None else self.record.version,
            record=record,
            history=self.lines,
            definition=definition,
        )


def with_state(record: AlarmRecord, row: AodhAlarm) -> AlarmRecord:
    """The record with the state of a row, to stay until the first full window."""
    return msgspec.structs.replace(
        as_imported(record),
        version=record.version + 1,
        state=AlarmState(row.state),
        state_timestamp=row.state_timestamp,
        reason=row.state_reason or NOT_EVALUATED,
        reason_data={},
    )


def _check_state(row: AodhAlarm) -> None:
    if row.state not in set(AlarmState):
        raise ValueError(f"state: expected one of {', '.join(AlarmState)}, got '{row.state}'")


def _alike(one: Definition, other: Definition) -> bool:
    """Whether they differ in nothing that is given where a definition is stored."""
    return msgspec.structs.replace(one, revision=0, created=0.0) == msgspec.structs.replace(
        other, revision=0, created=0.0
    )


def _portions(takes: Sequence[_Take]) -> list[list[_Take]]:
    """So that no call carries too many lines."""
    found: list[list[_Take]] = []
    lines = 0
    for take in takes:
        if not found or lines + len(take.lines) > LINES_AT_ONCE:
            found.append([])
            lines = 0
        found[-1].append(take)
        lines += len(take.lines)
    return found
