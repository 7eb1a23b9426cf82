"""What a log line must not show."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.adapters.logs import configure, redacted

SECRET = "hunter2"


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("https://h:8/p", "https://h:8/p", id="nothing-to-hide"),
        pytest.param("POST https://h/p?a=1&b=2: 500", "POST https://h/p?a=***&b=***", id="every-value-of-a-query"),
        pytest.param("https://h/p?access_token=x y", "https://h/p?access_token=*** y", id="only-the-url"),
        pytest.param("https://h/p?token", "https://h/p?***", id="query-without-a-key"),
        pytest.param("mqtt://u:p@@h:1883 refused", "mqtt://***@h:1883 refused", id="odd-password"),
        pytest.param("https://h/p#x", "https://h/p#***", id="fragment"),
        pytest.param("api_token=x", "api_token=***", id="no-url"),
    ],
)
def test_secrets_are_hidden(text: str, expected: str) -> None:
    assert redacted(text).startswith(expected)


@given(st.from_regex(r"[A-Za-z0-9]{12}", fullmatch=True), st.sampled_from(["u:{}@h/p", "h/p?x={}", "h/p?{}", "h/p#{}"]))
def test_no_secret_is_ever_logged(secret: str, place: str) -> None:
    assert secret not in redacted("cannot reach https://" + place.format(secret))


@pytest.mark.usefixtures("_logging_as_before")
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_secrets_are_hidden_wherever_they_stand_in_a_line(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format, "info")
    error = ValueError(f"https://u:{SECRET}@h")
    try:
        raise error
    except ValueError:
        structlog.get_logger().exception("failed", urls=[f"https://h?k={SECRET}"], error=error, password=SECRET)
    logging.getLogger("library").warning("lost %s", f"amqp://u:{SECRET}@h")

    said = capsys.readouterr().err

    assert "failed" in said
    assert "lost amqp://***@h" in said
    assert SECRET not in said
