"""Moving alarms from an Aodh to here and back: from settings and a database's URL to what was moved."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import structlog

from autoscaler.adapters.logs import configure
from autoscaler.adapters.redis import EmbeddedServer, FolderInUseError, RedisStore, running_url
from autoscaler.api.v2.imported import Taking
from autoscaler.declarations import Declarations, parse
from autoscaler.declarations.definitions import alarm_of
from autoscaler.engine.move_in import Importer
from autoscaler.engine.move_out import Exporter
from autoscaler.errors import PermanentError
from autoscaler.settings import Mixed, Settings

if TYPE_CHECKING:
    from autoscaler.adapters.aodh import Database
    from autoscaler.engine.moved import Summary
    from autoscaler.ports import Store

log = structlog.get_logger()


async def import_aodh(
    settings: Settings, url: str, *, unconfined: Collection[str], overwrite: bool, prune: bool, dry_run: bool
) -> Summary:
    """Take what an Aodh's database at ``url`` has; see :class:`autoscaler.engine.move_in.Importer`.

    Raises:
        PermanentError: there is no such database, or a library is missing.
        TemporaryError: the database or Redis cannot be reached.
        DeclarationError: what is declared was published by another version.
    """
    configure(settings.log_format, settings.log_level)
    async with _database(url) as database, _store(settings) as store:
        declared = await _declared(store, settings)
        importer = Importer(
            store,
            database,
            Taking(unconfined).definition,
            partial(alarm_of, derived=declared.derived, mixed_as_aodh=_mixed_as_aodh(settings)),
            history_ttl=settings.history_ttl,
            overwrite=overwrite,
            prune=prune,
            dry_run=dry_run,
        )
        return await importer.run()


async def export_aodh(settings: Settings, url: str, *, overwrite: bool, dry_run: bool) -> Summary:
    """Write back what an Aodh's database lacks; see :class:`autoscaler.engine.move_out.Exporter`.

    Raises:
        PermanentError, TemporaryError: as :func:`import_aodh`.
    """
    configure(settings.log_format, settings.log_level)
    async with _database(url) as database, _store(settings) as store:
        return await Exporter(store, database, overwrite=overwrite, dry_run=dry_run).run()


@asynccontextmanager
async def _database(url: str) -> AsyncIterator[Database]:
    try:
        from autoscaler.adapters.aodh import Database  # noqa: PLC0415 - an extra, which few need
    except ImportError as error:
        raise PermanentError(f"{error}; moving to or from Aodh needs: pip install 'autoscaler[aodh]'") from error
    database = Database(url)
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[RedisStore]:
    """The store of the controllers that are to run these alarms, whether any does at this moment or not."""
    async with _redis(settings) as url:
        store = RedisStore(url, namespace=settings.namespace, shards=settings.shards, history_ttl=settings.history_ttl)
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


async def _declared(store: Store, settings: Settings) -> Declarations:
    """What is declared, as far as it was ever published."""
    published = await store.generation()
    return Declarations() if published is None else parse(published[1], mixed_as_aodh=_mixed_as_aodh(settings))


def _mixed_as_aodh(settings: Settings) -> bool:
    return settings.composite_mixed is Mixed.AODH
