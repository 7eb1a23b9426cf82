"""Moving alarms from an Aodh to here and back: from settings and a database's URL to what was moved."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from autoscaler.adapters import http
from autoscaler.adapters.clock import now
from autoscaler.adapters.gnocchi import GnocchiArchive
from autoscaler.adapters.keystone import keystone_of
from autoscaler.adapters.logs import configure
from autoscaler.adapters.openstack import Service as CloudService
from autoscaler.api.v2.imported import Taking
from autoscaler.declarations import Declarations, parse
from autoscaler.declarations.definitions import alarm_of
from autoscaler.engine.audit import Change
from autoscaler.engine.backfill import Backfill
from autoscaler.engine.move_in import Importer
from autoscaler.engine.move_out import Exporter
from autoscaler.engine.route import Router
from autoscaler.errors import PermanentError
from autoscaler.moving.record import record
from autoscaler.moving.store import opened
from autoscaler.settings import Mixed, Settings

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.adapters.aodh import Database
    from autoscaler.alarms.alarm import Alarm
    from autoscaler.alarms.definition import Definition
    from autoscaler.engine.moved import Summary
    from autoscaler.ports import Archive, Store

ARCHIVE_TIMEOUT: Final = 60.0
"""Seconds in which Gnocchi must have answered; a search over many resources takes its time."""


@dataclass(frozen=True, slots=True)
class Gnocchi:
    """Where stored measures are.

    Attributes:
        url: "" looks it up in Keystone's catalog.
        user: of Gnocchi's own basic authentication; "" shows tokens of the controller's.
    """

    url: str = ""
    user: str = ""


async def import_aodh(
    settings: Settings,
    url: str,
    *,
    unconfined: Collection[str],
    overwrite: bool,
    prune: bool,
    dry_run: bool,
    gnocchi: Gnocchi | None = None,
) -> Summary:
    """Take what an Aodh's database at ``url`` has; see :class:`autoscaler.engine.move_in.Importer`.

    Args:
        gnocchi: what the windows of all imported alarms are filled from that wait for their first full one; None
            leaves them empty.

    Raises:
        PermanentError: there is no such database, or a library is missing.
        TemporaryError: the database or Redis cannot be reached.
        DeclarationError: what is declared was published by another version.
    """
    configure(settings.log_format, settings.log_level)
    async with _database(url) as database, opened(settings) as store:
        declared = await _declared(store, settings)
        understood = partial(
            alarm_of, derived=declared.derived, mixed_as_aodh=_mixed_as_aodh(settings), outage=settings.api_outage
        )
        importer = Importer(
            store,
            database,
            Taking(unconfined).definition,
            understood,
            history_ttl=settings.history_ttl,
            overwrite=overwrite,
            prune=prune,
            dry_run=dry_run,
        )
        summary = await importer.run()
        if gnocchi is not None and not dry_run:
            async with _archive(settings, gnocchi) as archive:
                await _fill(store, archive, declared, understood, summary)
        if not dry_run:
            await record(store, settings, Change.MOVED_IN, "database", url, after=_moved(summary))
        return summary


async def export_aodh(settings: Settings, url: str, *, overwrite: bool, dry_run: bool) -> Summary:
    """Write back what an Aodh's database lacks; see :class:`autoscaler.engine.move_out.Exporter`.

    Raises:
        PermanentError, TemporaryError: as :func:`import_aodh`.
    """
    configure(settings.log_format, settings.log_level)
    async with _database(url) as database, opened(settings) as store:
        summary = await Exporter(store, database, overwrite=overwrite, dry_run=dry_run).run()
        if not dry_run:
            await record(store, settings, Change.MOVED_OUT, "database", url, after=_moved(summary))
        return summary


def _moved(summary: Summary) -> dict[str, int]:
    return {key: sum(getattr(summary, key).values()) for key in ("new", "changed", "states")}


async def _fill(
    store: Store, archive: Archive, declared: Declarations, understood: Callable[[Definition], Alarm], summary: Summary
) -> None:
    """Fill the windows of imported alarms that wait for their first full one."""
    alarms: list[Alarm] = []
    documents: dict[str, dict[str, Any]] = {}
    for definition in (await store.definitions()).definitions:
        try:
            alarms.append(understood(definition))
        except ValueError:
            continue  # it has no window
        documents[definition.alarm_id] = definition.rule
    records = await store.alarms([alarm.alarm_id for alarm in alarms])
    waiting = [alarm for alarm, record in zip(alarms, records, strict=True) if record is not None and record.imported]
    router = Router([*alarms, *declared.alarms.values()])
    await Backfill(store, archive, router, documents, summary).run([alarm for alarm in waiting if alarm.enabled])


@asynccontextmanager
async def _archive(settings: Settings, gnocchi: Gnocchi) -> AsyncIterator[GnocchiArchive]:
    async with AsyncExitStack() as stack:
        keystone = None if gnocchi.user else keystone_of(settings, now)
        if keystone is not None:
            await stack.enter_async_context(keystone)
        elif not gnocchi.user:
            raise PermanentError("--backfill: Gnocchi asks who we are; set AUTOSCALER_KEYSTONE_URL or --gnocchi-user")
        if gnocchi.user and not gnocchi.url:
            raise PermanentError("--gnocchi-user: expected with --gnocchi URL")
        context = http.tls("AUTOSCALER_KEYSTONE_CA", str(settings.keystone_ca or ""))
        client = await stack.enter_async_context(http.client(verify=context))
        service = CloudService("metric", keystone, client, url=gnocchi.url, timeout=ARCHIVE_TIMEOUT)
        yield GnocchiArchive(service, user=gnocchi.user)


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


async def _declared(store: Store, settings: Settings) -> Declarations:
    """What is declared, as far as it was ever published."""
    published = await store.generation()
    return Declarations() if published is None else parse(published[1], mixed_as_aodh=_mixed_as_aodh(settings))


def _mixed_as_aodh(settings: Settings) -> bool:
    return settings.composite_mixed is Mixed.AODH
