"""Sessions at a broker that replicas take turns at: who has which, and when one is to be left."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import structlog

from autoscaler.engine.leases import RENEWAL
from autoscaler.ports import Bus, Seating, SpareSeat, Store, StreamSeat

SEAT_LEASE: Final = 3.0
"""Seconds for which a seat is this replica's since it last said so. Shorter than that of work: whoever takes a seat has
to connect, too, and loses nothing but a connection where the other was merely slow."""
_SOONEST: Final = 0.05
"""Seconds between two times of asking, at least, when another's lease is about to end."""

_log = structlog.get_logger(__name__)


class _Seat:
    """See :class:`autoscaler.ports.Seat`.

    Its lease is counted by the steady clock from before the store was asked, so it runs out here before it does there.
    A word of the store counts only if it was asked for after the link before was lost: whoever was stopped, and wakes
    to find that another has its session, does not throw that one out.

    Attributes:
        name: of the session.
        kept: it is ours, and we do not let go of it.
        standing: its session hears of what is published.
        position: see :class:`autoscaler.ports.StreamSeat`.
    """

    def __init__(self, name: str, *, lost: Callable[[], None], stood: Callable[[], None]) -> None:
        self.name = name
        self.elsewhere = False
        self.standing = False
        self.kept = False
        self.position: int | None = None
        self._stored: int | None = None  # of the positions, as the store has said
        self._lost = lost
        self._stood = stood
        self._in_use = False
        self._until = -math.inf
        self._left_at = -math.inf
        self._changed = asyncio.Event()
        self._called = asyncio.Event()

    @asynccontextmanager
    async def occupied(self) -> AsyncIterator[str]:
        """See :class:`autoscaler.ports.Seat`."""
        clock = asyncio.get_running_loop().time
        while not self._is_ours(clock()):
            self._changed.clear()
            await self._changed.wait()
        self._in_use = True
        self._called.clear()
        try:
            yield self.name
        finally:
            self._in_use = self.standing = False
            self._left_at, self._until = clock(), -math.inf
            if self._called.is_set():
                self.kept = False
            self._lost()

    def _is_ours(self, now: float) -> bool:
        return self._until > now

    def stands(self) -> None:
        """See :class:`autoscaler.ports.Seat`."""
        self.standing = True
        self._stood()

    async def called(self) -> None:
        """See :class:`autoscaler.ports.Seat`."""
        await self._called.wait()

    def reached(self, position: int) -> None:
        """See :class:`autoscaler.ports.StreamSeat`."""
        if self.position is None or position > self.position:
            self.position = position

    @property
    def untold(self) -> int | None:
        """The position, where the store does not know it."""
        return None if self.position == self._stored else self.position

    def told(self, position: int | None) -> None:
        """Take the position that the store has."""
        self._stored = position
        if position is not None:
            self.reached(position)

    def settle(self, *, ours: bool, stays: bool, asked_at: float) -> None:
        """Take what the store has said.

        Args:
            ours: whether this is ours.
            stays: whether it is to be.
            asked_at: when it was asked, by the steady clock.
        """
        kept = ours and (stays or self._in_use)
        if kept != self.kept:
            _log.info("seat taken" if kept else "seat left", seat=self.name)
            self.kept = kept
        if not (ours and stays):
            self._called.set()
            self._until = -math.inf
        elif asked_at >= self._left_at:
            self._until = asked_at + SEAT_LEASE
            self._changed.set()


class _Spare(_Seat):
    """A session that is to be no more, whichever that is at the moment.

    It waits until another stands: what is published while it is being ended has to go somewhere. Where there are to be
    none at all, it goes where no seat is needed.
    """

    def __init__(self, others: Sequence[_Seat], *, lost: Callable[[], None]) -> None:
        super().__init__("", lost=lost, stood=lambda: None)
        self.ended: list[str] = []
        self._others = others

    def _is_ours(self, now: float) -> bool:
        return super()._is_ours(now) and (not self._others or any(seat.standing for seat in self._others))

    def look_again(self) -> None:
        """Another stands."""
        self._changed.set()

    def cleared(self) -> None:
        """See :class:`autoscaler.ports.SpareSeat`."""
        self.ended.append(self.name)
        self._called.set()

    def settle_as(self, name: str, *, asked_at: float) -> None:
        """Be the session that the store has given us to be cleared; "" is none."""
        if not self._in_use and name:
            self.name = name
        ours = bool(name) and name == self.name and name not in self.ended
        self.settle(ours=ours, stays=ours, asked_at=asked_at)


class Seats:
    """A number of sessions that replicas share: this one's part of them is kept, as the store says it is.

    Args:
        names: of all that there are to be.
        left: of sessions of older times, to be cleared once.
        bus: whose sessions these are.

    Attributes:
        seats: one for each name.
        spare: whatever there is to be cleared.
    """

    def __init__(self, names: Sequence[str], *, left: Sequence[str] = (), bus: Bus = Bus.MQTT) -> None:
        self._names = list(names)
        self._left = list(left)
        self._bus = bus
        self._stirred = asyncio.Event()
        self._seats = [_Seat(name, lost=self._stirred.set, stood=self._stands) for name in names]
        self._spare = _Spare(self._seats, lost=self._stirred.set)

    @property
    def seats(self) -> Sequence[StreamSeat]:
        """One for each name."""
        return self._seats

    @property
    def spare(self) -> SpareSeat:
        """Whatever there is to be cleared."""
        return self._spare

    def _stands(self) -> None:
        self._spare.look_again()

    async def keep(self, store: Store, replica: str) -> None:
        """Keep this replica's part, for ever. Raises TemporaryError."""
        clock = asyncio.get_running_loop().time
        while True:
            self._stirred.clear()
            asked_at, ended = clock(), list(self._spare.ended)
            seating = await store.sit(
                replica,
                self._names,
                keep=[seat.name for seat in (*self._seats, self._spare) if seat.kept],
                lease=SEAT_LEASE,
                cleared=ended,
                left=self._left,
                bus=self._bus,
                positions={seat.name: seat.untold for seat in self._seats if seat.untold is not None},
            )
            self._left = []
            del self._spare.ended[: len(ended)]
            self._settle(seating, asked_at)
            pause = min(RENEWAL, max(_SOONEST, seating.soonest)) if seating.soonest else RENEWAL
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stirred.wait()

    def _settle(self, seating: Seating, asked_at: float) -> None:
        stay = seating.mine[: seating.share]
        for seat in self._seats:
            seat.elsewhere = seat.name in seating.elsewhere
            seat.told(seating.positions.get(seat.name))
            seat.settle(ours=seat.name in seating.mine, stays=seat.name in stay, asked_at=asked_at)
        self._spare.settle_as(seating.spare, asked_at=asked_at)
        if any(seat.name in seating.mine and not seat.kept for seat in self._seats):
            self._stirred.set()  # more than our share, and not in use: let go of at once


_fits: tuple[type[StreamSeat], type[SpareSeat]] = (_Seat, _Spare)
