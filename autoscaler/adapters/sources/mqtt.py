"""Measures from MQTT: QoS 1, a session that outlives the connection, acknowledged by hand."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar, cast
from urllib.parse import unquote, urlsplit

import aiomqtt
import structlog
from paho.mqtt.client import Client
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from autoscaler.adapters.sources.decode import LIVE, Limits
from autoscaler.adapters.sources.link import Link, LinkedSource, Received, Tls, enough
from autoscaler.adapters.sources.trust import NOBODY, Trust
from autoscaler.errors import REFUSED_DELAY, PermanentError, TemporaryError
from autoscaler.ports import Seat, Source, SpareSeat
from autoscaler.settings import SourceKind

_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
SESSION_EXPIRY: Final = 86_400.0
_CONNECT_TIMEOUT: Final = 5.0
_SUBSCRIBE_PATIENCE: Final = 5.0
"""Seconds without any message within which a subscription must be answered: what the session holds comes first."""
_SUBSCRIBE_TIMEOUT: Final = 300.0
"""Seconds for all of that."""
_LAST_PATIENCE: Final = 1.0
"""Seconds without any message after which a session that is to be no more is asked whether that was all."""
_FAREWELL_TIMEOUT: Final = 2.0
_KEEPALIVE: Final = 15
"""Seconds; a broker that has stopped answering is given up after at most two of these."""
_MOST_UNPROMISED: Final = 50_000
"""Messages of QoS 0 that may wait; nobody slows their sender down, and the protocol allows to lose them."""
_UNSUPPORTED_VERSION: Final = 132
_REFUSALS: Final = frozenset({128, 133, 134, 135, 138, 140, 144, 157})
"""Reason codes that only people can mend (MQTT 5.0, 3.2.2.2): credentials, permission, client id, ban, move."""
_QOS: Final = 1

_Answer = TypeVar("_Answer")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Address:
    """A broker, from a URL ``mqtt[s]://[user[:password]@]host[:port]``."""

    host: str
    port: int
    username: str | None
    password: str | None
    secure: bool

    @classmethod
    def of(cls, url: str) -> _Address:
        """Raises PermanentError: not such a URL."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise PermanentError(f"MQTT URL: {error}") from error
        if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
            raise PermanentError("MQTT URL: expected mqtt://[user[:password]@]host[:port], or mqtts:// for TLS")
        return cls(
            parts.hostname,
            port or _PORTS[parts.scheme],
            None if parts.username is None else unquote(parts.username),
            None if parts.password is None else unquote(parts.password),
            parts.scheme == "mqtts",
        )


class MqttSource(LinkedSource):
    """See :class:`autoscaler.ports.Source`.

    Speaks MQTT 5 and, where the broker does not, 3.1.1; ``version`` is the one to be tried next. The broker keeps the
    session, and with it what is not acknowledged, under ``client_id``: two clients of one id would throw each other
    out for ever.

    Args:
        url: ``mqtt[s]://[user[:password]@]host[:port]``.
        topic_filter: what to subscribe to; ``$share/GROUP/measures/#`` for a share.
        client_id: the session's name, where there is no seat.
        seat: says which session is this replica's, and when; several sources may share what is published by one
            ``topic_filter`` with ``$share`` before it.
        username: stands above the one in the URL.
        password: stands above the one in the URL.
        tls: for ``mqtts``; the system's authorities when None.
        receive_maximum: messages in hand and waiting, at most; MQTT 5 only, a 3.1.1 broker has its own limit.
        session_expiry: seconds that the broker keeps the session of a client that is gone; MQTT 5 only, but for 0,
            which leaves no session behind anywhere.
        version: which to try first.
        trust: says on which topics measures may name their project.
        now: the time that timestamps are compared with.
        limits: of time and size.

    Raises:
        PermanentError: the URL is none.
    """

    def __init__(
        self,
        url: str,
        *,
        now: Callable[[], float],
        topic_filter: str = "measures/#",
        client_id: str = "autoscaler",
        seat: Seat | None = None,
        username: str | None = None,
        password: str | None = None,
        tls: Tls | None = None,
        receive_maximum: int = 2000,
        session_expiry: float = SESSION_EXPIRY,
        version: aiomqtt.ProtocolVersion = aiomqtt.ProtocolVersion.V5,
        trust: Trust = NOBODY,
        limits: Limits = LIVE,
    ) -> None:
        address = _Address.of(url)
        super().__init__(f"mqtt://{address.host}:{address.port} {unshared(topic_filter)}", now=now, limits=limits)
        self._address = address
        self._topic_filter = topic_filter
        self._client_id = client_id
        self._seat = seat
        self._username = address.username if username is None else username
        self._password = address.password if password is None else password
        self._tls = (tls or Tls()) if address.secure else None
        self._receive_maximum = receive_maximum
        self._trust = trust
        self._session_expiry = session_expiry
        self.version = version

    @property
    def connected(self) -> bool:
        """See :class:`autoscaler.ports.Source`. Also where another replica has the session: it is that one's to say."""
        return super().connected or (self._seat is not None and self._seat.elsewhere)

    @asynccontextmanager
    async def _linked(self) -> AsyncIterator[Link]:
        if self._seat is None:
            async with self._subscribed(self._client_id) as link:
                yield link
            return
        async with self._seat.occupied() as client_id, self._subscribed(client_id) as link:
            self._seat.stands()
            yield link

    @asynccontextmanager
    async def _subscribed(self, client_id: str) -> AsyncIterator[Link]:
        inbox = _Inbox()
        async with self._open(client_id, inbox) as client:
            await self._subscribe(client, inbox)
            yield _MqttLink(client, inbox, self._receive_maximum, self._trust, self._seat)

    @asynccontextmanager
    async def _open(self, client_id: str, inbox: _Inbox, *, anew: bool = False) -> AsyncIterator[_AckingClient]:
        """A connection; ``anew`` begins a session that ends with it, in place of the one there was."""
        context = None if self._tls is None else await asyncio.to_thread(self._tls.context)
        client = self._client(client_id, inbox, context, 0.0 if anew else self._session_expiry, anew=anew)
        await self._connect(client)
        try:
            yield client
        finally:
            await client.leave()

    def _client(
        self, client_id: str, inbox: _Inbox, context: ssl.SSLContext | None, expiry: float, *, anew: bool
    ) -> _AckingClient:
        options: dict[str, Any]
        if self.version is aiomqtt.ProtocolVersion.V5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = int(expiry)
            properties.ReceiveMaximum = self._receive_maximum
            options = {"clean_start": anew, "properties": properties}
        else:
            options = {"clean_session": expiry == 0}
        return _AckingClient(
            self._address.host,
            self._address.port,
            identifier=client_id,
            username=self._username,
            password=self._password,
            protocol=self.version,
            tls_context=context,
            timeout=_CONNECT_TIMEOUT,
            keepalive=_KEEPALIVE,
            queue_type=cast("type[asyncio.Queue[aiomqtt.Message]]", lambda maxsize: inbox),  # noqa: ARG005
            **options,
        )

    async def _connect(self, client: _AckingClient) -> None:
        try:
            await client.enter()
        except aiomqtt.MqttError as error:
            reason = _reason(error)
            if reason == _UNSUPPORTED_VERSION or isinstance(error, _UnansweredError):
                self.version = _other(self.version)
                raise TemporaryError(str(error)) from error
            raise TemporaryError(str(error), delay=REFUSED_DELAY if reason in _REFUSALS else None) from error

    async def _subscribe(self, client: _AckingClient, inbox: _Inbox) -> None:
        try:
            (granted,) = await _answered(
                client.subscribe(self._topic_filter, qos=_QOS, timeout=_SUBSCRIBE_TIMEOUT), inbox
            )
        except (aiomqtt.MqttError, ValueError) as error:
            raise TemporaryError(f"subscribing to {self._topic_filter}: {error}") from error
        code = granted.value if isinstance(granted, ReasonCode) else granted
        if code >= 128:
            raise TemporaryError(f"subscribing to {self._topic_filter}: {granted}", delay=REFUSED_DELAY)
        if code < _QOS:
            _log.warning("source unacknowledged", source=self.name, error="the broker grants QoS 0 only")


