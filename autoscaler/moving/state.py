"""The state of a deployment as a whole: shown, brought into the form of this version, exported and imported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoscaler import __version__
from autoscaler.adapters import state_file
from autoscaler.adapters.logs import configure
from autoscaler.engine import upkeep
from autoscaler.engine.audit import Change
from autoscaler.engine.restore import Restored, Restorer
from autoscaler.moving.record import record
from autoscaler.moving.store import opened
from autoscaler.ports import Heartbeat, Schema
from autoscaler.scaling.guards import iso
from autoscaler.settings import Settings


@dataclass(frozen=True, slots=True)
class Shown:
    """A state as a whole.

    Attributes:
        replicas: that live; nothing is known of them where this version may not touch the state.
    """

    schema: Schema
    replicas: Sequence[Heartbeat]


async def show(settings: Settings) -> Shown:
    """In which form the state is, and who runs on it.

    Raises:
        TemporaryError: Redis cannot be reached.
    """
    configure(settings.log_format, settings.log_level)
    async with opened(settings) as store:
        schema = await store.schema()
        return Shown(schema, () if schema.refusal else await store.replicas())


async def upgrade(settings: Settings) -> Schema:
    """Bring the state into the form of this version.

    Raises:
        PermanentError: a replica that lives does not know that form.
        TemporaryError: Redis cannot be reached, or the state is in a form that this version does not know.
    """
    configure(settings.log_format, settings.log_level)
    async with opened(settings) as store:
        before = await store.schema()
        schema = await upkeep.upgrade(store, __version__)
        if schema != before:
            was, now = ({"form": each.form, "oldest": each.oldest} for each in (before, schema))
            await record(store, settings, Change.UPGRADED, "state", settings.namespace, before=was, after=now)
        return schema


async def export(settings: Settings, path: Path) -> Mapping[str, int]:
    """Write all of the state into a file while controllers go on working; how many entries of each kind it holds.

    Raises:
        PermanentError: the file cannot be written; one that was there before is as it was.
        TemporaryError: Redis cannot be reached, or the state is in a form that this version does not know.
    """
    configure(settings.log_format, settings.log_level)
    counted: Counter[str] = Counter()
    async with opened(settings) as store:
        schema = await store.schema()
        header = state_file.Header(
            version=__version__, namespace=settings.namespace, shards=schema.shards, time=await store.now()
        )
        with state_file.written(path, header) as write:
            async for entry in store.saved():
                write(entry)
                counted[str(type(entry).__struct_config__.tag)] += 1
        # what left holds secrets
        await record(store, settings, Change.EXPORTED, "state", settings.namespace, after={"file": str(path)})
    return counted


def checked(path: Path) -> state_file.Header:
    """What a file that is whole and understood says of itself. Raises PermanentError, naming the line, of any other."""
    return state_file.checked(path)


async def put_back(settings: Settings, path: Path, *, replace: bool) -> Restored:
    """Put what a file holds in place of a state that is empty, or that is to be replaced.

    Raises:
        PermanentError: the file is not whole, a controller runs, or there is something; nothing was changed. Or a
            controller began meanwhile.
        TemporaryError: Redis cannot be reached; it is to be done again, with ``replace``.
    """
    configure(settings.log_format, settings.log_level)
    header = state_file.checked(path)
    async with opened(settings) as store:
        await store.begin_import(shards=header.shards, replace=replace)
        restored = await Restorer(store, await store.now()).run(state_file.read(path))
        await store.end_import()
        taken = {"file": str(path), "of": header.namespace, "from": iso(header.time), "replaced": replace}
        await record(store, settings, Change.IMPORTED, "state", settings.namespace, after=taken)
    return restored
