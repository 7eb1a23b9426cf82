"""Verdicts put into force: tried again from the present record until they are, or are no longer wanted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import assert_never

import msgspec

from autoscaler.alarms.alarm import AlarmRecord
from autoscaler.engine.leases import LEASE, Head
from autoscaler.engine.overlap import overlapped
from autoscaler.ports import Acceptance, Accepted, Retry, Stale, Store

MAX_RETRIES = 20
"""Lost races for one alarm in one round."""

Leased = Callable[[Head], None]
"""Told of the head of each lane that was made non-empty, which is leased to us."""


class Attempt(msgspec.Struct):
    """One verdict on its way.

    Attributes:
        make: what is to be accepted, made from the present record; None where nothing is, so it is settled.
        accepted: told of the acceptance that is in force.
        settled: it is in force, stale, or no longer wanted.
        stale: somebody looked at something newer.
    """

    alarm_id: str
    make: Callable[[AlarmRecord | None], Acceptance | None]
    accepted: Callable[[Acceptance], None] = lambda _: None
    settled: bool = False
    stale: bool = False


Verdict = Attempt | Acceptance
"""One on its way; or a quiet one: a look at one window that changes nothing, made from the record that is known."""


def _none_is_quiet(acceptance: Acceptance) -> Attempt:
    raise AssertionError(f"a quiet look at {acceptance.alarm_id} that nobody makes again")


class _Settling(msgspec.Struct):
    """What has become of some verdicts so far.

    Attributes:
        again, noted: see :meth:`Ledger.settle`.
        heads: of the lanes that were made non-empty, by alarm.
        lost: attempts that were not quick enough, this time.
    """

    again: Callable[[Acceptance], Attempt]
    noted: Callable[[Acceptance], None] | None
    heads: dict[str, list[Head]] = {}
    lost: list[Attempt] = []


class _Answered(msgspec.Struct):
    """What was asked of the store in one slice, and what it says.

    Attributes:
        tried: each verdict with the attempt that it is of; None of a look that changes nothing.
        asked: when, by the monotonic clock.
    """

    tried: Sequence[tuple[Attempt | None, Acceptance]]
    answers: Sequence[Accepted | Stale | Retry]
    asked: float


class Ledger:
    """The records of alarms as this replica last saw them, and the way to change them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._records: dict[str, AlarmRecord | None] = {}

    def forget(self, alarm_ids: Iterable[str]) -> None:
        """Hold nothing of these alarms."""
        for alarm_id in alarm_ids:
            self._records.pop(alarm_id, None)

    def known(self, alarm_id: str) -> AlarmRecord | None:
        """The record as last seen; None where there is none, or nothing is known of it."""
        return self._records.get(alarm_id)

    def point(self, alarm_id: str) -> float:
        """The end of the last granule that was evaluated in order, as last seen; -infinity where none is known of."""
        record = self._records.get(alarm_id)
        return -math.inf if record is None or record.point is None else record.point

    async def settle(
        self,
        verdicts: Sequence[Verdict],
        leased: Leased,
        again: Callable[[Acceptance], Attempt] = _none_is_quiet,
        noted: Callable[[Acceptance], None] | None = None,
    ) -> None:
        """Have all of them accepted; attempts that lost every race are not ``settled``.

        ``leased`` is told in the order of the verdicts, however many races each of them lost: what falls due at one
        moment is decided in one order, whatever this replica happened to know of the records.

        Args:
            verdicts: on one alarm each.
            again: the attempt that takes the place of a quiet look which was made from a record that is no longer
                the present one.
            noted: told of each quiet look that is in force.

        Raises:
            TemporaryError: the store could not be reached; which of them are in force is not known.
        """
        settling = _Settling(again, noted)
        try:
            await self._settle(verdicts, settling)
        finally:
            if settling.heads:
                for verdict in verdicts:
                    for head in settling.heads.get(verdict.alarm_id, ()):
                        leased(head)

    async def _settle(self, verdicts: Sequence[Verdict], settling: _Settling) -> None:
        open_ = verdicts
        for _ in range(MAX_RETRIES):
            records = await self._fetched({each.alarm_id for each in open_ if isinstance(each, Attempt)})
            settling.lost = []
            await overlapped(open_, partial(self._accept, records), partial(self._accepted, settling))
            if not settling.lost:
                return
            open_ = settling.lost

    async def _fetched(self, alarm_ids: AbstractSet[str]) -> dict[str, AlarmRecord | None]:
        """The records of these alarms, whichever of them are forgotten while they are read."""
        known = {alarm_id: self._records[alarm_id] for alarm_id in alarm_ids if alarm_id in self._records}
        unknown = sorted(alarm_ids - known.keys())
        if unknown:
            fetched = dict(zip(unknown, await self._store.alarms(unknown), strict=True))
            self._records |= fetched
            known |= fetched
        return known

    async def _accept(self, records: Mapping[str, AlarmRecord | None], verdicts: Sequence[Verdict]) -> _Answered:
        tried: list[tuple[Attempt | None, Acceptance]] = []
        for verdict in verdicts:
            if isinstance(verdict, Acceptance):
                tried.append((None, verdict))
                continue
            acceptance = verdict.make(records[verdict.alarm_id])
            if acceptance is None:
                verdict.settled = True
            else:
                tried.append((verdict, acceptance))
        asked = time.monotonic()
        if not tried:
            return _Answered([], [], asked)
        try:
            answers = await self._store.accept([acceptance for _, acceptance in tried], lease=LEASE)
        except BaseException:
            self.forget(acceptance.alarm_id for _, acceptance in tried)
            raise
        return _Answered(tried, answers, asked)

    def _accepted(self, settling: _Settling, answered: _Answered) -> None:
        for (attempt, acceptance), answer in zip(answered.tried, answered.answers, strict=True):
            alarm_id = acceptance.alarm_id
            match answer:
                case Accepted(lanes):
                    if attempt is None:
                        if settling.noted is not None:
                            settling.noted(acceptance)
                        continue
                    self._note(acceptance)
                    attempt.settled = True
                    attempt.accepted(acceptance)
                    if lanes:
                        settling.heads.setdefault(alarm_id, []).extend(
                            Head(next(row for row in acceptance.rows if row.lane == lane), answered.asked)
                            for lane in lanes
                        )
                case Stale():
                    # whoever was faster changed the record; it is read afresh next time
                    self._records.pop(alarm_id, None)
                    if attempt is not None:
                        attempt.settled = attempt.stale = True
                case Retry(record):
                    self._records[alarm_id] = record
                    settling.lost.append(settling.again(acceptance) if attempt is None else attempt)
                case _:
                    assert_never(answer)

    def _note(self, acceptance: Acceptance) -> None:
        if acceptance.removed:
            self._records.pop(acceptance.alarm_id, None)
        elif acceptance.record is not None:
            self._records[acceptance.alarm_id] = acceptance.record
