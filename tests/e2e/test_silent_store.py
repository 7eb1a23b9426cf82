"""A store that falls silent while a controller starts is waited for."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.chaos.proxy import Proxy, Way
from tests.e2e.controller import ControllerProcess
from tests.servers import RedisServer, free_port

LONGER_THAN_A_CALL = 6.0
"""Seconds; a call that is not answered within 5 has failed."""
RULES = """
alarms:
  - {name: busy, type: threshold, rule: {metric: load, resource_id: web-1, threshold: 1, aggregation_method: mean,
     granularity: 60, evaluation_periods: 1, comparison_operator: gt}}
"""


class Silenced(Proxy):
    """A way that is stalled as soon as one of the controller's own functions is called over it."""

    def __init__(self, server: RedisServer) -> None:
        super().__init__(lambda: server.port)
        self.called = asyncio.Event()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = asyncio.StreamReader()
        async with asyncio.TaskGroup() as group:
            group.create_task(super()._pump(seen, writer))
            while data := await reader.read(1 << 16):
                if b"FCALL" in data and not self.called.is_set():
                    self.called.set()
                    await self.turn(Way.STALLED)
                seen.feed_data(data)
            seen.feed_eof()


@pytest.mark.service
@pytest.mark.slow
async def test_a_store_that_falls_silent_while_a_controller_starts_is_waited_for(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    with RedisServer(None, "--appendonly", "yes") as redis:
        async with Silenced(redis) as way:
            settings = {"RULES": str(rules), "REDIS_URL": f"redis://127.0.0.1:{way.port}/0"}
            with ControllerProcess(tmp_path, port=free_port(), settings=settings) as controller:
                async with asyncio.timeout(60):
                    await way.called.wait()
                await asyncio.sleep(LONGER_THAN_A_CALL)
                await way.turn(Way.OPEN)

                await asyncio.to_thread(controller.until_ready)
                assert "waiting for the store" in controller.log()
                assert await asyncio.to_thread(controller.end) == 0
