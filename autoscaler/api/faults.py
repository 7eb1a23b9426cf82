"""Our errors as status codes and bodies: ``{"error": {"code", "message"}}``, and on Aodh's paths as Aodh's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from autoscaler.engine.service import NotFoundError
from autoscaler.errors import PermanentError, TemporaryError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

RETRY_AFTER: Final = "2"
"""Seconds after which the store may be back."""

CODES: Final = {
    400: "bad request",
    401: "unauthorized",
    403: "forbidden",
    404: "not found",
    405: "method not allowed",
    409: "conflict",
    408: "too slow",
    413: "too long",
    414: "too long",
    415: "unsupported media type",
    429: "too many requests",
    431: "too long",
    500: "internal error",
    503: "unavailable",
}
SCHEMA: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
        }
    },
}
"""Of every answer to a request that failed, in OpenAPI."""


class RefusedError(Exception):
    """Whoever asks may not, or has not said who they are.

    Args:
        status: 400, 401, 403, 429 or 503.
        message: for people.
        headers: to be sent with it.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


def fault(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer to a request that failed."""
    error = {"code": CODES.get(status, "failed"), "message": message}
    return JSONResponse({"error": error}, status, dict(headers or {}))


def fault_at(path: str, status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer to a request that failed, in the form that clients of ``path`` know."""
    if path != "/v2" and not path.startswith("/v2/"):
        return fault(status, message, headers)
    code = "Client" if status < 500 else "Server"
    error = {"faultcode": code, "faultstring": message, "debuginfo": None}
    return JSONResponse({"error_message": error}, status, dict(headers or {}))


def refusal(path: str, error: RefusedError) -> JSONResponse:
    """The answer to who may not."""
    return fault_at(path, error.status, str(error), error.headers)


def unavailable(message: str) -> JSONResponse:
    """The answer while the store is away; says when to ask again."""
    return fault(503, message, {"Retry-After": RETRY_AFTER})


def install(app: FastAPI) -> None:
    """Have ``app`` answer every error like this."""

    @app.exception_handler(RefusedError)
    async def _refused(request: Request, error: RefusedError) -> Response:
        return refusal(request.url.path, error)

    @app.exception_handler(NotFoundError)
    async def _not_found(request: Request, error: NotFoundError) -> Response:
        return fault_at(request.url.path, 404, str(error))

    @app.exception_handler(TemporaryError)
    async def _temporary(request: Request, error: TemporaryError) -> Response:
        return fault_at(request.url.path, 503, str(error), {"Retry-After": RETRY_AFTER})

    @app.exception_handler(PermanentError)
    async def _permanent(request: Request, error: PermanentError) -> Response:
        return fault_at(request.url.path, 400, str(error))

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        return fault_at(request.url.path, 400, "; ".join(_explained(detail) for detail in error.errors()))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        message = f"nothing is at {request.url.path}" if error.status_code == 404 else str(error.detail)
        if error.status_code == 405:
            message = f"{request.method} is not possible here"
        return fault_at(request.url.path, error.status_code, message, error.headers)

    @app.exception_handler(Exception)
    async def _unforeseen(request: Request, __: Exception) -> Response:
        return fault_at(request.url.path, 500, "something went wrong here; the log says what")


def _explained(detail: Mapping[str, Any]) -> str:
    """One fault of a request in words."""
    place = ".".join(str(step) for step in detail["loc"][1:]) or str(detail["loc"][0])
    match detail["type"]:
        case "extra_forbidden":
            return f"{place}: unknown {'parameter' if detail['loc'][0] == 'query' else 'key'}"
        case "missing" if place == "body":
            return "a JSON object is missing from the body"
        case "missing":
            return f"{place}: missing"
        case "json_invalid":
            return f"the body is not JSON: {detail['ctx']['error']}"
        case "value_error":
            where = "" if place == "body" else f"{place}: "
            return f"{where}{detail['ctx']['error']}"
        case "model_attributes_type" | "dict_type" if place == "body":
            return "expected a JSON object, sent with content-type: application/json"
        case _:
            message = detail["msg"][:1].lower() + detail["msg"][1:]
            return f"{place}: {message.replace('input should be', 'expected')}"
