"""Routes that answer as Aodh's do: errors in its form, every path with a list of what it takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from autoscaler.api.v2.errors import FaultError, fault
from autoscaler.engine.service import ContendedError, DeclaredError, NotFoundError
from autoscaler.errors import PermanentError, TemporaryError

if TYPE_CHECKING:
    from typing import Final

    from starlette.types import Receive, Scope, Send

Endpoint = Callable[..., Awaitable[Response]]
RETRY_AFTER: Final = "2"
"""Seconds after which the store may be back."""


class _Faults(APIRoute):
    """Answers errors in Aodh's form."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See FastAPI."""
        handler = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await handler(request)
            except FaultError as error:
                return fault(error.status, error.text, error.headers)
            except NotFoundError as error:
                return fault(404, str(error))
            except (DeclaredError, ContendedError) as error:
                return fault(409, str(error))
            except TemporaryError as error:
                return fault(503, str(error), {"Retry-After": RETRY_AFTER})
            except PermanentError as error:
                return fault(400, str(error))

        return answered


class Paths:
    """The paths of the API, as they are added; each may be asked with a slash behind it, as Aodh's may."""

    def __init__(self) -> None:
        self.router = APIRouter(tags=["aodh"], route_class=_Faults)
        self._methods: defaultdict[str, set[str]] = defaultdict(set)

    def add(self, method: str, path: str, endpoint: Endpoint, described: Mapping[str, Any]) -> None:
        """One method of a path.

        Args:
            described: what FastAPI is told for the OpenAPI document.
        """
        self.router.add_api_route(path, endpoint, methods=[method], **described)
        hidden = {"HEAD"} if method == "GET" else set()
        self._hide(path, endpoint, hidden)
        if path != "/":
            self._hide(f"{path}/", endpoint, {method, *hidden})
        self._methods[path].add(method)

    def close(self) -> APIRouter:
        """The router, with answers to whatever else is asked."""
        for path, methods in self._methods.items():
            others = _NotAllowed(", ".join(sorted(methods)))
            self.router.routes.append(Route(path, others, include_in_schema=False))
            if path != "/":
                self.router.routes.append(Route(f"{path}/", others, include_in_schema=False))
        for path in ("/v2", "/v2/{rest:path}"):
            self.router.routes.append(Route(path, _Nothing(), include_in_schema=False))
        return self.router

    def _hide(self, path: str, endpoint: Endpoint, methods: set[str]) -> None:
        if methods:
            self.router.add_api_route(path, endpoint, methods=sorted(methods), include_in_schema=False)


class _NotAllowed:
    """A path that is, asked for what it does not do."""

    def __init__(self, allow: str) -> None:
        self._allow = {"Allow": allow}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["method"] == "OPTIONS":
            response = Response(status_code=204, headers=self._allow)
        else:
            response = fault(405, f"The method {scope['method']} is not allowed for this resource.", self._allow)
        await response(scope, receive, send)


class _Nothing:
    """A path that is not."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        await fault(404, "The resource could not be found.")(scope, receive, send)