class MqttClearance(MqttSource):
    """Takes what waits in sessions that are to be no more, and ends them.

    See :class:`autoscaler.ports.Source`. It never keeps anybody waiting: none of these may be there at all.

    Args:
        seat: says which, one after another.
        options: as of :class:`MqttSource`; ``topic_filter`` without ``$share``.
    """

    def __init__(self, url: str, *, seat: SpareSeat, filters: Sequence[str], **options: Any) -> None:
        super().__init__(url, seat=seat, **options)
        self._spare = seat
        self._filters = list(filters)

    @property
    def connected(self) -> bool:
        """See :class:`autoscaler.ports.Source`."""
        return True

    @asynccontextmanager
    async def _linked(self) -> AsyncIterator[Link]:
        inbox = _Inbox()
        async with self._spare.occupied() as client_id:
            async with self._open(client_id, inbox) as client:
                link = _LastLink(
                    client, inbox, self._receive_maximum, self._trust, self._spare, partial(self._leave, client, inbox)
                )
                await self._leave(client, inbox)
                yield link
            if link.is_drained:
                async with self._open(client_id, _Inbox(), anew=True):
                    self._spare.cleared()
                _log.info("session ended", source=self.name, client_id=client_id, messages=link.count)

    async def _leave(self, client: _AckingClient, inbox: _Inbox) -> None:
        try:
            await _answered(client.unsubscribe(self._filters, timeout=_SUBSCRIBE_TIMEOUT), inbox)
        except aiomqtt.MqttError as error:
            raise TemporaryError(f"unsubscribing: {error}") from error


