"""How the port's values are put to the functions, and what they answer, read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import replace

from autoscaler.alarms.alarm import AlarmRecord
from autoscaler.alarms.definition import encode
from autoscaler.ports import (
    DECISIONS,
    MARK_DELAY,
    UNJUDGED_KEPT,
    Acceptance,
    Accepted,
    AuditEntry,
    DeadLetter,
    Freeze,
    GroupPut,
    GroupState,
    OutboxRow,
    Retry,
    Stale,
    WindowReply,
    WindowWrite,
    WorkItem,
    alarm_of,
    sweep_interval,
)
from autoscaler.scaling.decision import Decision
from autoscaler.scaling.group import GroupRecord

_Decoded = TypeVar("_Decoded")

to_json = msgspec.json.Encoder().encode
ACCEPTED: Final = Accepted([])
_unpack = msgspec.msgpack.decode


class _Written(msgspec.Struct, array_like=True):
    """What `write` answers for the windows of a call, beside the points that follow."""

    versions: list[int]
    times: list[float]
    newest: list[float]
    told: list[int]
    lengths: list[int]
    wholes: list[tuple[int, list[str], list[int]]]
    further: list[tuple[int, list[str], list[str], list[int], list[str]]]


class Due(msgspec.Struct, array_like=True):
    """What `due` and `claim` answer."""

    items: list[str]
    dues: list[float]
    rest: list[float]
    now: float
    leased_until: float


_written = msgspec.msgpack.Decoder(_Written)
due_work = msgspec.msgpack.Decoder(Due)


def maybe(value: float | None) -> list[float]:
    """What may be missing, as the functions take and tell it: a list of none or one."""
    return [] if value is None else [value]


_FOLLOWS: Final = -1
"""Of a series that was written: its points follow; a number from 0 on says that they do not."""


def windows_asked(writes: Sequence[WindowWrite]) -> tuple[Any, bytes]:
    """Windows of one shard as `write` is asked: what is said of them, and all their points."""
    kinds: dict[tuple[float, ...], int] = {}
    held, which, counts, leaves = [], [], [], []
    names: list[str] = []
    data: list[bytes] = []
    for place, write in enumerate(writes, 1):
        spec, points = write.spec, write.points
        horizon = spec.horizon
        # long enough for whatever looks back, and for an evening's outage of the source
        kept = 2 * horizon + 3600
        kind = (horizon, spec.max_series, spec.max_points, sweep_interval(horizon), kept, write.kept_from)
        which.append(kinds.setdefault(kind, len(kinds) + 1))
        held.append(write.held)
        counts.append(len(points))
        names += points
        data += points.values()
        if write.leaves:
            leaves.append((place, list(write.leaves), list(write.leaves.values())))
    lengths = list(map(len, data))
    ids = [write.spec.window_id for write in writes]
    return (list(kinds), ids, held, which, counts, names, lengths, leaves, MARK_DELAY, UNJUDGED_KEPT), b"".join(data)


def window_replies(writes: Sequence[WindowWrite], answer: bytes, data: bytes) -> list[WindowReply]:
    """What `write` answers, and the points that follow, in the order of the windows."""
    found = _written.decode(answer)
    wholes = {place: (names, lengths) for place, names, lengths in found.wholes}
    further = {told[0]: told for told in found.further}
    told, lengths = iter(found.told), iter(found.lengths)
    at = 0
    replies: list[WindowReply] = []
    for place, (write, version, asof, newest_told) in enumerate(
        zip(writes, found.versions, found.times, found.newest, strict=True), 1
    ):
        newest = newest_told if newest_told > -math.inf else None
        series: dict[str, bytes] = {}
        grown: dict[str, int] = {}
        if place in wholes:
            for name, length in zip(*wholes[place], strict=True):
                series[name] = data[at : at + length]
                at += length
        else:
            for name, answered in zip(write.points, told, strict=False):
                if answered >= 0:
                    grown[name] = answered
                elif answered == _FOLLOWS:
                    length = next(lengths)
                    series[name] = data[at : at + length]
                    at += length
        more = further.get(place)
        if more is None:  # nearly always
            replies.append(WindowReply(version, asof, newest, place in wholes, series, (), _NONE, (), grown))
        else:
            _, gone, old_names, old_counts, refused = more
            too_old = dict(zip(old_names, old_counts, strict=True))
            replies.append(WindowReply(version, asof, newest, place in wholes, series, gone, too_old, refused, grown))
    return replies


_NONE: Final[Mapping[str, int]] = {}


def acceptance_asked(acceptance: Acceptance) -> dict[str, Any]:
    """A verdict as `accept` is asked; its record gets a higher version than it was made from."""
    version, record = 0, ""
    if acceptance.record is not None:
        version = max(acceptance.record.version, acceptance.expected + 1)
        record = to_json(replace(acceptance.record, version=version)).decode()
    looks = [(acceptance.window_id, acceptance.window_version), *acceptance.further]
    history = acceptance.history
    return {
        "id": acceptance.alarm_id,
        "looks": [look for look in looks if look[0]],
        "expected": acceptance.expected,
        "version": version,
        "record": record,
        "definition": "" if acceptance.definition is None else encode(acceptance.definition).decode(),
        "removed": acceptance.removed,
        "rows": [(row.lane, row.repeat, to_json(row).decode()) for row in acceptance.rows],
        "history": [to_json(entry).decode() for entry in history],
        "last_event": history[-1].event_id if history else "",
        "newest": max((entry.timestamp for entry in history), default=0.0),
        "projects": sorted({entry.on_behalf_of for entry in history}),
    }


def is_quiet(acceptance: Acceptance) -> bool:
    """Whether it only says that one window was looked at; nearly all do."""
    return (
        acceptance.record is None
        and bool(acceptance.window_id)
        and not (
            acceptance.rows
            or acceptance.history
            or acceptance.further
            or acceptance.removed
            or acceptance.definition is not None
        )
    )


def quiet_asked(acceptances: Sequence[Acceptance]) -> Any:
    """Those as `note` is asked."""
    return (
        [acceptance.alarm_id for acceptance in acceptances],
        [acceptance.expected for acceptance in acceptances],
        [acceptance.window_id for acceptance in acceptances],
        [acceptance.window_version for acceptance in acceptances],
    )


def quiet_outcomes(answer: bytes) -> Iterator[tuple[int, Accepted | Stale | Retry]]:
    """What `note` answers, for those that are not accepted, by their places."""
    for place, kind, record in _unpack(answer, type=list[tuple[int, int, str]]):
        yield place - 1, _outcome(kind, record, [])


def outcomes(answer: bytes) -> Iterator[tuple[int, Accepted | Stale | Retry]]:
    """What `accept` answers, by places."""
    for place, outcome in enumerate(_unpack(answer, type=list[tuple[int, str, list[str]]])):
        yield place, _outcome(*outcome)


def _outcome(kind: int, record: str, lanes: list[str]) -> Accepted | Stale | Retry:
    match kind:
        case 0:
            return Accepted(lanes)
        case 1:
            return Stale()
        case _:
            return Retry(decoded(AlarmRecord, record))


def decoded(kind: type[_Decoded], text: str) -> _Decoded | None:
    """A document, None for an empty text."""
    return msgspec.json.decode(text, type=kind) if text else None


_STREAM_ID: Final = re.compile(r"[a-z]+-([0-9]{1,19}-[0-9]{1,19})")


def stream_id(letter_id: str) -> str:
    """Where a dead letter stands in its stream; "" of what is no id of one."""
    found = _STREAM_ID.fullmatch(letter_id)
    return "" if found is None else found[1]


def kind_of_letter(letter_id: str) -> str:
    """The kind of a dead letter."""
    return letter_id.partition("-")[0]


def letter_of(kind: str, at: bytes, fields: Sequence[bytes]) -> DeadLetter:
    """An entry of a stream of dead letters."""
    return replace(msgspec.json.decode(fields[1], type=DeadLetter), id=f"{kind}-{at.decode()}")


def audit_entry(at: bytes, fields: Sequence[bytes]) -> AuditEntry:
    """An entry of the stream of changes."""
    _, written, _, time = fields
    entry = msgspec.json.decode(written, type=AuditEntry)
    return replace(entry, id=f"audit-{at.decode()}", time=float(time))


def row_of(answer: bytes) -> OutboxRow | None:
    """The head of a lane with its failed deliveries, None for an empty answer."""
    found = _unpack(answer)
    if not found:
        return None
    text, attempts = found
    return replace(msgspec.json.decode(text, type=OutboxRow), attempts=attempts)


def work_entity(item: WorkItem) -> str:
    """What the shard of an item is found by: the alarm of a lane, so that both are in one."""
    return alarm_of(item.key) if item.kind == "lane" else item.key


def work_item(item: str, due: float, leased_until: float) -> WorkItem:
    """An item as it stands in `work`: "kind:key"."""
    kind, _, key = item.partition(":")
    return WorkItem(kind, key, due, leased_until)


def group_state(record: str, freeze: str, now: float) -> GroupState:
    """What is answered of a group."""
    return GroupState(decoded(GroupRecord, record) or GroupRecord(), decoded(Freeze, freeze), now)


def put_asked(put: GroupPut) -> dict[str, Any]:
    """A group's record as `put_group` is asked."""
    version = max(put.record.version, put.expected + 1)
    return {
        "name": put.name,
        "expected": put.expected,
        "version": version,
        "token": "" if put.freeze is None else put.freeze.token,
        "record": to_json(replace(put.record, version=version)).decode(),
        "reconcile_at": maybe(put.reconcile_at),
        "decision": [] if put.decision is None else [decision_asked(put.decision)],
        "coalesce": put.coalesce,
        "decisions": DECISIONS,
        "kept": [] if put.kept is None else [math.ceil(put.kept * 1000)],
    }


def restored_asked(name: str, record: GroupRecord, decisions: Sequence[Decision]) -> dict[str, Any]:
    """A group as `restore_group` is asked."""
    return {
        "name": name,
        "version": record.version,
        "record": to_json(record).decode(),
        "decision": [decision_asked(decision) for decision in decisions],
        "decisions": DECISIONS,
    }


def decision_asked(decision: Decision) -> dict[str, Any]:
    """A decision as the functions keep it, with what makes two holds equal."""
    hold = [decision.policy, decision.reason, decision.before, decision.to]
    return {
        "id": decision.id,
        "hold": json.dumps(hold) if decision.decision == "hold" else "",
        "time": decision.time,
        "times": decision.times,
        "first": maybe(decision.first),
        "json": to_json(decision).decode(),
    }


def kept_decision(text: str) -> Decision:
    """A decision as the functions keep it: how many it stands for, since when, and the first of them as JSON."""
    times, first, document = text.split(" ", 2)
    first_of_them = msgspec.json.decode(document, type=Decision)
    return replace(first_of_them, times=int(times), first=None if first == "-" else float(first))
