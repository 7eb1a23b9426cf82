"""The store of controllers, opened by a command that is none of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from autoscaler.adapters.redis import EmbeddedServer, FolderInUseError, RedisStore, running_url
from autoscaler.edges import redis_store

if TYPE_CHECKING:
    from autoscaler.settings import Settings

log = structlog.get_logger()


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[RedisStore]:
    """The store of the controllers that run with these settings, whether any does at this moment or not."""
    async with _redis(settings) as url:
        store = redis_store(settings, url)
        try:
            yield store
        finally:
            await store.close()


@asynccontextmanager
async def _redis(settings: Settings) -> AsyncIterator[str]:
    """The Redis that the settings name; else the embedded server: that of a controller that runs, or one of our own."""
    if settings.redis_url is not None:
        yield settings.redis_url
        return
    folder = settings.state_dir / "valkey"
    server = EmbeddedServer(folder)
    try:
        await server.__aenter__()
    except FolderInUseError:
        log.info("using the server of the controller that runs on this folder", folder=str(folder))
        yield running_url(folder)
        return
    try:
        yield server.url
    finally:
        await server.__aexit__(None, None, None)
