"""http and https actions: Aodh's JSON body by POST."""

from __future__ import annotations

import asyncio
import json
import ssl
import uuid
from collections.abc import Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol, Self
from urllib.parse import parse_qs, urlsplit
from weakref import WeakValueDictionary

import structlog

from autoscaler.adapters import http
from autoscaler.adapters.actions.endpoints import ANYBODY, Identification, Shown
from autoscaler.errors import AddressRefusedError, TemporaryError
from autoscaler.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    import httpcore
    import httpx

    from autoscaler.adapters.actions.endpoints import EndpointBook
    from autoscaler.adapters.reach import Guard
    from autoscaler.ports import OutboxRow

KEYS = ("alarm_name", "alarm_id", "severity", "previous", "current", "reason", "reason_data")
"""Of the body, in Aodh's order."""

WORTH_TRYING: Final = 0.1
"""Share of the deadline that must be left after waiting for a turn; with less it is put off, and no try is counted."""
REQUEST_NAMESPACE = uuid.UUID("9e3f3c5c-2a6e-5b0b-9a55-2b8d7c4b3f10")
"""Of the request ids, which are made from row ids: a repeated delivery carries the same one."""


class ClientFactory(Protocol):
    """Makes the clients that call."""

    def __call__(
        self,
        verified: bool | None,  # noqa: FBT001 - the one thing that a URL may wish
        network: httpcore.AsyncNetworkBackend | None = None,
        identification: Identification = ANYBODY,
        /,
    ) -> httpx.AsyncClient:
        """A client for URLs that want the certificate verified, do not want it, or (None) do not say.

        Args:
            network: what makes its connections; None is the usual.
            identification: what one receiver has been said otherwise.
        """
        ...


NOTHING: Final = Shown({})

_log = structlog.get_logger(__name__)


def aodh_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """What Aodh tells of a transition, in its order, and nothing else."""
    return {key: body[key] for key in KEYS if key in body}


def body_bytes(body: Mapping[str, Any]) -> bytes:
    """The body as Aodh sends it (aodh/notifier/rest.py, 23.0.0): same keys, same order, same separators."""
    return json.dumps(aodh_body(body)).encode()


def tls_clients(*, verify: bool = True, ca: str = "", certificate: str = "", key: str = "") -> ClientFactory:
    """Clients with our own idea of whom to trust and who we are.

    Args:
        verify: False accepts any certificate at all, unless the URL says otherwise.
        ca: file of the authorities to trust; "" means the system's.
        certificate: file of the certificate to show; "" means none.
        key: file of the certificate's private key; "" means it is in the same file.

    Raises:
        OSError: a file cannot be read, or holds no certificate; when the first client is made.
    """

    def made(
        verified: bool | None,  # noqa: FBT001
        network: httpcore.AsyncNetworkBackend | None = None,
        identification: Identification = ANYBODY,
    ) -> httpx.AsyncClient:
        context = ssl.create_default_context(cafile=identification.ca or ca or None)
        if not (verify if verified is None else verified):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if identification.certificate:
            context.load_cert_chain(identification.certificate, identification.key or None)
        elif certificate:
            context.load_cert_chain(certificate, key or None)
        return http.client(network=network, verify=context)

    return made


