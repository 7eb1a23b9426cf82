"""Other services of the cloud, called with a token of our own or one that stands for a trust."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Protocol

from autoscaler.adapters import http
from autoscaler.errors import PermanentError, TemporaryError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

PROJECT: Final = "%(project_id)s"
"""In a service's URL: the project that is asked for."""
NO_KEYSTONE: Final = "this needs Keystone, and AUTOSCALER_KEYSTONE_URL is not set"


class Whose(Protocol):
    """What is known of a token."""

    @property
    def project_id(self) -> str:
        """The project that it is scoped to."""
        ...


class Tokens(Protocol):
    """Keystone, as far as tokens of ours go; it raises TemporaryError where it is away or does not know us."""

    async def token(self, trust_id: str = "") -> str:
        """A token of ours, or one that stands for a trust.

        Raises:
            PermanentError: the trust is gone.
        """
        ...

    async def renewed(self, refused: str, trust_id: str = "") -> str:
        """As :meth:`token`, but another than ``refused``."""
        ...


class Catalog(Tokens, Protocol):
    """Keystone, as far as calls to other services go."""

    async def endpoint(self, service_type: str, trust_id: str = "") -> str:
        """Where a service is, for our project or the trust's.

        Raises:
            PermanentError: the catalog has none such.
        """
        ...

    async def validate(self, token: str) -> Whose | None:
        """Whose ``token`` is; None where it is none."""
        ...


class Service:
    """A service of the cloud.

    Args:
        kind: as the catalog names it, such as ``orchestration``.
        catalog: None where there is no Keystone; then only calls without a token to a known ``url`` work.
        client: to call with; closed by whoever made it.
        url: where the service is, with ``%(project_id)s`` where the project belongs; "" looks it up in the catalog.
        timeout: seconds for one call.
    """

    def __init__(
        self, kind: str, catalog: Catalog | None, client: httpx.AsyncClient, *, url: str = "", timeout: float = 10.0
    ) -> None:
        self._kind = kind
        self._catalog = catalog
        self._client = client
        self._url = url.rstrip("/")
        self._timeout = timeout

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        trust_id: str = "",
        project_id: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Call with a token, once more with a new one where that is refused; the body of the answer.

        Args:
            path: beginning with ``/``.
            body: sent as JSON; None sends none.
            trust_id: of the trust that the token stands for; "" for a token of our own.
            project_id: the project that is meant, where it is another than the token's; the service decides whether
                the token may.

        Raises:
            TemporaryError, RefusedError: as :func:`autoscaler.adapters.http.called`.
            PermanentError: there is no Keystone, the trust is gone, or the catalog has no such service.
        """
        if self._catalog is None:
            raise PermanentError(NO_KEYSTONE)
        base = await self._base(self._catalog, trust_id, project_id)
        token = await self._catalog.token(trust_id)
        try:
            return await self._called(method, _joined(base, path), body, {**(headers or {}), "x-auth-token": token})
        except http.RefusedError as error:
            if error.status != 401:
                raise
        token = await self._catalog.renewed(token, trust_id)
        return await self._called(method, _joined(base, path), body, {**(headers or {}), "x-auth-token": token})

    async def call_openly(self, method: str, path: str, *, body: Any, headers: Mapping[str, str]) -> bytes:
        """Call without a token; ``headers`` are what opens the door. Raises as :meth:`call`."""
        if self._catalog is None and not self._url:
            raise PermanentError(NO_KEYSTONE)
        base = self._url if self._catalog is None else await self._base(self._catalog)
        return await self._called(method, _joined(base, path), body, headers)

    async def _base(self, catalog: Catalog, trust_id: str = "", project_id: str = "") -> str:
        if not self._url:
            base = (await catalog.endpoint(self._kind, trust_id)).rstrip("/")
            if not project_id:
                return base
            # the catalog has written the token's project into it
            return base.replace(await self._own_project(catalog, trust_id), project_id)
        if PROJECT not in self._url:
            return self._url
        return self._url.replace(PROJECT, project_id or await self._own_project(catalog, trust_id))

    async def _own_project(self, catalog: Catalog, trust_id: str) -> str:
        whose = await catalog.validate(await catalog.token(trust_id))
        if whose is None:
            raise TemporaryError(f"the {self._kind} service: Keystone does not know the token that it has just given")
        return whose.project_id

    async def _called(self, method: str, url: str, body: Any, headers: Mapping[str, str]) -> bytes:
        sent = {"accept": "application/json", **headers}
        content = None
        if body is not None:
            sent["content-type"] = "application/json"
            content = json.dumps(body).encode()
        return await http.called(self._client, http.Request(method, url, self._timeout, sent, content))


def _joined(base: str, path: str) -> str:
    """Some catalogs name the version that the path begins with, some do not."""
    version = path.split("/")[1]
    return base.removesuffix(f"/{version}.0").removesuffix(f"/{version}") + path
