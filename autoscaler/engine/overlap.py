"""Work in slices, so that the store works on one while the next is made."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

SLICE: Final = 2000
"""Windows or verdicts that are put to the store together. What comes by the minute is one slice, a backlog is many."""
AHEAD: Final = 2
"""Slices that the store has in hand; it would be waited for too long if more were made within one of its deadlines."""


async def overlapped(
    items: Sequence[Item],
    ask: Callable[[Sequence[Item]], Coroutine[Any, Any, Answer]],
    take: Callable[[Answer], None],
) -> None:
    """Ask for each slice of the items while those before it wait for an answer, and ``take`` the answers in order.

    Raises:
        Exception: what the first that failed raised; the others are broken off, and nothing more is taken.
    """
    if len(items) <= SLICE:  # nearly always, and without a task
        if items:
            take(await ask(items))
        return
    waiting: deque[asyncio.Task[Answer]] = deque()
    try:
        async with asyncio.TaskGroup() as group:
            for start in range(0, len(items), SLICE):
                if len(waiting) == AHEAD:
                    take(await waiting.popleft())
                waiting.append(group.create_task(ask(items[start : start + SLICE])))
                await asyncio.sleep(0)  # it has been sent by then
            while waiting:
                take(await waiting.popleft())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
