"""An installed controller whose Redis is lost and put back from an export: nothing moves, nobody is called."""

from __future__ import annotations

import json
import stat
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.e2e.controller import ControllerProcess
from tests.e2e.neighbours import Neighbours
from tests.e2e.test_kill import COOLDOWN, DOCUMENT
from tests.servers import RedisServer, free_port


def send(controller: ControllerProcess, value: float) -> None:
    now = time.time()
    measures = [
        {
            "metric": "cpu_util",
            "resource_id": f"web-{n}",
            "timestamp": now,
            "value": value,
            "metadata": {"server_group": "web"},
        }
        for n in range(3)
    ]
    request = urllib.request.Request(
        f"http://127.0.0.1:{controller.port}/v1/measures",
        json.dumps(measures).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=15):
        pass


def until(what: Callable[[], bool], *, meanwhile: Callable[[], Any] = lambda: None) -> None:
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end, "it did not come about"
        meanwhile()
        time.sleep(0.2)


@pytest.fixture
def redis_of_its_own() -> Any:
    with RedisServer() as server:
        yield server


@pytest.mark.service
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_restore_of_an_old_export_resizes_nothing_and_goes_on(redis_of_its_own: RedisServer, tmp_path: Path) -> None:
    saved = tmp_path / "state.jsonl.gz"
    with Neighbours(size=2) as neighbours, redis.Redis(port=redis_of_its_own.port) as client:
        (tmp_path / "rules.yaml").write_text(DOCUMENT.format(hooks=neighbours.url, cooldown=COOLDOWN))
        settings = {
            "RULES": str(tmp_path / "rules.yaml"),
            "REDIS_URL": redis_of_its_own.url,
            "ALLOW_VOLATILE_REDIS": "true",
        }
        with ControllerProcess(tmp_path, port=free_port(), settings=settings) as controller:
            controller.until_ready()
            until(lambda: '"size": 2' in controller.command("groups", "list", "--format", "json"))
            exported = controller.command("state", "export", str(saved))
            told = json.loads(controller.command("audit", "list", "--kind", "state", "--format", "json"))
            until(lambda: neighbours.size >= 5, meanwhile=lambda: send(controller, 90))
            assert "runs on autoscaler; end every controller first" in controller.command(
                "state", "import", str(saved), "--replace", status=1
            )
            assert controller.end() == 0
            time.sleep(5)
            assert "is not empty" in controller.command("state", "import", str(saved), status=1)
            client.flushall()
            asked, said, size = list(neighbours.resizes), list(neighbours.posts), neighbours.size

            whole = controller.command("state", "import", str(saved), "--check")
            imported = controller.command("state", "import", str(saved))
            controller.start()
            controller.until_ready()
            until(lambda: "restored" in controller.command("groups", "decisions", "web", "--format", "json"))
            time.sleep(3)
            quiet = (list(neighbours.resizes), list(neighbours.posts), neighbours.size)
            until(lambda: neighbours.size > size, meanwhile=lambda: send(controller, 90))
            told += json.loads(controller.command("audit", "list", "--kind", "state", "--format", "json"))
            decisions = json.loads(controller.command("groups", "decisions", "web", "--format", "json"))
            assert controller.end() == 0
            assert "Traceback" not in controller.log()

    assert "1 group" in exported
    assert [(entry["change"], entry["after"]["file"]) for entry in told] == [
        ("exported", str(saved)),
        ("imported", str(saved)),
    ]
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert "whole; form 1" in whole
    assert "groups: 1;" in imported
    assert quiet == (asked, said, size)
    moves = [(made["reason"], made["from"], made["to"]) for made in reversed(decisions) if made["decision"] == "scale"]
    assert moves[:2] == [("restored", 2, size), ("policy", size, size + 1)]
    assert neighbours.resizes[len(asked)].fence > max(resize.fence for resize in asked)
    assert not {post.key for post in neighbours.posts[len(said) :]} & {post.key for post in said}
