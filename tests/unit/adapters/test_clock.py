"""The store's time on a machine whose own clock is wrong."""

import time

import pytest

from autoscaler.adapters import clock
from autoscaler.adapters.clock import StoreClock

STORE = 1_700_000_000.0


def test_before_the_store_is_heard_of_it_is_this_machines_time() -> None:
    assert StoreClock()() == pytest.approx(time.time(), abs=1.0)


def test_it_is_the_stores_time_however_wrong_this_machines_clock_becomes(monkeypatch: pytest.MonkeyPatch) -> None:
    at_the_store = StoreClock()
    at_the_store.heard(STORE)
    for step in (3600.0, -3600.0):
        monkeypatch.setattr(clock, "now", lambda step=step: time.time() + step)

        assert at_the_store() == pytest.approx(STORE, abs=1.0)


def test_it_goes_on_by_itself_and_follows_what_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = [10.0]
    monkeypatch.setattr(time, "monotonic", lambda: ticks[0])
    at_the_store = StoreClock()
    at_the_store.heard(STORE)
    ticks[0] += 2.5

    assert at_the_store() == STORE + 2.5

    at_the_store.heard(STORE + 1.0)

    assert at_the_store() == STORE + 1.0
