"""Measures from AMQP 0-9-1 in partitions: the broker hashes what is published into queues, each of one replica's.

What is published to the topic exchange goes on to a *ring*, an exchange of RabbitMQ's plugin for consistent hashing,
and from there to one of the queues, by the hash of its routing key or of one header. A replica listens at the queues
of which it has the seats, and the broker sends to one listener at a time: a queue's order is kept when it changes
hands.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import aio_pika
import structlog
from aio_pika.exceptions import ChannelPreconditionFailed
from aiormq.abc import AbstractChannel
from aiormq.exceptions import ConnectionCommandInvalid

from autoscaler.adapters.sources.amqp import AmqpLink, AmqpSource, answered, queue_exists
from autoscaler.adapters.sources.link import Received
from autoscaler.adapters.sources.seated import SeatedSource, leaving
from autoscaler.adapters.sources.trust import Trust
from autoscaler.errors import REFUSED_DELAY, TemporaryError
from autoscaler.ports import Seat, Source, SpareSeat
from autoscaler.settings import SourceKind

_PLUGIN: Final = "rabbitmq_consistent_hash_exchange"
_WEIGHT: Final = "1"
"""Of every queue in its ring; the plugin reads it from the binding's key."""
_LOOK_AGAIN: Final = 0.5
"""Seconds between two looks at a queue that another listens at, or that is to be emptied."""

_log = structlog.get_logger(__name__)


def partitions(queue: str, number: int, header: str = "") -> list[str]:
    """Names of the queues that there are in place of one; others where another header is hashed."""
    beginning = f"{queue}.{header}" if header else queue
    return [f"{beginning}.{each}" for each in range(1, number + 1)]


def ring_of(partition: str) -> str:
    """The exchange that hashes into a queue and its neighbours; "" where the queue is no partition."""
    beginning, _, number = partition.rpartition(".")
    return f"{beginning}.partitions" if number.isdigit() else ""


class PartitionSource(SeatedSource):
    """See :class:`autoscaler.ports.Source`: one partition.

    It stands when the broker sends to it and to nobody else. Who was stopped, or cut off without a word, keeps others
    waiting until the broker misses its heartbeats.

    Args:
        seat: says which queue, and when it is this replica's.
        header: whose value is hashed; the routing key where it is "".
        options: as of :class:`AmqpSource`; each partition is declared as its queue would be.
    """

    def __init__(self, url: str, *, seat: Seat, header: str = "", **options: Any) -> None:
        super().__init__(url, seat=seat, **options)
        self._header = header
        self._arguments["x-single-active-consumer"] = True

    def _has(self, name: str) -> None:
        self._queue = name

    async def _queues(
        self,
        connection: aio_pika.abc.AbstractConnection,  # noqa: ARG002 - as others need it
        channel: aio_pika.abc.AbstractChannel,
    ) -> Sequence[str]:
        queue = await channel.declare_queue(self._queue, durable=True, arguments=self._arguments)
        exchange = await channel.declare_exchange(self._exchange, aio_pika.ExchangeType.TOPIC, durable=True)
        ring = await self._ring(channel)
        # into the queue first: what reaches a ring without queues is lost
        await queue.bind(ring, _WEIGHT)
        await ring.bind(exchange, self._routing_key)
        return [self._queue]

    async def _ring(self, channel: aio_pika.abc.AbstractChannel) -> aio_pika.abc.AbstractExchange:
        arguments: dict[str, aio_pika.abc.FieldValue] = {"hash-header": self._header} if self._header else {}
        try:
            return await channel.declare_exchange(
                ring_of(self._queue), "x-consistent-hash", durable=True, internal=True, arguments=arguments
            )
        except ConnectionCommandInvalid as error:
            raise TemporaryError(
                f"the broker has no exchanges of the type x-consistent-hash: `rabbitmq-plugins enable {_PLUGIN}` on "
                "each of its nodes",
                delay=REFUSED_DELAY,
            ) from error

    async def _begun(self, link: AmqpLink) -> None:
        """Wait until nobody else listens, or the link is over."""
        awaited = False
        while link.alive and not link.waiting and not link.is_called and (await link.look(self._queue)).listeners > 1:
            if not awaited:
                _log.warning("partition awaited", source=self.name, queue=self._queue, why="another listens at it")
                awaited = True
            await link.stirred(_LOOK_AGAIN)


