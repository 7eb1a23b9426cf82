"""How the port's values are put to the functions, and what they answer, read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import replace

from autoscaler.alarms.alarm import AlarmRecord
from autoscaler.alarms.definition import encode
from autoscaler.ports import (
    DECISIONS,
    MARK_DELAY,
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
due_work = msgspec.msgpack.Decoder(_Due)


def maybe(value: float | None) -> list[float]:
    """What may be missing, as the functions take and tell it: a list of none or one."""
    return [] if value is None else [value]


def window_asked(window_id: str, write: WindowWrite) -> dict[str, Any]:
    """A window as `write` is asked; the points themselves travel beside it."""
    spec = write.spec
    return {
        "id": window_id,
        "held": write.held,
        "horizon": spec.horizon,
        "kept_from": maybe(write.kept_from if write.kept_from < math.inf else None),
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


def window_replies(heads: bytes, data: bytes) -> list[WindowReply]:
    """What `write` answers: a head for each window, and the points of all behind one another."""
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


def outcome(kind: int, record: str, lanes: list[str]) -> Accepted | Stale | Retry:
    """What `accept` answers for a verdict."""
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
