"""What oslo.messaging's own listener makes of the changes that are told on the bus."""

import asyncio
import json
from pathlib import Path

import pytest

from autoscaler.adapters.actions.notification import NotificationAction
from autoscaler.ports import OutboxRow
from tests.differential import asking
from tests.servers import RabbitServer

pytestmark = pytest.mark.oracle
LISTENER = Path(__file__).parent / "oracle" / "oslo_listener.py"
PAYLOAD = {"event_id": "61dc", "type": "state transition", "detail": '{"state": "alarm"}', "severity": "low"}


async def test_an_oslo_listener_gets_what_was_told(rabbit: RabbitServer) -> None:
    if not asking.PYTHON.exists():
        pytest.skip(f"{asking.PYTHON} is missing; `make oracle` makes it, or set AUTOSCALER_ORACLE_PYTHON")
    url = rabbit.url.replace("amqp://", "rabbit://").replace("%2F", "")
    listener = await asyncio.create_subprocess_exec(
        str(asking.PYTHON), str(LISTENER), url, "aodh", "notifications",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert listener.stdout is not None
    assert listener.stdin is not None
    try:
        async with asyncio.timeout(60), NotificationAction(rabbit.url) as action:
            assert await listener.stdout.readline() == b"listening\n"
            found = None
            while found is None:  # it says that it listens a moment before it has bound its queue
                body = {"event_type": "alarm.state_transition", "publisher_id": "aodh.evaluator", "payload": PAYLOAD}
                row = OutboxRow(id="a:1", alarm_id="a", url="notification:", body=body, created=1795187946.933323)
                await action.deliver(row)
                try:
                    async with asyncio.timeout(1):
                        found = json.loads(await listener.stdout.readline())
                except TimeoutError:
                    continue
    finally:
        listener.stdin.close()
        await listener.wait()
    metadata = found.pop("metadata")
    assert found == {"publisher_id": "aodh.evaluator", "event_type": "alarm.state_transition", "payload": PAYLOAD}
    assert metadata["timestamp"] == "2026-11-20 15:19:06.933323"
    assert metadata["message_id"]
