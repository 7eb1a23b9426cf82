"""Definitions as stored, and the streams that tell of their changes, one per shard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final, overload

import msgspec

from autoscaler.adapters.redis.calls import Call, Caller
from autoscaler.alarms.definition import Definition, decode
from autoscaler.ports import DefinitionChanges, Definitions

PIECE: Final = 500
"""Definitions or changes per call, so that no call holds the server up."""
IN_FLIGHT: Final = 4
"""Shards that are read at a time: the server has the next piece ready when one is decoded."""
RECENT: Final = 60.0
"""Seconds for which a change is recent."""


class _Place(msgspec.Struct, array_like=True, frozen=True):
    """A position in a shard's stream: number and time of the newest entry that was read."""

    number: int
    time: str


class _Recent(msgspec.Struct, array_like=True):
    """What `recent` answers."""

    ids: list[str]
    before: list[int]


class _Defined(msgspec.Struct, array_like=True):
    """What `defined` answers."""

    ids: list[str]
    definitions: list[str]


class _Changes(msgspec.Struct, array_like=True):
    """What `changes` answers."""

    complete: bool
    number: int
    time: str
    ids: list[str]
    definitions: list[str]


_place = msgspec.msgpack.Decoder(_Place)
_recent = msgspec.msgpack.Decoder(_Recent)
_defined = msgspec.msgpack.Decoder(_Defined)
_changes = msgspec.msgpack.Decoder(_Changes)
_places = msgspec.json.Decoder(list[_Place])


class _Stored(Sequence[Definition]):
    """Definitions that are decoded when they are asked for: as texts they take a third of the room."""

    def __init__(self, documents: Sequence[str]) -> None:
        self._documents = documents

    def __len__(self) -> int:
        return len(self._documents)

    @overload
    def __getitem__(self, place: int) -> Definition: ...
    @overload
    def __getitem__(self, place: slice) -> _Stored: ...
    def __getitem__(self, place: int | slice) -> Definition | _Stored:
        found = self._documents[place]
        return decode(found) if isinstance(found, str) else _Stored(found)

    def __iter__(self) -> Iterator[Definition]:
        return map(decode, self._documents)


class DefinitionStreams:
    """What is read of definitions; they are written by `accept`."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def all(self, prefixes: Sequence[str]) -> Definitions:
        """See :meth:`autoscaler.ports.Store.definitions`."""
        answers = await self._caller([Call("position", prefix, ()) for prefix in prefixes])
        # before they are read: what is changed meanwhile is told again, rather than never
        position = _text([_place.decode(answer) for answer in answers])
        recent = {alarm_id for prefix in prefixes async for alarm_id in self._recent(prefix)}
        free = asyncio.Semaphore(IN_FLIGHT)
        try:
            async with asyncio.TaskGroup() as reads:
                shards = [reads.create_task(self._defined(prefix, free)) for prefix in prefixes]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return Definitions(_Stored([each for shard in shards for each in shard.result()]), sorted(recent), position)

    async def _recent(self, prefix: str) -> AsyncIterator[str]:
        before: list[int] = []
        while True:
            (answer,) = await self._caller([Call("recent", prefix, [before, RECENT, PIECE])])
            found = _recent.decode(answer)
            for alarm_id in found.ids:
                yield alarm_id
            if not found.before:
                return
            before = found.before

    async def _defined(self, prefix: str, free: asyncio.Semaphore) -> list[str]:
        documents: list[str] = []
        after = ""
        async with free:
            while True:
                (answer,) = await self._caller([Call("defined", prefix, [after, PIECE])])
                found = _defined.decode(answer)
                documents += filter(None, found.definitions)
                if len(found.ids) < PIECE:
                    return documents
                after = found.ids[-1]

    async def changes(self, prefixes: Sequence[str], position: str, *, patience: float) -> DefinitionChanges:
        """See :meth:`autoscaler.ports.Store.changes`."""
        places = _places.decode(position)
        found = await self._since(prefixes, places)
        if found.changed or not found.complete or patience <= 0:
            return found
        streams = {f"{prefix}changes": f"{place.number}-0" for prefix, place in zip(prefixes, places, strict=True)}
        await self._caller.news(streams, patience=patience)
        return await self._since(prefixes, places)

    async def _since(self, prefixes: Sequence[str], places: Sequence[_Place]) -> DefinitionChanges:
        asked = [
            Call("changes", prefix, [place.number, place.time, PIECE])
            for prefix, place in zip(prefixes, places, strict=True)
        ]
        answers = [_changes.decode(answer) for answer in await self._caller(asked)]
        return DefinitionChanges(
            changed={
                alarm_id: decode(document) if document else None
                for answer in answers
                for alarm_id, document in zip(answer.ids, answer.definitions, strict=True)
            },
            position=_text([_Place(answer.number, answer.time) for answer in answers]),
            complete=all(answer.complete for answer in answers),
        )


def _text(places: Sequence[_Place]) -> str:
    return msgspec.json.encode(places).decode()
