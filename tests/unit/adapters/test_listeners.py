from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from autoscaler.adapters.listeners import Listeners, LoggingListener
from autoscaler.engine.listen import Silence
from autoscaler.errors import Rejection
from autoscaler.ports import OutboxRow
from autoscaler.scaling.decision import Decision, Reason
from autoscaler.scaling.group import Actor


def _decision(decision: str, times: int = 1) -> Decision:
    return Decision(
        id="1",
        time=0.0,
        group="web",
        decision=decision,
        reason=Reason.COOLDOWN,
        text="later",
        before=0,
        to=1,
        actor=Actor(kind="alarm", name="busy"),
        times=times,
    )


@pytest.mark.parametrize(
    ("decision", "level", "event"),
    [
        pytest.param(_decision("scale"), "info", "group scaled", id="scale"),
        pytest.param(_decision("hold"), "info", "group held", id="first-hold"),
        pytest.param(_decision("hold", times=2), "debug", "group held", id="equal-hold"),
    ],
)
def test_decisions_are_logged(decision: Decision, level: str, event: str) -> None:
    with capture_logs() as logs:
        LoggingListener().decided(decision)

    (entry,) = logs
    assert (entry["log_level"], entry["event"]) == (level, event)
    facts = {"group": "web", "by": "alarm busy", "before": 0, "to": 1, "reason": "cooldown", "text": "later"}
    assert facts.items() <= entry.items()


def test_a_delivered_action_is_logged_without_its_url() -> None:
    row = OutboxRow(id="a:1:0", alarm_id="a", url="https://u:secret@h/", body={}, created=0.0)
    with capture_logs() as logs:
        LoggingListener().acted(row, "delivered", 1.0)
        LoggingListener().acted(row, "retried", 1.0)

    assert [entry["scheme"] for entry in logs] == ["https"]
    assert "secret" not in str(logs)


class _Ear(Silence):
    def __init__(self) -> None:
        self.heard: list[object] = []

    def rejected(self, rejection: Rejection, count: int) -> None:
        self.heard.append((rejection, count))

    def received(self, source: str, count: int) -> None:
        self.heard.append((source, count))

    def decided(self, decision: Decision) -> None:
        self.heard.append(decision)


def test_every_listener_is_told() -> None:
    ears = [_Ear(), _Ear()]
    listeners, decision = Listeners(ears), _decision("scale")

    listeners.received("http", 3)
    listeners.rejected(Rejection.TOO_LONG, 1)
    listeners.decided(decision)

    assert [ear.heard for ear in ears] == [[("http", 3), (Rejection.TOO_LONG, 1), decision]] * 2


def test_where_nothing_is_delivered_it_is_recorded() -> None:
    told = []

    class Told(Silence):
        def acted(self, row: OutboxRow, outcome: str, seconds: float) -> None:
            told.append(outcome)

    row = OutboxRow(id="a:1:0", alarm_id="a", url="http://h/", body={}, created=0.0)
    for outcome in ("delivered", "buried"):
        Listeners([Told()], records=True).acted(row, outcome, 1.0)

    assert told == ["recorded", "buried"]
