"""Connections for people who are not the operator: only to addresses that may be called for them.

The address that is judged is the one that is connected to. A name is resolved once, at the time of the call, and what
it resolves to is judged; so neither a name that leads elsewhere the second time nor an unusual way of writing an
address gets past. TLS and the Host header go on with the name.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import httpcore
import httpx
import structlog

from autoscaler.adapters import http
from autoscaler.adapters.network import Network
from autoscaler.addresses import Reach, literal
from autoscaler.errors import AddressRefusedError, PermanentError, TemporaryError

if TYPE_CHECKING:
    from types import TracebackType

    from autoscaler.addresses import Address

REFUSED: Final = "address refused"
"""The words for every refusal, whatever there is at the address: they must not tell what a name leads to."""
PREFIX: Final = "trust+"
LOOKUPS: Final = 16
"""Names that are looked up at a time. They have threads of their own: a name server of somebody's that does not answer
must not keep the controller's own names waiting."""
SERVICES: Final = ("orchestration", "cloudformation")
"""Of the catalog: whose URLs alarms bear that signal a stack."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, in the order in which they are to be tried. Raises OSError where it has none."""

_PLAUSIBLE = re.compile(r"[0-9A-Za-z._:-]+")
"""Characters of a host's name or address; of others resolvers think differently."""

_log = structlog.get_logger(__name__)


class Endpoints(Protocol):
    """Keystone, as far as it tells where the cloud's own services are."""

    async def endpoints(self, service_types: Sequence[str]) -> list[str]:
        """The URLs of services, of every interface. Raises TemporaryError, PermanentError."""
        ...


class Guard:
    """Judges where calls for others than the operator may go.

    Args:
        reach: which addresses.
        services: URLs of services of the cloud's that may be called wherever they are.
        catalog: names more of these; None where there is none.
        resolve: looks names up; None asks the system.
    """

    def __init__(
        self,
        reach: Reach,
        *,
        services: Iterable[str] = (),
        catalog: Endpoints | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self.network = GuardedNetwork(reach, resolve or self._resolved)
        self._reach = reach
        self._services = frozenset(map(http.origin_of, services))
        self._catalog = catalog
        self._threads = ThreadPoolExecutor(LOOKUPS, "webhook-names")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def is_service(self, url: str) -> bool:
        """Whether ``url`` leads to a service of the cloud's that alarms are made to signal.

        Raises:
            TemporaryError: the catalog cannot be read now.
        """
        origin = http.origin_of(url)
        if origin in self._services:
            return True
        if self._catalog is None:
            return False
        return any(origin == http.origin_of(found) for found in await self._catalog.endpoints(SERVICES))

    async def admits(self, url: str) -> bool:
        """Whether ``url`` may be called by http or https, as far as can be told of it as it is written.

        Of other URLs nothing is judged: they lead to nobody, or to services that the operator has named.
        """
        plain = url.removeprefix(PREFIX)
        try:
            if httpx.URL(plain).scheme not in {"http", "https"}:
                return True
            if not self._reach.is_hopeless(http.origin_of(plain).host):
                return True
            return await self.is_service(plain)
        except TemporaryError:
            return True  # it is judged again when it is called
        except (PermanentError, httpx.InvalidURL):
            return False

    async def _resolved(self, host: str, port: int) -> Sequence[str]:
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [str(address[0]) for *_, address in found]


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to addresses that may be called, and to no others.

    Args:
        reach: which those are.
        resolve: looks names up.
    """

    def __init__(self, reach: Reach, resolve: Resolve) -> None:
        self._reach = reach
        self._resolve = resolve
        self._network = Network()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of ``host`` that may be called and answers.

        Raises:
            AddressRefusedError: none may be called.
            httpcore.ConnectError, httpcore.ConnectTimeout: none answers.
        """
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        addresses = await self._admitted(host, port, timeout)
        failure: Exception | None = None
        for number, address in enumerate(addresses):
            # each its share of the time that is left, so that one that is silent leaves some to the others
            share = None if deadline is None else max(0.0, deadline - loop.time()) / (len(addresses) - number)
            try:
                return await self._network.connect_tcp(str(address), port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        assert failure is not None
        raise failure

    async def _admitted(self, host: str, port: int, seconds: float | None) -> list[Address]:
        if self._reach.is_hopeless(host) or not _PLAUSIBLE.fullmatch(host):
            raise _refused(host, port, ())
        try:
            async with asyncio.timeout(seconds):
                found = await self._resolve(host, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"{host} was not found in time") from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        addresses = dict.fromkeys(address for text in found if (address := literal(text)) is not None)
        admitted = [address for address in addresses if self._reach.admits(address)]
        if not admitted:
            raise _refused(host, port, addresses)
        return admitted

    async def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002 - httpcore's signature
        timeout: float | None = None,  # noqa: ARG002, ASYNC109
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        """Never."""
        raise AddressRefusedError(REFUSED)

    async def sleep(self, seconds: float) -> None:
        """As httpcore asks for."""
        await asyncio.sleep(seconds)


def _refused(host: str, port: int, addresses: Iterable[Address]) -> AddressRefusedError:
    """The same words, whatever was found; that is for the log only, which is the operator's."""
    _log.warning(REFUSED, host=host, port=port, addresses=[str(address) for address in addresses])
    return AddressRefusedError(REFUSED)
