"""The servers that state is in: one, or the primaries of a cluster; and which of them has a key."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import urlsplit, urlunsplit

import hiredis
import redis.asyncio
import structlog
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from autoscaler.redaction import redacted
from autoscaler.settings import CLUSTER, cluster_nodes

CONNECTIONS: Final = 8
"""To each server, at a time; calls beyond that wait for one to be free, within their deadline.

With more of them calls would wait there, since it does one thing at a time, and all stay open after a flood.
"""
WAITS: Final = 2000
"""To each server, at a time: one for each stream that is waited for, at most."""
LOOK_SECONDS: Final = 1.0
"""Seconds in which a node must say who has which slots; after that another is asked."""
UNSETTLED: Final = (AskError, TryAgainError, ClusterDownError, MasterDownError)
"""What a cluster answers instead of doing what it was asked; it has done nothing of it."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Command:
    """A command, and the key by which is known where it goes."""

    key: str
    words: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class RedisTls:
    """How to know the servers, and be known by them: files; "" for the system's authorities, and for no certificate."""

    ca: str = ""
    certificate: str = ""
    key: str = ""

    def options(self) -> Mapping[str, str]:
        """As the client takes them."""
        named = {"ssl_ca_certs": self.ca, "ssl_certfile": self.certificate, "ssl_keyfile": self.key}
        return {name: file for name, file in named.items() if file}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Node:
    """One server: connections for calls, and others for waits.

    Args:
        shown: its name for people; without secrets.
        options: of a connection.
        deadline: seconds in which a connection must be made.
    """

    def __init__(self, shown: str, options: Mapping[str, Any], deadline: float) -> None:
        self.shown = shown
        options = {
            # in the newer one the client takes connections that were closed for usable ones
            "protocol": 2,
            **options,
            "socket_connect_timeout": deadline,
            # ours is the only deadline: the client's own would end waits, and it can swallow a task's cancellation
            "socket_timeout": None,
            # what must be repeated is repeated by those who know whether it may be
            "retry": Retry(NoBackoff(), 0),
        }
        self._pool = redis.asyncio.ConnectionPool(**options)  # makes connections, and tells whether one may be used
        self._free = asyncio.Semaphore(CONNECTIONS)
        self._made: list[AbstractConnection] = []
        self._idle: list[AbstractConnection] = []
        self._closed = False
        # a pool of their own: waiting takes no connection from calls, and lasts longer than any of them may
        self._waits = redis.asyncio.Redis.from_pool(redis.asyncio.ConnectionPool(max_connections=WAITS, **options))

    async def send(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """The answers in the order asked, errors among them; the commands travel together.

        The client's pipelines would do; but most of what a round trip costs is theirs.

        Raises:
            RedisError, OSError: there is no connection; any of them may have been carried out.
        """
        if not commands:
            return []
        async with self._free:
            if self._closed:
                raise RedisConnectionError("closed")
            connection = self._idle.pop() if self._idle else self._make()
            try:
                # one that was closed meanwhile is made anew
                await self._pool.ensure_connection(connection)
                packed = b"".join([hiredis.pack_command(tuple(words)) for words in commands])
                await connection.send_packed_command(packed, check_health=False)
                return [await _answer(connection) for _ in commands]
            except BaseException:
                # whoever is next must not read what was meant for this one
                await connection.disconnect(nowait=True)
                raise
            finally:
                self._idle.append(connection)

    def _make(self) -> AbstractConnection:
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        self._made.append(connection)
        return connection

    async def wait(self, words: Sequence[Any]) -> Any:
        """The answer to a command that may be long in coming. Raises as :meth:`send`, and what the server says."""
        return await self._waits.execute_command(*words)  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """Let go of the connections."""
        self._closed = True
        for connection in self._made:
            await connection.disconnect(nowait=True)
        await self._waits.aclose()


async def _answer(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


class Servers(Protocol):
    """Where state is."""

    @property
    def parted(self) -> bool:
        """Whether no command may be about several shards."""
        ...

    async def settle(self) -> None:
        """Look anew where there is doubt who they are.

        Raises:
            RedisError, OSError: nobody says who they are.
        """
        ...

    def known(self) -> Collection[Node]:
        """All of them, as far as is known."""
        ...

    def of(self, key: str) -> Node | None:
        """The one that has a key; None where none has, as far as is known."""
        ...

    def doubt(self) -> None:
        """One of them did not answer: others may have taken its place."""
        ...

    def moved(self, error: MovedError) -> None:
        """A slot is elsewhere."""
        ...

    async def close(self) -> None:
        """Let go of the connections."""
        ...


def servers_of(url: str, *, deadline: float, tls: RedisTls | None = None) -> Servers:
    """The servers that a URL names.

    Raises:
        ValueError: it names none; the text shows no password.
    """
    shown = redacted(url)
    if not url.partition("://")[0].endswith(CLUSTER):
        return OneServer(Node(shown, _options(url, shown, tls), deadline))
    try:
        seeds = [Address(*place) for place in cluster_nodes(url)]
    except ValueError as error:
        raise ValueError(f"{shown}: not a URL of a cluster: {error}") from error
    # of one of its nodes, to be taken apart as any other
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    one = urlunsplit((parts.scheme.removesuffix(CLUSTER), f"{user}{at}{seeds[0]}", parts.path, parts.query, ""))
    options = {name: value for name, value in _options(one, shown, tls).items() if name not in {"host", "port", "db"}}
    return Cluster(seeds, options, deadline)


def _options(url: str, shown: str, tls: RedisTls | None) -> dict[str, Any]:
    try:
        options = dict(parse_url(url))
        # what the URL says counts more
        return {**tls.options(), **options} if tls is not None and url.startswith("rediss://") else options
    except ValueError as error:
        raise ValueError(f"{shown}: not a URL of a Redis: {error}") from error


class OneServer:
    """See :class:`Servers`."""

    parted = False

    def __init__(self, node: Node) -> None:
        self._node = node

    async def settle(self) -> None:
        """See :class:`Servers`. There is no other."""

    def known(self) -> Collection[Node]:
        """See :class:`Servers`."""
        return [self._node]

    def of(self, key: str) -> Node:  # noqa: ARG002 - it has all of them
        """See :class:`Servers`."""
        return self._node

    def doubt(self) -> None:
        """See :class:`Servers`. There is no other."""

    def moved(self, error: MovedError) -> None:
        """See :class:`Servers`."""
        raise RedisError(f"is a node of a cluster, whose URL begins with redis{CLUSTER}:// ({error})")

    async def close(self) -> None:
        """See :class:`Servers`."""
        await self._node.close()


@dataclass(slots=True)
class _Map:
    """Who has which slots, by the slots' first and last numbers."""

    ranges: list[tuple[int, int, Address]] = field(default_factory=list)
    exceptions: dict[int, Address] = field(default_factory=dict)  # learnt one by one, later than the ranges

    def of(self, slot: int) -> Address | None:
        if slot in self.exceptions:
            return self.exceptions[slot]
        return next((address for first, last, address in self.ranges if first <= slot <= last), None)

    def addresses(self) -> set[Address]:
        return {address for _, _, address in self.ranges} | set(self.exceptions.values())


class Cluster:
    """See :class:`Servers`; the primaries of a Redis or Valkey Cluster.

    What redis-py's own client of clusters does is not wanted here: it follows a slot that is half moved, where a script
    would see half a shard, and it closes everybody's connections when one node is lost.

    Args:
        seeds: nodes to be asked who the nodes are.
        options: of a connection, beside host and port.
        deadline: seconds that a call waits for a free connection.
    """

    parted = True

    def __init__(self, seeds: Sequence[Address], options: Mapping[str, Any], deadline: float) -> None:
        self._seeds = seeds
        self._options = options
        self._deadline = deadline
        self._nodes: dict[Address, Node] = {}
        self._map = _Map()
        self._doubted = True
        self._looking = asyncio.Lock()

    async def settle(self) -> None:
        """See :class:`Servers`."""
        if self._doubted:
            async with self._looking:
                if self._doubted:
                    await self._look()

    def known(self) -> Collection[Node]:
        """See :class:`Servers`."""
        return [self._node(address) for address in self._map.addresses()]

    def of(self, key: str) -> Node | None:
        """See :class:`Servers`."""
        address = self._map.of(key_slot(key.encode()))
        return None if address is None else self._node(address)

    def doubt(self) -> None:
        """See :class:`Servers`."""
        self._doubted = True

    def moved(self, error: MovedError) -> None:
        """See :class:`Servers`."""
        if error.host:
            self._map.exceptions[error.slot_id] = Address(error.host, error.port)
        else:
            self._doubted = True  # it is where the one is that said so, at another port

    async def close(self) -> None:
        """See :class:`Servers`."""
        nodes, self._nodes = self._nodes, {}
        self._doubted = True
        for node in nodes.values():
            await node.close()

    def _node(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            options = {**self._options, "host": address.host, "port": address.port}
            node = self._nodes[address] = Node(str(address), options, self._deadline)
        return node

    async def _look(self) -> None:
        """Ask the nodes that are known, then the seeds, until one says who has which slots."""
        addresses = list(self._nodes)
        # not always the same first: what one of them says may be out of date
        random.shuffle(addresses)
        failure: Exception = RedisError("no node of the cluster answers")
        for address in dict.fromkeys((*addresses, *self._seeds)):
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    (answer,) = await self._node(address).send([("CLUSTER", "SLOTS")])
            except TimeoutError:
                failure = RedisError(f"{address}: no answer within {LOOK_SECONDS:g} s")
            except (RedisError, OSError) as error:
                failure = error
            else:
                if isinstance(answer, Exception):
                    failure = answer
                elif answer:
                    await self._take(_read(answer, address))
                    return
        raise failure

    async def _take(self, found: _Map) -> None:
        gone = set(self._nodes) - found.addresses()
        if self._map.addresses() and found.addresses() != self._map.addresses():
            _log.info("nodes of the cluster", primaries=sorted(map(str, found.addresses())))
        self._map, self._doubted = found, False
        for address in gone:
            await self._nodes.pop(address).close()


def _read(answer: Sequence[Sequence[Any]], asked: Address) -> _Map:
    """What CLUSTER SLOTS says: each first slot, last slot, primary, replicas; a host that is not told is the one asked.

    Source:
        https://valkey.io/commands/cluster-slots/
    """
    ranges = []
    for first, last, primary, *_ in answer:
        host = (primary[0] or b"").decode()
        ranges.append((int(first), int(last), Address(asked.host if host in {"", "?"} else host, int(primary[1]))))
    return _Map(ranges)
