"""The store on Redis >= 7 or Valkey >= 7.2; the protocol itself is in ``functions/*.lua``."""

from __future__ import annotations

import dataclasses
import math
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import structlog
from msgspec.structs import replace as replaced

from autoscaler.adapters.redis import forms, saving
from autoscaler.adapters.redis.calls import Call, Caller
from autoscaler.adapters.redis.definitions import DefinitionStreams
from autoscaler.adapters.redis.health import faults
from autoscaler.adapters.redis.servers import RedisTls
from autoscaler.alarms.alarm import AlarmRecord, AlarmState
from autoscaler.errors import PermanentError, TemporaryError, UnknownStateError
from autoscaler.ports import (
    ACTION,
    AUDITS,
    CHANGES,
    DEAD_LETTER_BYTES,
    DEAD_LETTERS,
    GENERATIONS,
    HISTORY_ENTRIES,
    LETTER_KINDS,
    NO_POSITIONS,
    REPLICA_SILENCE,
    REVIVED,
    STATE_FORM,
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
)
from autoscaler.scaling.decision import Decision
from autoscaler.scaling.group import GroupRecord

if TYPE_CHECKING:
    from typing import Final

    from structlog.stdlib import BoundLogger

HISTORY_TTL: Final = 30 * 24 * 3600.0
"""Seconds for which the history of an alarm is kept, also after it is gone."""
LONGEST_TTL: Final = 100 * 365 * 24 * 3600.0
"""Seconds; a server takes no time that is too far ahead."""
LEAST_SHARE: Final = 8
"""Due items that each shard is asked for beside twice its share: an uneven few are no reason to ask again."""
PIECE: Final = 500
"""Alarms per call, so that no call holds the server up."""
TOGETHER: Final = 16
"""Calls that travel together: what a backlog brings is not all to be answered within one deadline."""
STATES: Final = tuple(str(state) for state in AlarmState)

_Answer = TypeVar("_Answer")
_Asked = TypeVar("_Asked")

_log: BoundLogger = structlog.get_logger(__name__)
_unpack = msgspec.msgpack.decode


