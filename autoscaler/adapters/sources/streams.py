"""Measures from a RabbitMQ stream, which keeps what was taken from it, over AMQP 0-9-1.

Nothing is acknowledged to the broker but that more may come; how far a stream has been taken is kept with the seat at
it, in the store, and only after the measures were written. So what was not written is taken again by whoever has the
seat next, and who begins elsewhere takes all from there once more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import aio_pika
from aiormq.abc import AbstractChannel, DeliveredMessage

from autoscaler.adapters.sources.amqp import AmqpLink, answered, queue_exists
from autoscaler.adapters.sources.link import Received
from autoscaler.adapters.sources.seated import SeatedSource
from autoscaler.adapters.sources.trust import Trust
from autoscaler.errors import REFUSED_DELAY, TemporaryError
from autoscaler.ports import Source, StreamSeat
from autoscaler.settings import Beginning, SourceKind

_OFFSET: Final = "x-stream-offset"
_MARGIN: Final = 60
"""Seconds by which the broker's clock may be behind the store's."""
_SIGN_PATIENCE: Final = 10.0
"""Seconds within which the message must come that was the last one taken."""
_LOOK_AGAIN: Final = 0.5


class StreamSource(SeatedSource):
    """See :class:`autoscaler.ports.Source`: one stream, which one replica takes.

    The seat's position is the offset of the last message that was taken and written. A negative one is a time instead,
    Unix seconds: that of a start which was to take what comes next, before anything had come.

    Args:
        stream: its name; declared where it is not there yet, and taken as it is where it is.
        seat: says when it is this replica's, and how far it was taken.
        begin: where to begin it, as long as the seat has no position.
        max_bytes: size beyond which the broker drops the oldest.
        ttl: seconds after which the broker drops a message; None means never.
        options: as of :class:`AmqpSource`, without ``quorum`` and ``max_length``.
    """

    def __init__(
        self,
        url: str,
        *,
        stream: str,
        seat: StreamSeat,
        begin: Beginning = "first",
        max_bytes: int = 10_000_000_000,
        ttl: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(url, seat=seat, **{**options, "queue": stream})
        self._place = seat
        self._begin = begin
        self._arguments |= {"x-queue-type": "stream", "x-max-length-bytes": max_bytes}
        if ttl is not None:
            self._arguments["x-max-age"] = f"{max(1, round(ttl))}s"

    async def _consuming(self, connection: aio_pika.abc.AbstractConnection) -> AmqpLink:
        channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=self._prefetch)
        await self._queues(connection, channel)
        link = _StreamLink(await channel.get_underlay_channel(), self._trust, self.kind, self._place)
        await link.consume(self._queue, arguments={_OFFSET: self._from()})
        return link

    async def _queues(
        self, connection: aio_pika.abc.AbstractConnection, channel: aio_pika.abc.AbstractChannel
    ) -> Sequence[str]:
        if await queue_exists(connection, self._queue):
            queue = await channel.get_queue(self._queue, ensure=False)
        else:
            queue = await channel.declare_queue(self._queue, durable=True, arguments=self._arguments)
        exchange = await channel.declare_exchange(self._exchange, aio_pika.ExchangeType.TOPIC, durable=True)
        await queue.bind(exchange, self._routing_key)
        return [self._queue]

    def _from(self) -> Beginning:
        position = self._place.position
        if position is None:
            if self._begin in {"next", "last"}:
                self._place.reached(-int(self._now()))
            return self._begin
        return datetime.fromtimestamp(-position - _MARGIN, UTC) if position < 0 else position

    async def _begun(self, link: AmqpLink) -> None:
        """Wait for the message that was taken last: of an offset that a stream does not have, nobody speaks."""
        assert isinstance(link, _StreamLink)
        for _ in range(round(_SIGN_PATIENCE / _LOOK_AGAIN)):
            if link.is_known or not link.alive or link.is_called:
                return
            await link.stirred(_LOOK_AGAIN)
        raise TemporaryError(
            f"the stream {self._queue} has no message {self._place.position}, which was the last one taken: if it was "
            "deleted and is another one now, begin it anew by another value of AUTOSCALER_AMQP_STREAM_FROM",
            delay=REFUSED_DELAY,
        )


class _StreamLink(AmqpLink):
    """See :class:`autoscaler.adapters.sources.link.Link`.

    Attributes:
        is_known: the stream has the message that was taken last, or those after it, or none was.
    """

    def __init__(self, channel: AbstractChannel, trust: Trust, kind: SourceKind, seat: StreamSeat) -> None:
        super().__init__(channel, trust, kind)
        self._place = seat
        self._taken = -1 if seat.position is None else seat.position
        self._offsets: deque[tuple[int, int]] = deque()  # tag and offset of what was not acknowledged
        self.is_known = self._taken < 0

    async def ack(self, received: Sequence[Received]) -> None:
        """See :class:`autoscaler.adapters.sources.link.Link`."""
        await super().ack(received)
        tag = received[-1].token
        if not self.alive or tag is None:
            return
        offset = None
        while self._offsets and self._offsets[0][0] <= tag:
            offset = self._offsets.popleft()[1]
        if offset is not None:
            self._place.reached(offset)

    async def _arrived(self, message: DeliveredMessage) -> None:
        offset, tag = (message.header.properties.headers or {})[_OFFSET], message.delivery_tag
        assert isinstance(offset, int)
        assert tag is not None
        self.is_known = True
        if offset > self._taken:
            self._offsets.append((tag, offset))
            await super()._arrived(message)
            return
        self._last_tag = tag
        self._stirred.set()
        with suppress(TemporaryError):  # whoever takes from the link hears of it
            async with answered():
                await self._channel.basic_ack(tag)


_fits: type[Source] = StreamSource
