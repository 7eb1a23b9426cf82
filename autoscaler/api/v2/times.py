"""Times as clients of Aodh send them back, and the state that is hidden in one of them.

A client that changes an alarm reads it, alters a key and sends all of it back, ``state`` and ``state_timestamp``
included. Meanwhile the state may have changed, and what is sent back must not undo that; yet a client that means to set
the state sends the same keys. So ``state_timestamp`` says which state it was shown with: its microseconds since 1970
are rounded down to a multiple of 3, and 0, 1 or 2 is added. A body whose state is the one its timestamp was shown with
only repeats what was read.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from autoscaler.alarms.alarm import AlarmState
from autoscaler.alarms.definition import EPOCH, MICROSECOND, microseconds

if TYPE_CHECKING:
    from typing import Final

CODES: Final = (AlarmState.INSUFFICIENT_DATA, AlarmState.OK, AlarmState.ALARM)
"""By what is added to the timestamp."""


def parsed(text: str) -> int:
    """Microseconds since 1970 of an ISO 8601 time; one without a zone is UTC.

    Raises:
        ValueError: it is none.
    """
    try:
        time = datetime.fromisoformat(text)
        return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - EPOCH) // MICROSECOND
    except OverflowError as error:
        raise ValueError(str(error)) from error


def with_state(time: float, state: AlarmState) -> int:
    """Microseconds since 1970 of a state's timestamp as it is shown; at most 2 off."""
    micros = microseconds(time)
    return micros - micros % len(CODES) + CODES.index(state)


def shown_with(micros: int) -> AlarmState:
    """The state that a timestamp was shown with."""
    return CODES[micros % len(CODES)]


def ordered(state: AlarmState | None, state_timestamp: int | None) -> AlarmState | None:
    """The state that a body asks for; None where it asks for none or only repeats what was read.

    Args:
        state: as the body has it, None where it has none.
        state_timestamp: likewise, in microseconds since 1970.
    """
    if state is None or state_timestamp is None:
        return state
    return None if shown_with(state_timestamp) is state else state
