"""Our errors as status codes and bodies: ``{"error": {"code", "message"}}``."""

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

_CODES: Final = {
    400: "bad request",
    403: "forbidden",
    404: "not found",
    405: "method not allowed",
    413: "too long",
    415: "unsupported media type",
    500: "internal error",
    503: "unavailable",
}


def fault(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer to a request that failed."""
    error = {"code": _CODES.get(status, "failed"), "message": message}
    return JSONResponse({"error": error}, status, dict(headers or {}))


def unavailable(message: str) -> JSONResponse:
    """The answer while the store is away; says when to ask again."""
    return fault(503, message, {"Retry-After": RETRY_AFTER})


def install(app: FastAPI) -> None:
    """Have ``app`` answer every error like this."""

    @app.exception_handler(NotFoundError)
    async def _not_found(_: Request, error: NotFoundError) -> Response:
        return fault(404, str(error))

    @app.exception_handler(TemporaryError)
    async def _temporary(_: Request, error: TemporaryError) -> Response:
        return unavailable(str(error))

    @app.exception_handler(PermanentError)
    async def _permanent(_: Request, error: PermanentError) -> Response:
        return fault(400, str(error))

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> Response:
        return fault(400, "; ".join(_explained(detail) for detail in error.errors()))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        message = f"nothing is at {request.url.path}" if error.status_code == 404 else str(error.detail)
        if error.status_code == 405:
            message = f"{request.method} is not possible here"
        return fault(error.status_code, message, error.headers)

    @app.exception_handler(Exception)
    async def _unforeseen(_: Request, __: Exception) -> Response:
        return fault(500, "something went wrong here; the log says what")


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
