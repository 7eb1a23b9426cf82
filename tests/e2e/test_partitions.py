"""Installed controllers that share partitions at a RabbitMQ: joined, killed, divided anew, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import aio_pika
import pytest

from autoscaler.adapters.sources.partitions import partitions
from autoscaler.ports import Bus
from tests.e2e.fleet import Fleet, known, measured, spread, taken_over, until, values
from tests.e2e.neighbours import AmqpPublisher
from tests.servers import HASHING, RabbitServer, RedisServer

QUEUES = partitions("autoscaler.measures", 4)
TAKEN_WITHIN = 5.0
SPREAD_WITHIN = 5.0
"""Seconds."""


@pytest.fixture
def broker() -> Iterator[RabbitServer]:
    with RabbitServer(plugins=HASHING) as server:
        yield server


async def single_queue(url: str) -> None:
    """What a controller without partitions has left behind."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("autoscaler.measures", durable=True)
        exchange = await channel.declare_exchange("measures", aio_pika.ExchangeType.TOPIC, durable=True)
        await queue.bind(exchange, "#")


@pytest.mark.service
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_partitions_are_shared_by_whoever_is_there_and_nothing_is_lost(
    redis_on_disk: RedisServer, broker: RabbitServer, tmp_path: Path
) -> None:
    def shared() -> Sequence[int]:
        return spread(redis_on_disk, QUEUES, Bus.AMQP)

    with ExitStack() as stack:
        fleet = Fleet(tmp_path, stack, {"REDIS_URL": redis_on_disk.url, "AMQP_URL": broker.url})
        # all of them were one queue before; what waits there is taken, too
        asyncio.run(single_queue(broker.url))
        with AmqpPublisher(broker.url, "measures", measured, interval=0.02) as publisher:
            until(lambda: len(publisher.published) >= 20)
            one, other = fleet.begin("r0", "r1", AMQP_PARTITIONS="4")
            until(lambda: shared() == [2, 2])
            until(lambda: set(known(redis_on_disk, Bus.AMQP)) == set(QUEUES))

            (third,) = fleet.begin("r2", AMQP_PARTITIONS="4")
            joined = until(lambda: shared() == [1, 1, 2])
            other.kill()
            killed = taken_over(publisher, redis_on_disk)
            until(lambda: shared() == [2, 2])
            assert third.end() == 0
            ended = taken_over(publisher, redis_on_disk)
            print(f"spread {joined:.2f} s after one joined; taken over {killed:.2f} s and {ended:.2f} s after")

            assert one.end() == 0
            (fewer,) = fleet.begin("r0", AMQP_PARTITIONS="2", AMQP_PARTITION_HEADER="group")
            grouped = partitions("autoscaler.measures", 2, "group")
            until(lambda: set(known(redis_on_disk, Bus.AMQP)) == set(grouped))
            publisher.stop()
        until(lambda: len(values(redis_on_disk)) == len(publisher.published))

        assert values(redis_on_disk) == {measure["value"] for measure in publisher.published}
        for replica in (one, other, third, fewer):
            assert "Traceback" not in replica.whole_log()
    assert max(killed, ended) < TAKEN_WITHIN
    assert joined < SPREAD_WITHIN
