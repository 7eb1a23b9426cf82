from __future__ import annotations

import pytest

from autoscaler.api.duration import seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("90s", 90, id="seconds"),
        pytest.param("90", 90, id="bare"),
        pytest.param("0.5s", 0.5, id="fraction"),
        pytest.param("30m", 1800, id="minutes"),
        pytest.param("2h", 7200, id="hours"),
        pytest.param("1h30m", 5400, id="mixed"),
        pytest.param("1d", 86_400, id="days"),
        pytest.param(" 2H ", 7200, id="spaces-and-capitals"),
    ],
)
def test_a_duration_is_read(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "0", "0s", "-5s", "2x", "h", "1m2h", "nan", "99999d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration such as 90s, 30m or 2h"):
        seconds(text)
