"""The store on Redis >= 7 or Valkey >= 7.2; the protocol itself is in ``functions/*.lua``."""

from __future__ import annotations

import json
import math
import re
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import structlog
from msgspec.structs import replace

from autoscaler.adapters.redis.calls import Call, Caller
from autoscaler.adapters.redis.health import faults
from autoscaler.alarms.alarm import AlarmRecord
from autoscaler.errors import TemporaryError
from autoscaler.ports import (
    DEAD_LETTER_BYTES,
    DEAD_LETTERS,
    DECISIONS,
    GENERATIONS,
    HISTORY_ENTRIES,
    MARK_DELAY,
    REPLICA_SILENCE,
    Acceptance,
    Accepted,
    AlreadyDecided,
    Changed,
    Claimed,
    DeadLetter,
    Freeze,
    GroupPut,
    GroupState,
    Heartbeat,
    HistoryEntry,
    OutboxRow,
    Pulse,
    Put,
    Retry,
    Stale,
    Store,
    WindowDone,
    WindowReply,
    WindowWrite,
    WorkItem,
    alarm_of,
    sweep_interval,
)
from autoscaler.scaling.decision import Decision
from autoscaler.scaling.group import GroupRecord

if TYPE_CHECKING:
    from typing import Final

    from structlog.stdlib import BoundLogger

HISTORY_KEPT: Final = 30 * 24 * 3600
"""Seconds for which the history of an alarm outlives it."""

_Asked = TypeVar("_Asked")
_Decoded = TypeVar("_Decoded")

_log: BoundLogger = structlog.get_logger(__name__)
_json = msgspec.json.Encoder().encode
_unpack = msgspec.msgpack.decode


class _Head(msgspec.Struct, array_like=True):
    """What `write` answers for a window, beside the points."""

    version: int
    asof: float
    newest: list[float]
    whole: bool
    names: list[str]
    lengths: list[int]
    gone: list[str]
    old_names: list[str]
    old_counts: list[int]
    refused: list[str]


class _Due(msgspec.Struct, array_like=True):
    """What `due` and `claim` answer."""

    items: list[str]
    dues: list[float]
    rest: list[float]
    now: float
    leased_until: float


_heads = msgspec.msgpack.Decoder(list[_Head])
_due = msgspec.msgpack.Decoder(_Due)


