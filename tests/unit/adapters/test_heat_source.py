"""What Heat's notifications tell of groups."""

import json
from typing import Any

import pytest

from autoscaler.adapters.sources.heat import HeatSource
from autoscaler.adapters.sources.link import Received
from autoscaler.errors import Rejection
from autoscaler.ports import Batch, Told
from autoscaler.scaling.group import Word

PAYLOAD = {
    "tenant_id": "p1", "stack_identity": "id1", "stack_name": "web", "groupname": "n1", "adjustment": 1,
    "adjustment_type": "change_in_capacity", "capacity": 2, "message": "End resizing the group n1",
}  # fmt: skip


def batch(*messages: bytes) -> Batch:
    source = HeatSource("amqp://127.0.0.1/", now=lambda: 7.0)
    return source._batch([Received(message, None) for message in messages])


def message(kind: str = "orchestration.autoscaling.end", version: int = 2, **payload: Any) -> bytes:
    inner = {"event_type": kind, "payload": PAYLOAD | payload, "priority": "INFO"}
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(inner)} if version == 2 else inner).encode()


@pytest.mark.parametrize("version", [1, 2])
def test_the_end_of_a_resize_is_told(version: int) -> None:
    found = batch(message(version=version))

    word = Word("end", 7.0, 2, "change_in_capacity : 1", "End resizing the group n1")
    assert found.told == [Told("n1", word)]
    assert found.measures == ()


@pytest.mark.parametrize(
    "other",
    [
        message("orchestration.stack.update.end"),
        message("orchestration.autoscaling.pondered"),
        message(groupname=None),
        b"[]",
        b'{"event_type": "orchestration.autoscaling.end"}',
    ],
)
def test_what_is_told_of_anything_else_is_let_go(other: bytes) -> None:
    assert batch(other, message()).told == batch(message()).told
    assert batch(other).rejected == []


def test_what_cannot_be_read_is_buried_and_disturbs_nobody() -> None:
    found = batch(b"\xff{", message())

    assert [(each.rejection, each.kind) for each in found.rejected] == [(Rejection.UNDECODABLE, "event")]
    assert len(found.told) == 1


def test_what_heat_says_that_is_no_number_is_no_capacity() -> None:
    (told,) = batch(message(capacity="many", message=None)).told

    assert (told.word.capacity, told.word.message) == (None, "")
