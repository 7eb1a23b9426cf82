"""A runner of a controller over a store and sources in memory."""

from __future__ import annotations

from collections.abc import Callable

from autoscaler.adapters.memory import MemoryStore
from autoscaler.adapters.schedule import CronCalendar
from autoscaler.adapters.sources.memory import MemorySource
from autoscaler.engine.controller import Controller
from autoscaler.engine.listen import Silence
from autoscaler.engine.run import Runner, Wake


def a_runner(store: MemoryStore, wake: Wake, now: Callable[[], float], *sources: MemorySource) -> Runner:
    """The one of replica ``r``; nothing is published meanwhile."""
    controller = Controller(
        store, Silence(), actions={}, targets={}, calendar=CronCalendar(), replica="r", woken=wake.at
    )

    async def unchanged(_: str) -> None:
        """Nothing is published."""

    return Runner(
        controller,
        sources,
        wake=wake,
        clock=now,
        replica="r",
        version="0",
        max_hold=600.0,
        generation_changed=unchanged,
    )
