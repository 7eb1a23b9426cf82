from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.api.redaction import shown_row
from autoscaler.declarations.tokens import new_token
from autoscaler.errors import SettingsError
from autoscaler.redaction import redacted as shown
from autoscaler.redaction import without_secrets
from autoscaler.settings import load

TOKEN = new_token()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("policy://web-out", "policy://web-out", id="nothing-to-hide"),
        pytest.param("log://", "log://", id="log"),
        pytest.param("https://h:8/p?a=1&b=2", "https://h:8/p?a=***&b=***", id="query"),
        pytest.param("https://h/p?token", "https://h/p?***", id="query-without-a-key"),
        pytest.param("https://u:p@h/p", "https://***@h/p", id="user-and-password"),
        pytest.param("https://u:p@@h/p?x=u:p@@h", "https://***@h/p?x=***", id="odd-user"),
        pytest.param("https://h/p#secret", "https://h/p#***", id="fragment"),
        pytest.param("https://u:p/w@h", "https://***@h", id="slash-in-password"),
    ],
)
def test_secrets_of_a_url_are_hidden(url: str, expected: str) -> None:
    assert shown(url) == expected


@given(st.from_regex(r"[A-Za-z0-9]{12}", fullmatch=True), st.sampled_from(["u:{}@h/p", "h/p?x={}", "h/p?{}", "h/p#{}"]))
def test_no_secret_is_ever_shown(secret: str, place: str) -> None:
    assert secret not in shown("https://" + place.format(secret))


@given(st.text())
def test_anything_can_be_shown(text: str) -> None:
    assert isinstance(shown(text), str)
    assert isinstance(shown_row(text), str)


@pytest.mark.parametrize(
    "text",
    [
        "http://h/" + "?" * 100_000 + "=",
        "http://h/?" + "&" * 100_000 + "=",
        "://" * 50_000 + "?" * 50_000,
        "bearer " * 20_000 + " " * 20_000,
        "http://" + "@" * 100_000,
    ],
)
def test_no_text_takes_long_to_be_shown(text: str) -> None:
    """A tenant names URLs, and each is shown in the log, while nothing else goes on."""
    began = time.process_time()

    shown(text)

    assert time.process_time() - began < 2.0


def test_an_undelivered_action_hides_the_urls_of_its_body_too() -> None:
    body = {"payload": {"detail": json.dumps({"alarm_actions": ["https://u:p@h/?sig=hunter2"]})}, "token": "hunter2"}

    assert "hunter2" not in shown_row(json.dumps({"url": "notification://", "body": body}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Authorization: Bearer abcdefghijklmnop.qrs", "Authorization: Bearer ***"),
        ("basic dXNlcjphc3RfZm9vYmFy was shown", "basic *** was shown"),
        ("basic needs", "basic needs"),
        (f"{TOKEN!r} is no file", "'ast_***' is no file"),
        (f"https://ceilometer:{TOKEN}@h:8042/v1/samples", "https://***@h:8042/v1/samples"),
        ("rediss://:pw@r:6379/0?ssl_password=x refused", "rediss://***@r:6379/0?ssl_password=*** refused"),
    ],
    ids=["bearer", "basic", "no-credentials", "token", "token-in-a-url", "password-in-a-query"],
)
def test_credentials_are_hidden_wherever_they_stand(text: str, expected: str) -> None:
    assert shown(text) == expected
    assert shown(expected) == expected


def test_a_token_in_the_place_of_a_file_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOSCALER_TOKENS", TOKEN)
    with pytest.raises(SettingsError) as refused:
        load()

    assert "AUTOSCALER_TOKENS" in str(refused.value)
    assert TOKEN not in str(refused.value)


def test_documents_hide_what_stands_under_a_secrets_name() -> None:
    document = {"X-Auth-Token": "t", "a": [{"apiKey": "k", "set-cookie": "c", "url": "https://u:p@h/?s=1"}], "n": 1}

    assert without_secrets(document) == {
        "X-Auth-Token": "***",
        "a": [{"apiKey": "***", "set-cookie": "***", "url": "https://***@h/?s=***"}],
        "n": 1,
    }
