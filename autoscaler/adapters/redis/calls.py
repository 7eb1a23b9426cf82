"""Calls of our functions in Redis: sent to who has the shard, loaded where missing, each with a deadline."""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, TypeVar

import msgspec
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from autoscaler.adapters.redis.servers import UNSETTLED, Command, Node, RedisTls, servers_of
from autoscaler.errors import TemporaryError, UnknownStateError
from autoscaler.ports import STATE_FORM, refusal
from autoscaler.redaction import redacted

_Answer = TypeVar("_Answer")

JOINED = frozenset({"accept", "claim", "done", "due", "finish", "hold", "mark", "note", "write"})
"""Functions of which what is asked says how much there is to do."""
JOINED_CALLS = 64
JOINED_BYTES = 64 * 1024
"""Of what is asked. Calls of one of these that are to go to one server go as one while they are few and small: what a
small one costs is mostly that it is one. A server does nothing else meanwhile."""
UNSETTLED_PAUSE = 0.05
"""Seconds before a cluster that is being changed is asked again."""
NOBODY = "nobody has the slot"

LIBRARIES = "autoscaler_"
"""What the names of ours begin with, of whatever version."""

_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class Library:
    """Our functions: a name that no other version has, the text, and which of them only read."""

    name: str
    text: str
    reads: frozenset[str]


