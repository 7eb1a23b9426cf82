"""The order in which what was accepted is carried out."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from autoscaler.adapters.memory import MemoryStore
from autoscaler.alarms.alarm import AlarmRecord
from autoscaler.engine.leases import Head
from autoscaler.engine.ledger import Attempt, Ledger
from autoscaler.ports import Acceptance, OutboxRow


def attempt(alarm_id: str, *, acts: bool = True) -> Attempt:
    def make(stored: AlarmRecord | None) -> Acceptance:
        expected = 0 if stored is None else stored.version
        record = replace(stored or AlarmRecord(), version=expected + 1)
        row = OutboxRow(
            id=f"{alarm_id}:{expected}:0", alarm_id=alarm_id, url=f"http://{alarm_id}/", body={}, created=1000.0
        )
        return Acceptance(alarm_id, "", 0, expected, record, rows=[row] if acts else [])

    return Attempt(alarm_id, make)


@pytest.mark.parametrize("outdated", ["one", "two", "three"])
async def test_what_lost_a_race_comes_no_later_than_what_did_not(outdated: str) -> None:
    store = MemoryStore(lambda: 1000.0)
    ledger, other = Ledger(store), Ledger(store)
    names = ["one", "two", "three"]
    seen: list[Head] = []
    # the records are known here, and one of them is changed elsewhere
    await ledger.settle([attempt(name, acts=False) for name in names], seen.append)
    await other.settle([attempt(outdated, acts=False)], seen.append)

    await ledger.settle([attempt(name) for name in names], seen.append)

    assert [head.row.alarm_id for head in seen] == names


@pytest.mark.parametrize("outdated", ["one", "two", "three"])
async def test_quiet_looks_at_what_has_changed_are_taken_up_in_their_order(outdated: str) -> None:
    store = MemoryStore(lambda: 1000.0)
    ledger, other = Ledger(store), Ledger(store)
    names = ["one", "two", "three"]
    seen: list[Head] = []
    await ledger.settle([attempt(name, acts=False) for name in names], seen.append)
    known = {name: record.version for name in names if (record := ledger.known(name)) is not None}
    await other.settle([attempt(outdated, acts=False)], seen.append)
    quiet = [Acceptance(name, f"window of {name}", 7, known[name]) for name in names]
    again: list[Attempt] = []

    def made_again(look: Acceptance) -> Attempt:
        again.append(attempt(look.alarm_id))
        return again[-1]

    verdicts = [quiet[0], attempt("busy"), *quiet[1:]]
    refused = await ledger.settle(verdicts, seen.append, made_again)

    assert refused == {outdated}
    assert [each.settled for each in again] == [True]
    assert [head.row.alarm_id for head in seen] == [
        name for name in ("one", "busy", "two", "three") if name in {outdated, "busy"}
    ]


async def test_a_quiet_look_is_stale_where_somebody_has_looked_at_something_newer() -> None:
    store = MemoryStore(lambda: 1000.0)
    ledger, other = Ledger(store), Ledger(store)
    await ledger.settle([attempt("one", acts=False)], lambda _: None)
    record = ledger.known("one")
    assert record is not None
    await other.settle([Acceptance("one", "window", 8, record.version)], lambda _: None)

    assert await ledger.settle([Acceptance("one", "window", 7, record.version)], lambda _: None) == {"one"}
    assert ledger.known("one") is None
