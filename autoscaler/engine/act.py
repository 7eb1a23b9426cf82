"""Actions: each lane's head is carried out, tried again, or buried; step 9 of the protocol."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

import msgspec
import structlog

from autoscaler.engine.circuit import Circuits, Outcome
from autoscaler.engine.leases import LEASE
from autoscaler.engine.listen import Listener
from autoscaler.engine.signal import Signaller
from autoscaler.engine.trusts import Known, Trusts
from autoscaler.errors import (
    AddressRefusedError,
    HeldError,
    PermanentError,
    RestingError,
    TemporaryError,
    TrustGoneError,
)
from autoscaler.ports import Action, DeadLetter, OutboxRow, Store

log = structlog.get_logger()

FIRST_RETRY = 0.5
LONGEST_RETRY = 60.0
MAX_ATTEMPTS = 10
"""Deliveries that are tried before an action goes to the dead letters."""
DEADLINE = 3600.0
"""Seconds after which it goes there, however often it was tried."""

ADDRESS_REFUSED = "address refused"
"""Outcome and reason where an alarm may not call the place that it names."""

Key = tuple[str, str | None]
"""Of a circuit: an endpoint, and whose actions; None for the operator's own."""
PolicyCall = Callable[[OutboxRow], Awaitable[None]]


class ByScheme:
    """Carries out single actions by the scheme of their URL.

    Args:
        actions: by scheme.
        changed: told of an endpoint whether it is left alone from now on, since it does not answer.
        clock: seconds, by which it is.
    """

    def __init__(
        self,
        actions: Mapping[str, Action],
        changed: Callable[[str, bool], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._actions = actions
        self._clock = clock
        self._circuits: Circuits[Key] = Circuits(lambda key, is_open: changed(key[0], is_open))

    async def deliver(self, row: OutboxRow) -> None:
        """Once; raises as :meth:`autoscaler.ports.Action.deliver`, and RestingError where nothing was tried."""
        scheme = urlsplit(row.url).scheme
        action = self._actions.get(scheme)
        if action is None:
            raise PermanentError(f"nothing carries out {scheme}://")
        endpoint = _endpoint(row.url)
        if endpoint:
            await self._deliver(action, row, (endpoint, None if row.declared else row.project_id))
        else:
            await action.deliver(row)

    async def _deliver(self, action: Action, row: OutboxRow, key: Key) -> None:
        wait, probe = self._circuits.begin(key, self._clock())
        if wait:
            raise RestingError(f"{key[0]} does not answer and is left alone", delay=wait)
        outcome = Outcome.UNKNOWN
        try:
            await action.deliver(row)
            outcome = Outcome.ANSWERED
        except TemporaryError as error:
            if error.tried:
                outcome = Outcome.SILENT if error.silent else Outcome.ANSWERED
            raise
        except (AddressRefusedError, TrustGoneError):
            raise
        except PermanentError:
            outcome = Outcome.ANSWERED
            raise
        finally:
            self._circuits.end(key, outcome, self._clock(), probe=probe)


def _endpoint(url: str) -> str:
    """Host and port that an action calls; "" where it calls none of its own."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return parts.netloc.rpartition("@")[2].lower() if parts.scheme.removeprefix("trust+") in {"http", "https"} else ""


class Actor:
    """Carries out what waits in lanes.

    Args:
        actions: what carries out the rest.
        policy: carries out ``policy://``.
        signaller: carries out what signals Heat's groups; None sends it like any other.
        left: seconds for which a lane is this replica's at least.
        woken: called with the due time of a lane that was put off.
        max_attempts: deliveries that are tried.
        deadline: seconds after which an action that cannot be delivered is not tried again.
        jitter: from 0 to 1; spreads retries.
    """

    def __init__(
        self,
        store: Store,
        listener: Listener,
        actions: ByScheme,
        policy: PolicyCall,
        *,
        signaller: Signaller | None = None,
        left: Callable[[str], float],
        woken: Callable[[float], None],
        max_attempts: int = MAX_ATTEMPTS,
        deadline: float = DEADLINE,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._listener = listener
        self._actions = actions
        self._policy = policy
        self._signaller = signaller
        self._trusts = Trusts(store)
        self._left = left
        self._woken = woken
        self._max_attempts = max_attempts
        self._deadline = deadline
        self._jitter = jitter

    async def drain(self, lane: str) -> bool:
        """Carry out a lane that was claimed; False where nothing was in it. Raises as :meth:`carry_out`."""
        row = await self._store.head(lane)
        if row is None:
            return False
        await self.carry_out(row)
        return True

    async def carry_out(self, head: OutboxRow) -> None:
        """Carry out a leased lane's rows from its head on, until it is empty or a row must be tried later.

        Raises:
            TemporaryError: the store could not be reached; the lease brings the lane up again.
        """
        row: OutboxRow | None = head
        while row is not None:
            if not await self._carried_out(row):
                return
            row = await self._store.delivered(row.lane, row.id, lease=LEASE)

    async def _carried_out(self, row: OutboxRow) -> bool:
        """Whether the head is dealt with, for good or by burying it."""
        begun = time.monotonic()
        known = await self._trusts.known(row)
        if known is Known.GONE:
            self._listener.acted(row, "trust gone", 0.0)
            return True
        try:
            await self._call(row)
        except TrustGoneError as error:
            await self._trusts.lost(row)
            log.error("trust gone", alarm_id=row.alarm_id, row=row.id, error=str(error))  # noqa: TRY400 - one line says it
            await self._bury(row, "trust gone", str(error))
            return True
        except AddressRefusedError as error:
            await self._bury(row, ADDRESS_REFUSED, str(error))
            return True
        except PermanentError as error:
            await self._bury(row, "refused", str(error))
            return True
        except TemporaryError as error:
            over = await self._over(row, error)
            if over:
                await self._bury(row, over, str(error))
                return True
            await self._put_off(row, error)
            return False
        if known is Known.DOUBTED:
            await self._trusts.regained(row)
        self._listener.acted(row, "delivered", time.monotonic() - begun)
        return True

    async def _call(self, row: OutboxRow) -> None:
        if urlsplit(row.url).scheme == "policy":
            await self._policy(row)
            return
        place = None if self._signaller is None else self._signaller.leads(row.url)
        if self._signaller is not None and place is not None:
            await self._signaller.carry_out(row, place)
        else:
            await self._actions.deliver(row)

    async def _over(self, row: OutboxRow, error: TemporaryError) -> str:
        """Why it is not tried again; "" where it is."""
        if error.tried and row.attempts + 1 >= self._max_attempts:
            return "given up"
        if isinstance(error, HeldError) and not isinstance(error, RestingError):
            return ""  # whoever holds it says for how long
        return "too late" if await self._store.now() - row.created >= self._deadline else ""

    async def _put_off(self, row: OutboxRow, error: TemporaryError) -> None:
        now = await self._store.now()
        backoff = min(LONGEST_RETRY, FIRST_RETRY * 2 ** min(row.attempts, 10))
        delay = backoff * (0.5 + self._jitter() / 2) if error.delay is None else error.delay
        is_held = isinstance(error, HeldError)
        say = log.debug if is_held else log.warning
        say("action put off", alarm_id=row.alarm_id, row=row.id, attempts=row.attempts + 1, error=str(error))
        # by the store's clock, since what is asked may stand still on its way until another has the lane
        leased_until = now + self._left(row.lane)
        await self._store.undelivered(
            row.lane, row.id, retry_at=now + delay, tried=error.tried, leased_until=leased_until
        )
        self._listener.acted(row, "held" if is_held else "retried", now - row.created)
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
        self._listener.acted(row, ADDRESS_REFUSED if reason == ADDRESS_REFUSED else "buried", now - row.created)
