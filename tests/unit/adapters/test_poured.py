"""What has arrived is read before it is taken, what comes one by one is not waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from autoscaler.adapters.sources import link
from autoscaler.adapters.sources.link import TAKEN_BYTES, poured


class Inbox:
    """Gets some bytes in each of so many turns of the loop, after a pause of some turns."""

    def __init__(self, turns: int, *, size: int = 100, pause: int = 0) -> None:
        self.arrived = 0
        self._left, self._size, self._pause = turns, size, pause
        self._next()

    def _next(self) -> None:
        if self._pause:
            self._pause -= 1
        elif self._left:
            self._left -= 1
            self.arrived += self._size
        asyncio.get_running_loop().call_soon(self._next)


@pytest.mark.parametrize(
    ("inbox", "arrived"),
    [
        pytest.param(lambda: Inbox(50), 5000, id="all that is there"),
        pytest.param(lambda: Inbox(50, pause=2), 5000, id="on its way through the loop"),
        pytest.param(lambda: Inbox(50, pause=20), 0, id="one by one"),
        pytest.param(lambda: Inbox(10**9, size=TAKEN_BYTES // 4), TAKEN_BYTES // 4 * 4, id="enough"),
    ],
)
async def test_what_has_arrived_is_read(inbox: Callable[[], Inbox], arrived: int) -> None:
    made = inbox()
    await poured(lambda: made.arrived)

    assert made.arrived == pytest.approx(arrived, abs=made._size)


async def test_it_is_not_waited_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "POURED_WITHIN", 0.02)
    made = Inbox(10**9, size=1)
    began = asyncio.get_running_loop().time()
    await poured(lambda: made.arrived)

    assert asyncio.get_running_loop().time() - began < 1.0