class RedisStore:
    """See :class:`autoscaler.ports.Store`.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``; ``redis+cluster://HOST:PORT,HOST:PORT`` or
            ``rediss+cluster://`` for a cluster.
        namespace: of all keys; deployments with different ones share a server undisturbed.
        shards: how many there are, where this namespace is new; a number that is stored already stands.
        deadline: seconds in which each call must have been answered.
        history_ttl: seconds for which the history of an alarm is kept, also after it is gone.
        tls: for ``rediss``; the system's authorities when None.
        clock: takes the place of the server's clock; for tests only, since replicas must agree on the time.
        wait: replicas of Redis that must have a change before it counts as stored.

    Raises:
        ValueError: an argument that no store can have.
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "autoscaler",
        shards: int = 16,
        deadline: float = 5.0,
        history_ttl: float = HISTORY_TTL,
        clock: Callable[[], float] | None = None,
        wait: int = 0,
        tls: RedisTls | None = None,
    ) -> None:
        if not re.fullmatch(r"[\w.:-]+", namespace):
            raise ValueError(f'namespace "{namespace}": expected letters, digits, ".", "_", ":" and "-"')
        if not 1 <= shards <= 1000:
            raise ValueError(f"{shards} shards: expected 1 to 1000")
        self._caller = Caller(url, deadline=deadline, clock=clock, wait=wait, tls=tls)
        self._streams = DefinitionStreams(self._caller)
        self._namespace = namespace
        self._wanted_shards = shards
        self._shards = 0  # 0 means not known yet
        self._places: Sequence[str] = ()  # the prefix of each
        self._form = STATE_FORM
        self._importing = False
        self._history_ttl = min(history_ttl, LONGEST_TTL)
        self._clock = clock

    @property
    def _hub(self) -> str:
        return f"{self._namespace}:{{hub}}:"

    def _prefix(self, entity: str) -> str:
        return self._places[zlib.crc32(entity.encode()) % self._shards]

    def _prefixes(self) -> Sequence[str]:
        return self._places

    def _prefixes_of(self, shards: int) -> list[str]:
        return [f"{self._namespace}:{{s{shard:02d}}}:" for shard in range(shards)]

    async def _ready(self) -> None:
        """Learn in which form the state is and how many shards there are, or say it where nobody has yet."""
        if self._shards:
            return
        key = f"{self._hub}shards"
        known = await self._caller.plain(key, "GET", key)
        # before there were forms all was in the first one
        form = STATE_FORM if known is None else 1
        if await self._say_of_schema("HGET", "form") is None:
            await self._caller([self._raising(self._hub, form, form)])
        schema = await self._schema()
        if schema.refusal:
            raise UnknownStateError(f"{self._caller.shown}: {schema.refusal}")
        if await self._is_importing() and not self._importing:
            raise TemporaryError(
                f"{self._caller.shown}: an import into {self._namespace} is under way, or was broken off; in that case "
                "do it again with --replace"
            )
        if known is None and schema.form > 1:
            prefixes = self._prefixes_of(self._wanted_shards)
            await self._caller([self._raising(prefix, schema.form, schema.form) for prefix in prefixes])
        await self._caller.plain(key, "SET", key, self._wanted_shards, "NX")
        stored = await self._caller.plain(key, "GET", key)
        if not stored:
            raise TemporaryError(f"{self._caller.shown}: {key} has just been deleted")
        self._form = schema.form
        self._shards = int(stored)
        self._places = self._prefixes_of(self._shards)
        if self._shards != self._wanted_shards:
            _log.warning("stored number of shards kept", stored=self._shards, configured=self._wanted_shards)

    @property
    def form(self) -> int:
        """In which everything is written at this moment, as far as this replica has heard."""
        return self._form

    async def _schema(self) -> Schema:
        words = ("HMGET", f"{self._hub}schema", "form", "oldest", "by", "since")
        form, oldest, by, since = await self._caller.plain(self._hub, *words)
        return Schema(int(form or 1), int(oldest or 1), (by or b"").decode(), float(since or 0), self._shards)

    @staticmethod
    def _raising(prefix: str, form: int, oldest: int, by: str = "") -> Call:
        return Call("raise", prefix, [form, oldest, by])

    async def _call(self, function: str, entity: str, asked: Any) -> Any:
        await self._ready()
        (answer,) = await self._caller([Call(function, self._prefix(entity), asked)])
        return answer

    async def _call_hub(self, function: str, asked: Any, data: bytes = b"") -> Any:
        await self._ready()
        (answer,) = await self._caller([Call(function, self._hub, asked, data)])
        return answer

    async def _by_shard(
        self,
        function: str,
        items: Sequence[_Asked],
        entity: Callable[[_Asked], str],
        asked: Callable[[list[_Asked]], Any],
    ) -> tuple[list[list[int]], list[Any]]:
        """One call per shard for its items, or a few; which items each answer is about, and the answers."""
        await self._ready()
        pieces = self._pieces([entity(item) for item in items])
        calls = [Call(function, prefix, asked([items[number] for number in numbers])) for prefix, numbers in pieces]
        return [numbers for _, numbers in pieces], await self._answers(calls)

    async def _answers(self, calls: Sequence[Call]) -> list[Any]:
        """The answers to any number of calls, in the order asked. Raises TemporaryError; any may have happened."""
        found: list[Any] = []
        for start in range(0, len(calls), TOGETHER):
            found += await self._caller(calls[start : start + TOGETHER])
        return found

    def _pieces(self, entities: Sequence[str]) -> list[tuple[str, list[int]]]:
        """The prefixes of all shards that entities are in, each with the numbers of some of them, in order."""
        shards: defaultdict[str, list[int]] = defaultdict(list)
        for number, entity in enumerate(entities):
            shards[self._prefix(entity)].append(number)
        return [
            (prefix, numbers[start : start + PIECE])
            for prefix, numbers in shards.items()
            for start in range(0, len(numbers), PIECE)
        ]

    async def _texts(self, prefix: str, key: str, limit: int) -> list[bytes]:
        """The first of a list."""
        if limit <= 0:
            return []
        await self._ready()
        (texts,) = await self._caller([Call("first", prefix, [key, limit])])
        return list(texts)

    async def now(self) -> float:
        """See :class:`autoscaler.ports.Store`. Of a cluster, the clock of the node that has the hub."""
        if self._clock is not None:
            return self._clock()
        seconds, micros = await self._caller.plain(self._hub, "TIME")
        return int(seconds) + int(micros) / 1e6

    async def close(self) -> None:
        """See :class:`autoscaler.ports.Store`."""
        await self._caller.close()

    async def check(self) -> list[str]:
        """What is wrong with the server, in words; empty when nothing is."""
        return await faults(self._caller)

    # windows

    async def write(self, writes: Sequence[WindowWrite]) -> list[WindowReply]:
        """See :class:`autoscaler.ports.Store`."""
        await self._ready()
        pieces = [
            (prefix, numbers, [writes[number] for number in numbers])
            for prefix, numbers in self._pieces([write.spec.window_id for write in writes])
        ]
        calls = [Call("write", prefix, *forms.windows_asked(some)) for prefix, _, some in pieces]
        answers = await self._answers(calls)
        return _in_order(
            [numbers for _, numbers, _ in pieces],
            [forms.window_replies(some, *answer) for (_, _, some), answer in zip(pieces, answers, strict=True)],
        )

    async def done(self, marks: Sequence[WindowDone]) -> None:
        """See :class:`autoscaler.ports.Store`."""
        await self._by_shard(
            "done",
            marks,
            lambda mark: mark.window_id,
            lambda some: [(mark.window_id, mark.version, forms.maybe(mark.next_due)) for mark in some],
        )

    # alarms

    async def accept(self, acceptances: Sequence[Acceptance], *, lease: float) -> list[Accepted | Stale | Retry]:
        """See :class:`autoscaler.ports.Store`."""
        await self._ready()
        limits = {"history_entries": HISTORY_ENTRIES, "history_ttl": self._history_ttl, "changes": CHANGES}
        quiet: list[int] = []
        others: list[int] = []
        for number, acceptance in enumerate(acceptances):
            (quiet if forms.is_quiet(acceptance) else others).append(number)
        calls: list[Call] = []
        asked: list[list[int]] = []
        for function, numbers, form in (
            ("note", quiet, forms.quiet_asked),
            ("accept", others, lambda some: (lease, limits, [forms.acceptance_asked(each) for each in some])),
        ):
            for prefix, places in self._pieces([acceptances[number].alarm_id for number in numbers]):
                asked.append([numbers[place] for place in places])
                calls.append(Call(function, prefix, form([acceptances[number] for number in asked[-1]])))
        found: list[Accepted | Stale | Retry] = [forms.ACCEPTED] * len(acceptances)
        for call, numbers, answer in zip(calls, asked, await self._answers(calls), strict=True):
            outcomes = forms.quiet_outcomes(answer) if call.function == "note" else forms.outcomes(answer)
            for place, outcome in outcomes:
                found[numbers[place]] = outcome
        return found

    async def alarms(self, alarm_ids: Sequence[str]) -> list[AlarmRecord | None]:
        """See :class:`autoscaler.ports.Store`."""
        pieces, answers = await self._by_shard("alarms", alarm_ids, str, list)
        found = [_unpack(answer, type=list[str]) for answer in answers]
        return [forms.decoded(AlarmRecord, record) for record in _in_order(pieces, found)]

    async def forget(self, alarm_ids: Sequence[str]) -> None:
        """See :class:`autoscaler.ports.Store`."""
        await self._by_shard("forget", alarm_ids, str, list)

    async def definitions(self) -> Definitions:
        """See :class:`autoscaler.ports.Store`."""
        await self._ready()
        return await self._streams.all(self._prefixes())

    async def changes(self, position: str, *, patience: float) -> DefinitionChanges:
        """See :class:`autoscaler.ports.Store`."""
        await self._ready()
        return await self._streams.changes(self._prefixes(), position, patience=patience)

    async def history(self, alarm_id: str, *, limit: int) -> list[HistoryEntry]:
        """See :class:`autoscaler.ports.Store`."""
        (entries,) = await self.entries([alarm_id], limit=limit)
        return entries

    async def entries(self, alarm_ids: Sequence[str], *, limit: int) -> list[list[HistoryEntry]]:
        """See :class:`autoscaler.ports.Store`. They travel together, each read for itself."""
        if limit <= 0:
            return [[] for _ in alarm_ids]
        await self._ready()
        calls = [Call("history", self._prefix(alarm_id), [alarm_id, limit]) for alarm_id in alarm_ids]
        return [self._kept_entries(answer) for answer in await self._caller(calls)]

    def _kept_entries(self, answer: bytes) -> list[HistoryEntry]:
        now, texts = _unpack(answer, type=tuple[float, list[str]])
        entries = [msgspec.json.decode(text, type=HistoryEntry) for text in texts]
        return [entry for entry in entries if entry.timestamp > now - self._history_ttl]

    async def histories(self, project_id: str | None) -> list[str]:
        """See :class:`autoscaler.ports.Store`."""
        await self._ready()
        project = [] if project_id is None else [project_id]
        calls = [Call("histories", prefix, [project, self._history_ttl]) for prefix in self._prefixes()]
        return [alarm_id for answer in await self._caller(calls) for alarm_id in _unpack(answer, type=list[str])]

    async def tally(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """See :class:`autoscaler.ports.Store`."""
        await self._by_shard("tally", list(counts.items()), lambda entry: entry[0], list)

    async def tallies(self, alarm_ids: Sequence[str]) -> list[Mapping[str, int]]:
        """See :class:`autoscaler.ports.Store`."""
        pieces, answers = await self._by_shard("tallies", alarm_ids, str, lambda some: (STATES, some))
        found = [_unpack(answer, type=list[list[int]]) for answer in answers]
        return [
            {state: times for state, times in zip(STATES, counts, strict=True) if times}
            for counts in _in_order(pieces, found)
        ]

    # small documents

    async def keep(self, kind: str, entries: Mapping[str, bytes | None]) -> None:
        """See :class:`autoscaler.ports.Store`."""
        await self._ready()
        keys = list(entries)
        calls = []
        for prefix, numbers in self._pieces(keys):
            some = [(keys[number], entries[keys[number]]) for number in numbers]
            lengths = [(key, -1 if document is None else len(document)) for key, document in some]
            calls.append(Call("keep", prefix, [kind, lengths], b"".join(document or b"" for _, document in some)))
        await self._caller(calls)

    async def kept(self, kind: str, keys: Sequence[str]) -> list[bytes | None]:
        """See :class:`autoscaler.ports.Store`."""
        pieces, answers = await self._by_shard("kept", keys, str, lambda some: [kind, some])
        return _in_order(pieces, answers)

    async def kept_keys(self, kind: str) -> list[str]:
        """See :class:`autoscaler.ports.Store`."""
        await self._ready()
        answers = await self._caller([Call("kept_keys", prefix, [kind]) for prefix in self._prefixes()])
        return [key for answer in answers for key in _unpack(answer, type=list[str])]

    # outbox

    async def head(self, lane: str) -> OutboxRow | None:
        """See :class:`autoscaler.ports.Store`."""
        return forms.row_of(await self._call("head", alarm_of(lane), [lane]))

    async def delivered(self, lane: str, row_id: str, *, lease: float) -> OutboxRow | None:
        """See :class:`autoscaler.ports.Store`."""
        alarm_id = alarm_of(lane)
        return forms.row_of(await self._call("delivered", alarm_id, [alarm_id, lane, row_id, lease]))

    async def revive(self, row: OutboxRow, token: str, *, lease: float) -> Accepted | None:
        """See :class:`autoscaler.ports.Store`."""
        queued = (row.lane, row.repeat, forms.to_json(row).decode())
        answer = await self._call("revive", row.alarm_id, [row.alarm_id, queued, token, REVIVED, lease])
        revived, lanes = _unpack(answer, type=tuple[bool, list[str]])
        return Accepted(lanes) if revived else None

    async def undelivered(
        self, lane: str, row_id: str, *, retry_at: float, tried: bool = True, leased_until: float = math.inf
    ) -> None:
        """See :class:`autoscaler.ports.Store`."""
        await self._call("undelivered", alarm_of(lane), [lane, row_id, retry_at, int(tried), leased_until])

    async def lanes(self, alarm_id: str) -> Mapping[str, int]:
        """See :class:`autoscaler.ports.Store`."""
        answer = await self._call("lanes", alarm_id, [alarm_id])
        names, lengths = _unpack(answer, type=tuple[list[str], list[int]])
        return dict(zip(names, lengths, strict=True))

    # work

    async def mark(self, items: Sequence[WorkItem]) -> None:
        """See :class:`autoscaler.ports.Store`."""
        await self._by_shard(
            "mark", items, forms.work_entity, lambda some: [(item.kind, item.key, item.due) for item in some]
        )

    async def hold(self, items: Sequence[WorkItem], *, lease: float) -> list[WorkItem | None]:
        """See :class:`autoscaler.ports.Store`."""
        pieces, answers = await self._by_shard(
            "hold",
            items,
            forms.work_entity,
            lambda some: [lease, [(item.kind, item.key, item.leased_until) for item in some]],
        )
        times = _in_order(pieces, [_unpack(answer, type=list[float]) for answer in answers])
        return [
            dataclasses.replace(item, leased_until=until) if until else None
            for item, until in zip(items, times, strict=True)
        ]

    async def finish(self, items: Sequence[WorkItem], next_due: float | None) -> None:
        """See :class:`autoscaler.ports.Store`."""
        await self._ready()
        due = forms.maybe(next_due)
        await self._caller(
            [
                Call("finish", self._prefix(forms.work_entity(item)), [item.kind, item.key, item.leased_until, due])
                for item in items
            ]
        )

    async def claim(self, *, limit: int, lease: float) -> Claimed:
        """See :class:`autoscaler.ports.Store`.

        First a look at all shards, so that the oldest are taken wherever they are and an idle look writes nothing.
        """
        await self._ready()
        # more than the share of each, which is all that is due, or enough, unless the oldest are in a few of them
        seen = await self._due(min(limit, 2 * limit // self._shards + LEAST_SHARE))
        oldest = _oldest(seen, limit)
        if len(oldest) < limit and any(due <= look.now for look in seen.values() for due in look.rest):
            seen = await self._due(limit)
            oldest = _oldest(seen, limit)
        counts = Counter(prefix for _, _, prefix in oldest)
        answers = await self._caller([Call("claim", prefix, [count, lease]) for prefix, count in counts.items()])
        taken = {prefix: forms.due_work.decode(answer) for prefix, answer in zip(counts, answers, strict=True)}
        items = [
            forms.work_item(item, due, look.leased_until)
            for look in taken.values()
            for due, item in zip(look.dues, look.items, strict=True)
        ]
        items.sort(key=lambda item: (item.due, item.kind, item.key))
        rest = [due for look in taken.values() for due in look.rest]
        rest += [due for prefix, look in seen.items() if prefix not in taken for due in (*look.dues, *look.rest)]
        now = max(look.now for look in (*seen.values(), *taken.values()))
        return Claimed(items, min(rest, default=None), now)

    async def _due(self, limit: int) -> dict[str, forms.Due]:
        """At most so many due items of each shard, by its prefix."""
        prefixes = self._prefixes()
        answers = await self._caller([Call("due", prefix, [limit]) for prefix in prefixes])
        return {prefix: forms.due_work.decode(answer) for prefix, answer in zip(prefixes, answers, strict=True)}

    async def schedule(self, name: str, digest: str, first: float) -> float:
        """See :class:`autoscaler.ports.Store`."""
        due = _unpack(await self._call("schedule", name, [name, digest, first]), type=list[float])
        return due[0] if due else math.inf

    async def advance(self, name: str, due: float, following: float | None) -> bool:
        """See :class:`autoscaler.ports.Store`."""
        (moved,) = _unpack(await self._call("advance", name, [name, due, forms.maybe(following)]), type=tuple[bool])
        return moved

    # groups

    async def group(self, name: str) -> GroupState:
        """See :class:`autoscaler.ports.Store`."""
        return forms.group_state(*_unpack(await self._call("group", name, [name]), type=tuple[str, str, float]))

    async def put_group(self, put: GroupPut) -> Put | AlreadyDecided | Changed:
        """See :class:`autoscaler.ports.Store`."""
        kind, decision, state = _unpack(
            await self._call("put_group", put.name, forms.put_asked(put)), type=tuple[int, str, Any]
        )
        match kind:
            case 0:
                return Put(forms.kept_decision(decision) if decision else None)
            case 1:
                return AlreadyDecided(forms.kept_decision(decision))
            case _:
                return Changed(forms.group_state(*state))

    async def decisions(self, name: str, *, limit: int) -> list[Decision]:
        """See :class:`autoscaler.ports.Store`."""
        await self._ready()
        texts = await self._texts(self._prefix(name), f"decisions:{name}", limit)
        return [forms.kept_decision(text.decode()) for text in texts]

    async def freeze(self, freeze: Freeze | None) -> None:
        """See :class:`autoscaler.ports.Store`. Of two at once the one numbered later stands, in every shard."""
        number = await self._call_hub("next_freeze", ())
        asked = [number, "", ""] if freeze is None else [number, freeze.token, forms.to_json(freeze).decode()]
        await self._caller([Call("freeze", prefix, asked) for prefix in self._prefixes()])

    # what belongs to no shard

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """See :class:`autoscaler.ports.Store`."""
        if letters:
            texts = [(letter.kind, forms.to_json(letter).decode()) for letter in letters]
            await self._call_hub("bury", [DEAD_LETTERS, DEAD_LETTER_BYTES, texts])

    async def dead_letters(self, kind: str, *, limit: int, before: str = "") -> list[DeadLetter]:
        """See :class:`autoscaler.ports.Store`."""
        if not before:
            return await self._letters("XREVRANGE", kind, "+", "-", limit)
        at = forms.stream_id(before) if forms.kind_of_letter(before) == kind else ""
        return await self._letters("XREVRANGE", kind, f"({at}", "-", limit) if at else []

    async def dead_letter(self, letter_id: str) -> DeadLetter | None:
        """See :class:`autoscaler.ports.Store`."""
        at = forms.stream_id(letter_id)
        found = await self._letters("XRANGE", forms.kind_of_letter(letter_id), at, at, 1) if at else []
        return found[0] if found else None

    async def _letters(self, command: str, kind: str, start: str, end: str, limit: int) -> list[DeadLetter]:
        if limit <= 0:
            return []
        entries = await self._call_hub("letters", [command, kind, start, end, limit])
        return [forms.letter_of(kind, at, fields) for at, fields in entries]

    async def _letters_after(self, kind: str, letter_id: str) -> AsyncGenerator[DeadLetter, None]:
        """Oldest first, those that are newer than the one with this id, or ("") all."""
        while page := await self._letters(
            "XRANGE", kind, f"({forms.stream_id(letter_id)}" if letter_id else "-", "+", PIECE
        ):
            for letter in page:
                yield letter
            letter_id = page[-1].id

    async def drop_letters(self, letter_ids: Sequence[str]) -> list[bool]:
        """See :class:`autoscaler.ports.Store`."""
        asked = [(forms.kind_of_letter(each), at) for each in letter_ids if (at := forms.stream_id(each))]
        found = iter(_unpack(await self._call_hub("drop_letters", asked), type=list[bool]) if asked else [])
        return [bool(forms.stream_id(each)) and next(found) for each in letter_ids]

    async def audit(self, entry: AuditEntry) -> None:
        """See :class:`autoscaler.ports.Store`."""
        await self._call_hub("audit", [AUDITS, forms.to_json(entry).decode(), forms.maybe(entry.time or None)])

    async def audits(self, *, limit: int, before: str = "") -> list[AuditEntry]:
        """See :class:`autoscaler.ports.Store`."""
        newest = f"({at}" if (at := forms.stream_id(before)) else "+"
        if limit <= 0 or (before and not at):
            return []
        return [forms.audit_entry(at, fields) for at, fields in await self._call_hub("audits", [newest, limit])]

    async def beat(self, heartbeat: Heartbeat) -> Pulse:
        """See :class:`autoscaler.ports.Store`."""
        answer = await self._call_hub("beat", [heartbeat.replica, forms.to_json(heartbeat).decode(), REPLICA_SILENCE])
        beats, generation, now, self._form = _unpack(answer, type=tuple[list[str], str, float, int])
        return Pulse(_heartbeats(beats), generation, now)

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
        reached = [[seat, position] for seat, position in positions.items()]
        asked = [replica, lease, list(seats), list(keep), list(cleared), list(left), bus, reached]
        answer = await self._call_hub("sit", asked)
        mine, share, elsewhere, spare, soonest, kept = _unpack(
            answer, type=tuple[list[str], int, list[str], str, float, list[tuple[str, int]]]
        )
        return Seating(mine, share, elsewhere, spare, soonest, dict(kept))

    async def rise(self, replica: str) -> None:
        """See :class:`autoscaler.ports.Store`."""
        await self._call_hub("rise", [replica, list(Bus)])

    async def leave(self, replica: str) -> None:
        """See :class:`autoscaler.ports.Store`."""
        await self._call_hub("leave", [replica])

    async def replicas(self) -> Sequence[Heartbeat]:
        """See :class:`autoscaler.ports.Store`."""
        return _heartbeats(_unpack(await self._call_hub("replicas", [REPLICA_SILENCE]), type=list[str]))

    async def schema(self) -> Schema:
        """See :class:`autoscaler.ports.Store`."""
        stored = await self._caller.plain(self._hub, "GET", f"{self._hub}shards")
        if stored is None:
            return Schema(shards=self._wanted_shards)
        return dataclasses.replace(await self._schema(), shards=int(stored))

    async def upgrade(self, by: str) -> Schema:
        """See :class:`autoscaler.ports.Store`. Libraries of other versions are removed, whoever left them behind."""
        await self._ready()
        # first every shard is closed to those who do not know the new form, then somebody writes in it
        for prefix in (*self._prefixes(), self._hub):
            await self._caller([self._raising(prefix, STATE_FORM, self._form, by)])
        schema = await self._schema()
        self._form = schema.form
        removed = await self._caller.clear()
        _log.info("functions of other versions removed", libraries=removed)
        return schema

    # the state as a whole

    async def saved(self) -> AsyncGenerator[Saved, None]:
        """See :class:`autoscaler.ports.Store`. Of what is stored only the names are held at once."""
        await self._ready()
        prefixes = self._prefixes()
        places = await self._caller.places(prefixes)
        names = await saving.entities(self._caller, self._namespace)
        generation = await self.generation()
        if generation is not None:
            yield SavedDeclarations(generation=generation[0], documents=generation[1])
        freeze = (await self.group("")).freeze
        if freeze is not None:
            yield SavedFreeze(freeze=freeze)
        changes: list[AuditEntry] = []
        while some := await self.audits(limit=PIECE, before=changes[-1].id if changes else ""):
            changes += some
        for change in reversed(changes):
            yield SavedChange(change=change)
        newest = dict.fromkeys(LETTER_KINDS, "")
        for kind in LETTER_KINDS:
            async for letter in self._letters_after(kind, ""):
                newest[kind] = letter.id
                yield SavedLetter(letter=letter)
        for ids in saving.pieces(names.get("alarm", ()), saving.AT_ONCE):
            for alarm in await self._saved_alarms(ids):
                yield alarm
        # an action that was buried before its alarm was read is in no lane any more
        async for letter in self._letters_after(ACTION, newest[ACTION]):
            yield SavedLetter(letter=letter)
        for name in names.get("group", ()):
            group = saving.group_of(name, await self._call("saved_group", name, [name]))
            if group is not None:
                yield group
        for kind in names.get("kept", ()):
            for keys in saving.pieces(sorted(await self.kept_keys(kind)), PIECE):
                for key, document in zip(keys, await self.kept(kind, keys), strict=True):
                    if document is not None:
                        yield SavedDocument(kind=kind, key=key, document=document)
        if await self._caller.places(prefixes) != places:
            # keys that went from one server to another may have been looked for at neither
            raise TemporaryError(f"{self._caller.shown}: a shard was moved meanwhile, so something may be missing")

    async def _saved_alarms(self, alarm_ids: Sequence[str]) -> list[SavedAlarm]:
        numbers, answers = await self._by_shard("saved_alarms", alarm_ids, str, list)
        found = _in_order(numbers, [saving.alarms_of(answer) for answer in answers])
        named = [replaced(alarm, alarm_id=alarm_id) for alarm_id, alarm in zip(alarm_ids, found, strict=True)]
        # one may have vanished meanwhile
        return [alarm for alarm in named if alarm != SavedAlarm(alarm_id=alarm.alarm_id)]

    async def begin_import(self, *, shards: int, replace: bool) -> None:
        """See :class:`autoscaler.ports.Store`."""
        if not replace and [keys async for _, keys in saving.keys_of(self._caller, self._namespace) if keys]:
            raise PermanentError(f"{self._caller.shown}: {self._namespace} is not empty; --replace empties it")
        await self._alone()
        await self._say_of_schema("HSET", "importing", 1)
        try:
            await self._alone()
        except PermanentError:
            await self._say_of_schema("HDEL", "importing")
            raise
        await saving.remove(self._caller, self._namespace, but=f"{self._hub}schema")
        await self._say_of_schema("HDEL", "form", "oldest", "by", "since")
        self._importing, self._shards, self._wanted_shards = True, 0, shards
        await self._ready()

    async def end_import(self) -> None:
        """See :class:`autoscaler.ports.Store`."""
        await self._alone()
        await self._say_of_schema("HDEL", "importing")

    async def _say_of_schema(self, command: str, *words: str | int) -> Any:
        key = f"{self._hub}schema"
        return await self._caller.plain(key, command, key, *words)

    async def _alone(self) -> None:
        """Refuse where a replica lives, whatever form the state is in: when they were heard is told in all of them."""
        key, since = f"{self._hub}replicas", await self.now() - REPLICA_SILENCE
        heard = await self._caller.plain(key, "ZRANGE", key, "+inf", since, "BYSCORE", "REV", "LIMIT", 0, 1)
        if heard:
            raise PermanentError(
                f"{self._caller.shown}: {heard[0].decode()} runs on {self._namespace}; end every controller first"
            )

    async def _is_importing(self) -> bool:
        return bool(await self._say_of_schema("HEXISTS", "importing"))

    async def restore_group(self, name: str, record: GroupRecord, decisions: Sequence[Decision]) -> None:
        """See :class:`autoscaler.ports.Store`."""
        await self._call("restore_group", name, forms.restored_asked(name, record, decisions))

    async def publish(self, generation: str, documents: bytes, *, insist: bool) -> str:
        """See :class:`autoscaler.ports.Store`."""
        in_force: bytes = await self._call_hub("publish", [generation, insist, GENERATIONS], documents)
        return in_force.decode()

    async def generation(self) -> tuple[str, bytes] | None:
        """See :class:`autoscaler.ports.Store`."""
        await self._ready()
        words = ("HMGET", f"{self._hub}declarations", "generation", "documents")
        generation, documents = await self._caller.plain(self._hub, *words)
        return None if generation is None else (generation.decode(), documents)


def _heartbeats(texts: Sequence[str]) -> list[Heartbeat]:
    return [msgspec.json.decode(text, type=Heartbeat) for text in texts]


def _oldest(seen: Mapping[str, forms.Due], limit: int) -> list[tuple[float, str, str]]:
    """Due time, item and shard of at most so many; nothing that is younger than what some shard was not asked for."""
    until = min((due for look in seen.values() for due in look.rest), default=math.inf)
    found = [
        (due, item, prefix)
        for prefix, look in seen.items()
        for due, item in zip(look.dues, look.items, strict=True)
        if due <= until
    ]
    return sorted(found)[:limit]


def _in_order(pieces: Sequence[Sequence[int]], answers: Sequence[Sequence[_Answer]]) -> list[_Answer]:
    """What pieces were answered, in the order of the numbers they had."""
    found: dict[int, _Answer] = {}
    for numbers, answer in zip(pieces, answers, strict=True):
        found.update(zip(numbers, answer, strict=True))
    return [found[number] for number in range(len(found))]


_fits: type[Store] = RedisStore
