"""Three installed controllers are replaced by the next version, back and again, under load: nothing is lost or doubled.

The next version is this one, with stored records of another form: fields renamed and added, and a function changed
that reads them. It writes them so only when the operator has said so.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aio_pika
import pytest
import redis

import autoscaler
from autoscaler.adapters.redis import RedisStore
from autoscaler.declarations import load
from autoscaler.ports import STATE_FORM
from tests.e2e.controller import ControllerProcess
from tests.e2e.neighbours import Neighbours
from tests.e2e.test_kill import (
    COOLDOWN,
    DOCUMENT,
    Found,
    check_cooldowns,
    check_decisions,
    check_measures,
    check_webhooks,
    measured,
    replayed,
)
from tests.servers import RabbitServer, RedisServer, free_port

REPLICAS = 3
INTERVAL = 0.02
NEXT = STATE_FORM + 1
REPOSITORY = Path(__file__).parents[2]

FORMS = """

WRITTEN = [{form}]
RENAMED = {{AlarmRecord: ("state_timestamp", "since"), OutboxRow: ("id", "row"), GroupRecord: ("size", "seen_size")}}
_of_before = to_json


def to_json(value):
    text = _of_before(value)
    if WRITTEN[0] < {next} or type(value) not in RENAMED:
        return text
    before, now = RENAMED[type(value)]
    document = msgspec.json.decode(text)
    document[now] = document.pop(before)
    document["added"] = "by the next version"
    return msgspec.json.encode(document)


def _read(kind, text):
    document = msgspec.json.decode(text)
    before, now = RENAMED.get(kind, ("", ""))
    if now in document:
        document[before] = document.pop(now)
    return msgspec.convert(document, kind)


def decoded(kind, text):
    return _read(kind, text) if text else None


def row_of(answer):
    found = _unpack(answer)
    return replace(_read(OutboxRow, found[0]), attempts=found[1]) if found else None
"""

STORE = """

class RedisStore(RedisStore):
    async def _ready(self):
        await super()._ready()
        forms.WRITTEN[0] = self.form
"""


def changed(path: Path, pattern: str, replacement: str) -> None:
    text, times = re.subn(pattern, replacement, path.read_text())
    assert times, f"{path.name} has no {pattern} any more"
    path.write_text(text)


def next_version(folder: Path) -> Path:
    """The package of this tree, as the next version may be that stores records in another form."""
    package = folder / "autoscaler"
    # what is compiled goes along: times stay, and only what is changed is compiled anew
    shutil.copytree(Path(autoscaler.__file__).parent, package)
    changed(package / "__init__.py", r'__version__ = ".*"', '__version__ = "9.9.9"')
    changed(package / "ports.py", rf"\nSTATE_FORM = {STATE_FORM}\n", f"\nSTATE_FORM = {NEXT}\n")
    inside = package / "adapters" / "redis"
    with (inside / "forms.py").open("a") as forms, (inside / "store.py").open("a") as store:
        forms.write(FORMS.format(form=STATE_FORM, next=NEXT))
        store.write(STORE)
    # what both versions have written is told apart where it is read
    changed(inside / "functions" / "6_alarms.lua", r"cjson\.decode\((\w+)\)\.id\b", r"id_of(cjson.decode(\1))")
    (inside / "functions" / "0_next.lua").write_text("local function id_of(row)\n  return row.row or row.id\nend\n")
    return folder


class Publishing:
    """Publishes measures one by one over AMQP until told to stop; keeps those that the broker has confirmed."""

    def __init__(self, url: str) -> None:
        self.published: list[dict[str, Any]] = []
        self._url = url
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        for failure in self._failures:
            raise failure

    def _run(self) -> None:
        try:
            asyncio.run(self._publish())
        except BaseException as failure:  # noqa: BLE001 - raised again by whoever stops it
            self._failures.append(failure)

    async def _publish(self) -> None:
        connection = await aio_pika.connect(self._url)
        async with connection:
            channel = await connection.channel()
            exchange = await channel.declare_exchange("measures", aio_pika.ExchangeType.TOPIC, durable=True)
            while not self._stop.is_set():
                measure = measured(len(self.published), time.time())
                message = aio_pika.Message(json.dumps(measure).encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
                await exchange.publish(message, "web", mandatory=True)
                self.published.append(measure)
                await asyncio.sleep(INTERVAL)


def found_by(build: Path, url: str, document: str) -> Found:
    """What is left when all is quiet, as another version reads it."""
    program = """
import pickle, sys
from autoscaler.declarations import load
from tests.e2e.test_kill import until_quiet
sys.stdout.buffer.write(pickle.dumps(until_quiet(sys.argv[1], load({"rules.yaml": sys.argv[2]}))))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program, url, document],
        env=os.environ | {"PYTHONPATH": f"{build}{os.pathsep}{REPOSITORY}"},
        cwd=build,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    found: Found = pickle.loads(ran.stdout)
    return found


def forms_of(url: str) -> dict[str, int]:
    """How many stored records of alarms and groups are of this version's form, and of the next one's."""
    with redis.Redis.from_url(url) as client:
        keys = [key for kind in ("alarm", "group") for key in client.scan_iter(f"autoscaler:*:{kind}:*")]
        records = [json.loads(client.hget(key, "record") or "{}") for key in keys]
    return {"this": sum("added" not in each for each in records), "next": sum("added" in each for each in records)}


