"""How a log line looks, and what it must not show."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")
_SECRET_VALUE = re.compile(r"(?i)\b(signature|token|secret|password|awsaccesskeyid)=[^&\s]+")
_SECRET_KEY = re.compile(r"(?i)(password|secret|token|authorization)")


def redacted(text: str) -> str:
    """``text`` without the passwords, signatures and tokens of the URLs in it."""
    return _SECRET_VALUE.sub(r"\1=***", _USERINFO.sub("***@", text))


def _redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if _SECRET_KEY.search(key):
            event[key] = "***"
        elif isinstance(value, str):
            event[key] = redacted(value)
    return event


def configure(log_format: str, level: str) -> None:
    """Write to standard error, as JSON or for people; what libraries log comes along from ``warning`` on."""
    renderer = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _redact,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s", force=True
    )
