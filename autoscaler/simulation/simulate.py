"""The engine in a loop with somebody else's world: lines in, lines out."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from autoscaler.adapters.sources.decode import RECORDED, decode
from autoscaler.declarations import Declarations
from autoscaler.errors import InvalidMeasureError, PermanentError, Rejection
from autoscaler.ports import WorkItem
from autoscaler.scaling.guards import iso
from autoscaler.simulation.plant import Plant, Stand
from autoscaler.simulation.replay import moment
from autoscaler.simulation.world import World, line

__all__ = ["simulate"]


@dataclass(frozen=True, slots=True)
class _Word:
    """What the world says of itself at a time; ``now`` as it was written."""

    now: Any
    time: float
    stands: Mapping[str, Stand]


async def simulate(
    declarations: Declarations, lines: Iterable[str], *, refused: Callable[[int, str], None]
) -> AsyncIterator[str]:
    """Answer a world line by line.

    Args:
        declarations: what runs.
        lines: native measures, or ``{"now": T, "groups": {NAME: {"size", "ready"?}}}``.
        refused: told number and fault of each line that is neither; it is skipped.

    Yields:
        After each ``now`` the happenings up to it, then ``{"now": T, "groups": {NAME: {"desired_capacity"}}}``.
    """
    loop = _Loop(declarations)
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            answers = await loop.take(text)
        except PermanentError as error:
            refused(number, str(error))
        else:
            for answer in answers:
                yield answer


class _Loop:
    def __init__(self, declarations: Declarations) -> None:
        self._plant = Plant(obedient=False)
        self._world = World(self._plant)
        self._world.declare(declarations)
        self._groups = tuple(sorted(declarations.groups))
        self._said: list[dict[str, Any]] = []

    async def take(self, text: str) -> list[str]:
        """The answer to one line; nothing but to a ``now``."""
        document = _parsed(text)
        if isinstance(document, dict) and "now" in document:
            return await self._now(self._word(document))
        decoded = decode(text.encode(errors="replace"), now=0.0, trusted=True, limits=RECORDED)
        if decoded.rejected:
            found = decoded.rejected[0]
            raise InvalidMeasureError(found.rejection, found.detail)
        for measure in decoded.measures:
            self._said += await self._world.feed(measure)
        return []

    async def _now(self, word: _Word) -> list[str]:
        """Move on to the word's time, hear of the groups just before it, and say what happened and what is wanted."""
        world = self._world
        before = math.nextafter(word.time, 0.0)
        if world.now > 0:
            # until then the groups were as they were
            self._said += await world.advance(min(max(world.now, before), word.time))
        self._plant.told(word.stands)
        if world.now > 0:
            await world.controller.store.mark([WorkItem("group", name, world.now) for name in sorted(word.stands)])
            self._said += await world.advance(world.now)
        self._said += await world.advance(word.time)
        said, self._said = self._said, []
        return [*map(line, said), await self._wanted(word)]

    async def _wanted(self, word: _Word) -> str:
        groups = {}
        for name in self._groups:
            state = await self._world.controller.store.group(name)
            groups[name] = {"desired_capacity": state.record.desired_capacity}
        return msgspec.json.encode({"now": word.now, "groups": groups}).decode()

    def _word(self, document: dict[str, Any]) -> _Word:
        unknown = sorted(document.keys() - {"now", "groups"})
        if unknown:
            raise PermanentError(f'{unknown[0]}: unknown key beside "now"; expected "groups"')
        now = document["now"]
        if isinstance(now, bool) or not isinstance(now, int | float | str):
            raise PermanentError("now: expected ISO 8601 or Unix seconds")
        time = moment(str(now))
        if time < self._world.now:
            raise PermanentError(f"now: {now} is before {iso(self._world.now)}, and time does not run backwards")
        groups = document.get("groups", {})
        if not isinstance(groups, dict):
            raise PermanentError('groups: expected an object such as {"web": {"size": 4, "ready": 3}}')
        return _Word(now, time, {name: self._stand(name, stand) for name, stand in groups.items()})

    def _stand(self, name: str, stand: Any) -> Stand:
        if name not in self._groups:
            known = ", ".join(self._groups) or "none"
            raise PermanentError(f"groups: {name} is not declared; declared are {known}")
        if not isinstance(stand, dict) or "size" not in stand or stand.keys() - {"size", "ready"}:
            raise PermanentError(f'groups.{name}: expected {{"size": 4, "ready": 3}}')
        size, ready = stand["size"], stand.get("ready", stand["size"])  # type: Any, Any
        for key, members in (("size", size), ("ready", ready)):
            if isinstance(members, bool) or not isinstance(members, int) or members < 0:
                raise PermanentError(f"groups.{name}.{key}: expected a whole number from 0 on")
        if ready > size:
            raise PermanentError(f"groups.{name}: {ready} of {size} cannot be ready")
        return Stand(size, ready)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidMeasureError(Rejection.UNDECODABLE, f"not JSON: {error}") from error