def roll(replicas: list[ControllerProcess], build: Path | None, *, killed: int) -> None:
    """Replace one after another by a version, one of them without a warning."""
    for number, replica in enumerate(replicas):
        if number == killed:
            replica.kill()
        else:
            assert replica.end() == 0
        replica.build = build
        replica.start()
        replica.until_ready()


async def until_living(url: str, version: str, count: int) -> None:
    """Wait until all who live are of a version, and so many: who was killed or stopped counts for a while."""
    store = RedisStore(url)
    try:
        async with asyncio.timeout(30):
            while [replica.version for replica in await store.replicas()] != [version] * count:
                await asyncio.sleep(0.1)
    finally:
        await store.close()


def check_transitions(expected: dict[str, list[tuple[str, str]]], found: Found) -> None:
    for name in ("busy", "idle"):
        assert [entry.detail["state"] for entry in found.transitions(name)] == [state for state, _ in expected[name]]


def until_refusing(replica: ControllerProcess) -> str:
    """What a replica says that may do nothing any more, while it goes on saying it."""
    end = time.monotonic() + 15
    said = ""
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{replica.port}/readyz", timeout=5):
                pass
        except urllib.error.HTTPError as error:
            said = error.read().decode()
            if "the state is in form" in said:
                return said
        time.sleep(0.05)
    raise TimeoutError(f"it goes on: {said}\n{replica.log()}")


@dataclass
class Deployment:
    """Controllers of two versions on one Redis and one broker, under load."""

    redis: RedisServer
    folder: Path
    settings: dict[str, str]
    stack: ExitStack

    def replica(self, name: str) -> ControllerProcess:
        folder = self.folder / name
        folder.mkdir()
        made = ControllerProcess(folder, port=free_port(), settings=self.settings)
        self.stack.callback(lambda: made.pid and made.kill())
        return made

    def replicas(self) -> list[ControllerProcess]:
        made = [self.replica(f"r{n}") for n in range(REPLICAS)]
        for each in made:
            each.start()
        for each in made:
            each.until_ready()
        return made

    def take_turns(self, replicas: list[ControllerProcess], newer: Path) -> ControllerProcess:
        """This version, the next one, this one, the next one; who slept meanwhile is told."""
        roll(replicas, newer, killed=1)
        assert forms_of(self.redis.url)["next"] == 0, "written so that nobody can go back"
        roll(replicas, None, killed=2)
        straggler = self.replica("straggler")
        straggler.start()
        straggler.until_ready()
        assert straggler.pid is not None
        roll(replicas[:1], newer, killed=-1)
        assert "is not known to every replica" in replicas[0].command("state", "upgrade", status=1)
        os.kill(straggler.pid, signal.SIGSTOP)
        roll(replicas[1:], newer, killed=0)
        asyncio.run(until_living(self.redis.url, "9.9.9", REPLICAS))
        before = forms_of(self.redis.url)
        assert before["this"]
        assert before["next"] == 0
        return straggler

    def upgrade(self, replica: ControllerProcess, straggler: ControllerProcess) -> None:
        """From now on state is in the next form, and this version is refused: who sleeps, and who comes late."""
        assert f"form {NEXT}" in replica.command("state", "upgrade")
        assert straggler.pid is not None
        os.kill(straggler.pid, signal.SIGCONT)
        refused = until_refusing(straggler)
        late = self.replica("late")
        late.start()
        assert late.wait() == 1
        for said in (refused, late.log(), straggler.command("state", "show")):
            assert f"the state is in form {NEXT}, and this version knows form {STATE_FORM}" in said


@pytest.mark.service
@pytest.mark.slow
@pytest.mark.timeout(1400)
def test_versions_with_another_form_of_the_state_take_turns_and_lose_nothing(
    redis_on_disk: RedisServer, rabbit: RabbitServer, tmp_path: Path
) -> None:
    newer = next_version(tmp_path / "next")
    with Neighbours() as neighbours, ExitStack() as stack:
        document = DOCUMENT.format(hooks=neighbours.url, cooldown=COOLDOWN)
        (tmp_path / "rules.yaml").write_text(document)
        settings = {"RULES": str(tmp_path / "rules.yaml"), "REDIS_URL": redis_on_disk.url, "AMQP_URL": rabbit.url}
        settings["AMQP_QUEUE"] = f"rolled-{redis_on_disk.port}"
        deployment = Deployment(redis_on_disk, tmp_path, settings, stack)
        replicas = deployment.replicas()
        with Publishing(rabbit.url) as publishing:
            straggler = deployment.take_turns(replicas, newer)
            deployment.upgrade(replicas[0], straggler)
            time.sleep(1)
            publishing.stop()
        published = publishing.published
        found = found_by(newer, redis_on_disk.url, document)

        assert forms_of(redis_on_disk.url)["next"]
        check_measures(published, found)
        check_transitions(asyncio.run(replayed(load({"rules.yaml": document}), published)), found)
        repeated = check_webhooks(neighbours.posts, found)
        moves = check_decisions(neighbours.resizes, found)
        check_cooldowns(moves, neighbours.resizes)
        shown = replicas[0].command("state", "show")
        assert f"the state is written in form {NEXT}, raised by autoscaler 9.9.9" in shown
        for each in (*replicas, straggler):
            assert each.end() == 0
            assert "Traceback" not in each.log()
        print(
            f"{len(published)} measures, none lost; {len(found.transitions('busy') + found.transitions('idle'))} "
            f"transitions, {len(neighbours.posts)} webhooks ({repeated} repeated); {len(found.decisions)} decision "
            f"records, {len(moves)} moves, {len(neighbours.resizes)} PUTs"
        )
