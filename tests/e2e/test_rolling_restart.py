"""Two controllers are restarted in turn under load: nothing is lost or doubled, and no lease is waited for."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from autoscaler.adapters.redis import RedisStore
from autoscaler.declarations import load
from tests.e2e.controller import ControllerProcess
from tests.e2e.neighbours import Neighbours, Post
from tests.e2e.test_kill import (
    COOLDOWN,
    DOCUMENT,
    Found,
    check_cooldowns,
    check_decisions,
    check_measures,
    check_webhooks,
    replayed,
    until_quiet,
)
from tests.e2e.test_rolling_upgrade import Publishing, check_transitions
from tests.servers import RabbitServer, RedisServer, free_port

ROUNDS = 2


@pytest.fixture
def redis_on_disk() -> Iterator[RedisServer]:
    with RedisServer(None, "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


async def living(url: str) -> int:
    """How many replicas say that they live."""
    store = RedisStore(url)
    try:
        return len(await store.replicas())
    finally:
        await store.close()


def delays(posts: Sequence[Post], found: Found) -> list[float]:
    """Seconds from each boundary at which a state changed until that was told."""
    told: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for post in posts:
        told[json.loads(post.body)["alarm_name"]].setdefault(post.key, post.time)
    return [
        at - entry.timestamp
        for name, times in told.items()
        for at, entry in zip(times.values(), found.transitions(name), strict=True)
    ]


@pytest.mark.service
@pytest.mark.timeout(300)
def test_controllers_that_are_restarted_in_turn_lose_nothing(
    redis_on_disk: RedisServer, rabbit: RabbitServer, tmp_path: Path
) -> None:
    with Neighbours() as neighbours, ExitStack() as stack:
        document = DOCUMENT.format(hooks=neighbours.url, cooldown=COOLDOWN)
        declared = load({"rules.yaml": document})
        (tmp_path / "rules.yaml").write_text(document)
        settings = {"RULES": str(tmp_path / "rules.yaml"), "REDIS_URL": redis_on_disk.url, "AMQP_URL": rabbit.url}
        settings["AMQP_QUEUE"] = f"restarted-{redis_on_disk.port}"
        controllers = []
        for number in range(2):
            (tmp_path / str(number)).mkdir()
            process = ControllerProcess(tmp_path / str(number), port=free_port(), settings=settings)
            controllers.append(stack.enter_context(process))
        for controller in controllers:
            controller.until_ready()
        with Publishing(rabbit.url) as publishing:
            for controller in controllers * ROUNDS:
                time.sleep(1)
                assert controller.end() == 0
                assert asyncio.run(living(redis_on_disk.url)) == 1, "one that has ended counts as living"
                controller.start()
                controller.until_ready()
            time.sleep(1)
            publishing.stop()
        published = publishing.published
        found = until_quiet(redis_on_disk.url, declared)
        for controller in controllers:
            assert controller.end() == 0
            assert "Traceback" not in controller.log()

        check_measures(published, found)
        check_transitions(asyncio.run(replayed(declared, published)), found)
        repeated = check_webhooks(neighbours.posts, found)
        check_cooldowns(check_decisions(neighbours.resizes, found), neighbours.resizes)
        late = max(delays(neighbours.posts, found))  # told, not asked for: on a busy machine everything takes longer
        print(
            f"{len(published)} measures, {len(neighbours.posts)} webhooks ({repeated} repeated), {late:.2f} s at most"
        )
