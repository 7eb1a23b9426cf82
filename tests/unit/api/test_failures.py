from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.api.failures import Failures

HERE, THERE = "192.0.2.7", "192.0.2.8"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def shown(failures: Failures, address: str, token: str) -> bool:
    """Whether it is looked at, and found wrong."""
    if failures.wait(address, token):
        return False
    failures.wrong(address, token)
    return True


def test_whoever_tries_many_has_to_wait_and_is_told_how_long(clock: Clock) -> None:
    failures = Failures(6, clock=clock)

    tried = [shown(failures, HERE, f"guess {number}") for number in range(8)]
    wait = failures.wait(HERE, "guess 9")
    clock.now += wait
    later = [shown(failures, HERE, "guess 10"), shown(failures, HERE, "guess 11")]

    assert tried == [True] * 6 + [False] * 2
    assert wait == pytest.approx(10)
    assert later == [True, False]
    assert shown(failures, THERE, "guess 1")


def test_one_stale_token_shown_for_ever_uses_up_itself_only(clock: Clock) -> None:
    failures = Failures(6, clock=clock)

    tried = [shown(failures, HERE, "stale") for _ in range(100)]

    assert sum(tried) == 6
    assert [shown(failures, HERE, f"another {number}") for number in range(6)] == [True] * 5 + [False]


def test_who_has_shown_a_good_token_is_let_through_meanwhile(clock: Clock) -> None:
    failures = Failures(6, clock=clock)
    assert failures.wait(HERE, "good") == 0
    failures.good(HERE, "good")

    tried = [shown(failures, HERE, f"guess {number}") for number in range(10)]

    assert tried == [True] * 6 + [False] * 4  # the good one has cost nothing
    assert [failures.wait(HERE, "good") for _ in range(100)] == [0] * 100
    assert failures.wait(THERE, "good") == 0  # there nothing has happened
    assert failures.wait(HERE, "good of another") > 0


def test_a_good_token_that_is_good_no_longer_is_a_wrong_one(clock: Clock) -> None:
    failures = Failures(3, clock=clock)
    failures.wait(HERE, "once good")
    failures.good(HERE, "once good")

    failures.wrong(HERE, "once good")

    assert sum(shown(failures, HERE, "once good") for _ in range(10)) == 3


def test_many_at_once_are_no_more_than_many_in_turn(clock: Clock) -> None:
    failures = Failures(6, clock=clock)

    asked = [failures.wait(HERE, f"guess {number}") == 0 for number in range(50)]

    assert sum(asked) == 6


def test_what_nobody_could_look_at_does_not_count(clock: Clock) -> None:
    failures = Failures(6, clock=clock)

    for number in range(50):
        assert failures.wait(HERE, f"token {number}") == 0
        failures.unknown(HERE, f"token {number}")


def test_of_ipv6_a_customers_network_is_one_address(clock: Clock) -> None:
    failures = Failures(6, clock=clock)

    tried = [shown(failures, f"2001:db8:0:1::{number:x}", f"guess {number}") for number in range(1, 9)]

    assert tried == [True] * 6 + [False] * 2
    assert shown(failures, "2001:db8:0:2::1", "guess")
    assert failures.wait("::ffff:192.0.2.7", "guess") == 0


def test_none_means_any_number(clock: Clock) -> None:
    failures = Failures(0, clock=clock)

    assert all(shown(failures, HERE, f"guess {number}") for number in range(1000))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.sampled_from(["good", "wrong", "unknown", ""]))))
def test_memory_is_bounded_and_no_wait_is_long(asked: list[tuple[int, int, str]]) -> None:
    clock = Clock()
    failures = Failures(3, clock=clock, places=10)

    for address, token, outcome in asked:
        wait = failures.wait(f"192.0.2.{address}", f"token {token}")
        assert 0 <= wait <= 20
        if not wait and outcome:
            getattr(failures, outcome)(f"192.0.2.{address}", f"token {token}")

    assert len(failures._spent) <= 10
    assert len(failures._good) <= 10
