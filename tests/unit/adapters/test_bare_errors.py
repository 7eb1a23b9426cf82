"""What the AMQP client says of a connection that ends for no reason that it knows: ``Exception``, and nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import aio_pika
import pytest
from aiormq.base import FutureStore

from autoscaler.adapters.actions.notification import NotificationAction
from autoscaler.adapters.sources.amqp import answered
from autoscaler.errors import TemporaryError
from autoscaler.ports import OutboxRow

ROW = OutboxRow(
    id="a:1:0", alarm_id="a", url="notification:", created=0.0,
    body={"publisher_id": "aodh.evaluator", "event_type": "alarm.creation", "payload": {}},
)  # fmt: skip


async def waiting_when_it_ended(*_: Any, **__: Any) -> None:
    """What the client does with a call that begins after the end."""
    calls = FutureStore(asyncio.get_running_loop())
    await calls.reject_all(None)
    await calls.create_future()


async def test_it_says_no_more_than_that() -> None:
    # should this fail one day, what is below needs no way of its own any more
    with pytest.raises(Exception) as caught:
        await waiting_when_it_ended()

    assert type(caught.value) is Exception


async def test_a_source_tries_again() -> None:
    with pytest.raises(TemporaryError, match="the connection was lost"):
        async with answered():
            await waiting_when_it_ended()


async def test_what_is_a_fault_of_ours_is_told_as_such() -> None:
    with pytest.raises(KeyError):
        async with answered():
            raise KeyError("ours")


async def test_a_notification_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio_pika, "connect", waiting_when_it_ended)

    async with NotificationAction("amqp://127.0.0.1:1", exchange="aodh") as action:
        with pytest.raises(TemporaryError, match="the connection was lost"):
            await action.deliver(ROW)
