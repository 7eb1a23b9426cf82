"""``import-aodh`` and ``export-aodh`` with every kind of Redis that a controller may have."""

from __future__ import annotations

import getpass
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from autoscaler.adapters.aodh import Database
from autoscaler.adapters.aodh.tables import METADATA
from autoscaler.adapters.redis import EmbeddedServer, FolderInUseError, RedisStore, running_url
from autoscaler.errors import TemporaryError
from tests.engine.test_moving import a_line, a_row
from tests.servers import RedisServer

pytestmark = pytest.mark.service


@pytest.fixture
async def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/aodh.sqlite"
    engine = create_engine(url)
    METADATA.create_all(engine)
    engine.dispose()
    database = Database(url)
    now = time.time()
    for number in range(3):
        alarm_id = f"a{number}"
        await database.put(a_row(alarm_id), [a_line(alarm_id, timestamp=now - 60)])
    await database.put(a_row("bad", type="combination"), [])
    await database.close()
    return url


def run(*words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AUTOSCALER_")}
    command = [sys.executable, "-m", "autoscaler", *words]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == status, ran.stdout + ran.stderr
    return ran


def told(ran: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def test_people_are_told_what_was_taken_and_what_was_not(url: str, tmp_path: Path) -> None:
    state = ("--state-dir", str(tmp_path / "state"))
    ran = run("import-aodh", "--database", url, *state, status=1)

    lines = ran.stdout.splitlines()
    assert lines[:2] == ["3 alarms imported: 3 gnocchi_resources_threshold", "3 lines of history, 0 quotas"]
    assert lines[2] == "failed:"
    assert lines[3].startswith("  alarm bad (name of bad): Invalid input for field/attribute type")
    again = told(run("import-aodh", "--database", url, *state, "--format", "json", status=1))
    assert (again["unchanged"], [each["key"] for each in again["failed"]]) == (3, ["bad"])
    assert told(run("export-aodh", "--database", url, *state, "--format", "json"))["unchanged"] == 3


async def test_a_redis_that_is_named_is_used_and_who_moved_what_is_kept(url: str) -> None:
    with RedisServer() as redis:
        first = told(run("import-aodh", "--database", url, "--redis", redis.url, "--format", "json", status=1))
        other = ("--redis", redis.url, "--namespace", "other", "--format", "json")
        second = told(run("import-aodh", "--database", url, *other, status=1))
        run("import-aodh", "--database", url, "--redis", redis.url, "--dry-run", status=1)
        run("export-aodh", "--database", url, "--redis", redis.url)
        store = RedisStore(redis.url)
        audited = await store.audits(limit=10)
        await store.close()
    assert first["new"] == second["new"] == {"gnocchi_resources_threshold": 3}
    assert [(entry.change, entry.kind, entry.after["new"]) for entry in audited] == [
        ("moved out", "database", 0),
        ("moved in", "database", 3),
    ]
    assert {entry.actor.name for entry in audited} == {getpass.getuser()}


@pytest.mark.parametrize("deep", [pytest.param("", id="socket-in-place"), pytest.param("d" * 120, id="elsewhere")])
async def test_the_server_of_a_controller_that_runs_is_used(url: str, tmp_path: Path, deep: str) -> None:
    state = tmp_path / deep / "state"
    async with EmbeddedServer(state / "valkey") as server:
        assert running_url(state / "valkey") == server.url
        with pytest.raises(FolderInUseError):
            await EmbeddedServer(state / "valkey").__aenter__()
        ran = run("import-aodh", "--database", url, "--state-dir", str(state), "--format", "json", status=1)
        assert told(ran)["new"] == {"gnocchi_resources_threshold": 3}
        assert "using the server of the controller" in ran.stderr
    with pytest.raises(TemporaryError, match="only just starting"):
        running_url(state / "valkey")


def test_an_import_that_is_killed_goes_on_where_it_was(url: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "autoscaler", "import-aodh", "--database", url, "--state-dir", str(tmp_path / "s")]
    for moment in (0.5, 1.5, 2.0):
        killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(moment)
        killed.send_signal(signal.SIGKILL)
        killed.wait(10)
    found = told(run(*command[3:], "--format", "json", status=1))

    assert sum(found["new"].values()) + found["unchanged"] == 3
    assert found["left"] == []