class WebhookAction:
    """See :class:`autoscaler.ports.Action`.

    The answer's body is not looked at. Redirects are not followed.

    Args:
        timeout: seconds for one delivery as a whole, waiting for a free connection included.
        clients: where connections come from.
        per_host: deliveries to one host at the same time; the rest wait, so that a slow host is not overrun.
        allow_unverified: a URL may switch the check of its certificate off, as with Aodh; else it stays on, and the log
            says so once.
        guard: judges where alarms may call that are not the operator's own; None lets them call anywhere.
        endpoints: what is shown to which receiver; None shows nothing to any.
    """

    schemes = frozenset({"http", "https"})

    def __init__(
        self,
        timeout: float = 10.0,
        clients: ClientFactory | None = None,
        *,
        per_host: int = 16,
        allow_unverified: bool = False,
        guard: Guard | None = None,
        endpoints: EndpointBook | None = None,
    ) -> None:
        self.timeout = timeout
        self._endpoints = endpoints
        self._make = clients or tls_clients()
        self._clients: dict[tuple[bool | None, bool, Identification], httpx.AsyncClient] = {}
        self._retired: list[httpx.AsyncClient] = []
        self._guard = guard
        self._per_host = per_host
        self._allow_unverified = allow_unverified
        self._warned = False
        self._slots: WeakValueDictionary[http.Origin, asyncio.Semaphore] = WeakValueDictionary()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def deliver(self, row: OutboxRow) -> None:
        """POST the row's body once; see :meth:`autoscaler.ports.Action.deliver`."""
        await self.post(row, row.url)

    async def post(self, row: OutboxRow, url: str, headers: Mapping[str, str] | None = None) -> None:
        """POST the row's body once to ``url``, with further headers; raises as :meth:`deliver`."""
        loop = asyncio.get_running_loop()
        body = body_bytes(row.body)
        shown = NOTHING
        if self._endpoints is not None:
            shown = self._endpoints.shown(url, declared=row.declared, message_id=row.id, body=body)
        timeout = self.timeout if shown.timeout is None else shown.timeout
        deadline = loop.time() + timeout
        sent = {
            **shown.headers,
            "content-type": "application/json",
            "x-openstack-request-id": f"req-{uuid.uuid5(REQUEST_NAMESPACE, row.id)}",
            "idempotency-key": row.id,
            **(headers or {}),
        }
        async with self._slot(url, timeout):
            left = deadline - loop.time()
            if left < timeout * WORTH_TRYING:
                raise self._busy(url)
            request = http.Request("POST", url, left, sent, body)
            who = shown.identification
            if row.declared or self._guard is None:
                await http.called(await self._client(url, who), request)
                return
            try:
                await http.called(await self._client(url, who, self._guard), request)
            except AddressRefusedError:
                if not await self._guard.is_service(url):
                    raise
                again = replace(request, timeout=max(0.0, deadline - loop.time()))
                await http.called(await self._client(url, who), again)

    @asynccontextmanager
    async def _slot(self, url: str, seconds: float) -> AsyncIterator[None]:
        origin = http.origin_of(url)
        slot = self._slots.get(origin)
        if slot is None:
            slot = self._slots[origin] = asyncio.Semaphore(self._per_host)
        try:
            async with asyncio.timeout(seconds):
                await slot.acquire()
        except TimeoutError as error:
            raise self._busy(url) from error
        try:
            yield
        finally:
            slot.release()

    def _busy(self, url: str) -> TemporaryError:
        said = f"POST {redacted(url)}: {self._per_host} other deliveries to this host take too long"
        return TemporaryError(said, tried=False)

    async def _client(self, url: str, who: Identification, guard: Guard | None = None) -> httpx.AsyncClient:
        """A client with connections of its own for those whose calls are judged: what is kept open was judged, too."""
        key = (self._verified(url), guard is not None, who)
        if key not in self._clients:
            await self._retire(who)
            try:
                self._clients[key] = self._make(key[0], None if guard is None else guard.network, who)
            except OSError as error:  # of which SSLError is one
                raise TemporaryError(f"certificates for {redacted(url)}: {error}") from error
        return self._clients[key]

    async def _retire(self, who: Identification) -> None:
        """Part with the clients of older states of the same files, once what they had begun has surely ended."""
        older = [key for key in self._clients if key[2] != who and replace(key[2], marks=()) == replace(who, marks=())]
        if older:
            over, self._retired = self._retired, [self._clients.pop(key) for key in older]
            for client in over:
                await client.aclose()

    def _verified(self, url: str) -> bool | None:
        """What the URL says by Aodh's switch for one action; None where it says nothing that counts."""
        switch = parse_qs(urlsplit(url).query).get("aodh-alarm-ssl-verify")
        if switch is None:
            return None
        if switch[-1] != "0":
            return True
        if self._allow_unverified:
            return False
        if not self._warned:
            self._warned = True
            _log.warning(
                "wish of an action to go unverified ignored",
                url=redacted(url),
                detail="AUTOSCALER_WEBHOOK_ALLOW_UNVERIFIED=true grants such wishes; this is said once",
            )
        return None

    async def close(self) -> None:
        """Close every connection."""
        for client in (*self._clients.values(), *self._retired):
            await client.aclose()
        self._clients.clear()
        self._retired.clear()