def shared(topic_filter: str, group: str) -> str:
    """A filter by which all sessions of a group have each message once among them (MQTT 5.0, 4.8.2)."""
    return f"$share/{group}/{topic_filter}"


def unshared(topic_filter: str) -> str:
    """What is behind ``$share`` and the group, where a filter begins with these."""
    return topic_filter.split("/", 2)[2] if topic_filter.startswith("$share/") else topic_filter


async def _answered(call: Coroutine[Any, Any, _Answer], inbox: _Inbox) -> _Answer:
    """The broker's answer, waited for as long as messages keep coming.

    Raises:
        aiomqtt.MqttError: there is none, and no messages either.
    """
    calling = asyncio.ensure_future(call)
    try:
        arrived = -1
        while arrived != inbox.arrived and not calling.done():
            arrived = inbox.arrived
            await asyncio.wait([calling], timeout=_SUBSCRIBE_PATIENCE)
        if calling.done():
            return calling.result()
        raise aiomqtt.MqttError(f"no answer, and no message for {_SUBSCRIBE_PATIENCE:g} s")
    finally:
        if not calling.done():
            calling.cancel()
            await asyncio.wait([calling])


def _other(version: aiomqtt.ProtocolVersion) -> aiomqtt.ProtocolVersion:
    five, three = aiomqtt.ProtocolVersion.V5, aiomqtt.ProtocolVersion.V311
    return three if version is five else five


def _reason(error: aiomqtt.MqttError) -> int | None:
    """The broker's reason code in MQTT 5's numbers, None where it gave none."""
    code = error.rc if isinstance(error, aiomqtt.MqttCodeError) else None
    return code.value if isinstance(code, ReasonCode) else code


class _MqttLink:
    """See :class:`autoscaler.adapters.sources.link.Link`."""

    _patience: float | None = None
    """Seconds to wait for a message; for ever where it is None."""

    def __init__(
        self, client: _AckingClient, inbox: _Inbox, at_most: int, trust: Trust, seat: Seat | None = None
    ) -> None:
        self._client = client
        self._inbox = inbox
        self._at_most = at_most
        self._trust = trust
        self._seat = seat
        self.is_called = False

    @property
    def alive(self) -> bool:
        return not self._client.lost

    @property
    def waiting(self) -> int:
        return self._inbox.qsize()

    async def take(self) -> Sequence[Received]:
        if self._client.lost:
            raise TemporaryError("the connection was lost")
        try:
            message = await self._next()
        except aiomqtt.MqttError as error:
            raise TemporaryError(f"the connection was lost: {error.__cause__ or error}") from error
        if message is None:
            return ()
        taken = [self._received(message)]
        size = len(taken[0].payload)
        while len(taken) < self._at_most and not enough(size) and not self._inbox.empty():
            taken.append(self._received(self._inbox.get_nowait()))
            size += len(taken[-1].payload)
        return taken

    async def _next(self) -> aiomqtt.Message | None:
        """The next message; None where the seat is to be left, whatever has arrived: it comes again to another."""
        if self._seat is None:
            return await anext(self._client.messages)
        arriving = asyncio.ensure_future(anext(self._client.messages))
        called = asyncio.ensure_future(self._seat.called())
        try:
            await asyncio.wait((arriving, called), timeout=self._patience, return_when=asyncio.FIRST_COMPLETED)
            self.is_called = called.done()
            return arriving.result() if arriving.done() and not self.is_called else None
        finally:
            arriving.cancel()
            called.cancel()
            await asyncio.wait((arriving, called))
            if not arriving.cancelled():
                arriving.exception()  # looked at, where the seat was to be left at the same moment

    async def ack(self, received: Sequence[Received]) -> None:
        for message in received:
            if message.token is not None:
                self._client.ack(message.token)

    def _received(self, message: aiomqtt.Message) -> Received:
        trusted = self._trust.trusts(SourceKind.MQTT, topic=message.topic.value)
        return Received(message.payload, message.mid if message.qos == _QOS else None, trusted)


