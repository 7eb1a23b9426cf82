"""The order in which what was accepted is carried out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from autoscaler.adapters.memory import MemoryStore
from autoscaler.alarms.alarm import AlarmRecord
from autoscaler.engine import overlap
from autoscaler.engine.leases import Head
from autoscaler.engine.ledger import Attempt, Ledger
from autoscaler.errors import TemporaryError
from autoscaler.ports import Acceptance, Accepted, OutboxRow, Retry, Stale


def attempt(alarm_id: str, *, acts: bool = True) -> Attempt:
    def make(stored: AlarmRecord | None) -> Acceptance:
        expected = 0 if stored is None else stored.version
        record = replace(stored or AlarmRecord(), version=expected + 1)
        row = OutboxRow(
            id=f"{alarm_id}:{expected}:0", alarm_id=alarm_id, url=f"http://{alarm_id}/", body={}, created=1000.0
        )
        return Acceptance(alarm_id, "", 0, expected, record, rows=[row] if acts else [])

    return Attempt(alarm_id, make)


NAMES = ["one", "two", "three"]


async def knowing(outdated: str) -> tuple[Ledger, dict[str, int]]:
    """A ledger that knows all records, of which one was changed elsewhere since; and the versions that it knows."""
    store = MemoryStore(lambda: 1000.0)
    ledger = Ledger(store)
    await ledger.settle([attempt(name, acts=False) for name in NAMES], lambda _: None)
    known = {name: record.version for name in NAMES if (record := ledger.known(name)) is not None}
    await Ledger(store).settle([attempt(outdated, acts=False)], lambda _: None)
    return ledger, known


@pytest.mark.parametrize("outdated", NAMES)
async def test_what_lost_a_race_comes_no_later_than_what_did_not(outdated: str) -> None:
    ledger, _ = await knowing(outdated)
    seen: list[Head] = []

    await ledger.settle([attempt(name) for name in NAMES], seen.append)

    assert [head.row.alarm_id for head in seen] == NAMES


@pytest.mark.parametrize("outdated", NAMES)
async def test_quiet_looks_at_what_has_changed_are_taken_up_in_their_order(outdated: str) -> None:
    ledger, known = await knowing(outdated)
    quiet = [Acceptance(name, f"window of {name}", 7, known[name]) for name in NAMES]
    seen: list[Head] = []
    again: list[Attempt] = []

    def made_again(look: Acceptance) -> Attempt:
        again.append(attempt(look.alarm_id))
        return again[-1]

    verdicts = [quiet[0], attempt("busy"), *quiet[1:]]
    noted: list[Acceptance] = []
    await ledger.settle(verdicts, seen.append, made_again, noted.append)

    assert noted == [look for look in quiet if look.alarm_id != outdated]
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

    noted: list[Acceptance] = []
    await ledger.settle([Acceptance("one", "window", 7, record.version)], lambda _: None, noted=noted.append)

    assert noted == []
    assert ledger.known("one") is None


async def test_what_is_noted_is_told_though_what_comes_after_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "SLICE", 1)
    store = MemoryStore(lambda: 1000.0)
    ledger = Ledger(store)
    await ledger.settle([attempt("one", acts=False), attempt("two", acts=False)], lambda _: None)
    versions = [record.version for name in ("one", "two") if (record := ledger.known(name)) is not None]
    quiet = [Acceptance(name, "window", 7, version) for name, version in zip(("one", "two"), versions, strict=True)]
    accept, noted = store.accept, list[Acceptance]()

    async def failing(acceptances: Sequence[Acceptance], *, lease: float) -> list[Accepted | Stale | Retry]:
        if acceptances[0].alarm_id == "two":
            raise TemporaryError("away")
        return await accept(acceptances, lease=lease)

    monkeypatch.setattr(store, "accept", failing)
    with pytest.raises(TemporaryError):
        await ledger.settle(quiet, lambda _: None, noted=noted.append)

    assert noted == quiet[:1]
    assert ledger.known("two") is None  # whether it is in force is not known
