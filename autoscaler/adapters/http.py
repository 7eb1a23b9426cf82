"""One HTTP call with a deadline, for the edges that make them: actions, probes and targets.

It knows what a caller may show: of a URL scheme, host, port and path only, since user names, passwords and signatures
travel in the rest.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import NamedTuple, TypeVar

import httpcore
import httpx
import msgspec

from autoscaler.adapters.network import Network
from autoscaler.errors import AddressRefusedError, PermanentError, TemporaryError
from autoscaler.redaction import redacted

T = TypeVar("T")

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Of an answer; what is longer is cut off there, so that no other side can fill our memory."""

MAX_DELAY = 3600.0
"""Seconds of Retry-After that are honoured; more is for a person to look at."""

_EXCERPT = 200
_PORTS = {"http": 80, "https": 443}
_TEMPORARY = frozenset({408, 425, 429})
_UNTOUCHED = frozenset({429, 503})
"""Answers of those who have not begun."""
_IN_ITS_PLACE = frozenset({502, 503, 504})
"""Answers that a proxy gives for one that does not."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to send.

    Attributes:
        timeout: seconds for the whole of it, from the name look-up to the last byte of the answer.
    """

    method: str
    url: str
    timeout: float
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None


class RefusedError(PermanentError):
    """An answer that will be the same again.

    Attributes:
        status: of the answer.
        body: of the answer.
        location: where a redirect led, "" where it was none.
    """

    def __init__(self, message: str, status: int, body: bytes, location: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = body
        self.location = location


@asynccontextmanager
async def within(seconds: float, place: str) -> AsyncIterator[None]:
    """Several calls that must be over together.

    Raises:
        TemporaryError: they are not.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise TemporaryError(f"{place}: not done within {seconds:.3g} s", silent=True) from error


class Origin(NamedTuple):
    """Whom a URL leads to."""

    scheme: str
    host: str
    port: int


@lru_cache(maxsize=1024)
def origin_of(url: str) -> Origin:
    """Whom ``url`` leads to, as the client that calls it reads it.

    Raises:
        PermanentError: there is nobody.
    """
    try:
        parts = httpx.URL(url)
        host = parts.raw_host.decode("ascii")
    except (httpx.InvalidURL, UnicodeError, ValueError, TypeError):
        host = ""
        parts = httpx.URL("")
    if not host or parts.scheme not in _PORTS:
        raise PermanentError(f"{redacted(url)}: not a URL that can be called")
    return Origin(parts.scheme, host, parts.port or _PORTS[parts.scheme])


async def called(client: httpx.AsyncClient, request: Request) -> bytes:
    """Send ``request`` once and return the body of a 2xx answer.

    Redirects are not followed: a POST would become a GET of something else, or a secret would go to another host.

    Raises:
        TemporaryError: no answer, or one of 408, 425, 429, 5xx; with the other side's Retry-After.
        RefusedError: any other answer.
        AddressRefusedError: the client may not connect there.
        PermanentError: a URL that cannot be called.
    """
    place = f"{request.method} {redacted(request.url)}"
    try:
        async with asyncio.timeout(request.timeout):
            return await _exchanged(client, request, place)
    except (TimeoutError, httpx.TimeoutException) as error:
        said = f"{place}: no answer within {request.timeout:.3g} s"
        raise TemporaryError(said, reached=_reached(error), silent=True) from error
    except AddressRefusedError as error:
        raise AddressRefusedError(f"{place}: {error}") from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise PermanentError(f"{place}: not a URL that can be called") from error
    except UnicodeError as error:
        raise PermanentError(f"{place}: the URL or a header holds characters that cannot be sent") from error
    except httpx.HTTPError as error:
        said = f"{place}: {str(error) or type(error).__name__}"
        raise TemporaryError(said, reached=_reached(error), silent=True) from error


def decoded(body: bytes, form: type[T], what: str) -> T:
    """An answer in JSON, whatever stands in it beside ``form``.

    Args:
        what: of whom the answer is, for people.

    Raises:
        TemporaryError: it is none of this form: no text, nested too deeply, cut off.
    """
    try:
        return msgspec.json.decode(body, type=form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TemporaryError(f"{what} cannot be read: {error}") from error


def _reached(error: Exception) -> bool:
    """Whether the other side may have seen the request."""
    return not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)


async def _exchanged(client: httpx.AsyncClient, request: Request, place: str) -> bytes:
    async with client.stream(
        request.method,
        request.url,
        headers={"accept-encoding": "identity", **request.headers},
        content=request.content,
        follow_redirects=False,
        timeout=request.timeout,
    ) as response:
        body = await _body(response)
    # it and its stream hold each other, and with them forty objects that only the garbage collector would find
    response.stream = _READ
    if response.is_success:
        return body
    answer = f"{place}: answered {response.status_code}{_said(body)}"
    if response.status_code in _TEMPORARY or response.is_server_error:
        status = response.status_code
        raise TemporaryError(
            answer, delay=_retry_after(response), reached=status not in _UNTOUCHED, silent=status in _IN_ITS_PLACE
        )
    if response.is_redirect:
        location = _location(response)
        said = f"{answer}: redirects are not followed, name {redacted(location)} itself if it is meant"
        raise RefusedError(said, response.status_code, body, location)
    raise RefusedError(answer, response.status_code, body)


async def _body(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) >= MAX_BODY_BYTES:
            break
    return bytes(body[:MAX_BODY_BYTES])


def _said(body: bytes) -> str:
    text = " ".join(body[: 4 * _EXCERPT].decode(errors="replace").split())
    if not text:
        return ""
    return f" ({text[:_EXCERPT]}{'…' if len(text) > _EXCERPT else ''})"


def _location(response: httpx.Response) -> str:
    return str(response.url.join(response.headers.get("location", "")))


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds; a date counts from the answer's own date, so that no clock is needed."""
    text = response.headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = _between(response.headers.get("date", ""), text)
    return min(seconds, MAX_DELAY) if seconds > 0 else None


def _between(start: str, end: str) -> float:
    try:
        return (parsedate_to_datetime(end) - parsedate_to_datetime(start)).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def tls(whose: str, ca: str, *, verify: bool = True) -> ssl.SSLContext:
    """How the certificates of ``whose`` servers are checked.

    Args:
        ca: file of those that they are checked with; "" for the system's.
        verify: False looks at none.

    Raises:
        PermanentError: ``ca`` cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except OSError as error:  # of which SSLError is one
        raise PermanentError(f"certificates of {whose}: {ca}: {error}") from error
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


_READ = httpx.ByteStream(b"")
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=30.0)


def client(
    *,
    network: httpcore.AsyncNetworkBackend | None = None,
    verify: ssl.SSLContext | bool = True,
    timeout: float = 5.0,
) -> httpx.AsyncClient:
    """A client that takes no proxy or password from the environment, keeps few idle connections and no cookies.

    One client calls many, some of them for people who do not know one another: a cookie that one had set would go to
    others under the same domain, and all of them would fill the memory.

    Args:
        network: what makes its connections; None connects to anybody.
        timeout: seconds for each step of a call that says nothing else.
    """
    cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
    transport = _Transport(network or Network(), verify)
    return httpx.AsyncClient(transport=transport, trust_env=False, timeout=timeout, cookies=cookies)


class _Transport(httpx.AsyncHTTPTransport):
    """httpx's own, over other connections than its own: it has no parameter for that, httpcore has."""

    def __init__(self, network: httpcore.AsyncNetworkBackend, verify: ssl.SSLContext | bool) -> None:  # noqa: FBT001
        super().__init__(verify=verify, trust_env=False, limits=_LIMITS)
        ours = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(verify=verify, trust_env=False),
            max_connections=_LIMITS.max_connections,
            max_keepalive_connections=_LIMITS.max_keepalive_connections,
            keepalive_expiry=_LIMITS.keepalive_expiry,
            network_backend=network,
        )
        if not isinstance(self._pool, httpcore.AsyncConnectionPool):  # an httpx that works otherwise guards nothing
            raise TypeError("this version of httpx has no pool of connections that could be put in its place")
        self._pool = ours
