"""The two that are compared, alike to whoever measures them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import aio_pika
import httpx

from bench.beside.peers import WholeAodh, WholeGnocchi
from bench.beside.plan import Plan
from tests.aodh_server import OPERATOR
from tests.e2e.controller import ControllerProcess
from tests.mariadb_server import MariaServer
from tests.servers import RabbitServer, RedisServer, free_port

ANEW = httpx.Limits(max_keepalive_connections=0)
"""Nobody is asked over a connection that they may be about to close."""
METRIC = "memory.usage"
PROJECT = "compared"
WORKERS = 8
"""Clients that make resources and alarms at a time."""


class Send(Protocol):
    """Hands measures over: values by resource, and their time."""

    async def __call__(self, values: Mapping[str, float], at: float) -> None: ...


@dataclass
class System:
    """One that runs.

    Attributes:
        alarming: URL of Aodh's API.
        services: process ids of what evaluates alarms.
        servers: process ids of the databases and brokers that it needs.
    """

    alarming: str
    send: Send
    services: Callable[[], list[int]]
    servers: Callable[[], list[int]]


@dataclass(frozen=True)
class Contestant:
    """One column of the table.

    Attributes:
        interval: seconds between two measures of a resource, and of a granule.
        evaluator: section of Aodh's configuration; None where it is not Aodh.
        hurried: whether Gnocchi is set to process measures as soon as they come.
    """

    key: str
    title: str
    interval: float
    evaluator: str | None = None
    hurried: bool = False

    @contextlib.asynccontextmanager
    async def running(self, plan: Plan) -> AsyncIterator[System]:
        """With all it needs, alone on fresh servers; it knows the resources of the plan."""
        with contextlib.ExitStack() as servers:
            async with contextlib.AsyncExitStack() as clients:
                if self.evaluator is None:
                    yield await _ours(servers, clients)
                else:
                    yield await self._theirs(plan, servers, clients)

    async def _theirs(self, plan: Plan, servers: contextlib.ExitStack, clients: contextlib.AsyncExitStack) -> System:
        maria = servers.enter_context(MariaServer("aodh", "gnocchi"))
        rabbit = servers.enter_context(RabbitServer())
        redis = servers.enter_context(RedisServer(None, "--appendonly", "yes")) if self.hurried else None
        gnocchi = servers.enter_context(WholeGnocchi(maria, redis))
        aodh = servers.enter_context(WholeAodh(maria, gnocchi, rabbit, self.evaluator or ""))
        client = httpx.AsyncClient(base_url=gnocchi.url, auth=(OPERATOR, ""), timeout=60, limits=ANEW)
        await clients.enter_async_context(client)
        await _known(client, plan)

        async def send(values: Mapping[str, float], at: float) -> None:
            time = datetime.fromtimestamp(at, UTC).isoformat()
            body = {resource: {METRIC: [{"timestamp": time, "value": value}]} for resource, value in values.items()}
            await _asked(client, "/v1/batch/resources/metrics/measures", body)

        return System(
            aodh.url,
            send,
            lambda: gnocchi.pids + aodh.pids,
            lambda: [pid for each in (maria, rabbit, redis) if each is not None for pid in each.pids],
        )


async def _ours(servers: contextlib.ExitStack, clients: contextlib.AsyncExitStack) -> System:
    redis = servers.enter_context(RedisServer(None, "--appendonly", "yes"))
    rabbit = servers.enter_context(RabbitServer())
    settings = {"REDIS_URL": redis.url, "AMQP_URL": rabbit.url, "TRUSTED_SOURCES": "amqp", "LOG_LEVEL": "warning"}
    # the folder of one of its servers, which goes with it
    controller = servers.enter_context(ControllerProcess(Path(rabbit.folder), port=free_port(), settings=settings))
    await asyncio.to_thread(controller.until_ready)
    connection = await clients.enter_async_context(await aio_pika.connect(rabbit.url))
    channel = await connection.channel(publisher_confirms=False)
    exchange = await channel.declare_exchange("measures", aio_pika.ExchangeType.TOPIC, durable=True)

    async def send(values: Mapping[str, float], at: float) -> None:
        measures = [
            {"metric": METRIC, "resource_id": resource, "timestamp": at, "value": value, "project_id": PROJECT}
            for resource, value in values.items()
        ]
        await exchange.publish(aio_pika.Message(json.dumps(measures).encode()), METRIC)

    def services() -> list[int]:
        assert controller.pid is not None
        return [controller.pid]

    return System(f"http://127.0.0.1:{controller.port}", send, services, lambda: redis.pids + rabbit.pids)


async def _known(gnocchi: httpx.AsyncClient, plan: Plan) -> None:
    """Have Gnocchi know the resources, with a metric whose granules are as long as the interval."""
    definition = [{"granularity": f"{plan.interval:g}s", "timespan": "6:00:00"}]
    policy = {"name": "compared", "definition": definition, "aggregation_methods": ["mean"]}
    await _asked(gnocchi, "/v1/archive_policy", policy)

    async def known(resource: str) -> None:
        body = {"id": resource, "project_id": PROJECT, "metrics": {METRIC: {"archive_policy_name": "compared"}}}
        await _asked(gnocchi, "/v1/resource/generic", body)

    await at_a_time(known, plan.resources)


async def _asked(client: httpx.AsyncClient, path: str, body: Any) -> None:
    answer = await client.post(path, json=body)
    assert answer.is_success, f"{path}: {answer.status_code} {answer.text[:500]}"


async def at_a_time(do: Callable[[str], Any], what: list[str]) -> None:
    """Do it with each, several at a time."""
    waiting = iter(what)

    async def some() -> None:
        for each in waiting:
            await do(each)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(WORKERS):
            tasks.create_task(some())
