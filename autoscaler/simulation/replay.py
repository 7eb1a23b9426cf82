"""Recorded measures through the engine, on their own clock."""

from __future__ import annotations

import heapq
import math
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from pathlib import Path

from autoscaler.adapters.files import texts
from autoscaler.adapters.sources.decode import from_iso8601
from autoscaler.adapters.sources.recordings import Label, read
from autoscaler.declarations import Declarations, load
from autoscaler.errors import InvalidMeasureError, PermanentError
from autoscaler.measures.measure import Measure
from autoscaler.ports import Undecoded
from autoscaler.simulation.plant import Plant
from autoscaler.simulation.world import Happening, World

__all__ = ["Label", "declared", "moment", "recorded", "replay"]

Recorded = Measure | Undecoded


def declared(rules: Path, policies: Path | None) -> Declarations:
    """What the files declare. Without policies, actions of alarms that name one are left out.

    Raises:
        DeclarationError: with every problem of every file.
    """
    if policies is None:
        return load(texts([rules]), rules_only=True)
    return load(texts([rules, policies]))


def moment(text: str) -> float:
    """Unix seconds of a time as people give it: ISO 8601, or Unix seconds.

    Raises:
        PermanentError: it is neither.
    """
    try:
        seconds = float(text)
    except ValueError:
        try:
            return from_iso8601(text)
        except InvalidMeasureError as error:
            raise PermanentError(f"expected ISO 8601 or Unix seconds, got {text!r}") from error
    if not math.isfinite(seconds):
        raise PermanentError(f"expected ISO 8601 or Unix seconds, got {text!r}")
    return seconds


def recorded(paths: Sequence[str], label: Label) -> Iterator[Recorded]:
    """What several files hold, as if they had been recorded together; each keeps its own order.

    Raises:
        PermanentError: as :func:`autoscaler.adapters.sources.recordings.read` does.
    """
    for _, item in heapq.merge(*(_in_time(read([path], label)) for path in paths), key=lambda timed: timed[0]):
        yield item


def _in_time(items: Iterable[Recorded]) -> Iterator[tuple[float, Recorded]]:
    """Each item with the newest time of its file up to it."""
    newest = -math.inf
    for item in items:
        if isinstance(item, Measure):
            newest = max(newest, item.timestamp)
        yield newest, item


async def replay(
    declarations: Declarations,
    items: Iterable[Recorded],
    *,
    until: float | None,
    rejected: Callable[[Undecoded], None],
) -> AsyncIterator[Happening]:
    """What happens, in order; groups have the size they are asked for at once.

    Args:
        declarations: what runs.
        items: as :func:`recorded` yields them.
        until: Unix seconds; later measures are left out, and time goes on to it. None ends with the newest measure.
        rejected: told of what could not be read.
    """
    world = World(Plant(obedient=True))
    world.declare(declarations)
    for item in items:
        if isinstance(item, Undecoded):
            rejected(item)
        elif until is None or item.timestamp <= until:
            for happening in await world.feed(item):
                yield happening
    if until is not None:
        for happening in await world.advance(until):
            yield happening
