"""Measures from AMQP 0-9-1: a durable queue of its own on a topic exchange, acknowledged in multiples."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import aio_pika
from aio_pika.exceptions import ChannelNotFoundEntity
from aiormq.abc import AbstractChannel, DeliveredMessage
from yarl import URL

from autoscaler.adapters.amqp import said, translated
from autoscaler.adapters.sources.decode import LIVE, Limits
from autoscaler.adapters.sources.link import LinkedSource, Received, Tls, enough, poured
from autoscaler.adapters.sources.trust import NOBODY, Trust
from autoscaler.errors import PermanentError, TemporaryError
from autoscaler.ports import Source
from autoscaler.settings import SourceKind

_CALL_TIMEOUT: Final = 10.0
_FAREWELL_TIMEOUT: Final = 2.0
_HEARTBEAT: Final = 15
"""Seconds, unless the URL says ``?heartbeat=``; a broker that is silent for a few of these is given up."""


class AmqpSource(LinkedSource):
    """See :class:`autoscaler.ports.Source`.

    Args:
        url: ``amqp[s]://[user[:password]@]host[:port][/vhost]``.
        queue: name; declared durable, so it collects also while nobody listens.
        exchange: topic exchange that the queue is bound to, declared durable; "" for none.
        routing_key: what the queue takes of the exchange.
        prefetch: messages in hand and waiting, at most.
        quorum: a quorum queue, replicated by the broker.
        ttl: seconds after which the broker drops a message that nobody took; None means never.
        max_length: messages that the queue holds before the oldest are dropped; None means no limit.
        expires: seconds after which the broker drops a queue that nobody listens at; None means never.
        username: stands above the one in the URL.
        password: stands above the one in the URL.
        tls: for ``amqps``; the system's authorities when None.
        trust: says through which exchange, and from which user, measures may name their project.
        now: the time that timestamps are compared with.
        limits: of time and size.

    Raises:
        PermanentError: the URL is none.
    """

    kind = SourceKind.AMQP
    """As which its messages are trusted."""
    exclusive = False
    """Whether the broker refuses a second listener at its queues."""

    def __init__(
        self,
        url: str,
        *,
        now: Callable[[], float],
        queue: str = "autoscaler.measures",
        exchange: str = "measures",
        routing_key: str = "#",
        prefetch: int = 4000,
        quorum: bool = False,
        ttl: float | None = None,
        max_length: int | None = None,
        expires: float | None = None,
        username: str | None = None,
        password: str | None = None,
        tls: Tls | None = None,
        trust: Trust = NOBODY,
        limits: Limits = LIVE,
    ) -> None:
        address = _address(url, username, password)
        super().__init__(f"amqp://{address.host}:{address.port}/{queue}", now=now, limits=limits)
        self._url = address
        self._queue = queue
        self._exchange = exchange
        self._routing_key = routing_key
        self._prefetch = prefetch
        self._trust = trust
        self._tls = (tls or Tls()) if address.scheme == "amqps" else None
        self._arguments: dict[str, aio_pika.abc.FieldValue] = {}
        if quorum:
            self._arguments["x-queue-type"] = "quorum"
        if ttl is not None:
            self._arguments["x-message-ttl"] = round(ttl * 1000)
        if max_length is not None:
            self._arguments["x-max-length"] = max_length
        if expires is not None:
            self._arguments["x-expires"] = round(expires * 1000)

    @asynccontextmanager
    async def _linked(self) -> AsyncIterator[AmqpLink]:
        async with self._connection() as connection:
            async with answered():
                link = await self._consuming(connection)
            yield link

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[aio_pika.abc.AbstractConnection]:
        context = None if self._tls is None else await asyncio.to_thread(self._tls.context)
        with translated(_CALL_TIMEOUT):
            connection = await aio_pika.connect(self._url, ssl_context=context, timeout=_CALL_TIMEOUT)
        try:
            yield connection
        finally:
            await _farewell(connection)

    async def _consuming(self, connection: aio_pika.abc.AbstractConnection) -> AmqpLink:
        channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=self._prefetch)
        queues = await self._queues(connection, channel)
        # beneath aio-pika's own message objects, which cost as much as all the rest
        link = AmqpLink(await channel.get_underlay_channel(), self._trust, self.kind)
        for queue in queues:
            await link.consume(queue, exclusive=self.exclusive)
        return link

    async def _queues(
        self,
        connection: aio_pika.abc.AbstractConnection,  # noqa: ARG002 - for those who need another channel
        channel: aio_pika.abc.AbstractChannel,
    ) -> Sequence[str]:
        """Names of the queues to take from, declared and bound."""
        queue = await channel.declare_queue(self._queue, durable=True, arguments=self._arguments)
        if self._exchange:
            exchange = await channel.declare_exchange(self._exchange, aio_pika.ExchangeType.TOPIC, durable=True)
            await queue.bind(exchange, self._routing_key)
        return [self._queue]


def _address(url: str, username: str | None, password: str | None) -> URL:
    try:
        address = URL(url)
    except ValueError as error:
        raise PermanentError(f"AMQP URL: {error}") from error
    if address.scheme not in {"amqp", "amqps"} or not address.host:
        raise PermanentError("AMQP URL: expected amqp://[user[:password]@]host[:port][/vhost], or amqps:// for TLS")
    if address.port is None:
        address = address.with_port(5671 if address.scheme == "amqps" else 5672)
    address = address.with_query({"heartbeat": str(_HEARTBEAT), **address.query})
    if username is not None:
        address = address.with_user(username)
    return address if password is None else address.with_password(password)


async def _farewell(connection: aio_pika.abc.AbstractConnection) -> None:
    """Close; a broker that does not answer is not waited for."""
    with suppress(TemporaryError), translated(_CALL_TIMEOUT):
        async with asyncio.timeout(_FAREWELL_TIMEOUT):
            await connection.close()


@asynccontextmanager
async def answered() -> AsyncIterator[None]:
    """Calls that the broker has to answer within some seconds; raises TemporaryError."""
    with translated(_CALL_TIMEOUT):
        async with asyncio.timeout(_CALL_TIMEOUT):
            yield


async def queue_exists(connection: aio_pika.abc.AbstractConnection, queue: str) -> bool:
    """Whether a queue is there, however it was made; raises the client's errors."""
    channel = await connection.channel(publisher_confirms=False)  # its own: the answer "no" closes it
    try:
        await channel.declare_queue(queue, passive=True)
    except ChannelNotFoundEntity:
        return False
    await channel.close()
    return True


