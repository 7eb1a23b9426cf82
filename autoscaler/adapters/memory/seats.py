"""Seats in memory: the twin of what ``9_hub.lua`` does for one bus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from autoscaler.ports import Seating


class Hall:
    """The seats of one bus; see :class:`autoscaler.ports.Store`, ``sit`` and ``rise``.

    Args:
        clock: Unix seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._sitters: dict[str, float] = {}
        self._asks: dict[str, tuple[str, ...]] = {}
        self._seats: dict[str, tuple[str, float]] = {}  # whose, "" for nobody's, and until when
        self._positions: dict[str, int] = {}

    def sit(
        self,
        replica: str,
        seats: Sequence[str],
        *,
        keep: Sequence[str],
        lease: float,
        cleared: Sequence[str],
        left: Sequence[str],
        positions: Mapping[str, int],
    ) -> Seating:
        """Take a share."""
        now = self._clock()
        known = self._sitters.get(replica, 0.0) > now
        self._sitters[replica], self._asks[replica] = now + lease, tuple(seats)
        self._sitters = {name: until for name, until in self._sitters.items() if until > now}
        for seat, position in positions.items():
            if self._holder(seat) in ("", replica):
                self._positions[seat] = max(position, self._positions.get(seat, position))
        for seat in cleared:
            if self._holder(seat) in ("", replica):
                self._seats.pop(seat, None)
                self._positions.pop(seat, None)
        for seat in left:
            self._seats.setdefault(seat, ("", now))
        for seat, holder in self._holders().items():
            if holder == replica and seat not in keep:
                self._seats[seat] = ("", now)
        self._seats |= {seat: (replica, now + lease) for seat in keep if self._holder(seat) in ("", replica)}
        share = self._share(replica, seats)

        def is_free(seat: str) -> bool:
            ran_out = self._seats.get(seat, ("", now))[0] != ""
            return not self._holder(seat) and (known or not ran_out)

        mine = [seat for seat in seats if self._holder(seat) == replica]
        taken = [seat for seat in seats if is_free(seat)][: max(0, share - len(mine))]
        self._seats |= dict.fromkeys(taken, (replica, now + lease))
        others = [seat for seat in seats if self._holder(seat) not in ("", replica)]
        spares = sorted(seat for seat in self._seats if seat not in seats)
        spare = next((seat for seat in spares if self._holder(seat) == replica), "")
        if not spare and (mine or taken or not seats):
            spare = next((seat for seat in spares if is_free(seat)), "")
            if spare:
                self._seats[spare] = (replica, now + lease)
        mine = [seat for seat in seats if self._holder(seat) == replica]
        return Seating(
            mine,
            share,
            others,
            spare,
            min((self._seats[seat][1] - now for seat in others), default=0.0),
            {seat: self._positions[seat] for seat in mine if seat in self._positions},
        )

    def rise(self, replica: str) -> None:
        """Let go of all."""
        now = self._clock()
        self._sitters.pop(replica, None)
        for seat, holder in self._holders().items():
            if holder == replica:
                self._seats[seat] = ("", now)

    def _holder(self, seat: str) -> str:
        holder, until = self._seats.get(seat, ("", 0.0))
        return holder if until > self._clock() else ""

    def _holders(self) -> dict[str, str]:
        return {seat: self._holder(seat) for seat in self._seats}

    def _share(self, replica: str, seats: Sequence[str]) -> int:
        """As many as everybody's, and of those that are left over one each for who has one already, then by name."""
        sitters = [name for name in self._sitters if self._asks[name] == self._asks[replica]]
        each, left = divmod(len(seats), len(sitters))
        counts = Counter(self._holder(seat) for seat in seats)
        ranked = sorted(sitters, key=lambda name: (counts[name] <= each, name))
        return each + (ranked.index(replica) < left)
