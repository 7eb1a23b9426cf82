"""The points of one series, packed as they are stored and sliced as they are evaluated."""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

POINT_BYTES = 16
"""Two little-endian doubles: Unix seconds, value."""
_POINT = struct.Struct("<dd")
ROOM = 1024
"""Bytes that a series may hold for points to come, beside four times what its points take."""


class Series:
    """Points of one series in time order, one per timestamp.

    Attributes:
        times: Unix seconds, strictly increasing.
        values: one per time.
        memo: what was computed of exactly these points, for whoever computes it again.
    """

    __slots__ = ("memo", "times", "values")

    def __init__(self, times: Sequence[float], values: Sequence[float]) -> None:
        self.times = times
        self.values = values
        self.memo: dict[Any, Any] = {}

    def __len__(self) -> int:
        return len(self.times)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Series) and list(self.points()) == list(other.points())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Series({list(self.points())!r})"

    def points(self) -> Iterable[tuple[float, float]]:
        """(timestamp, value) pairs, oldest first."""
        return zip(self.times, self.values, strict=True)

    def grow(self, packed: bytes, dropped: int) -> None:
        """Put packed points behind those there are, and take some from the front; of a series that :func:`unpack` made.

        Whoever holds the series sees it grow; what was computed of it before is forgotten.
        """
        times, values = self.times, self.values
        assert isinstance(times, array)
        assert isinstance(values, array)
        if len(packed) == POINT_BYTES:
            time, value = _POINT.unpack(packed)
            times.append(time)
            values.append(value)
        else:
            more = unpack(packed)
            times.extend(more.times)
            values.extend(more.values)
        if dropped:
            self.times, self.values = _cut(times, dropped), _cut(values, dropped)
        if self.memo:
            self.memo.clear()

    def right_open(self, start: float, end: float) -> slice:
        """Where the points with start <= t < end are, as aligned granules count them."""
        return slice(bisect_left(self.times, start), bisect_left(self.times, end))

    def left_open(self, start: float, end: float) -> slice:
        """Where the points with start < t <= end are, as sliding granules count them."""
        return slice(bisect_right(self.times, start), bisect_right(self.times, end))


def _cut(numbers: array[float], dropped: int) -> array[float]:
    """Numbers without the first of them; one that loses a few at a time would keep all the room that a flood took."""
    del numbers[:dropped]
    return numbers[:] if numbers.__sizeof__() > 4 * len(numbers) * numbers.itemsize + ROOM else numbers


def pack(points: Iterable[tuple[float, float]]) -> bytes:
    """Points as they travel and are stored, 16 bytes each, in the order given."""
    flat = array("d", chain.from_iterable(points))
    if sys.byteorder == "big":
        flat.byteswap()
    return flat.tobytes()


def pack_by_time(points: Mapping[float, float]) -> bytes:
    """Values by their times, at least one, packed in time order."""
    if len(points) == 1:
        (point,) = points.items()
        return _POINT.pack(*point)
    return pack(sorted(points.items()))


def unpack(packed: bytes) -> Series:
    """The inverse of :func:`pack` for points in time order."""
    flat = array("d")
    flat.frombytes(packed)
    if sys.byteorder == "big":
        flat.byteswap()
    return Series(flat[0::2], flat[1::2])


def merged(packed: bytes, points: Iterable[tuple[float, float]], *, newer_than: float, at_most: int) -> bytes:
    """``packed`` with ``points`` merged in by time and the old ones trimmed.

    A point at a time that is already there replaces it, as in Gnocchi. Points at or before ``newer_than`` are left
    out; of more than ``at_most`` the newest are kept.
    """
    by_time = dict(unpack(packed).points())
    by_time.update(points)
    kept = sorted(item for item in by_time.items() if item[0] > newer_than)
    return pack(kept[-at_most:])
