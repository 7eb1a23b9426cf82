"""What moving alarms between an Aodh and here has in common: what both sides had, and what is told of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import msgspec

from autoscaler.alarms.definition import ACTIONS
from autoscaler.ports import AodhAlarm, Store

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.alarms.alarm import AlarmRecord
    from autoscaler.alarms.definition import Definition

MARKS: Final = "aodh"
"""What is kept of alarms that are known to an Aodh, by id."""
QUOTA_MARKS: Final = "aodh quota"
"""Likewise of quotas, by project."""
AT_ONCE: Final = 500
"""Alarms that are read, decided on and written in one go."""
_LIVE: Final = frozenset(("alarm_id", "state", "state_timestamp", "state_reason"))

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Left:
    """Nothing is done, and it is told why."""

    why: str


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm as both sides had it when it was last moved.

    Attributes:
        content: digest of its row there, see :func:`content_of`.
        state, state_timestamp, state_reason: of its row there.
        revision: of its definition here.
    """

    content: str
    state: str
    state_timestamp: float
    state_reason: str
    revision: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Mark).decode


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that could not be moved, or not as it stands.

    Attributes:
        what: ``alarm``, ``history`` or ``quota``.
        key: id of the alarm, or project.
        name: of the alarm; "" where it is not known.
    """

    what: str
    key: str
    name: str
    why: str


@dataclass(slots=True)
class Summary:
    """What was moved, or would be.

    Attributes:
        new, changed, states: alarms by type: taken for the first time, with another definition, with another state.
        unchanged: alarms that both sides have alike.
        removed: alarms that the other side no longer has.
        history: lines.
        too_old: lines that were left out, being older than histories are kept.
        quotas: how many.
        left: alarms and quotas that both sides changed, or that only an explicit word has removed.
        failed: what could not be moved; the others were.
        beyond: what of moved alarms the other side cannot hold.
        unconfined: ids of moved alarms that see every project.
        with_trusts: how many moved alarms act by a trust.
        series, points: that windows were filled with.
        unfilled: alarms whose windows could not be, and why.
    """

    new: dict[str, int] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    states: dict[str, int] = field(default_factory=dict)
    unchanged: int = 0
    removed: int = 0
    history: int = 0
    too_old: int = 0
    quotas: int = 0
    left: list[Remark] = field(default_factory=list)
    failed: list[Remark] = field(default_factory=list)
    beyond: list[Remark] = field(default_factory=list)
    unconfined: list[str] = field(default_factory=list)
    with_trusts: int = 0
    series: int = 0
    points: int = 0
    unfilled: list[Remark] = field(default_factory=list)


def content_of(row: AodhAlarm) -> str:
    """A digest of what is defined in a row, and when it was: everything but what changes while the alarm lives."""
    document = {key: value for key, value in msgspec.to_builtins(row).items() if key not in _LIVE}
    return hashlib.sha256(msgspec.json.encode(document, order="sorted")).hexdigest()[:32]


def mark_of(row: AodhAlarm, revision: int) -> Mark:
    """What is kept of a row that an alarm of this revision is equal to."""
    return Mark(
        content=content_of(row),
        state=row.state,
        state_timestamp=row.state_timestamp,
        state_reason=row.state_reason,
        revision=revision,
    )


def is_moved(row: AodhAlarm, mark: Mark) -> bool:
    """Whether the state in a row is another than it was."""
    return (row.state, row.state_reason, row.state_timestamp) != (mark.state, mark.state_reason, mark.state_timestamp)


async def marks(store: Store, alarm_ids: Sequence[str]) -> list[Mark | None]:
    """What is kept of alarms, in the order asked."""
    return [None if kept is None else _decode(kept) for kept in await store.kept(MARKS, alarm_ids)]


async def keep_marks(store: Store, made: Mapping[str, Mark | None]) -> None:
    """Keep them; None drops one."""
    if made:
        await store.keep(MARKS, {key: None if mark is None else _encode(mark) for key, mark in made.items()})


def count(counted: dict[str, int], kind: str) -> None:
    """One more."""
    counted[kind] = counted.get(kind, 0) + 1


def has_trusts(definition: Definition) -> bool:
    """Whether any action of an alarm names a trust."""
    urls = (url for key in ACTIONS for url in getattr(definition, key))
    return any(url.startswith("trust+") and "@" in url for url in urls)


def is_set_here(record: AlarmRecord, mark: Mark, by_hand: str) -> bool:
    """Whether somebody has set the state here since.

    Args:
        by_hand: the reason that such states have.
    """
    return not record.imported and record.reason == by_hand and record.state_timestamp != mark.state_timestamp


def pieces(things: Sequence[_T], size: int = AT_ONCE) -> Iterator[Sequence[_T]]:
    """They, a few at a time."""
    for start in range(0, len(things), size):
        yield things[start : start + size]
