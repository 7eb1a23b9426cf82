"""All that is stored, found by its keys: for an export, and to make room for an import."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from autoscaler.adapters.redis import forms
from autoscaler.alarms.alarm import AlarmRecord
from autoscaler.alarms.definition import decode
from autoscaler.errors import TemporaryError
from autoscaler.ports import HistoryEntry, OutboxRow, SavedAlarm, SavedGroup
from autoscaler.scaling.group import GroupRecord

if TYPE_CHECKING:
    from autoscaler.adapters.redis.calls import Caller
    from autoscaler.adapters.redis.servers import Node

AT_ONCE: Final = 50
"""Alarms that are read in one go, with all their history."""
KEYS: Final = 1000
"""Keys that a server looks at in one go."""
ALARM_KEYS: Final = ("alarm", "history", "lanes")
"""Kinds of keys any of which tells of an alarm."""

_unpack = msgspec.msgpack.decode


class _Alarm(msgspec.Struct, array_like=True):
    """What `saved_alarms` answers of one."""

    record: str
    definition: str
    tally: list[tuple[str, int]]
    history: list[str]
    rows: list[str]


async def keys_of(caller: Caller, namespace: str) -> AsyncIterator[tuple[Node, list[str]]]:
    """The keys of a namespace with the server that has them, some at a time; one may come twice."""
    for node in await caller.nodes():
        cursor: Any = 0
        while True:
            asked = ("SCAN", cursor, "MATCH", f"{namespace}:{{*", "COUNT", KEYS)
            (answer,) = await caller.bounded(node.send([asked]))
            if isinstance(answer, Exception):
                raise TemporaryError(f"{node.shown}: {answer}") from answer
            cursor, keys = answer
            yield node, [key.decode() for key in keys]
            if int(cursor) == 0:
                break


async def remove(caller: Caller, namespace: str, *, but: str) -> None:
    """Remove every key of a namespace except one. Raises TemporaryError."""
    async for node, keys in keys_of(caller, namespace):
        for answer in await caller.bounded(node.send([("UNLINK", key) for key in keys if key != but])):
            if isinstance(answer, Exception):
                raise TemporaryError(f"{node.shown}: {answer}") from answer


def pieces(items: Sequence[str], size: int) -> list[Sequence[str]]:
    """Items, so many at a time."""
    return [items[start : start + size] for start in range(0, len(items), size)]


async def entities(caller: Caller, namespace: str) -> dict[str, list[str]]:
    """The names of everything that is stored in shards, by kind of key, each in order."""
    pattern = re.compile(rf"{re.escape(namespace)}:\{{s\d+\}}:(\w+):(.*)", re.DOTALL)
    found: defaultdict[str, set[str]] = defaultdict(set)
    async for _, keys in keys_of(caller, namespace):
        for key in keys:
            if (match := pattern.fullmatch(key)) is not None:
                kind, name = match.groups()
                found["alarm" if kind in ALARM_KEYS else kind].add(name)
    return {kind: sorted(names) for kind, names in found.items()}


def alarms_of(answer: bytes) -> list[SavedAlarm]:
    """What `saved_alarms` answers; the ids are given by who asked."""
    return [
        SavedAlarm(
            alarm_id="",
            record=forms.decoded(AlarmRecord, alarm.record),
            definition=decode(alarm.definition) if alarm.definition else None,
            tally=dict(alarm.tally),
            history=tuple(msgspec.json.decode(text, type=HistoryEntry) for text in reversed(alarm.history)),
            rows=tuple(forms.decoded(OutboxRow, row) for row in alarm.rows),  # type: ignore[misc] # none is empty
        )
        for alarm in _unpack(answer, type=list[_Alarm])
    ]


def group_of(name: str, answer: bytes) -> SavedGroup | None:
    """What `saved_group` answers; None where the group was never stored."""
    record, decisions = _unpack(answer, type=tuple[str, list[str]])
    found = forms.decoded(GroupRecord, record)
    if found is None:
        return None
    return SavedGroup(
        name=name, record=found, decisions=tuple(forms.kept_decision(text) for text in reversed(decisions))
    )
