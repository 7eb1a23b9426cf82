"""The state of a deployment: shown, and brought into the form of this version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autoscaler import __version__
from autoscaler.adapters.logs import configure
from autoscaler.engine import upkeep
from autoscaler.moving.store import opened
from autoscaler.ports import Heartbeat, Schema
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
        return await upkeep.upgrade(store, __version__)
