"""Trusts that are gone: an alarm is marked by the first of its actions that finds its trust worth nothing.

Whoever made the alarm was disabled or removed, lost the role, or their project is gone. Its actions are then left out,
and its owner is told in its ``state_reason``, until the alarm is changed, which makes a new trust, or, once in a while,
the old one is found good again.
"""

from __future__ import annotations

from enum import Enum

from msgspec.structs import replace

from autoscaler.alarms.definition import trust_of
from autoscaler.engine.leases import LEASE
from autoscaler.ports import Acceptance, OutboxRow, Retry, Store

TRUST_RECHECK = 3600.0
"""Seconds after which a trust that was gone is tried again: a user may have been enabled again."""


class Known(Enum):
    """What is known of an action's trust."""

    NOTHING = 0
    GONE = 1
    """Found gone a while ago; it need not be asked for."""
    DOUBTED = 2
    """Found gone so long ago that it is to be tried again."""


class Trusts:
    """What is known of the trusts that actions are carried out by."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def known(self, row: OutboxRow) -> Known:
        """What is known of an action's trust."""
        trust_id = trust_of(row.url)
        if not trust_id:
            return Known.NOTHING
        (record,) = await self._store.alarms([row.alarm_id])
        if record is None or record.trust_gone != trust_id:
            return Known.NOTHING
        return Known.GONE if row.created < record.trust_gone_at + TRUST_RECHECK else Known.DOUBTED

    async def lost(self, row: OutboxRow) -> None:
        """Mark the alarm of an action whose trust is worth nothing."""
        await self._mark(row, trust_of(row.url))

    async def regained(self, row: OutboxRow) -> None:
        """Take the mark away."""
        await self._mark(row, "")

    async def _mark(self, row: OutboxRow, trust_id: str) -> None:
        while True:
            (record,) = await self._store.alarms([row.alarm_id])
            if record is None:
                return
            marked = replace(record, version=record.version + 1, trust_gone=trust_id, trust_gone_at=row.created)
            acceptance = Acceptance(row.alarm_id, "", 0, record.version, marked)
            (answer,) = await self._store.accept([acceptance], lease=LEASE)
            if not isinstance(answer, Retry):
                return
