"""How many wrong tokens an address may show before it has to wait.

Others come from the same address: behind a proxy, a whole company. So what is counted is *different* wrong tokens, and
whoever has shown a good one from there before is let through in any case:

* one program that shows its stale token again and again uses up nothing but what that token may be shown;
* one that tries out tokens uses up what the address may try, and from then on is not told of any token whether it is
  good; neither Keystone nor the file is asked;
* meanwhile a token that was never seen from there has to wait, seconds as a rule, and no other.

A token that is being looked at counts as wrong until it turns out to be good, so many at once are not more than many
one after another.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final

MINUTE: Final = 60.0
PLACES: Final = 10_000
"""Addresses, and tokens of addresses, that are remembered; the ones longest not seen make room."""


class Failures:
    """Which addresses have to wait. It takes a few megabytes at most, whoever asks.

    Args:
        most: wrong tokens in a minute, of an address; and how often one of them may be shown. 0 means any number.
        clock: seconds that never go back.
    """

    def __init__(self, most: int, *, clock: Callable[[], float], places: int = PLACES) -> None:
        self._most = most
        self._clock = clock
        self._places = places
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()  # how much, and when it was so much
        self._good: OrderedDict[str, None] = OrderedDict()

    def wait(self, address: str, token: str) -> float:
        """Seconds before this token may be shown from there; 0 where it may be looked at now, which is counted."""
        if not self._most:
            return 0.0
        place = _place(address)
        shown = _shown(place, token)
        if shown in self._good:
            self._good.move_to_end(shown)
            return 0.0
        key = shown if shown in self._spent else place
        spent = self._left(key)
        if spent > self._most - 1:
            return (spent - (self._most - 1)) * MINUTE / self._most
        self._spend(key, spent + 1)
        if key == place:
            self._spend(shown, 1)
        return 0.0

    def good(self, address: str, token: str) -> None:
        """It was a good one: nothing of it counts."""
        place = _place(address)
        shown = _shown(place, token)
        if not self._most or shown in self._good:
            return
        self._good[shown] = None
        self._shrink(self._good)
        self._unknown(place, shown)

    def unknown(self, address: str, token: str) -> None:
        """Nobody could say whether it is one: it does not count."""
        place = _place(address)
        self._unknown(place, _shown(place, token))

    def wrong(self, address: str, token: str) -> None:
        """It is none, or none any more."""
        self._good.pop(_shown(_place(address), token), None)

    def _unknown(self, place: str, shown: str) -> None:
        if self._spent.pop(shown, None) is not None and place in self._spent:
            self._spend(place, max(0.0, self._left(place) - 1))

    def _left(self, key: str) -> float:
        """What is still spent of it."""
        spent, at = self._spent.get(key, (0.0, 0.0))
        return max(0.0, spent - max(0.0, self._clock() - at) * self._most / MINUTE)

    def _spend(self, key: str, spent: float) -> None:
        self._spent[key] = (spent, self._clock())
        self._spent.move_to_end(key)
        self._shrink(self._spent)

    def _shrink(self, kept: OrderedDict[str, tuple[float, float]] | OrderedDict[str, None]) -> None:
        while len(kept) > self._places:
            kept.popitem(last=False)


def _place(address: str) -> str:
    """What counts as one: of IPv6 the network that a customer is given, who has all its addresses."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        mapped = found.ipv4_mapped
        return str(mapped or ipaddress.ip_network((int(found) >> 64 << 64, 64)))
    return str(found)


def _shown(place: str, token: str) -> str:
    """A token at a place; no token is kept."""
    return f"{place} {hashlib.sha256(token.encode()).hexdigest()[:32]}"
