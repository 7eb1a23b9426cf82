from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autoscaler.api.v2 import ordering
from autoscaler.api.v2.ordering import in_order, slices, sort_key
from autoscaler.api.v2.query import OrderBy, Value

Row = tuple[str | None, int, str]
ROWS = st.lists(st.tuples(st.none() | st.sampled_from("abc"), st.integers(0, 3)), max_size=40).map(
    lambda pairs: [(name, rank, f"{number:03}") for number, (name, rank) in enumerate(pairs)]
)
ORDERS = st.lists(st.builds(OrderBy, st.sampled_from(["name", "rank"]), st.booleans()), min_size=1, max_size=2)


def value_of(row: Row, field: str) -> Value | None:
    return row[0] if field == "name" else row[1]


def last(row: Row) -> str:
    return row[2]


def expected(rows: list[Row], order: list[OrderBy]) -> list[Row]:
    """One stable sort per key, the least first."""
    found = sorted(rows, key=last)
    for by in reversed(order):
        present = [row for row in found if value_of(row, by.field) is not None]
        absent = [row for row in found if value_of(row, by.field) is None]
        present.sort(key=lambda row: value_of(row, by.field), reverse=by.descending)  # type: ignore[arg-type,return-value]
        found = present + absent if by.descending else absent + present
    return found


@given(ROWS, ORDERS, st.none() | st.integers(1, 50))
async def test_rows_come_in_order_whatever_the_slices(rows: list[Row], order: list[OrderBy], limit: int | None) -> None:
    ordering.SLICE, kept = 7, ordering.SLICE
    try:
        key = sort_key(order, value_of, last)
        assert await in_order(slices(rows), key, limit=limit) == expected(rows, order)[:limit]
    finally:
        ordering.SLICE = kept


@given(ROWS, ORDERS, st.integers(1, 7))
async def test_pages_together_are_the_whole_list(rows: list[Row], order: list[OrderBy], limit: int) -> None:
    key = sort_key(order, value_of, last)
    paged: list[Row] = []
    after = None
    while page := await in_order(slices(rows), key, limit=limit, after=after):
        paged += page
        after = key(page[-1])
    assert paged == expected(rows, order)
