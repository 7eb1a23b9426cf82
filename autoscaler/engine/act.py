"""Actions: each lane's head is carried out, tried again, or buried; step 9 of the protocol."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

import msgspec
import structlog

from autoscaler.engine.ledger import LANE_LEASE
from autoscaler.engine.listen import Listener
from autoscaler.errors import PermanentError, TemporaryError
from autoscaler.ports import Action, DeadLetter, OutboxRow, Store

log = structlog.get_logger()

FIRST_RETRY = 0.5
LONGEST_RETRY = 60.0
MAX_ATTEMPTS = 10
"""Deliveries that are tried before an action goes to the dead letters."""

PolicyCall = Callable[[OutboxRow], Awaitable[None]]


class Actor:
    """Carries out what waits in lanes.

    Args:
        actions: by URL scheme.
        policy: carries out ``policy://``.
        woken: called with the due time of a lane that was put off.
        jitter: from 0 to 1; spreads retries.
    """

    def __init__(
        self,
        store: Store,
        listener: Listener,
        actions: Mapping[str, Action],
        policy: PolicyCall,
        *,
        woken: Callable[[float], None],
        max_attempts: int = MAX_ATTEMPTS,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._listener = listener
        self._actions = actions
        self._policy = policy
        self._woken = woken
        self._max_attempts = max_attempts
        self._jitter = jitter

    async def drain(self, lane: str) -> None:
        """Carry out a lane that was claimed. Raises as :meth:`carry_out`."""
        row = await self._store.head(lane)
        if row is not None:
            await self.carry_out(row)

    async def carry_out(self, head: OutboxRow) -> None:
        """Carry out a leased lane's rows from its head on, until it is empty or a row must be tried later.

        Raises:
            TemporaryError: the store could not be reached; the lease brings the lane up again.
        """
        row: OutboxRow | None = head
        while row is not None:
            if not await self._carried_out(row):
                return
            row = await self._store.delivered(row.lane, row.id, lease=LANE_LEASE)

    async def _carried_out(self, row: OutboxRow) -> bool:
        """Whether the head is dealt with, for good or by burying it."""
        begun = time.monotonic()
        try:
            await self._call(row)
        except PermanentError as error:
            await self._bury(row, "refused", str(error))
            return True
        except TemporaryError as error:
            if error.tried and row.attempts + 1 >= self._max_attempts:
                await self._bury(row, "given up", str(error))
                return True
            await self._put_off(row, error)
            return False
        self._listener.acted(row, "delivered", time.monotonic() - begun)
        return True

    async def _call(self, row: OutboxRow) -> None:
        scheme = urlsplit(row.url).scheme
        if scheme == "policy":
            await self._policy(row)
            return
        action = self._actions.get(scheme)
        if action is None:
            raise PermanentError(f"nothing carries out {scheme}://")
        await action.deliver(row)

    async def _put_off(self, row: OutboxRow, error: TemporaryError) -> None:
        now = await self._store.now()
        backoff = min(LONGEST_RETRY, FIRST_RETRY * 2 ** min(row.attempts, 10))
        delay = backoff * (0.5 + self._jitter() / 2) if error.delay is None else error.delay
        log.warning("action put off", alarm_id=row.alarm_id, row=row.id, attempts=row.attempts + 1, error=str(error))
        await self._store.undelivered(row.lane, row.id, retry_at=now + delay, tried=error.tried)
        self._listener.acted(row, "retried", now - row.created)
        self._woken(now + delay)

    async def _bury(self, row: OutboxRow, reason: str, detail: str) -> None:
        now = await self._store.now()
        log.error("action buried", alarm_id=row.alarm_id, row=row.id, reason=reason, error=detail)
        letter = DeadLetter(
            kind="action",
            time=now,
            reason=reason,
            detail=detail,
            source=row.alarm_id,
            payload=msgspec.json.encode(row).decode(),
        )
        await self._store.bury([letter])
        self._listener.acted(row, "buried", now - row.created)
