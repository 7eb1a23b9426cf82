"""What an operator does with the state as a whole, on the memory store."""

from __future__ import annotations

import pytest

from autoscaler.adapters.memory import MemoryStore
from autoscaler.engine import upkeep
from autoscaler.errors import PermanentError
from autoscaler.ports import OLDEST_STATE_FORM, STATE_FORM, Heartbeat, Schema, refusal


def replica(name: str, form: int) -> Heartbeat:
    return Heartbeat(replica=name, clock=0.0, caught_up=True, version="0.0.9", form=form)


async def test_a_state_is_not_raised_while_somebody_lives_who_does_not_know_the_form() -> None:
    store = MemoryStore(lambda: 1000.0)
    await store.beat(replica("new", STATE_FORM))
    await store.beat(replica("old", STATE_FORM - 1))

    with pytest.raises(PermanentError, match=r"not known to every replica: old \(autoscaler 0.0.9\); replace these"):
        await upkeep.upgrade(store, "0.1.0")


async def test_a_state_is_raised_where_everybody_knows_the_form() -> None:
    store = MemoryStore(lambda: 1000.0)
    await store.beat(replica("new", STATE_FORM))
    await store.beat(replica("newer", STATE_FORM + 1))

    assert (await upkeep.upgrade(store, "0.1.0")).form == STATE_FORM


def test_a_form_is_refused_with_what_there_is_to_be_done() -> None:
    assert refusal(STATE_FORM) == refusal(OLDEST_STATE_FORM) == ""
    assert "run the newer version" in refusal(STATE_FORM + 1)
    assert "with the version that ran before" in refusal(OLDEST_STATE_FORM - 1)
    assert Schema(form=STATE_FORM, oldest=OLDEST_STATE_FORM - 1).refusal == refusal(OLDEST_STATE_FORM - 1)
