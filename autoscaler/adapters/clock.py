"""The only place that reads a clock; everything else is handed the time."""

from __future__ import annotations

import time


def now() -> float:
    """Unix seconds by this machine's clock."""
    return time.time()  # noqa: TID251 - this is the place


class StoreClock:
    """The store's time, carried on since it was last heard of by a clock that nobody sets.

    So what is decided by it is the same on every replica, however wrong this machine's own clock is or becomes. Before
    the store was first heard of it is this machine's.
    """

    def __init__(self) -> None:
        self._ahead: float | None = None  # of the clock that nobody sets, in seconds

    def __call__(self) -> float:
        """Unix seconds."""
        return now() if self._ahead is None else time.monotonic() + self._ahead

    def heard(self, store_now: float) -> None:
        """It is ``store_now`` at the store."""
        self._ahead = store_now - time.monotonic()
