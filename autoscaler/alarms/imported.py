"""Alarms that come from another system with a state: it stays, and nothing is done, until the first full window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from autoscaler.alarms.explanation import joined, renewed

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.alarms.alarm import AlarmRecord
    from autoscaler.alarms.course import Look

IMPORTED: Final = "imported: keeps its state and acts on nothing until its first full window"


def as_imported(record: AlarmRecord) -> AlarmRecord:
    """A record with its state to stay until the first full window, and nothing of what led to it."""
    return replace(
        record,
        note=IMPORTED,
        imported=True,
        considered=None,
        consider_at=None,
        repeats=0,
        repeat_at=None,
        breaching_since=None,
        clear_since=None,
        held_since=None,
        evidence=None,
        leaves=(),
        instances={},
    )


def keeps_state(look: Look, lacks: str) -> bool:
    """Whether an alarm keeps the state that it was imported with; its first full window ends that.

    Args:
        lacks: what is missing of the window, for people; "" where it is full.
    """
    if not look.record.imported:
        return False
    if lacks:
        look.change(note=renewed(look.record.note, joined(IMPORTED, lacks)))
        return True
    # what it would have said again meanwhile is not made up for
    repeat_at = look.now + look.alarm.repeat_interval if look.alarm.repeat_actions else None
    look.change(imported=False, note="", repeat_at=repeat_at)
    return False
