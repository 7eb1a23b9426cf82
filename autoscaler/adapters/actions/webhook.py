"""http and https actions: Aodh's JSON body by POST."""

from __future__ import annotations

import asyncio
import json
import ssl
import uuid
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import parse_qs, urlsplit
from weakref import WeakValueDictionary

from autoscaler.adapters import http
from autoscaler.errors import TemporaryError
from autoscaler.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    import httpx

    from autoscaler.ports import OutboxRow

KEYS = ("alarm_name", "alarm_id", "severity", "previous", "current", "reason", "reason_data")
"""Of the body, in Aodh's order."""

WORTH_TRYING: Final = 0.1
"""Share of the deadline that must be left after waiting for a turn; with less it is put off, and no try is counted."""
REQUEST_NAMESPACE = uuid.UUID("9e3f3c5c-2a6e-5b0b-9a55-2b8d7c4b3f10")
"""Of the request ids, which are made from row ids: a repeated delivery carries the same one."""

ClientFactory = Callable[[bool], "httpx.AsyncClient"]
"""Makes the client for URLs whose certificate is, or is not, verified."""


def body_bytes(body: Mapping[str, Any]) -> bytes:
    """The body as Aodh sends it (aodh/notifier/rest.py, 23.0.0): same keys, same order, same separators."""
    return json.dumps({key: body[key] for key in KEYS if key in body}).encode()


def tls_clients(*, verify: bool = True, ca: str = "", certificate: str = "", key: str = "") -> ClientFactory:
    """Clients with our own idea of whom to trust and who we are.

    Args:
        verify: False accepts any certificate at all, whatever the URL says.
        ca: file of the authorities to trust; "" means the system's.
        certificate: file of the certificate to show; "" means none.
        key: file of the certificate's private key; "" means it is in the same file.

    Raises:
        OSError: a file cannot be read, or holds no certificate; when the first client is made.
    """

    def made(verified: bool) -> httpx.AsyncClient:  # noqa: FBT001
        context = ssl.create_default_context(cafile=ca or None)
        if not (verify and verified):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if certificate:
            context.load_cert_chain(certificate, key or None)
        return http.client(verify=context)

    return made


class WebhookAction:
    """See :class:`autoscaler.ports.Action`.

    The answer's body is not looked at. Redirects are not followed.

    Args:
        timeout: seconds for one delivery as a whole, waiting for a free connection included.
        clients: where connections come from.
        per_host: deliveries to one host at the same time; the rest wait, so that a slow host is not overrun.
    """

    schemes = frozenset({"http", "https"})

    def __init__(self, timeout: float = 10.0, clients: ClientFactory | None = None, *, per_host: int = 16) -> None:
        self._timeout = timeout
        self._make = clients or tls_clients()
        self._clients: dict[bool, httpx.AsyncClient] = {}
        self._per_host = per_host
        self._slots: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def deliver(self, row: OutboxRow) -> None:
        """POST the row's body once; see :meth:`autoscaler.ports.Action.deliver`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        headers = {
            "content-type": "application/json",
            "x-openstack-request-id": f"req-{uuid.uuid5(REQUEST_NAMESPACE, row.id)}",
            "idempotency-key": row.id,
        }
        async with self._slot(row.url):
            left = deadline - loop.time()
            if left < self._timeout * WORTH_TRYING:
                raise self._busy(row.url)
            request = http.Request("POST", row.url, left, headers, body_bytes(row.body))
            await http.called(self._client(row.url), request)

    @asynccontextmanager
    async def _slot(self, url: str) -> AsyncIterator[None]:
        host = http.host_of(url)
        slot = self._slots.get(host)
        if slot is None:
            slot = self._slots[host] = asyncio.Semaphore(self._per_host)
        try:
            async with asyncio.timeout(self._timeout):
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

    def _client(self, url: str) -> httpx.AsyncClient:
        verified = _verified(url)
        if verified not in self._clients:
            try:
                self._clients[verified] = self._make(verified)
            except OSError as error:  # of which SSLError is one
                raise TemporaryError(f"certificates for {redacted(url)}: {error}") from error
        return self._clients[verified]

    async def close(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()


def _verified(url: str) -> bool:
    """Aodh's per-action switch, which stays in the URL."""
    return parse_qs(urlsplit(url).query).get("aodh-alarm-ssl-verify", ["1"])[-1] != "0"
