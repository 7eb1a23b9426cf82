"""Real servers for tests, started when the first one asks and ended with the session; how much Hypothesis draws."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.servers import (
    HASHING,
    MosquittoServer,
    RabbitServer,
    RedisCluster,
    RedisServer,
    ValkeyServer,
    valkey_program,
)

# how long anything takes is for bench/ to say: on a busy machine it takes longer
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
settings.register_profile("quick", max_examples=10)
"""Of `make quick`; `make service` draws as many as Hypothesis does by itself, so that `make test` has both."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files whose tests may take longest, so that the last worker to end has little left to do."""
    most: dict[Path, float] = {}
    for item in items:
        allowed = item.get_closest_marker("timeout")
        most[item.path] = max(most.get(item.path, 0.0), float(allowed.args[0]) if allowed else 0.0)
    count = Counter(item.path for item in items)
    items.sort(key=lambda item: (-most[item.path], -count[item.path]))


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AUTOSCALER_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(redis_server: RedisServer) -> str:
    return redis_server.url


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    with RedisCluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def valkey_cluster() -> Iterator[RedisCluster]:
    with RedisCluster(valkey_program()) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def rabbit() -> Iterator[RabbitServer]:
    with RabbitServer(plugins=HASHING) as server:
        yield server


@pytest.fixture(scope="session")
def mosquitto() -> Iterator[MosquittoServer]:
    with MosquittoServer() as server:
        yield server
