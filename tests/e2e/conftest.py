from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import RedisServer


@pytest.fixture
def redis_on_disk() -> Iterator[RedisServer]:
    with RedisServer(None, "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server