class RedisStore:
    """See :class:`autoscaler.ports.Store`.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        namespace: of all keys; deployments with different ones share a server undisturbed.
        shards: how many there are, where this namespace is new; a number that is stored already stands.
        deadline: seconds in which each call must have been answered.
        clock: takes the place of the server's clock; for tests only, since replicas must agree on the time.

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
        clock: Callable[[], float] | None = None,
    ) -> None:
        if not re.fullmatch(r"[\w.:-]+", namespace):
            raise ValueError(f'namespace "{namespace}": expected letters, digits, ".", "_", ":" and "-"')
        if not 1 <= shards <= 1000:
            raise ValueError(f"{shards} shards: expected 1 to 1000")
        self._caller = Caller(url, deadline=deadline, clock=clock)
        self._namespace = namespace
        self._wanted_shards = shards
        self._shards = 0  # 0 means not known yet
        self._clock = clock

    @property
    def _hub(self) -> str:
        return f"{self._namespace}:{{hub}}:"

    def _prefix(self, entity: str) -> str:
        return f"{self._namespace}:{{s{zlib.crc32(entity.encode()) % self._shards:02d}}}:"

    def _prefixes(self) -> list[str]:
        return [f"{self._namespace}:{{s{shard:02d}}}:" for shard in range(self._shards)]

    async def _ready(self) -> None:
        """Learn how many shards there are, or say it where nobody has yet."""
        if self._shards:
            return
        key = f"{self._hub}shards"
        await self._caller.bounded(self._caller.plain("SET", key, self._wanted_shards, "NX"))
        stored = await self._caller.bounded(self._caller.plain("GET", key))
        if not stored:
            raise TemporaryError(f"{self._caller.shown}: {key} has just been deleted")
        self._shards = int(stored)
        if self._shards != self._wanted_shards:
            _log.warning("stored number of shards kept", stored=self._shards, configured=self._wanted_shards)

    async def _call(self, function: str, entity: str, asked: Any) -> Any:
        await self._ready()
        (answer,) = await self._caller([Call(function, self._prefix(entity), asked)])
        return answer

    async def _call_hub(self, function: str, asked: Any, data: bytes = b"") -> Any:
        (answer,) = await self._caller([Call(function, self._hub, asked, data)])
        return answer

    async def _by_shard(
        self,
        function: str,
        items: Sequence[_Asked],
        entity: Callable[[_Asked], str],
        asked: Callable[[list[_Asked]], Any],
    ) -> tuple[list[list[int]], list[Any]]:
        """One call per shard for all of its items; which items each answer is about, and the answers."""
        await self._ready()
        shards: defaultdict[str, list[int]] = defaultdict(list)
        for number, item in enumerate(items):
            shards[self._prefix(entity(item))].append(number)
        calls = [
            Call(function, prefix, asked([items[number] for number in numbers])) for prefix, numbers in shards.items()
        ]
        return list(shards.values()), await self._caller(calls)

    async def _texts(self, prefix: str, key: str, limit: int) -> list[bytes]:
        """The first of a list."""
        if limit <= 0:
            return []
        texts: list[bytes] = await self._caller.bounded(self._caller.plain("LRANGE", prefix + key, 0, limit - 1))
        return texts

    async def now(self) -> float:
        """See :class:`autoscaler.ports.Store`."""
        if self._clock is not None:
            return self._clock()
        seconds, micros = await self._caller.bounded(self._caller.plain("TIME"))
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
        shards: defaultdict[str, list[int]] = defaultdict(list)
        ids = [write.spec.window_id for write in writes]
        for number, window_id in enumerate(ids):
            shards[self._prefix(window_id)].append(number)
        calls = [
            Call(
                "write",
                prefix,
                [_window_asked(ids[number], writes[number]) for number in numbers],
                b"".join([points for number in numbers for points in writes[number].points.values()]),
            )
            for prefix, numbers in shards.items()
        ]
        replies: dict[int, WindowReply] = {}
        for numbers, (heads, data) in zip(shards.values(), await self._caller(calls), strict=True):
            replies.update(zip(numbers, _window_replies(heads, data), strict=True))
        return [replies[number] for number in range(len(writes))]

    async def done(self, marks: Sequence[WindowDone]) -> None:
        """See :class:`autoscaler.ports.Store`."""
        await self._by_shard(
            "done",
            marks,
            lambda mark: mark.window_id,
            lambda some: [(mark.window_id, mark.version, _maybe(mark.next_due)) for mark in some],
        )

    # alarms

    async def accept(self, acceptances: Sequence[Acceptance], *, lease: float) -> list[Accepted | Stale | Retry]:
        """See :class:`autoscaler.ports.Store`."""
        shards, answers = await self._by_shard(
            "accept",
            acceptances,
            lambda acceptance: acceptance.alarm_id,
            lambda some: (lease, [_acceptance_asked(acceptance) for acceptance in some]),
        )
        found: dict[int, Accepted | Stale | Retry] = {}
        for numbers, answer in zip(shards, answers, strict=True):
            outcomes = _unpack(answer, type=list[tuple[int, str, list[str]]])
            found.update(zip(numbers, (_outcome(*outcome) for outcome in outcomes), strict=True))
        return [found[number] for number in range(len(acceptances))]

    async def alarms(self, alarm_ids: Sequence[str]) -> list[AlarmRecord | None]:
        """See :class:`autoscaler.ports.Store`."""
        shards, answers = await self._by_shard("alarms", alarm_ids, str, list)
        found: dict[int, AlarmRecord | None] = {}
        for numbers, answer in zip(shards, answers, strict=True):
            records = _unpack(answer, type=list[str])
            found.update(zip(numbers, (_decoded(AlarmRecord, record) for record in records), strict=True))
        return [found[number] for number in range(len(alarm_ids))]

    async def forget(self, alarm_ids: Sequence[str]) -> None:
        """See :class:`autoscaler.ports.Store`. The history stays for :data:`HISTORY_KEPT`."""
        await self._by_shard("forget", alarm_ids, str, lambda some: (HISTORY_KEPT, some))

    async def history(self, alarm_id: str, *, limit: int) -> list[HistoryEntry]:
        """See :class:`autoscaler.ports.Store`."""
        await self._ready()
        texts = await self._texts(self._prefix(alarm_id), f"history:{alarm_id}", limit)
        return [msgspec.json.decode(text, type=HistoryEntry) for text in texts]

    # outbox

    async def head(self, lane: str) -> OutboxRow | None:
        """See :class:`autoscaler.ports.Store`."""
        return _row(await self._call("head", alarm_of(lane), [lane]))

    async def delivered(self, lane: str, row_id: str, *, lease: float) -> OutboxRow | None:
        """See :class:`autoscaler.ports.Store`."""
        alarm_id = alarm_of(lane)
        return _row(await self._call("delivered", alarm_id, [alarm_id, lane, row_id, lease]))

    async def undelivered(self, lane: str, row_id: str, *, retry_at: float, tried: bool = True) -> None:
        """See :class:`autoscaler.ports.Store`."""
        await self._call("undelivered", alarm_of(lane), [lane, row_id, retry_at, int(tried)])

    async def lanes(self, alarm_id: str) -> Mapping[str, int]:
        """See :class:`autoscaler.ports.Store`."""
        answer = await self._call("lanes", alarm_id, [alarm_id])
        names, lengths = _unpack(answer, type=tuple[list[str], list[int]])
        return dict(zip(names, lengths, strict=True))

    # work

    async def mark(self, items: Sequence[WorkItem]) -> None:
        """See :class:`autoscaler.ports.Store`."""
        await self._by_shard(
            "mark", items, _work_entity, lambda some: [(item.kind, item.key, item.due) for item in some]
        )

    async def finish(self, item: WorkItem, next_due: float | None) -> None:
        """See :class:`autoscaler.ports.Store`."""
        await self._call("finish", _work_entity(item), [item.kind, item.key, item.leased_until, _maybe(next_due)])

    async def claim(self, *, limit: int, lease: float) -> Claimed:
        """See :class:`autoscaler.ports.Store`.

        First a look at all shards, so that the oldest are taken wherever they are and an idle look writes nothing.
        """
        await self._ready()
        prefixes = self._prefixes()
        answers = await self._caller([Call("due", prefix, [limit]) for prefix in prefixes])
        seen = {prefix: _due.decode(answer) for prefix, answer in zip(prefixes, answers, strict=True)}
        oldest = sorted(
            (due, item, prefix)
            for prefix, look in seen.items()
            for due, item in zip(look.dues, look.items, strict=True)
        )
        counts: defaultdict[str, int] = defaultdict(int)
        for _, _, prefix in oldest[:limit]:
            counts[prefix] += 1
        answers = await self._caller([Call("claim", prefix, [count, lease]) for prefix, count in counts.items()])
        taken = {prefix: _due.decode(answer) for prefix, answer in zip(counts, answers, strict=True)}
        items = [
            _work_item(item, due, look.leased_until)
            for look in taken.values()
            for due, item in zip(look.dues, look.items, strict=True)
        ]
        items.sort(key=lambda item: (item.due, item.kind, item.key))
        rest = [due for look in taken.values() for due in look.rest]
        rest += [due for prefix, look in seen.items() if prefix not in taken for due in (*look.dues, *look.rest)]
        now = max(look.now for look in (*seen.values(), *taken.values()))
        return Claimed(items, min(rest, default=None), now)

    async def schedule(self, name: str, digest: str, first: float) -> float:
        """See :class:`autoscaler.ports.Store`."""
        due = _unpack(await self._call("schedule", name, [name, digest, first]), type=list[float])
        return due[0] if due else math.inf

    async def advance(self, name: str, due: float, following: float | None) -> bool:
        """See :class:`autoscaler.ports.Store`."""
        (moved,) = _unpack(await self._call("advance", name, [name, due, _maybe(following)]), type=tuple[bool])
        return moved

    # groups

    async def group(self, name: str) -> GroupState:
        """See :class:`autoscaler.ports.Store`."""
        return _group_state(*_unpack(await self._call("group", name, [name]), type=tuple[str, str, float]))

    async def put_group(self, put: GroupPut) -> Put | AlreadyDecided | Changed:
        """See :class:`autoscaler.ports.Store`."""
        kind, decision, state = _unpack(
            await self._call("put_group", put.name, _put_asked(put)), type=tuple[int, str, Any]
        )
        match kind:
            case 0:
                return Put(_decision(decision) if decision else None)
            case 1:
                return AlreadyDecided(_decision(decision))
            case _:
                return Changed(_group_state(*state))

    async def decisions(self, name: str, *, limit: int) -> list[Decision]:
        """See :class:`autoscaler.ports.Store`."""
        await self._ready()
        texts = await self._texts(self._prefix(name), f"decisions:{name}", limit)
        return [_decision(text.decode()) for text in texts]

    async def freeze(self, freeze: Freeze | None) -> None:
        """See :class:`autoscaler.ports.Store`. Of two at once the one numbered later stands, in every shard."""
        await self._ready()
        number = await self._caller.bounded(self._caller.plain("INCR", f"{self._hub}freezes"))
        asked = [number, "", ""] if freeze is None else [number, freeze.token, _json(freeze).decode()]
        await self._caller([Call("freeze", prefix, asked) for prefix in self._prefixes()])

    # what belongs to no shard

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """See :class:`autoscaler.ports.Store`."""
        if letters:
            texts = [(letter.kind, _json(letter).decode()) for letter in letters]
            await self._call_hub("bury", [DEAD_LETTERS, DEAD_LETTER_BYTES, texts])

    async def dead_letters(self, kind: str, *, limit: int) -> list[DeadLetter]:
        """See :class:`autoscaler.ports.Store`."""
        texts = await self._texts(self._hub, f"letters:{kind}", limit)
        return [msgspec.json.decode(text, type=DeadLetter) for text in texts]

    async def beat(self, heartbeat: Heartbeat) -> Pulse:
        """See :class:`autoscaler.ports.Store`."""
        answer = await self._call_hub("beat", [heartbeat.replica, _json(heartbeat).decode(), REPLICA_SILENCE])
        beats, generation, now = _unpack(answer, type=tuple[list[str], str, float])
        return Pulse([msgspec.json.decode(beat, type=Heartbeat) for beat in beats], generation, now)

    async def publish(self, generation: str, documents: bytes, *, insist: bool) -> str:
        """See :class:`autoscaler.ports.Store`."""
        in_force: bytes = await self._call_hub("publish", [generation, insist, GENERATIONS], documents)
        return in_force.decode()

    async def generation(self) -> tuple[str, bytes] | None:
        """See :class:`autoscaler.ports.Store`."""
        command = self._caller.plain("HMGET", f"{self._hub}declarations", "generation", "documents")
        generation, documents = await self._caller.bounded(command)
        return None if generation is None else (generation.decode(), documents)


def _maybe(value: float | None) -> list[float]:
    return [] if value is None else [value]


def _window_asked(window_id: str, write: WindowWrite) -> dict[str, Any]:
    spec = write.spec
    return {
        "id": window_id,
        "held": write.held,
        "horizon": spec.horizon,
        "max_series": spec.max_series,
        "max_points": spec.max_points,
        "sweep_interval": sweep_interval(spec.horizon),
        "mark_delay": MARK_DELAY,
        # long enough for whatever looks back, and for an evening's outage of the source
        "kept": math.ceil((2 * spec.horizon + 3600) * 1000),
        "names": list(write.points),
        "lengths": [len(points) for points in write.points.values()],
        "leaving": list(write.leaves),
        "left_at": list(write.leaves.values()),
    }


def _window_replies(heads: bytes, data: bytes) -> list[WindowReply]:
    at = 0
    replies: list[WindowReply] = []
    for head in _heads.decode(heads):
        series: dict[str, bytes] = {}
        for name, length in zip(head.names, head.lengths, strict=True):
            series[name] = data[at : at + length]
            at += length
        replies.append(
            WindowReply(
                version=head.version,
                asof=head.asof,
                newest=head.newest[0] if head.newest else None,
                whole=head.whole,
                series=series,
                gone=head.gone,
                too_old=dict(zip(head.old_names, head.old_counts, strict=True)),
                refused=head.refused,
            )
        )
    return replies


def _acceptance_asked(acceptance: Acceptance) -> dict[str, Any]:
    version, record = 0, ""
    if acceptance.record is not None:
        version = max(acceptance.record.version, acceptance.expected + 1)
        record = _json(replace(acceptance.record, version=version)).decode()
    return {
        "id": acceptance.alarm_id,
        "window": acceptance.window_id,
        "window_version": acceptance.window_version,
        "expected": acceptance.expected,
        "version": version,
        "record": record,
        "rows": [(row.lane, row.repeat, _json(row).decode()) for row in acceptance.rows],
        "history": [_json(entry).decode() for entry in acceptance.history],
        "last_event": acceptance.history[-1].event_id if acceptance.history else "",
        "history_entries": HISTORY_ENTRIES,
    }


def _outcome(kind: int, record: str, lanes: list[str]) -> Accepted | Stale | Retry:
    match kind:
        case 0:
            return Accepted(lanes)
        case 1:
            return Stale()
        case _:
            return Retry(_decoded(AlarmRecord, record))


def _decoded(kind: type[_Decoded], text: str) -> _Decoded | None:
    return msgspec.json.decode(text, type=kind) if text else None


def _row(answer: bytes) -> OutboxRow | None:
    found = _unpack(answer)
    if not found:
        return None
    text, attempts = found
    return replace(msgspec.json.decode(text, type=OutboxRow), attempts=attempts)


def _work_entity(item: WorkItem) -> str:
    return alarm_of(item.key) if item.kind == "lane" else item.key


def _work_item(item: str, due: float, leased_until: float) -> WorkItem:
    kind, _, key = item.partition(":")
    return WorkItem(kind, key, due, leased_until)


def _group_state(record: str, freeze: str, now: float) -> GroupState:
    return GroupState(_decoded(GroupRecord, record) or GroupRecord(), _decoded(Freeze, freeze), now)


def _put_asked(put: GroupPut) -> dict[str, Any]:
    version = max(put.record.version, put.expected + 1)
    return {
        "name": put.name,
        "expected": put.expected,
        "version": version,
        "token": "" if put.freeze is None else put.freeze.token,
        "record": _json(replace(put.record, version=version)).decode(),
        "reconcile_at": _maybe(put.reconcile_at),
        "decision": [] if put.decision is None else [_decision_asked(put.decision)],
        "coalesce": put.coalesce,
        "decisions": DECISIONS,
    }


def _decision_asked(decision: Decision) -> dict[str, Any]:
    hold = [decision.policy, decision.reason, decision.before, decision.to]
    return {
        "id": decision.id,
        "hold": json.dumps(hold) if decision.decision == "hold" else "",
        "time": decision.time,
        "times": decision.times,
        "first": _maybe(decision.first),
        "json": _json(decision).decode(),
    }


def _decision(text: str) -> Decision:
    """A decision as the functions keep it: how many it stands for, since when, and the first of them as JSON."""
    times, first, document = text.split(" ", 2)
    decision = msgspec.json.decode(document, type=Decision)
    return replace(decision, times=int(times), first=None if first == "-" else float(first))


_fits: type[Store] = RedisStore
