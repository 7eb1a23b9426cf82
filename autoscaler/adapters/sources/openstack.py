"""Ceilometer's samples and events from the cloud's own broker, in queues of our own.

Whoever else listens there, such as Gnocchi's or Aodh's agents, has queues of theirs; a message that is taken from one
of them is lost to its owner. So this source declares its own, bound to the same exchange, and the broker gives each of
them its own copy. They drop what nobody takes in time: a controller that is gone must not fill the broker of the cloud.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import aio_pika
from aio_pika.exceptions import ChannelNotFoundEntity

from autoscaler.adapters.sources.again import marked
from autoscaler.adapters.sources.amqp import AmqpSource
from autoscaler.adapters.sources.ceilometer import Reading, decode
from autoscaler.adapters.sources.decode import LIVE, Limits
from autoscaler.adapters.sources.link import Received, Tls
from autoscaler.adapters.sources.trust import NOBODY, Trust
from autoscaler.errors import PermanentError
from autoscaler.measures.event import Event
from autoscaler.measures.measure import Measure
from autoscaler.ports import Batch, Decoder, Source, Undecoded
from autoscaler.settings import SourceKind


class OsloSource(AmqpSource):
    """What services of the cloud publish by oslo.messaging, from queues of our own beside those of others.

    Args:
        keys: routing keys, by the ends of the queues' names.
        existing_queues: take from the queues that are named like the routing keys, whoever else was to get them.
    """

    def __init__(self, url: str, *, keys: Mapping[str, str], existing_queues: bool = False, **options: Any) -> None:
        super().__init__(url, **options)
        self._keys = keys
        self._existing = existing_queues

    async def _queues(
        self, connection: aio_pika.abc.AbstractConnection, channel: aio_pika.abc.AbstractChannel
    ) -> Sequence[str]:
        if self._existing:
            return [(await channel.declare_queue(key, passive=True)).name for key in self._keys.values()]
        if not await self._exchange_exists(connection):
            await channel.declare_exchange(self._exchange, aio_pika.ExchangeType.TOPIC, durable=False)
        names = []
        for name, key in self._keys.items():
            queue = await channel.declare_queue(f"{self._queue}.{name}", durable=True, arguments=self._arguments)
            await queue.bind(self._exchange, key)
            names.append(queue.name)
        return names

    async def _exchange_exists(self, connection: aio_pika.abc.AbstractConnection) -> bool:
        """Whether it is there, however it was made: a cloud may have it durable, and to declare it otherwise fails."""
        channel = await connection.channel(publisher_confirms=False)  # its own: the answer "no" closes it
        try:
            await channel.get_exchange(self._exchange, ensure=True)
        except ChannelNotFoundEntity:
            return False
        await channel.close()
        return True


class OpenStackSource(OsloSource):
    """See :class:`autoscaler.ports.Source`.

    Args:
        url: ``amqp[s]://[user[:password]@]host[:port][/vhost]``.
        now: the time that timestamps are compared with.
        exchange: that Ceilometer publishes on; made as oslo.messaging makes it where it is not there yet.
        samples: routing key of samples; "" takes none.
        events: routing key of events; "" takes none.
        queue: what the names of the own queues begin with.
        existing_queues: take from the queues that are named like the routing keys, whoever else was to get them.
        ttl: seconds after which the broker drops a message that nobody took.
        max_length: messages that a queue holds before the oldest are dropped.
        expires: seconds after which the broker drops a queue that nobody listens at; None means never.
        prefetch: messages in hand and waiting, at most.
        secret: that samples and events are signed with; "" where signatures are not looked at.
        tls: for ``amqps``; the system's authorities when None.
        trust: says whose samples and events may name their project.
        limits: of time and size.

    Raises:
        PermanentError: the URL is none, or nothing is to be taken.
    """

    kind = SourceKind.OPENSTACK

    def __init__(
        self,
        url: str,
        *,
        now: Callable[[], float],
        exchange: str = "ceilometer",
        samples: str = "metering.sample",
        events: str = "alarm.all.sample",
        queue: str = "autoscaler.openstack",
        existing_queues: bool = False,
        ttl: float = 600.0,
        max_length: int = 100_000,
        expires: float | None = None,
        prefetch: int = 4000,
        secret: str = "",
        tls: Tls | None = None,
        trust: Trust = NOBODY,
        limits: Limits = LIVE,
    ) -> None:
        keys = {name: key for name, key in (("samples", samples), ("events", events)) if key}
        if not keys:
            raise PermanentError("OpenStack: expected a routing key of samples, or of events, or both")
        super().__init__(
            url,
            keys=keys,
            existing_queues=existing_queues,
            now=now,
            queue=queue,
            exchange=exchange,
            prefetch=prefetch,
            ttl=ttl,
            max_length=max_length,
            expires=expires,
            tls=tls,
            trust=trust,
            limits=limits,
        )
        self._secret = secret

    def _batch(self, received: Iterable[Received]) -> Batch:
        measures: list[Measure] = []
        events: list[Event] = []
        rejected: list[Undecoded] = []
        now = self._now()
        for message in received:
            reading = Reading(trusted=message.trusted, secret=self._secret, limits=self._limits)
            decoded = decode(message.payload, reading, now=now)
            measures.extend(decoded.measures)
            events.extend(decoded.events)
            rejected.extend(marked(decoded.rejected, Decoder.SIGNED, trusted=message.trusted))
        return Batch(measures, rejected, self.name, events)


_fits: type[Source] = OpenStackSource