class _LastLink(_MqttLink):
    """That to a session which is to be no more, and is subscribed to nothing; it ends when nothing comes any more.

    Attributes:
        is_drained: nothing waits in the session.
        count: of messages taken from it.
    """

    _patience = _LAST_PATIENCE

    def __init__(
        self,
        client: _AckingClient,
        inbox: _Inbox,
        at_most: int,
        trust: Trust,
        seat: Seat,
        ask: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        super().__init__(client, inbox, at_most, trust, seat)
        self.is_drained = False
        self.count = 0
        self._ask = ask

    async def take(self) -> Sequence[Received]:
        while not (taken := await super().take()) and not self.is_called:
            # a broker that answers has sent all it had: the answer comes behind it
            await self._ask()
            if self._inbox.arrived == self.count:
                self.is_drained = True
                return ()
            if self._inbox.empty():
                raise TemporaryError("a message came when it was no longer waited for")  # and comes again
        self.count += len(taken)
        return taken


class _Inbox(asyncio.Queue[aiomqtt.Message]):
    """Bounds what was sent with QoS 0; QoS 1 is bounded by what the broker sends unacknowledged."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = 0
        self._dropped = 0

    def put_nowait(self, item: aiomqtt.Message) -> None:
        self.arrived += 1
        if item.qos == 0 and self.qsize() >= _MOST_UNPROMISED:
            if not self._dropped:
                _log.warning("messages dropped", reason="more of QoS 0 than can be taken", waiting=self.qsize())
            self._dropped += 1
            return
        super().put_nowait(item)


class _UnansweredError(aiomqtt.MqttError):
    """The broker took the connection and said nothing; those of 3.1.1 do so to version 5, at once or for ever."""


class _AckingClient(aiomqtt.Client):
    """The one place that reaches beneath aiomqtt, into paho: aiomqtt 2.5 acknowledges on receipt, paho need not.

    The contract tests of the sources fail when this no longer holds.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lost = False
        self._thread = threading.get_ident()
        self._client.manual_ack_set(True)

    def ack(self, mid: int) -> None:
        """Acknowledge on this connection, or not at all when it is lost."""
        if not self.lost:
            self._client.ack(mid, _QOS)

    async def enter(self) -> None:
        """Connect; leaves nothing open behind when that fails.

        aiomqtt connects in a thread, which cannot be cancelled: cancelled meanwhile, this waits for it to end.
        """
        entering = asyncio.ensure_future(self.__aenter__())
        try:
            await asyncio.shield(entering)
        except BaseException as error:
            await asyncio.wait([entering])
            unanswered = self._client.socket() is not None and not isinstance(error, aiomqtt.MqttCodeError)
            await self._hang_up()
            if entering.exception() is error and unanswered:
                raise _UnansweredError("the broker took the connection and did not answer") from error
            raise

    async def leave(self) -> None:
        """Disconnect, or drop the connection if the broker does not answer."""
        self.timeout = _FAREWELL_TIMEOUT
        try:
            await self.__aexit__(None, None, None)
        except aiomqtt.MqttError:
            _log.debug("broker did not answer the farewell")
        finally:
            await self._hang_up()

    async def _hang_up(self) -> None:
        """Close what aiomqtt leaves open when a connection was not made, or not ended, as it expects."""
        self.lost = True
        self._client._sock_close()  # noqa: SLF001 - disconnect() waits for a writable socket
        if self._misc_task is not None:
            await asyncio.wait([self._misc_task])

    def _on_socket_register_write(self, client: Client, userdata: Any, sock: Any) -> None:
        """As aiomqtt does, but at once where it can be: its detour may come back to a socket that has been closed."""
        if threading.get_ident() == self._thread:
            self._loop.add_writer(sock.fileno(), self._write)
        else:
            super()._on_socket_register_write(client, userdata, sock)

    def _write(self) -> None:
        try:
            self._client.loop_write()
        except OSError as error:
            if not self._disconnected.done():
                self._disconnected.set_exception(error)

    def _on_disconnect(self, *args: Any, **kwargs: Any) -> None:
        self.lost = True
        super()._on_disconnect(*args, **kwargs)
        if not self._connected.done():
            self._connected.set_exception(_UnansweredError("the broker closed the connection without an answer"))


_fits: type[Source] = MqttSource
