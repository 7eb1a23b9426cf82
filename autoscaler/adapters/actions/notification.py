"""Changes of alarms told on the cloud's bus as Aodh tells them: oslo.messaging's envelope 2.0 over AMQP."""

from __future__ import annotations

import asyncio
import json
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

import aio_pika
from aiormq.exceptions import AMQPError, ChannelNotFoundEntity
from yarl import URL

from autoscaler.adapters.amqp import translated
from autoscaler.errors import PermanentError, TemporaryError

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange

    from autoscaler.ports import OutboxRow

PRIORITY: Final = "INFO"
MESSAGE_NAMESPACE: Final = uuid.UUID("2f1c7e5c-9d1b-5a40-8d0e-6c1d6a1f6f0b")
"""Of the message ids, which are made from row ids: a repeated delivery carries the same one."""

_FAREWELL_TIMEOUT: Final = 2.0


class NotificationAction:
    """See :class:`autoscaler.ports.Action`; for rows with ``event_type``, ``publisher_id`` and ``payload``.

    The exchange is declared as oslo.messaging does where it is missing, and taken as it is where it is not. Queues are
    not declared: whoever listens has its own, and one that nobody empties would only grow.

    Args:
        url: ``amqp[s]://[user[:password]@]host[:port][/vhost]``.
        exchange: topic exchange.
        topic: the routing key is ``TOPIC.info``.
        timeout: seconds for one delivery as a whole, connecting included.
        tls: for ``amqps``; the system's authorities when None.

    Raises:
        PermanentError: the URL is none.
    """

    schemes = frozenset({"notification"})

    def __init__(
        self,
        url: str,
        *,
        exchange: str = "aodh",
        topic: str = "notifications",
        timeout: float = 10.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._url = _address(url)
        self._exchange_name = exchange
        self._routing_key = f"{topic}.{PRIORITY.lower()}"
        self._timeout = timeout
        self._tls = tls
        self._connection: AbstractConnection | None = None
        self._exchange: AbstractExchange | None = None
        self._connecting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def deliver(self, row: OutboxRow) -> None:
        """Publish once and wait for the broker's word that it has it; that nobody listens is fine."""
        message = _message(row)
        exchange: AbstractExchange | None = None
        try:
            with translated(self._timeout):
                async with asyncio.timeout(self._timeout):
                    exchange = await self._connected()
                    await exchange.publish(message, self._routing_key, mandatory=False)
        except TemporaryError as error:
            await self._drop(exchange)
            raise TemporaryError(f"{self._place}: {error}") from error

    async def close(self) -> None:
        """Close the connection; the next delivery makes another."""
        connection, self._connection, self._exchange = self._connection, None, None
        if connection is not None:
            with suppress(AMQPError, OSError, RuntimeError, TimeoutError):
                async with asyncio.timeout(_FAREWELL_TIMEOUT):
                    await connection.close()

    async def _drop(self, exchange: AbstractExchange | None) -> None:
        """Close the connection of an exchange (None: of a try to connect), unless another has taken its place."""
        if exchange is self._exchange:
            await self.close()

    @property
    def _place(self) -> str:
        return f"amqp://{self._url.host}:{self._url.port or 5672}/{self._exchange_name}"

    async def _connected(self) -> AbstractExchange:
        """The exchange on a channel that stands; one delivery connects, the others wait for it."""
        async with self._connecting:
            if self._exchange is None or self._connection is None or self._connection.is_closed:
                await self.close()
                self._connection = await aio_pika.connect(self._url, ssl_context=self._tls, timeout=self._timeout)
                self._exchange = await self._declared(self._connection)
            return self._exchange

    async def _declared(self, connection: AbstractConnection) -> AbstractExchange:
        channel = await _channel(connection)
        try:
            return await channel.declare_exchange(self._exchange_name, passive=True)
        except ChannelNotFoundEntity:  # which has closed the channel
            channel = await _channel(connection)
        return await channel.declare_exchange(
            self._exchange_name, aio_pika.ExchangeType.TOPIC, durable=False, auto_delete=False
        )


async def _channel(connection: AbstractConnection) -> AbstractChannel:
    return await connection.channel(publisher_confirms=True, on_return_raises=False)


def envelope(row: OutboxRow) -> dict[str, Any]:
    """What is sent, in the order of oslo.messaging (driver ``messagingv2``); the same for a row whenever it is sent."""
    message_id = uuid.uuid5(MESSAGE_NAMESPACE, row.id)
    inner = {
        "message_id": str(message_id),
        "publisher_id": row.body["publisher_id"],
        "event_type": row.body["event_type"],
        "priority": PRIORITY,
        "payload": row.body["payload"],
        "timestamp": str(datetime.fromtimestamp(row.created, UTC).replace(tzinfo=None)),
        "_unique_id": message_id.hex,
    }
    return {"oslo.version": "2.0", "oslo.message": json.dumps(inner)}


def _message(row: OutboxRow) -> aio_pika.Message:
    return aio_pika.Message(
        json.dumps(envelope(row)).encode(),
        headers={},
        content_type="application/json",
        content_encoding="utf-8",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        priority=0,
    )


def _address(url: str) -> URL:
    try:
        address = URL(url)
    except ValueError as error:
        raise PermanentError(f"URL of the bus for notifications: {error}") from error
    if address.scheme not in {"amqp", "amqps"} or not address.host:
        raise PermanentError("URL of the bus for notifications: expected amqp://[user[:password]@]host[:port][/vhost]")
    return address
