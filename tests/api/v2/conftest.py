from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.api.v2.running import Api, running


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with running() as found:
        yield found
