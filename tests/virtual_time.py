"""An event loop on which waiting takes no time: when nothing can be done, the clock moves on to what is due next."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

_Answer = TypeVar("_Answer")


class _Selector(selectors.SelectSelector):
    """Never waits; what it was to wait for has passed."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found:
            assert timeout is not None, "all wait for one another"
            self.passed += max(timeout, 0.0)
        return found


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._passing = _Selector()
        super().__init__(self._passing)

    def time(self) -> float:
        return self._passing.passed


def in_no_time(running: Coroutine[Any, Any, _Answer]) -> _Answer:
    """What a coroutine comes to that talks to no other process or thread."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(running)
