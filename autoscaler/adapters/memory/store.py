"""The store of one process, for replay, simulation and tests; it passes the same contract suite as Redis."""

from __future__ import annotations

import asyncio
import dataclasses
import heapq
import math
import struct
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from typing import Final

from msgspec.structs import replace

from autoscaler.adapters.memory.seats import Hall
from autoscaler.alarms.alarm import AlarmRecord
from autoscaler.alarms.definition import Definition
from autoscaler.errors import PermanentError
from autoscaler.measures.series import POINT_BYTES, merged, pack
from autoscaler.ports import (
    ACTION,
    AUDITS,
    CHANGES,
    DEAD_LETTER_BYTES,
    DEAD_LETTERS,
    DECISIONS,
    GENERATIONS,
    HISTORY_ENTRIES,
    LETTER_KINDS,
    MARK_DELAY,
    NO_POSITIONS,
    REPLICA_SILENCE,
    REVIVED,
    Acceptance,
    Accepted,
    AlreadyDecided,
    AuditEntry,
    Bus,
    Changed,
    Claimed,
    DeadLetter,
    DefinitionChanges,
    Definitions,
    Freeze,
    GroupPut,
    GroupState,
    Heartbeat,
    HistoryEntry,
    OutboxRow,
    Pulse,
    Put,
    Retry,
    Saved,
    SavedAlarm,
    SavedChange,
    SavedDeclarations,
    SavedDocument,
    SavedFreeze,
    SavedGroup,
    SavedLetter,
    Schema,
    Seating,
    Stale,
    Store,
    WindowDone,
    WindowReply,
    WindowWrite,
    WorkItem,
    alarm_of,
    cutoff,
    sweep_interval,
)
from autoscaler.scaling.decision import Decision
from autoscaler.scaling.group import GroupRecord

HISTORY_TTL: Final = 30 * 24 * 3600.0
"""Seconds for which the history of an alarm is kept, also after it is gone."""
RECENT: Final = 60.0
"""Seconds for which a change of a definition is recent."""
NOTED: Final = 64
"""Looks that an alarm has noted at which old ones begin to be forgotten."""
NOTED_FOR: Final = 3600.0
"""Seconds after which no evaluation can be under way that began before."""

_time_at = struct.Struct("<d").unpack_from
_points = struct.Struct("<dd").iter_unpack


