"""The cloud that the other tests stand on: groups grow and shrink by Heat's own ways, and its parts can be ended."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.heat import stacks
from tests.heat.cloud import HeatCloud
from tests.heat.templates import a_group

pytestmark = [pytest.mark.heat, pytest.mark.timeout(300)]


async def test_a_group_grows_and_shrinks_by_signals(heat: httpx.AsyncClient) -> None:
    async with stacks.a_stack(heat, a_group()) as stack, httpx.AsyncClient() as anybody:
        urls = await stacks.outputs(stack)
        await stacks.resting(stack, 1)

        assert (await anybody.post(urls["up_url"])).status_code == 200
        await stacks.resting(stack, 2)
        assert (await heat.post(urls["up_signal"], json={"current": "alarm"})).status_code == 200
        await stacks.resting(stack, 3)
        assert (await anybody.post(urls["down_url"])).status_code == 200
        await stacks.resting(stack, 2)


async def test_what_is_killed_comes_back_as_it_was(cloud: HeatCloud, heat: httpx.AsyncClient) -> None:
    async with stacks.a_stack(heat, a_group()) as stack:
        for server in (cloud.engine, cloud.api, cloud.keystone):
            await asyncio.to_thread(server.kill)
        with pytest.raises(httpx.ConnectError):
            await stacks.shown(stack)
        for server in (cloud.keystone, cloud.api, cloud.engine):
            await asyncio.to_thread(server.restart)

        await stacks.patched(stack)
        await stacks.resting(stack, 1)