@dataclass(frozen=True, slots=True)
class Look:
    """At a queue.

    Attributes:
        messages: that wait in it, and were sent to nobody.
        listeners: at it, over whatever link.
    """

    messages: int
    listeners: int


class AmqpLink:
    """See :class:`autoscaler.adapters.sources.link.Link`. One channel, whose tags mean nothing to any other.

    Attributes:
        is_called: it is to end in order.
    """

    def __init__(self, channel: AbstractChannel, trust: Trust = NOBODY, kind: SourceKind = SourceKind.AMQP) -> None:
        self._channel = channel
        self._trust = trust
        self._kind = kind
        self._inbox: deque[Received] = deque()
        self._waiting_bytes = 0
        self._stirred = asyncio.Event()
        self._loss = ""  # why the link is lost, "" while it is not
        self.is_called = False
        self._last_tag = 0

    async def consume(
        self, queue: str, *, exclusive: bool = False, arguments: Mapping[str, aio_pika.abc.FieldValue] | None = None
    ) -> None:
        """Begin."""
        self._channel.closing.add_done_callback(self._closed)
        self._channel.on_consumer_cancel_callbacks.add(self._cancelled)
        await self._channel.basic_consume(queue, self._arrived, exclusive=exclusive, arguments=dict(arguments or {}))

    @property
    def alive(self) -> bool:
        """See :class:`autoscaler.adapters.sources.link.Link`."""
        return not self._loss

    @property
    def waiting(self) -> int:
        """See :class:`autoscaler.adapters.sources.link.Link`."""
        return len(self._inbox)

    async def take(self) -> Sequence[Received]:
        """See :class:`autoscaler.adapters.sources.link.Link`."""
        while not self._loss and not self._inbox and not self.is_called:
            self._stirred.clear()
            await self._stirred.wait()
        if not self._loss and not self.is_called:
            await poured(lambda: self._waiting_bytes)
        if self._loss:
            raise TemporaryError(self._loss)
        if self.is_called:
            return ()
        taken, size = [], 0
        while self._inbox and not enough(size):
            taken.append(self._inbox.popleft())
            size += len(taken[-1].payload)
        self._waiting_bytes -= size
        return taken

    async def ack(self, received: Sequence[Received]) -> None:
        """See :class:`autoscaler.adapters.sources.link.Link`."""
        tag = received[-1].token
        if self._loss or tag is None:
            return
        try:
            async with answered():
                # "multiple" is everything up to the tag: tags come in order, and earlier deliveries were before
                await self._channel.basic_ack(tag, multiple=True)
        except TemporaryError as error:
            self._lose(str(error))

    def call(self) -> None:
        """Have it end in order: what has arrived and was not taken goes back to the queue."""
        self.is_called = True
        self._stirred.set()

    async def look(self, queue: str) -> Look:
        """What there is at a queue; raises TemporaryError."""
        async with answered():
            found = await self._channel.queue_declare(queue, passive=True)
        return Look(found.message_count or 0, found.consumer_count or 0)

    async def stirred(self, patience: float) -> None:
        """Wait until something has happened, at most so many seconds."""
        self._stirred.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._stirred.wait()

    async def _arrived(self, message: DeliveredMessage) -> None:
        tag = message.delivery_tag
        if tag != self._last_tag + 1:
            self._lose(f"the broker sent message {tag} after {self._last_tag}")
            return
        self._last_tag = tag
        # the broker closes the channel of a publisher who gives another's name
        user = message.header.properties.user_id or ""
        trusted = self._trust.trusts(self._kind, topic=message.exchange or "", user=user)
        self._inbox.append(Received(message.body, tag, trusted))
        self._waiting_bytes += len(message.body)
        self._stirred.set()

    def _closed(self, closing: asyncio.Future[object]) -> None:
        error = None if closing.cancelled() else closing.exception()
        detail = "" if error is None else f": {said(error, _CALL_TIMEOUT)}"
        self._lose(f"the connection was lost{detail}")

    def _cancelled(self, _: object) -> None:
        self._lose("the queue was deleted")

    def _lose(self, why: str) -> None:
        self._loss = self._loss or why
        self._stirred.set()


_fits: type[Source] = AmqpSource
