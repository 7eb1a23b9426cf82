"""Files and folders that go, come back, or are not what they should be."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import pytest

from autoscaler.adapters import files
from autoscaler.adapters.actions.webhook import WebhookAction, tls_clients
from autoscaler.errors import TemporaryError
from autoscaler.ports import OutboxRow
from tests.e2e.controller import ControllerProcess
from tests.servers import free_port

pytestmark = pytest.mark.slow  # a second or more in all


async def test_a_folder_that_was_replaced_is_watched_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LOOK", 0.2)
    folder = tmp_path / "rules"
    folder.mkdir()
    watch = files.changes([folder])

    async def next_change() -> None:
        async with asyncio.timeout(10):
            await anext(watch)

    async with asyncio.TaskGroup() as group:
        first = group.create_task(next_change())
        await asyncio.sleep(0.5)
        shutil.rmtree(folder)
        await asyncio.sleep(0.5)
        folder.mkdir()
        (folder / "a.yaml").write_text("alarms: []")
        await first
    async with asyncio.TaskGroup() as group:
        second = group.create_task(next_change())
        await asyncio.sleep(0.5)
        (folder / "a.yaml").write_text("alarms: []\n")
        await second
    await watch.aclose()


async def test_a_folder_that_is_not_there_yet_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LOOK", 0.2)
    folder = tmp_path / "not" / "yet"

    async def write() -> None:
        await asyncio.sleep(0.3)
        folder.mkdir(parents=True)
        (folder / "a.yaml").write_text("alarms: []")

    watch = files.changes([folder])
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(write())
        await anext(watch)
    await watch.aclose()


async def test_certificates_that_cannot_be_read_put_a_delivery_off(tmp_path: Path) -> None:
    row = OutboxRow(id="a:1:0", alarm_id="a", url="https://127.0.0.1:1/", body={}, created=0.0)
    async with WebhookAction(clients=tls_clients(ca=str(tmp_path / "none.pem"))) as action:
        with pytest.raises(TemporaryError, match="certificates for"):
            await action.deliver(row)


def test_a_controller_that_waits_for_its_redis_ends_when_it_is_told(tmp_path: Path) -> None:
    """By itself, and not by the kernel, which ends no first process of a container."""
    nowhere = {"REDIS_URL": f"redis://127.0.0.1:{free_port()}"}
    with ControllerProcess(tmp_path, port=free_port(), settings=nowhere) as controller:
        end = time.monotonic() + 60
        while "waiting for the store" not in controller.log():
            assert time.monotonic() < end
            time.sleep(0.05)

        assert controller.end() == 0
    assert "Traceback" not in controller.log()
