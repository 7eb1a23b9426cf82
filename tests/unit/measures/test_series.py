from __future__ import annotations

import math
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.measures import series as series_module
from autoscaler.measures.series import POINT_BYTES, merged, pack, unpack
from tests.building import a_series

numbers = st.floats(allow_nan=False, allow_infinity=False)
by_time = st.dictionaries(st.integers(0, 50).map(float), numbers, max_size=20)


def test_points_are_packed_as_little_endian_doubles() -> None:
    assert pack([(1.5, -2.0), (3.0, 4.0)]) == struct.pack("<dddd", 1.5, -2.0, 3.0, 4.0)
    assert len(pack([(1.5, -2.0)])) == POINT_BYTES


def test_a_machine_of_the_other_byte_order_packs_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    here = pack([(1.5, -2.0)])
    monkeypatch.setattr(series_module.sys, "byteorder", "big")
    there = pack([(1.5, -2.0)])

    # what it writes in its own order and turns round is what this machine would read turned round
    assert there == b"".join(here[n : n + 8][::-1] for n in (0, 8))
    assert unpack(there) == a_series([(1.5, -2.0)])


@given(by_time)
def test_what_is_packed_is_unpacked(points: dict[float, float]) -> None:
    assert list(unpack(pack(sorted(points.items()))).points()) == sorted(points.items())


def test_slices_take_one_end_each() -> None:
    series = a_series([(0.0, 1.0), (10.0, 2.0), (20.0, 3.0)])

    assert list(series.values[series.right_open(0.0, 20.0)]) == [1.0, 2.0]
    assert list(series.values[series.left_open(0.0, 20.0)]) == [2.0, 3.0]
    assert list(series.values[series.left_open(30.0, 40.0)]) == []


def test_series_are_equal_by_their_points() -> None:
    one = a_series([(1.0, 2.0)])

    assert one == unpack(pack([(1.0, 2.0)]))
    assert one != a_series([(1.0, 3.0)])
    assert one != [(1.0, 2.0)]
    assert (len(one), repr(one)) == (1, "Series([(1.0, 2.0)])")


@given(by_time, by_time, st.integers(-1, 50), st.integers(1, 10))
def test_merging_keeps_the_newest_points_and_the_last_word_on_each(
    before: dict[float, float], new: dict[float, float], cutoff: int, at_most: int
) -> None:
    packed = merged(pack(sorted(before.items())), new.items(), newer_than=cutoff, at_most=at_most)
    wanted = sorted((time, value) for time, value in (before | new).items() if time > cutoff)[-at_most:]

    assert list(unpack(packed).points()) == wanted


@given(by_time, by_time)
def test_merging_again_changes_nothing(before: dict[float, float], new: dict[float, float]) -> None:
    once = merged(pack(sorted(before.items())), new.items(), newer_than=-math.inf, at_most=100)

    assert merged(once, new.items(), newer_than=-math.inf, at_most=100) == once


def test_a_series_gives_back_the_room_of_a_flood_however_few_points_leave_at_a_time() -> None:
    series = unpack(pack([(float(second), 1.0) for second in range(10_000)]))

    for second in range(10_000, 19_900):
        series.grow(pack([(float(second), 2.0)]), 2)

    assert list(series.points()) == [(float(second), 2.0) for second in range(19_800, 19_900)]
    assert sys.getsizeof(series.times) + sys.getsizeof(series.values) < 10_000


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 60)), max_size=40))
def test_growing_is_appending_and_dropping(steps: list[tuple[int, int]]) -> None:
    series, expected, time = unpack(pack([(0.0, 0.0)])), [(0.0, 0.0)], 0
    for added, dropped in steps:
        points = [(float(time + number), float(number)) for number in range(1, added + 1)]
        time += added
        expected = [*expected, *points]
        gone = min(dropped, len(expected))
        series.grow(pack(points), gone)
        expected = expected[gone:]
        assert list(series.points()) == expected