class PartitionClearance(AmqpSource):
    """Takes what waits in queues that are to be no more, and deletes them.

    See :class:`autoscaler.ports.Source`. It never keeps anybody waiting: none of these may be there at all.

    Args:
        seat: says which, one after another.
        ring: that what is published goes through; "" where there is none.
        single: it goes to the queue ``queue``, which all replicas share.
        options: as of :class:`AmqpSource`.
    """

    def __init__(self, url: str, *, seat: SpareSeat, ring: str = "", single: bool = False, **options: Any) -> None:
        super().__init__(url, **options)
        self._spare = seat
        self._ring = ring
        self._single = single

    @property
    def connected(self) -> bool:
        """See :class:`autoscaler.ports.Source`."""
        return True

    @asynccontextmanager
    async def _linked(self) -> AsyncIterator[AmqpLink]:
        async with self._spare.occupied() as queue, self._connection() as connection:
            async with answered():
                link = await self._last(connection, queue)
            async with leaving(link, self._spare):
                yield link
            if link.is_drained:
                async with answered():
                    await self._delete(connection, queue)
                self._spare.cleared()
                _log.info("queue ended", source=self.name, queue=queue, messages=link.count)

    async def _last(self, connection: aio_pika.abc.AbstractConnection, queue: str) -> _LastLink:
        channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=self._prefetch)
        if self._single:
            await super()._queues(connection, channel)
        link = _LastLink(await channel.get_underlay_channel(), self._trust, self.kind, queue)
        link.is_drained = self._stays(queue) or not await queue_exists(connection, queue)
        if not link.is_drained:
            underlay = await channel.get_underlay_channel()
            await underlay.queue_unbind(queue, self._exchange, self._routing_key)
            if ring := ring_of(queue):
                await underlay.queue_unbind(queue, ring, _WEIGHT)
            await link.consume(queue)
        return link

    def _stays(self, queue: str) -> bool:
        """Whether it has become wanted again, and is nobody's seat: the one queue that all replicas share."""
        return self._single and queue == self._queue

    async def _delete(self, connection: aio_pika.abc.AbstractConnection, queue: str) -> None:
        if self._stays(queue):
            return
        channel = await connection.channel(publisher_confirms=False)
        await channel.queue_delete(queue)
        ring = ring_of(queue)
        if ring and ring != self._ring:
            with suppress(ChannelPreconditionFailed):  # it has other queues still
                await channel.exchange_delete(ring, if_unused=True)


class _LastLink(AmqpLink):
    """That to a queue which nothing reaches any more; it ends when the queue is empty, and nobody else listens.

    Attributes:
        is_drained: nothing is left in the queue.
        count: of messages taken from it.
    """

    def __init__(self, channel: AbstractChannel, trust: Trust, kind: SourceKind, queue: str) -> None:
        super().__init__(channel, trust, kind)
        self.is_drained = False
        self.count = 0
        self._queue = queue

    async def take(self) -> Sequence[Received]:
        while not (self.is_drained or self.is_called or self.waiting) and self.alive:
            found = await self.look(self._queue)
            # what the broker had sent before it answered has arrived before the answer
            if not (found.messages or self.waiting) and found.listeners <= 1:
                self.is_drained = True
            else:
                await self.stirred(_LOOK_AGAIN)
        if self.is_drained:
            return ()
        taken = await super().take()
        self.count += len(taken)
        return taken


_fits: type[Source] = PartitionSource
