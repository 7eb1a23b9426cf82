"""One cloud for all tests in this folder: it takes a while to start."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.heat.cloud import HeatCloud, heat_cloud


@pytest.fixture(scope="session")
def cloud() -> Iterator[HeatCloud]:
    with heat_cloud() as found:
        yield found


@pytest.fixture
async def heat(cloud: HeatCloud) -> AsyncIterator[httpx.AsyncClient]:
    """Heat, as ada sees it."""
    async with cloud.orchestration(cloud.ada) as client:
        yield client
