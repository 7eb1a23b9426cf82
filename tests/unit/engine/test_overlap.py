"""Slices: in order, a few ahead, and the first failure is the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from autoscaler.engine import overlap
from autoscaler.engine.overlap import AHEAD, overlapped


class Store:
    """Answers what is asked when it is told to."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.answers: list[asyncio.Future[int]] = []
        self.broken_off: list[int] = []

    async def ask(self, numbers: Sequence[int]) -> int:
        (number,) = numbers
        self.asked.append(number)
        answer = asyncio.get_running_loop().create_future()
        self.answers.append(answer)
        try:
            return await answer
        except asyncio.CancelledError:
            self.broken_off.append(number)
            raise


@pytest.fixture(autouse=True)
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "SLICE", 1)


async def a_while() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_answers_are_taken_in_order_and_no_more_than_a_few_are_asked_ahead() -> None:
    store, taken = Store(), list[int]()
    work = asyncio.create_task(overlapped(range(5), store.ask, taken.append))
    await a_while()
    assert store.asked == [0, 1] == list(range(AHEAD))

    store.answers[1].set_result(10)
    await a_while()
    assert (store.asked, taken) == ([0, 1], [])

    store.answers[0].set_result(0)
    await a_while()
    assert (store.asked, taken) == ([0, 1, 2, 3], [0, 10])
    store.answers[2].set_result(20)
    store.answers[3].set_result(30)
    await a_while()
    store.answers[4].set_result(40)
    await work
    assert taken == [0, 10, 20, 30, 40]


async def test_one_alone_and_none_at_all() -> None:
    store, taken = Store(), list[int]()
    await overlapped([], store.ask, taken.append)
    work = asyncio.create_task(overlapped([7], store.ask, taken.append))
    await a_while()
    store.answers[0].set_result(7)
    await work

    assert taken == [7]


@pytest.mark.parametrize("failing", [0, 1])
async def test_the_first_failure_ends_it_as_it_is(failing: int) -> None:
    store, taken = Store(), list[int]()
    work = asyncio.create_task(overlapped(range(5), store.ask, taken.append))
    await a_while()
    store.answers[failing].set_exception(ValueError("broken"))

    with pytest.raises(ValueError, match="broken"):
        await work
    assert (store.asked, taken, store.broken_off) == ([0, 1], [], [1 - failing])


async def test_who_breaks_it_off_breaks_off_all() -> None:
    store = Store()
    work = asyncio.create_task(overlapped(range(5), store.ask, print))
    await a_while()
    work.cancel()

    with pytest.raises(asyncio.CancelledError):
        await work
    assert store.broken_off == [0, 1]


@pytest.mark.parametrize("count", [0, 1, 3, 4, 7])
async def test_slices_are_all_of_it_in_order(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "SLICE", 3)
    slices: list[Sequence[int]] = []

    async def ask(some: Sequence[int]) -> Sequence[int]:
        return some

    await overlapped(range(count), ask, slices.append)

    assert [number for each in slices for number in each] == list(range(count))
    assert all(1 <= len(each) <= 3 for each in slices)
