"""Calls of our functions in Redis: the library is loaded when missing, errors are translated, each has a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from autoscaler.errors import TemporaryError, UnknownStateError
from autoscaler.ports import STATE_FORM, refusal
from autoscaler.redaction import redacted

if TYPE_CHECKING:
    from redis.asyncio.client import Pipeline

_Answer = TypeVar("_Answer")

CONNECTIONS = 32
"""At a time; calls beyond that wait for one to be free, within their deadline."""

WAITS = 2000
"""At a time: one for each stream that is waited for, at most."""

LIBRARIES = "autoscaler_"
"""What the names of ours begin with, of whatever version."""

_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class Library:
    """Our functions: a name that no other version has, and the text."""

    name: str
    text: str


@cache
def library() -> Library:
    """The Lua files beside this module as one library, named by a digest of them."""
    folder = resources.files("autoscaler.adapters.redis").joinpath("functions")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".lua")), key=lambda file: file.name)
    body = "\n".join(file.read_text(encoding="utf-8") for file in files)
    # what this version knows is part of it: the same text with another form is another library
    name = f"{LIBRARIES}{hashlib.sha256(f'{STATE_FORM} {body}'.encode()).hexdigest()[:12]}"
    # on one line, so that line numbers in error messages are those of the joined files plus one
    return Library(name, f"#!lua name={name}\nlocal LIBRARY, FORM = '{name}', {STATE_FORM}\n{body}")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a function.

    Attributes:
        prefix: of the keys that it may touch.
        asked: what it is asked, of plain values.
        data: packed points or the like, as they are.
    """

    function: str
    prefix: str
    asked: Any
    data: bytes = b""


class Caller:
    """A connection pool, the functions, and what both can get wrong.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        deadline: seconds in which each call must have been answered.
        clock: takes the place of the server's clock; for tests, that need one they can set.
    """

    def __init__(self, url: str, *, deadline: float, clock: Callable[[], float] | None = None) -> None:
        self.shown = redacted(url)
        self._deadline = deadline
        self._clock = clock
        options: dict[str, Any] = {
            "socket_connect_timeout": deadline,
            # ours is the only deadline: the client's own would end waits, and it can swallow a task's cancellation
            "socket_timeout": None,
            # what must be repeated is repeated by those who know whether it may be
            "retry": Retry(NoBackoff(), 0),
        }
        try:
            pool = redis.asyncio.BlockingConnectionPool.from_url(
                url, max_connections=CONNECTIONS, timeout=deadline, **options
            )
        except ValueError as error:
            raise ValueError(f"{self.shown}: not a URL of a Redis: {error}") from error
        self._client = redis.asyncio.Redis.from_pool(pool)
        # a pool of their own: waiting takes no connection from calls, and lasts longer than any of them may
        waits = redis.asyncio.ConnectionPool.from_url(url, max_connections=WAITS, **options)
        self._waits = redis.asyncio.Redis.from_pool(waits)
        self._one_slot = False  # True means that the server takes no command about several shards

    async def __call__(self, calls: Sequence[Call]) -> list[Any]:
        """The answers in the order asked; the calls travel together, and each is atomic for itself.

        Raises:
            TemporaryError: at least one of them has failed or was not answered; any of them may have happened.
        """
        return await self.bounded(self._call(calls)) if calls else []

    async def bounded(self, work: Coroutine[Any, Any, _Answer], *, patience: float = 0.0) -> _Answer:
        """``work`` within the deadline, its errors translated; ``patience`` seconds later where it waits that long."""
        deadline = patience + self._deadline
        try:
            async with asyncio.timeout(deadline):
                return await work
        except TimeoutError as error:
            raise TemporaryError(f"{self.shown}: no answer within {deadline:g} s") from error
        except (RedisError, OSError) as error:
            if (form := _newer(error)) is not None:
                raise UnknownStateError(f"{self.shown}: {refusal(form)}") from error
            raise TemporaryError(f"{self.shown}: {error}") from error

    def plain(self, *command: str | bytes | float) -> Coroutine[Any, Any, Any]:
        """A command that is no function of ours, to be bounded or combined."""
        return self._client.execute_command(*command)  # type: ignore[no-untyped-call]

    async def news(self, streams: Mapping[str, str], *, patience: float) -> None:
        """Wait for an entry of any stream after the id that is given for it, for ``patience`` seconds at most.

        Raises:
            TemporaryError: the connection is gone; there may be news.
        """
        await self.bounded(self._news(streams, patience), patience=patience)

    async def _news(self, streams: Mapping[str, str], patience: float) -> None:
        if not self._one_slot:
            try:
                return await self._read(streams, patience)
            except ResponseError as error:
                if "same slot" not in str(error):
                    raise
                self._one_slot = True
        try:
            async with asyncio.TaskGroup() as reads:
                tasks = [reads.create_task(self._read({key: after}, patience)) for key, after in streams.items()]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors

    async def _read(self, streams: Mapping[str, str], patience: float) -> None:
        # 0 would be for ever
        block = max(1, math.ceil(patience * 1000))
        command = ("XREAD", "COUNT", 1, "BLOCK", block, "STREAMS", *streams.keys(), *streams.values())
        await self._waits.execute_command(*command)  # type: ignore[no-untyped-call]

    async def _call(self, calls: Sequence[Call]) -> list[Any]:
        answers = await self._send(calls)
        missing = [number for number, answer in enumerate(answers) if _is_missing(answer)]
        if missing:
            await self._load()
            repeated = await self._send([calls[number] for number in missing])
            for number, answer in zip(missing, repeated, strict=True):
                answers[number] = answer
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    async def _send(self, calls: Sequence[Call]) -> list[Any]:
        now = "" if self._clock is None else repr(self._clock())
        pipeline: Pipeline = self._client.pipeline(transaction=False)
        for call in calls:
            name = f"{library().name}_{call.function}"
            pipeline.execute_command("FCALL", name, 1, call.prefix, now, _encode(call.asked), call.data)
        return await pipeline.execute(raise_on_error=False)

    async def _load(self) -> None:
        try:
            await self.plain("FUNCTION", "LOAD", library().text)
        except ResponseError as error:
            # a replica that found them missing at the same time was quicker
            if "already exists" not in str(error):
                raise

    async def clear(self) -> int:
        """Remove the libraries of other versions; how many there were. Who still needs one loads it again."""
        found = await self.bounded(self.plain("FUNCTION", "LIST", "LIBRARYNAME", f"{LIBRARIES}*"))
        names = {_text(_fields(entry)[b"library_name"]) for entry in found} - {library().name}
        for name in names:
            with contextlib.suppress(TemporaryError):  # removed by another meanwhile
                await self.bounded(self.plain("FUNCTION", "DELETE", name))
        return len(names)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()
        await self._waits.aclose()


def _fields(answer: Any) -> dict[bytes, Any]:
    """A map, which older protocols tell as a list of keys and values."""
    return answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))


def _text(answer: bytes | str) -> str:
    return answer.decode() if isinstance(answer, bytes) else answer


def _newer(error: Exception) -> int | None:
    """The form that a function of ours has met and does not know; None of any other error."""
    code, _, form = str(error).partition(" ")
    return int(form.split()[0]) if code == "NEWERSTATE" else None


def _is_missing(answer: object) -> bool:
    return isinstance(answer, ResponseError) and "Function not found" in str(answer)
