"""Installed controllers at one stream of a RabbitMQ: one dies and loses nothing, and one takes all of it once more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from autoscaler.ports import Bus
from tests.e2e.fleet import Fleet, holders, measured, taken_over, until, values
from tests.e2e.neighbours import AmqpPublisher
from tests.servers import RabbitServer, RedisServer

SEAT = "autoscaler.stream@first"
TAKEN_WITHIN = 5.0
"""Seconds."""
OFFSET = 10


@pytest.fixture
def broker() -> Iterator[RabbitServer]:
    with RabbitServer() as server:
        yield server


@pytest.mark.service
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_stream_is_taken_by_one_after_another_and_once_more_from_an_offset(
    redis_on_disk: RedisServer, broker: RabbitServer, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        settings = {"REDIS_URL": redis_on_disk.url, "AMQP_URL": broker.url, "AMQP_STREAM": "autoscaler.stream"}
        fleet = Fleet(tmp_path, stack, settings)
        replicas = dict(zip(("r0", "r1"), fleet.begin("r0", "r1"), strict=True))
        with AmqpPublisher(broker.url, "measures", measured, interval=0.02) as publisher:
            until(lambda: len(values(redis_on_disk)) >= 50)
            holder = holders(redis_on_disk, Bus.AMQP)[SEAT]
            (dead,) = [name for name in replicas if holder.startswith(name)]
            replicas.pop(dead).kill()
            killed = taken_over(publisher, redis_on_disk)
            publisher.stop()
        print(f"taken over after {killed:.2f} s")
        until(lambda: len(values(redis_on_disk)) == len(publisher.published))
        # elsewhere, where nobody knows of any of it
        (again,) = fleet.begin("r2", NAMESPACE="again", AMQP_STREAM_FROM=str(OFFSET))
        until(lambda: len(values(redis_on_disk, "again")) >= len(publisher.published) - OFFSET)

        everything = {measure["value"] for measure in publisher.published}
        assert values(redis_on_disk) == everything
        # each was a message of its own, and the first at offset 0
        assert values(redis_on_disk, "again") == everything - set(range(OFFSET))
        for replica in (*replicas.values(), again):
            assert "Traceback" not in replica.whole_log()
            assert replica.end() == 0
    assert killed < TAKEN_WITHIN
