from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.api.redaction import shown_row
from autoscaler.redaction import redacted as shown


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