@cache
def library() -> Library:
    """The Lua files beside this module as one library, named by a digest of them."""
    folder = resources.files("autoscaler.adapters.redis").joinpath("functions")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".lua")), key=lambda file: file.name)
    body = "\n".join(file.read_text(encoding="utf-8") for file in files)
    # what this version knows is part of it: the same text with another form is another library
    name = f"{LIBRARIES}{hashlib.sha256(f'{STATE_FORM} {body}'.encode()).hexdigest()[:12]}"
    # on one line, so that line numbers in error messages are those of the joined files plus one
    text = f"#!lua name={name}\nlocal LIBRARY, FORM = '{name}', {STATE_FORM}\n{body}"
    registered = re.split(r"^register\('(\w+)'", body, flags=re.MULTILINE)
    reads = {each for each, code in zip(registered[1::2], registered[2::2], strict=True) if "{'no-writes'})" in code}
    return Library(name, text, frozenset(f"{name}_{each}" for each in reads))


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
    """The functions, wherever they run, and what can go wrong with them.

    Of a cluster a shard is one slot, so calls go to whoever has it, those of each node together and all nodes at once.
    A slot that is being moved is not followed half-way: a script would find half of its shard. The call waits a while
    for the slot to be wholly here or there.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``; ``redis+cluster://`` or ``rediss+cluster://`` for a cluster.
        deadline: seconds in which each call must have been answered.
        clock: takes the place of the servers' clock; for tests, that need one they can set.
        wait: replicas of a server that must have what a call has changed before the call counts as answered.

    Raises:
        ValueError: the URL is none.
    """

    def __init__(
        self,
        url: str,
        *,
        deadline: float,
        clock: Callable[[], float] | None = None,
        wait: int = 0,
        tls: RedisTls | None = None,
    ) -> None:
        self.shown = redacted(url)
        self._wait = wait
        self._deadline = deadline
        self._clock = clock
        self._servers = servers_of(url, deadline=deadline, tls=tls)

    async def __call__(self, calls: Sequence[Call]) -> list[Any]:
        """The answers in the order asked; the calls travel together, and each is atomic for itself.

        Raises:
            TemporaryError: at least one of them has failed or was not answered; any of them may have happened.
        """
        if not calls:
            return []
        now = "" if self._clock is None else repr(self._clock())
        commands = [
            Command(prefixes[0], ("FCALL", f"{library().name}_{function}", len(prefixes), *prefixes, now, *asked))
            for function, prefixes, asked in _joined(calls, 1 if self._servers.parted else JOINED_CALLS)
        ]
        return [answer for answers in await self.bounded(self._answers(commands)) for answer in answers]

    async def plain(self, key: str, *words: str | bytes | float) -> Any:
        """The answer to a command that is no function of ours, from whoever has ``key``. Raises TemporaryError."""
        (answer,) = await self.bounded(self._answers([Command(key, words)]))
        return answer

    async def nodes(self) -> Collection[Node]:
        """Every server that has some of the state. Raises TemporaryError."""
        await self.bounded(self._servers.settle())
        return self._servers.known()

    async def places(self, keys: Sequence[str]) -> list[str]:
        """Names of the servers that have these keys, asked anew; "" where none has. Raises TemporaryError."""
        self._servers.doubt()
        await self.bounded(self._servers.settle())
        return ["" if (node := self._servers.of(key)) is None else node.shown for key in keys]

    async def bounded(self, work: Coroutine[Any, Any, _Answer], *, patience: float = 0.0) -> _Answer:
        """``work`` within the deadline, its errors translated; ``patience`` seconds later where it waits that long."""
        deadline = patience + self._deadline
        try:
            async with asyncio.timeout(deadline):
                return await work
        except TimeoutError as error:
            self._servers.doubt()
            raise TemporaryError(f"{self.shown}: no answer within {deadline:g} s") from error
        except (RedisError, OSError) as error:
            if (form := _newer(error)) is not None:
                raise UnknownStateError(f"{self.shown}: {refusal(form)}") from error
            raise TemporaryError(f"{self.shown}: {_explained(error)}") from error

    async def news(self, streams: Mapping[str, str], *, patience: float) -> None:
        """Wait for an entry of any stream after the id that is given for it, for ``patience`` seconds at most.

        Raises:
            TemporaryError: the connection is gone; there may be news.
        """
        await self.bounded(self._news(streams, patience), patience=patience)

    async def _news(self, streams: Mapping[str, str], patience: float) -> None:
        await self._servers.settle()
        if not self._servers.parted:
            return await self._read(streams, patience)
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
        node = self._servers.of(next(iter(streams)))
        if node is None:
            raise ClusterDownError(NOBODY)
        try:
            await node.wait(("XREAD", "COUNT", 1, "BLOCK", block, "STREAMS", *streams.keys(), *streams.values()))
        except MovedError as error:
            self._servers.moved(error)
        except UNSETTLED:
            await asyncio.sleep(UNSETTLED_PAUSE)
        except (RedisError, OSError):
            self._servers.doubt()
            raise

    async def _answers(self, asked: Sequence[Command]) -> list[Any]:
        """The answers in the order asked; what a cluster did not do is asked again until its slots have settled."""
        answers: list[Any] = [None] * len(asked)
        left: Sequence[int] = range(len(asked))
        clock = asyncio.get_running_loop().time
        end, repeated = clock() + self._deadline / 2, False
        while True:
            await self._servers.settle()
            await self._spread(asked, left, answers)
            left = [number for number in left if isinstance(answers[number], UNSETTLED)]
            if not left or clock() >= end:
                break
            moved = [error for number in left if isinstance(error := answers[number], MovedError)]
            for error in moved:
                self._servers.moved(error)
            if len(moved) < len(left):
                self._servers.doubt()
            if repeated or len(moved) < len(left):
                await asyncio.sleep(UNSETTLED_PAUSE)
            repeated = True
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    async def _spread(self, asked: Sequence[Command], numbers: Sequence[int], answers: list[Any]) -> None:
        """Send some of the commands to where they belong, and note the answers."""
        nodes: defaultdict[Node, list[int]] = defaultdict(list)
        for number in numbers:
            node = self._servers.of(asked[number].key)
            if node is None:
                answers[number] = ClusterDownError(NOBODY)
            else:
                nodes[node].append(number)

        async def ask(node: Node, some: Sequence[int]) -> None:
            for number, answer in zip(some, await self._asked(node, [asked[each].words for each in some]), strict=True):
                answers[number] = answer

        if len(nodes) == 1:
            (only,) = nodes.items()
            await ask(*only)
            return
        async with asyncio.TaskGroup() as calls:
            for node, some in nodes.items():
                calls.create_task(ask(node, some))

    async def _asked(self, node: Node, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """The answers of one server, errors among them; it learns the functions where it does not know them."""
        try:
            answers = await self._sent(node, commands)
            missing = [number for number, answer in enumerate(answers) if _is_missing(answer)]
            if missing:
                await _load(node)
                repeated = await self._sent(node, [commands[number] for number in missing])
                for number, answer in zip(missing, repeated, strict=True):
                    answers[number] = answer
        except (RedisError, OSError) as error:
            answers = [error] * len(commands)
        if any(isinstance(answer, OSError | RedisConnectionError) for answer in answers):
            self._servers.doubt()
        return answers

    async def _sent(self, node: Node, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """The answers of one server; what it has changed is with its replicas, where that is asked for."""
        if not self._wait or not any(_changes(words) for words in commands):
            return await node.send(commands)
        *answers, reached = await node.send([*commands, ("WAIT", self._wait, int(self._deadline * 500))])
        if isinstance(reached, int) and reached >= self._wait:
            return answers
        few = RedisError(f"only {reached} of {self._wait} replicas have it")
        return [
            few if _changes(words) and not isinstance(answer, Exception) else answer
            for words, answer in zip(commands, answers, strict=True)
        ]

    async def clear(self) -> int:
        """Remove the libraries of other versions; how many there were. Who still needs one loads it again."""
        removed: set[str] = set()
        for node in await self.nodes():
            (found,) = await self.bounded(node.send([("FUNCTION", "LIST", "LIBRARYNAME", f"{LIBRARIES}*")]))
            if isinstance(found, Exception):
                raise TemporaryError(f"{self.shown}: {found}") from found
            names = {_text(_fields(entry)[b"library_name"]) for entry in found} - {library().name}
            # one may have been removed by another meanwhile
            await self.bounded(node.send([("FUNCTION", "DELETE", name) for name in names]))
            removed |= names
        return len(removed)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._servers.close()


def _joined(calls: Sequence[Call], at_most: int) -> Iterator[tuple[str, list[str], list[bytes]]]:
    """The calls in order, some of one function in one: the function, prefixes, what each is asked, with its data."""
    function, prefixes, asked, size = "", list[str](), list[bytes](), 0
    for call in calls:
        words = _encode(call.asked), call.data
        size += len(words[0]) + len(words[1])
        fits = call.function == function and function in JOINED and len(prefixes) < at_most and size <= JOINED_BYTES
        if prefixes and not fits:
            yield function, prefixes, asked
            prefixes, asked, size = [], [], len(words[0]) + len(words[1])
        function = call.function
        prefixes.append(call.prefix)
        asked += words
    yield function, prefixes, asked


async def _load(node: Node) -> None:
    (answer,) = await node.send([("FUNCTION", "LOAD", library().text)])
    # a replica that found them missing at the same time was quicker
    if isinstance(answer, Exception) and "already exists" not in str(answer):
        raise answer


def _changes(words: Sequence[Any]) -> bool:
    """Whether a command is a function of ours that may change something."""
    return words[0] == "FCALL" and words[1] not in library().reads


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


def _explained(error: Exception) -> str:
    match error:
        case MovedError():
            return f"slot {error.slot_id} goes from node to node"
        case AskError():
            return f"slot {error.slot_id} is being moved to {error.host}:{error.port}"
        case _:
            return str(error)
