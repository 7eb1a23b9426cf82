"""What a shadow would have done."""

from __future__ import annotations

from structlog.testing import capture_logs

from autoscaler.adapters.actions.recorded import RecordedAction
from autoscaler.ports import OutboxRow


async def test_a_row_is_told_in_the_log_without_its_secrets() -> None:
    row = OutboxRow(
        id="a:1:0", alarm_id="a", url="https://u:p@h/x?token=s", body={"current": "alarm", "reason": "s3"}, created=1.0
    )
    with capture_logs() as said:
        await RecordedAction(["https"]).deliver(row)

    (line,) = said
    assert line == {
        "event": "action recorded",
        "log_level": "info",
        "alarm_id": "a",
        "row": "a:1:0",
        "scheme": "https",
        "url": "https://***@h/x?token=***",
        "current": "alarm",
    }
