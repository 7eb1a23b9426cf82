"""Aodh's notifications, as it sends them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from autoscaler.adapters.sources.aodh import decode
from autoscaler.alarms.notice import Notice, Told
from autoscaler.errors import InvalidMeasureError, Rejection

PAYLOAD = {
    "event_id": "61dc9a27",
    "alarm_id": "99f74215",
    "type": "creation",
    "detail": {"name": "e0", "enabled": True},
    "user_id": "u",
    "project_id": "p",
    "on_behalf_of": "p",
    "timestamp": "2027-01-15T08:00:00.500000",
    "severity": "low",
}
TIME = 1_800_000_000.5


def sent(event_type: str = "alarm.creation", envelope: int = 2, **payload: Any) -> bytes:
    """A notification; ``...`` takes a key away."""
    told = {key: value for key, value in (PAYLOAD | payload).items() if value is not ...}
    inner = {
        "message_id": "eeaf713d",
        "publisher_id": "aodh.api",
        "event_type": event_type,
        "priority": "INFO",
        "payload": told,
        "timestamp": "2027-01-15 08:00:00.933323",
        "_unique_id": "fc53",
    }
    if envelope == 1:
        return json.dumps(inner).encode()
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(inner)}).encode()


@pytest.mark.parametrize("envelope", [1, 2])
def test_what_the_api_tells_is_an_object(envelope: int) -> None:
    notice = decode(sent(envelope=envelope))

    assert notice == Notice("61dc9a27", "99f74215", Told.CREATION, PAYLOAD["detail"], TIME, "u", "p")
    assert notice is not None
    assert not notice.by_evaluator


def test_what_the_evaluator_tells_is_json_in_a_text() -> None:
    detail = {"state": "alarm", "transition_reason": "because"}
    notice = decode(sent("alarm.state_transition", type="state transition", detail=json.dumps(detail)))

    assert notice is not None
    assert (notice.told, notice.detail, notice.by_evaluator) == (Told.STATE_TRANSITION, detail, True)


def test_a_state_that_somebody_has_set_is_not_the_evaluators() -> None:
    detail = {"state": "alarm", "state_reason": "Manually set via API"}
    notice = decode(sent("alarm.state_transition", detail=detail))

    assert notice is not None
    assert not notice.by_evaluator


def test_keys_that_may_be_missing() -> None:
    notice = decode(sent("alarm.deletion", user_id=..., project_id=None, severity=..., on_behalf_of=..., type=...))

    assert notice is not None
    assert (notice.told, notice.user_id, notice.project_id) == (Told.DELETION, "", "")


@pytest.mark.parametrize("event_type", ["compute.instance.update", "metering", ""])
def test_what_is_about_something_else_is_let_go(event_type: str) -> None:
    assert decode(sent(event_type)) is None


@pytest.mark.parametrize(
    ("message", "rejection"),
    [
        pytest.param(b"", Rejection.UNDECODABLE, id="empty"),
        pytest.param(b"\xff", Rejection.UNDECODABLE, id="no-text"),
        pytest.param(b"[]", Rejection.WRONG_TYPE, id="a-list"),
        pytest.param(b"{}", Rejection.WRONG_TYPE, id="no-type"),
        pytest.param(b"[" * 100_000, Rejection.UNDECODABLE, id="deep"),
        pytest.param(b'{"oslo.version": "9.0", "oslo.message": "{}"}', Rejection.UNDECODABLE, id="version"),
        pytest.param(b'{"event_type": "alarm.creation"}', Rejection.WRONG_TYPE, id="no-payload"),
        pytest.param(sent("alarm.melted"), Rejection.WRONG_TYPE, id="unknown-kind"),
        pytest.param(sent(alarm_id=...), Rejection.WRONG_TYPE, id="no-alarm"),
        pytest.param(sent(detail='{"state": "\ud800"}'), Rejection.UNDECODABLE, id="half-a-pair"),
        pytest.param(sent(detail='{"state": "\\ud800"}'), Rejection.UNDECODABLE, id="half-a-pair-in-the-text"),
        pytest.param(sent(detail={"a": ["\ud800"]}), Rejection.UNDECODABLE, id="half-a-pair-in-an-object"),
        pytest.param(sent(event_id=""), Rejection.WRONG_TYPE, id="no-id"),
        pytest.param(sent(alarm_id="x" * 1000), Rejection.TOO_LONG, id="long-id"),
        pytest.param(sent(detail="no json"), Rejection.UNDECODABLE, id="detail-is-no-json"),
        pytest.param(sent(detail="[1]"), Rejection.WRONG_TYPE, id="detail-is-no-object"),
        pytest.param(sent(detail=None), Rejection.WRONG_TYPE, id="no-detail"),
        pytest.param(sent(timestamp="soon"), Rejection.BAD_TIMESTAMP, id="no-time"),
        pytest.param(b" " * 2_000_000, Rejection.TOO_LONG, id="huge"),
    ],
)
def test_what_cannot_be_read_says_why(message: bytes, rejection: Rejection) -> None:
    with pytest.raises(InvalidMeasureError) as caught:
        decode(message)

    assert caught.value.rejection is rejection
