"""Sorting and paging of long lists, in slices: while one is made, alarms are evaluated."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeVar

from autoscaler.api.v2.query import OrderBy, Value

if TYPE_CHECKING:
    from typing import Final

T = TypeVar("T")

SLICE: Final = 500
"""Rows that are worked on in one go; some milliseconds."""
Key = tuple[Any, ...]


class _Falling:
    """Sorts the other way round."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __lt__(self, other: _Falling) -> bool:
        return other._value < self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Falling) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def sort_key(
    order: Sequence[OrderBy], value_of: Callable[[T, str], Value | None], last: Callable[[T], str]
) -> Callable[[T], Key]:
    """The key to sort rows by; what has no value for a field comes first, or last where it is descending.

    Args:
        last: an id, so that no two rows are equal and a page has one successor.
    """

    def key(row: T) -> Key:
        return (*(part for by in order for part in _part(value_of(row, by.field), descending=by.descending)), last(row))

    return key


def _part(value: Value | None, *, descending: bool) -> tuple[bool, Any]:
    if value is None:
        return descending, 0
    if not descending:
        return True, value
    return False, -value if isinstance(value, int) else _Falling(value)


async def slices(rows: Iterable[T]) -> AsyncIterator[list[T]]:
    """Rows in pieces, with room for others between them."""
    rest: Iterator[T] = iter(rows)
    while piece := list(islice(rest, SLICE)):
        yield piece
        await asyncio.sleep(0)


async def in_order(
    pieces: AsyncIterable[Sequence[T]], key: Callable[[T], Key], *, limit: int | None = None, after: Key | None = None
) -> list[T]:
    """The rows of all pieces, sorted: at most ``limit`` of those whose key is greater than ``after``."""
    best: list[T] = []
    runs: list[list[T]] = []
    async for piece in pieces:
        wanted = piece if after is None else [row for row in piece if key(row) > after]
        if limit is None:
            runs.append(sorted(wanted, key=key))
        else:
            best = heapq.nsmallest(limit, chain(best, wanted), key=key)
    if limit is not None:
        return best
    merged: list[T] = []
    async for piece in slices(heapq.merge(*runs, key=key)):
        merged += piece
    return merged