@dataclass(slots=True)
class _Window:
    """What is kept of a window."""

    version: int
    asof: float
    swept: float
    newest: float | None = None
    series: dict[str, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class _Look:
    """Of the looks at a window, the one that was accepted last, and when."""

    version: int
    time: float


@dataclass(slots=True)
class _Alarm:
    """An alarm's record, its definition if it was made through the API, and the looks that were accepted."""

    version: int = 0
    record: AlarmRecord | None = None
    definition: Definition | None = None
    looks: dict[str, _Look] = field(default_factory=dict)
    tally: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Change:
    """That a definition was changed; numbered from 1 without gaps."""

    number: int
    alarm_id: str
    time: float


@dataclass(slots=True)
class _Lane:
    """Rows for one endpoint, the head first; ``waiting`` for a retry means that nobody has it in hand."""

    rows: list[OutboxRow] = field(default_factory=list)
    waiting: bool = False


@dataclass(slots=True)
class _Group:
    """A group's record, its decisions newest first, and what was decided by id, oldest first."""

    record: GroupRecord = field(default_factory=GroupRecord)
    decisions: list[Decision] = field(default_factory=list)
    decided: dict[str, Decision] = field(default_factory=dict)
    ends: float = math.inf


@dataclass(slots=True)
class _Schedule:
    """When a schedule fires next; infinity means never."""

    digest: str
    due: float


class _Work:
    """Due times by (kind, key)."""

    def __init__(self) -> None:
        self._due: dict[tuple[str, str], float] = {}
        # every due time that was ever set; one that is no longer in force is dropped when it comes up
        self._heap: list[tuple[float, tuple[str, str]]] = []

    def get(self, item: tuple[str, str]) -> float | None:
        return self._due.get(item)

    def set(self, item: tuple[str, str], due: float) -> None:
        if self._due.get(item) != due:
            self._due[item] = due
            heapq.heappush(self._heap, (due, item))

    def lower(self, item: tuple[str, str], due: float) -> None:
        present = self._due.get(item)
        if present is None or due < present:
            self.set(item, due)

    def remove(self, item: tuple[str, str]) -> None:
        self._due.pop(item, None)

    def earliest(self) -> tuple[float, tuple[str, str]] | None:
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None

    def take(self, limit: int, now: float, leased_until: float) -> list[WorkItem]:
        """At most ``limit`` due items, oldest first, taken out; it is for the caller to put them back."""
        items: list[WorkItem] = []
        while len(items) < limit and (first := self.earliest()) is not None and first[0] <= now:
            due, (kind, key) = first
            self.remove((kind, key))
            items.append(WorkItem(kind, key, due, leased_until))
        return items


class MemoryStore:
    """See :class:`autoscaler.ports.Store`. No call but ``changes`` yields to the loop, so each is atomic as a whole.

    Args:
        clock: Unix seconds; the store's clock.
        history_ttl: seconds for which the history of an alarm is kept, also after it is gone.
    """

    def __init__(self, clock: Callable[[], float], *, history_ttl: float = HISTORY_TTL) -> None:
        self._clock = clock
        self._history_ttl = history_ttl
        self._work = _Work()
        self._windows: dict[str, _Window] = {}
        self._alarms: dict[str, _Alarm] = {}
        self._changes: deque[_Change] = deque()
        self._waiting: list[asyncio.Event] = []
        self._history: dict[str, list[HistoryEntry]] = {}
        self._histories: dict[str | None, dict[str, float]] = {}
        self._kept: dict[tuple[str, str], bytes] = {}
        self._lanes: dict[str, _Lane] = {}
        self._groups: dict[str, _Group] = {}
        self._schedules: dict[str, _Schedule] = {}
        self._frozen: Freeze | None = None
        self._letters: dict[str, list[DeadLetter]] = {}
        self._letter_bytes: dict[str, int] = {}
        self._buried = 0
        self._audit: list[AuditEntry] = []
        self._audited = 0
        self._revived: dict[tuple[str, str], float] = {}
        self._replicas: dict[str, tuple[float, Heartbeat]] = {}
        self._halls = {bus: Hall(clock) for bus in Bus}
        self._generations: list[str] = []
        self._in_force: tuple[str, bytes] | None = None
        self._schema = Schema()

    async def now(self) -> float:
        """See :class:`autoscaler.ports.Store`."""
        return self._clock()

    async def close(self) -> None:
        """See :class:`autoscaler.ports.Store`. What is in memory stays for as long as the object does."""

    # windows

    async def write(self, writes: Sequence[WindowWrite]) -> list[WindowReply]:
        """See :class:`autoscaler.ports.Store`."""
        now = self._clock()
        return [self._write(write, now) for write in writes]

    def _write(self, write: WindowWrite, now: float) -> WindowReply:
        window_id = write.spec.window_id
        window = self._windows.get(window_id)
        known = window is not None
        if window is None:
            window = self._windows[window_id] = _Window(0, now, now)
        whole = not known or write.held != window.version
        taken, refused = _admitted(window, write)
        for points in taken.values():
            newest = max(points)[0]
            window.newest = newest if window.newest is None else max(window.newest, newest)
        touched, grown, too_old = _merge(window, write, taken, now)
        gone = [*_leave(window, write.leaves), *_sweep(window, write, now)]
        # from the clock, so that a version never comes again after the window was forgotten
        window.version = max(window.version + 1, int(now * 1e6))
        window.asof = max(window.asof, now)
        self._work.lower(("window", window_id), now + MARK_DELAY)
        told = [] if whole else [name for name in touched if name in window.series]
        series = window.series if whole else {name: window.series[name] for name in told if name not in grown}
        return WindowReply(
            version=window.version,
            asof=window.asof,
            newest=window.newest,
            whole=whole,
            series=dict(series),
            gone=() if whole else gone,
            too_old=too_old,
            refused=refused,
            grown={name: grown[name] for name in told if name in grown},
        )

    async def done(self, marks: Sequence[WindowDone]) -> None:
        """See :class:`autoscaler.ports.Store`."""
        for mark in marks:
            window = self._windows.get(mark.window_id)
            if window is None or window.version != mark.version:
                continue  # whoever wrote it meanwhile has left a mark of its own
            if mark.next_due is None:
                self._work.remove(("window", mark.window_id))
            else:
                self._work.set(("window", mark.window_id), mark.next_due)

    # alarms

    async def accept(self, acceptances: Sequence[Acceptance], *, lease: float) -> list[Accepted | Stale | Retry]:
        """See :class:`autoscaler.ports.Store`."""
        now = self._clock()
        return [self._accept(acceptance, now, lease) for acceptance in acceptances]

    def _accept(self, acceptance: Acceptance, now: float, lease: float) -> Accepted | Stale | Retry:
        alarm = self._alarms.get(acceptance.alarm_id, _Alarm())
        looks = [look for look in (_look_of(acceptance), *acceptance.further) if look[0]]
        if any(window_id in alarm.looks and version < alarm.looks[window_id].version for window_id, version in looks):
            return Stale()
        if acceptance.expected != alarm.version:
            return Retry(alarm.record)
        if acceptance.removed:
            self._alarms.pop(acceptance.alarm_id, None)
        else:
            self._alarms[acceptance.alarm_id] = alarm
            _put_in_force(alarm, acceptance, looks, now)
        if acceptance.removed or acceptance.definition is not None:
            self._changed(acceptance.alarm_id, now)
        self._remember(acceptance, now)
        return Accepted(self._queue(acceptance.rows, now, lease))

    def _changed(self, alarm_id: str, now: float) -> None:
        self._changes.append(_Change(self._newest_change() + 1, alarm_id, now))
        while len(self._changes) > CHANGES:
            self._changes.popleft()
        for waiting in self._waiting:
            waiting.set()

    def _newest_change(self) -> int:
        return self._changes[-1].number if self._changes else 0

    def _remember(self, acceptance: Acceptance, now: float) -> None:
        if not acceptance.history:
            return
        entries = self._history.setdefault(acceptance.alarm_id, [])
        if entries and entries[0].event_id == acceptance.history[-1].event_id:
            return  # said before, by a call whose answer was lost
        entries[:0] = reversed(acceptance.history)
        del entries[HISTORY_ENTRIES:]
        while entries and entries[-1].timestamp <= now - self._history_ttl:
            entries.pop()
        newest = max(entry.timestamp for entry in acceptance.history)
        for project_id in (None, *(entry.on_behalf_of for entry in acceptance.history)):
            alarms = self._histories.setdefault(project_id, {})
            alarms[acceptance.alarm_id] = max(newest, alarms.get(acceptance.alarm_id, newest))

    def _queue(self, rows: Sequence[OutboxRow], now: float, lease: float) -> list[str]:
        leased: list[str] = []
        for row in rows:
            lane = self._lanes.setdefault(row.lane, _Lane())
            if not lane.rows:
                leased.append(row.lane)
                lane.waiting = False
                lane.rows.append(row)
                self._work.set(("lane", row.lane), now + lease)
            elif row.repeat and lane.rows[-1].repeat and not self._in_hand(row.lane, lane, now):
                lane.rows[-1] = row
            else:
                lane.rows.append(row)
        return leased

    def _in_hand(self, name: str, lane: _Lane, now: float) -> bool:
        """Whether the last row of a lane is its head and leased to somebody."""
        due = self._work.get(("lane", name))
        return len(lane.rows) == 1 and not lane.waiting and due is not None and due > now

    async def alarms(self, alarm_ids: Sequence[str]) -> list[AlarmRecord | None]:
        """See :class:`autoscaler.ports.Store`."""
        return [self._alarms.get(alarm_id, _Alarm()).record for alarm_id in alarm_ids]

    async def forget(self, alarm_ids: Sequence[str]) -> None:
        """See :class:`autoscaler.ports.Store`."""
        for alarm_id in alarm_ids:
            if alarm_id in self._alarms and self._alarms[alarm_id].definition is None:
                del self._alarms[alarm_id]

    async def definitions(self) -> Definitions:
        """See :class:`autoscaler.ports.Store`."""
        definitions = [alarm.definition for alarm in self._alarms.values() if alarm.definition is not None]
        since = self._clock() - RECENT
        recent = {change.alarm_id for change in takewhile(lambda change: change.time > since, reversed(self._changes))}
        return Definitions(definitions, sorted(recent), str(self._newest_change()))

    async def changes(self, position: str, *, patience: float) -> DefinitionChanges:
        """See :class:`autoscaler.ports.Store`."""
        number = int(position)
        if number == self._newest_change() and patience > 0:
            await self._change(patience)
        newest = self._newest_change()
        if number > newest or newest - number > len(self._changes):
            return DefinitionChanges({}, position, complete=False)
        changed = [change.alarm_id for change in self._changes if change.number > number]
        return DefinitionChanges(
            {alarm_id: self._alarms.get(alarm_id, _Alarm()).definition for alarm_id in changed}, str(newest)
        )

    async def _change(self, patience: float) -> None:
        """Wait for the next change."""
        waiting = asyncio.Event()
        self._waiting.append(waiting)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await waiting.wait()
        finally:
            self._waiting.remove(waiting)

    async def history(self, alarm_id: str, *, limit: int) -> list[HistoryEntry]:
        """See :class:`autoscaler.ports.Store`."""
        (entries,) = await self.entries([alarm_id], limit=limit)
        return entries

    async def entries(self, alarm_ids: Sequence[str], *, limit: int) -> list[list[HistoryEntry]]:
        """See :class:`autoscaler.ports.Store`."""
        since = self._clock() - self._history_ttl
        return [
            [entry for entry in self._history.get(alarm_id, [])[: max(0, limit)] if entry.timestamp > since]
            for alarm_id in alarm_ids
        ]

    async def histories(self, project_id: str | None) -> list[str]:
        """See :class:`autoscaler.ports.Store`."""
        since = self._clock() - self._history_ttl
        return [alarm_id for alarm_id, newest in self._histories.get(project_id, {}).items() if newest > since]

    async def tally(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """See :class:`autoscaler.ports.Store`."""
        for alarm_id, states in counts.items():
            alarm = self._alarms.get(alarm_id)
            if alarm is not None and alarm.record is not None:
                for state, times in states.items():
                    alarm.tally[state] = alarm.tally.get(state, 0) + times

    async def tallies(self, alarm_ids: Sequence[str]) -> list[Mapping[str, int]]:
        """See :class:`autoscaler.ports.Store`."""
        return [dict(self._alarms.get(alarm_id, _Alarm()).tally) for alarm_id in alarm_ids]

    # small documents

    async def keep(self, kind: str, entries: Mapping[str, bytes | None]) -> None:
        """See :class:`autoscaler.ports.Store`."""
        for key, document in entries.items():
            if document is None:
                self._kept.pop((kind, key), None)
            else:
                self._kept[kind, key] = document

    async def kept(self, kind: str, keys: Sequence[str]) -> list[bytes | None]:
        """See :class:`autoscaler.ports.Store`."""
        return [self._kept.get((kind, key)) for key in keys]

    async def kept_keys(self, kind: str) -> list[str]:
        """See :class:`autoscaler.ports.Store`."""
        return [key for some, key in self._kept if some == kind]

    # outbox

    async def head(self, lane: str) -> OutboxRow | None:
        """See :class:`autoscaler.ports.Store`."""
        found = self._lanes.get(lane)
        return found.rows[0] if found is not None else None

    async def delivered(self, lane: str, row_id: str, *, lease: float) -> OutboxRow | None:
        """See :class:`autoscaler.ports.Store`."""
        found = self._lanes.get(lane)
        if found is None or found.rows[0].id != row_id:
            return None
        found.rows.pop(0)
        found.waiting = False
        if not found.rows:
            del self._lanes[lane]
            self._work.remove(("lane", lane))
            return None
        self._work.set(("lane", lane), self._clock() + lease)
        return found.rows[0]

    async def revive(self, row: OutboxRow, token: str, *, lease: float) -> Accepted | None:
        """See :class:`autoscaler.ports.Store`."""
        now = self._clock()
        if self._revived.get((row.alarm_id, token), -math.inf) > now - REVIVED:
            return None
        self._revived[row.alarm_id, token] = now
        return Accepted(self._queue([row], now, lease))

    async def undelivered(
        self, lane: str, row_id: str, *, retry_at: float, tried: bool = True, leased_until: float = math.inf
    ) -> None:
        """See :class:`autoscaler.ports.Store`."""
        found = self._lanes.get(lane)
        if found is None or found.rows[0].id != row_id or await self.now() > leased_until:
            return
        found.rows[0] = replace(found.rows[0], attempts=found.rows[0].attempts + tried)
        found.waiting = True
        self._work.set(("lane", lane), retry_at)

    async def lanes(self, alarm_id: str) -> Mapping[str, int]:
        """See :class:`autoscaler.ports.Store`."""
        return {name: len(lane.rows) for name, lane in self._lanes.items() if alarm_of(name) == alarm_id}

    # work

    async def mark(self, items: Sequence[WorkItem]) -> None:
        """See :class:`autoscaler.ports.Store`."""
        for item in items:
            self._work.lower((item.kind, item.key), item.due)
            if item.kind == "window" and item.key in self._windows:
                self._windows[item.key].version += 1  # a done() of an evaluation under way must not take it away

    async def claim(self, *, limit: int, lease: float) -> Claimed:
        """See :class:`autoscaler.ports.Store`."""
        now = self._clock()
        items = self._work.take(limit, now, now + lease)
        rest = self._work.earliest()
        for item in items:
            self._work.set((item.kind, item.key), item.leased_until)
            if item.kind == "lane" and item.key in self._lanes:
                self._lanes[item.key].waiting = False
        return Claimed(items, None if rest is None else rest[0], now)

    async def hold(self, items: Sequence[WorkItem], *, lease: float) -> list[WorkItem | None]:
        """See :class:`autoscaler.ports.Store`."""
        until = self._clock() + lease
        held: list[WorkItem | None] = []
        for item in items:
            if self._is_leased(item):
                self._work.set((item.kind, item.key), until)
                held.append(dataclasses.replace(item, leased_until=until))
            else:
                held.append(None)
        return held

    def _is_leased(self, item: WorkItem) -> bool:
        """Whether work is leased as somebody says who has it in hand, and not put off."""
        due = self._work.get((item.kind, item.key))
        if item.leased_until:
            return due == item.leased_until
        lane = self._lanes.get(item.key) if item.kind == "lane" else None
        return due is not None and not (lane is not None and lane.waiting)

    async def finish(self, items: Sequence[WorkItem], next_due: float | None) -> None:
        """See :class:`autoscaler.ports.Store`."""
        for item in items:
            if self._work.get((item.kind, item.key)) != item.leased_until:
                continue  # marked or claimed meanwhile
            if next_due is None:
                self._work.remove((item.kind, item.key))
            else:
                self._work.set((item.kind, item.key), next_due)

    # groups

    async def group(self, name: str) -> GroupState:
        """See :class:`autoscaler.ports.Store`."""
        return GroupState(self._known_group(name).record, self._frozen, self._clock())

    def _known_group(self, name: str) -> _Group:
        group = self._groups.get(name)
        if group is not None and group.ends <= self._clock():
            del self._groups[name]
            group = None
        return group or _Group()

    async def put_group(self, put: GroupPut) -> Put | AlreadyDecided | Changed:
        """See :class:`autoscaler.ports.Store`."""
        group = self._known_group(put.name)
        if put.decision is not None and put.decision.id in group.decided:
            return AlreadyDecided(group.decided[put.decision.id])
        if put.expected != group.record.version or _token(put.freeze) != _token(self._frozen):
            return Changed(GroupState(group.record, self._frozen, self._clock()))
        self._groups[put.name] = group
        group.ends = math.inf if put.kept is None else self._clock() + put.kept
        group.record = replace(put.record, version=max(put.record.version, put.expected + 1))
        if put.reconcile_at is not None:
            self._work.set(("group", put.name), put.reconcile_at)
        return Put(None if put.decision is None else _keep(group, put.decision, coalesce=put.coalesce))

    async def decisions(self, name: str, *, limit: int) -> list[Decision]:
        """See :class:`autoscaler.ports.Store`."""
        return self._known_group(name).decisions[:limit]

    async def freeze(self, freeze: Freeze | None) -> None:
        """See :class:`autoscaler.ports.Store`."""
        self._frozen = freeze

    # schedules

    async def schedule(self, name: str, digest: str, first: float) -> float:
        """See :class:`autoscaler.ports.Store`."""
        present = self._schedules.get(name)
        if present is None or present.digest != digest:
            self._schedules[name] = _Schedule(digest, first)
            self._work.set(("schedule", name), first)
            return first
        if present.due < math.inf and self._work.get(("schedule", name)) is None:
            self._work.set(("schedule", name), present.due)
        return present.due

    async def advance(self, name: str, due: float, following: float | None) -> bool:
        """See :class:`autoscaler.ports.Store`."""
        present = self._schedules.get(name)
        if present is None or due == math.inf or present.due != due:
            return False
        present.due = math.inf if following is None else following
        if following is None:
            self._work.remove(("schedule", name))
        else:
            self._work.set(("schedule", name), following)
        return True

    # dead letters, replicas, declarations

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """See :class:`autoscaler.ports.Store`."""
        for letter in letters:
            kept = self._letters.setdefault(letter.kind, [])
            self._buried += 1
            kept.append(replace(letter, id=f"{letter.kind}-{self._buried:019}"))
            size = self._letter_bytes.get(letter.kind, 0) + len(letter.payload)
            while len(kept) > DEAD_LETTERS or (size > DEAD_LETTER_BYTES and len(kept) > 1):
                size -= len(kept.pop(0).payload)
            self._letter_bytes[letter.kind] = size

    async def dead_letters(self, kind: str, *, limit: int, before: str = "") -> list[DeadLetter]:
        """See :class:`autoscaler.ports.Store`."""
        if before and not _is_id(before, kind):
            return []
        kept = self._letters.get(kind, [])[::-1]
        return [letter for letter in kept if not before or letter.id < before][:limit]

    async def dead_letter(self, letter_id: str) -> DeadLetter | None:
        """See :class:`autoscaler.ports.Store`."""
        kept = self._letters.get(letter_id.partition("-")[0], [])
        return next((letter for letter in kept if letter.id == letter_id), None)

    async def drop_letters(self, letter_ids: Sequence[str]) -> list[bool]:
        """See :class:`autoscaler.ports.Store`."""
        found = []
        for letter_id in letter_ids:
            letter = await self.dead_letter(letter_id)
            found.append(letter is not None)
            if letter is not None:
                self._letters[letter.kind].remove(letter)
                self._letter_bytes[letter.kind] -= len(letter.payload)
        return found

    async def audit(self, entry: AuditEntry) -> None:
        """See :class:`autoscaler.ports.Store`."""
        self._audited += 1
        self._audit.append(replace(entry, id=f"audit-{self._audited:019}", time=entry.time or self._clock()))
        del self._audit[:-AUDITS]

    async def audits(self, *, limit: int, before: str = "") -> list[AuditEntry]:
        """See :class:`autoscaler.ports.Store`."""
        if before and not _is_id(before, "audit"):
            return []
        return [entry for entry in self._audit[::-1] if not before or entry.id < before][:limit]

    async def beat(self, heartbeat: Heartbeat) -> Pulse:
        """See :class:`autoscaler.ports.Store`."""
        now = self._clock()
        self._replicas[heartbeat.replica] = (now, heartbeat)
        living = {name: beat for name, beat in self._replicas.items() if now - beat[0] < REPLICA_SILENCE}
        self._replicas = dict(sorted(living.items()))
        in_force = "" if self._in_force is None else self._in_force[0]
        return Pulse([beat for _, beat in self._replicas.values()], in_force, now)

    async def sit(
        self,
        replica: str,
        seats: Sequence[str],
        *,
        keep: Sequence[str],
        lease: float,
        cleared: Sequence[str] = (),
        left: Sequence[str] = (),
        bus: Bus = Bus.MQTT,
        positions: Mapping[str, int] = NO_POSITIONS,
    ) -> Seating:
        """See :class:`autoscaler.ports.Store`."""
        return self._halls[bus].sit(
            replica, seats, keep=keep, lease=lease, cleared=cleared, left=left, positions=positions
        )

    async def rise(self, replica: str) -> None:
        """See :class:`autoscaler.ports.Store`."""
        for hall in self._halls.values():
            hall.rise(replica)

    async def leave(self, replica: str) -> None:
        """See :class:`autoscaler.ports.Store`."""
        self._replicas.pop(replica, None)

    async def replicas(self) -> Sequence[Heartbeat]:
        """See :class:`autoscaler.ports.Store`."""
        now = self._clock()
        return [beat for heard, beat in self._replicas.values() if now - heard < REPLICA_SILENCE]

    async def schema(self) -> Schema:
        """See :class:`autoscaler.ports.Store`. No other version ever sees it."""
        return self._schema

    async def upgrade(self, by: str) -> Schema:  # noqa: ARG002 - nothing older was ever written here
        """See :class:`autoscaler.ports.Store`."""
        return self._schema

    # the state as a whole

    async def saved(self) -> AsyncGenerator[Saved, None]:
        """See :class:`autoscaler.ports.Store`."""
        if self._in_force is not None:
            yield SavedDeclarations(generation=self._in_force[0], documents=self._in_force[1])
        if self._frozen is not None:
            yield SavedFreeze(freeze=self._frozen)
        for change in self._audit:
            yield SavedChange(change=change)
        newest = dict.fromkeys(LETTER_KINDS, "")
        for kind in LETTER_KINDS:
            for letter in reversed(await self.dead_letters(kind, limit=DEAD_LETTERS)):
                newest[kind] = letter.id
                yield SavedLetter(letter=letter)
        for alarm_id in sorted({*self._alarms, *self._history, *map(alarm_of, self._lanes)}):
            yield self._saved_alarm(alarm_id)
        # an action that was buried before its alarm was read is in no lane any more
        for letter in reversed(await self.dead_letters(ACTION, limit=DEAD_LETTERS)):
            if letter.id > newest[ACTION]:
                yield SavedLetter(letter=letter)
        for name, group in sorted(self._groups.items()):
            yield SavedGroup(name=name, record=group.record, decisions=tuple(reversed(group.decisions)))
        for (kind, key), document in sorted(self._kept.items()):
            yield SavedDocument(kind=kind, key=key, document=document)

    def _saved_alarm(self, alarm_id: str) -> SavedAlarm:
        alarm = self._alarms.get(alarm_id, _Alarm())
        lanes = sorted(lane for lane in self._lanes if alarm_of(lane) == alarm_id)
        return SavedAlarm(
            alarm_id=alarm_id,
            record=alarm.record,
            definition=alarm.definition,
            tally=dict(alarm.tally),
            history=tuple(reversed(self._history.get(alarm_id, ()))),
            rows=tuple(replace(row, attempts=0) for lane in lanes for row in self._lanes[lane].rows),
        )

    async def begin_import(self, *, shards: int, replace: bool) -> None:  # noqa: ARG002 - it is in one piece
        """See :class:`autoscaler.ports.Store`."""
        if await self.replicas():
            raise PermanentError("a replica lives")
        if not replace and [one async for one in self.saved()]:
            raise PermanentError("the state is not empty")
        MemoryStore.__init__(self, self._clock, history_ttl=self._history_ttl)

    async def end_import(self) -> None:
        """See :class:`autoscaler.ports.Store`."""
        if await self.replicas():
            raise PermanentError("a replica has begun meanwhile")

    async def restore_group(self, name: str, record: GroupRecord, decisions: Sequence[Decision]) -> None:
        """See :class:`autoscaler.ports.Store`."""
        group = self._groups[name] = _Group(record)
        for decision in decisions:
            _keep(group, decision, coalesce=False)

    async def publish(self, generation: str, documents: bytes, *, insist: bool) -> str:
        """See :class:`autoscaler.ports.Store`."""
        if self._in_force is not None and generation in self._generations:
            if self._in_force[0] == generation or not insist:
                return self._in_force[0]
            self._generations.remove(generation)
        self._generations.append(generation)
        del self._generations[:-GENERATIONS]
        self._in_force = (generation, documents)
        return generation

    async def generation(self) -> tuple[str, bytes] | None:
        """See :class:`autoscaler.ports.Store`."""
        return self._in_force


def _admitted(window: _Window, write: WindowWrite) -> tuple[dict[str, list[tuple[float, float]]], list[str]]:
    """The points whose series are in the window or find room there, and the names of those that do not."""
    taken: dict[str, list[tuple[float, float]]] = {}
    refused: list[str] = []
    room = write.spec.max_series - len(window.series)
    for name, points in write.points.items():
        if not points:
            continue
        if name not in window.series:
            if room <= 0:
                refused.append(name)
                continue
            room -= 1
        taken[name] = list(_points(points))
    return taken, refused


def _merge(
    window: _Window, write: WindowWrite, taken: Mapping[str, list[tuple[float, float]]], now: float
) -> tuple[list[str], dict[str, int], dict[str, int]]:
    """Merge ``taken`` in.

    Returns:
        The names of what was written; of those series whose points were put behind what there was, how many went from
        the front; how many points were too old.
    """
    touched: list[str] = []
    grown: dict[str, int] = {}
    too_old: dict[str, int] = {}
    cutoff = _cutoff(window, write, now)
    for name, points in taken.items():
        fresh = [point for point in points if point[0] > cutoff]
        if len(fresh) < len(points):
            too_old[name] = len(points) - len(fresh)
        if fresh:
            before = window.series.get(name, b"")
            after = window.series[name] = _grown(before, fresh, cutoff, write.spec.max_points)
            touched.append(name)
            # who has the series in hand may have dropped it for its silence
            heard = bool(before) and _last_time(before) > cutoff
            if heard and len(fresh) == len(points) and _is_behind(before, fresh):
                grown[name] = (len(before) + len(fresh) * POINT_BYTES - len(after)) // POINT_BYTES
    return touched, grown, too_old


def _is_behind(packed: bytes, points: list[tuple[float, float]]) -> bool:
    times = [_last_time(packed), *(time for time, _ in points)]
    return all(earlier < later for earlier, later in pairwise(times))


def _grown(packed: bytes, fresh: list[tuple[float, float]], cutoff: float, at_most: int) -> bytes:
    """As :func:`autoscaler.measures.series.merged`, but quick where points come in order."""
    before = _last_time(packed) if packed else -math.inf
    for time, _ in fresh:
        if time <= before:
            return merged(packed, fresh, newer_than=cutoff, at_most=at_most)
        before = time
    grown = packed + pack(fresh)
    start = max(0, len(grown) - at_most * POINT_BYTES)
    while _time_at(grown, start)[0] <= cutoff:
        start += POINT_BYTES
    return grown[start:]


def _leave(window: _Window, leaves: Mapping[str, float]) -> list[str]:
    gone = [name for name, at in leaves.items() if name in window.series and _last_time(window.series[name]) <= at]
    for name in gone:
        del window.series[name]
    return gone


def _sweep(window: _Window, write: WindowWrite, now: float) -> list[str]:
    """Take out the series that have fallen silent, now and then."""
    if now - window.swept < sweep_interval(write.spec.horizon):
        return []
    window.swept = now
    cutoff = _cutoff(window, write, now)
    gone = [name for name, packed in window.series.items() if _last_time(packed) <= cutoff]
    for name in gone:
        del window.series[name]
    return gone


def _cutoff(window: _Window, write: WindowWrite, now: float) -> float:
    if window.newest is None:
        return -math.inf
    return cutoff(window.newest, now, write.spec.horizon, write.kept_from)


def _last_time(packed: bytes) -> float:
    time: float = _time_at(packed, len(packed) - POINT_BYTES)[0]
    return time


def _look_of(acceptance: Acceptance) -> tuple[str, int]:
    return acceptance.window_id, acceptance.window_version


def _put_in_force(alarm: _Alarm, acceptance: Acceptance, looks: Sequence[tuple[str, int]], now: float) -> None:
    noted = len(alarm.looks)
    alarm.looks.update((window_id, _Look(version, now)) for window_id, version in looks)
    if len(alarm.looks) > max(noted, NOTED):
        alarm.looks = {name: look for name, look in alarm.looks.items() if look.time > now - NOTED_FOR}
    if acceptance.record is not None:
        alarm.version = max(acceptance.record.version, acceptance.expected + 1)
        alarm.record = replace(acceptance.record, version=alarm.version)
    if acceptance.definition is not None:
        alarm.definition = acceptance.definition


def _keep(group: _Group, decision: Decision, *, coalesce: bool) -> Decision:
    """Put a decision on top, or in the place of an equal hold; what was kept."""
    newest = group.decisions[0] if group.decisions else None
    if coalesce and newest is not None and _same_hold(newest, decision):
        first = newest.time if newest.first is None else newest.first
        decision = replace(decision, times=newest.times + decision.times, first=first)
        group.decisions[0] = decision
    else:
        group.decisions.insert(0, decision)
        del group.decisions[DECISIONS:]
    group.decided[decision.id] = decision
    if len(group.decided) > DECISIONS:
        del group.decided[next(iter(group.decided))]
    return decision


def _is_id(text: str, kind: str) -> bool:
    """Whether that may be the id of a letter or change that is or was here."""
    return text.removeprefix(f"{kind}-").isdecimal()


def _same_hold(one: Decision, other: Decision) -> bool:
    return one.decision == other.decision == "hold" and (one.policy, one.reason, one.before, one.to) == (
        other.policy,
        other.reason,
        other.before,
        other.to,
    )


def _token(freeze: Freeze | None) -> str:
    return "" if freeze is None else freeze.token


_fits: type[Store] = MemoryStore
