"""What Aodh tells of an alarm on the cloud's bus."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class Told(StrEnum):
    """What happened, as Aodh's histories name it."""

    CREATION = "creation"
    RULE_CHANGE = "rule change"
    STATE_TRANSITION = "state transition"
    DELETION = "deletion"


@dataclass(frozen=True, slots=True)
class Notice:
    """One line of an alarm's history, as it is told when it is written.

    Source:
        aodh/api/controllers/v2/alarms.py and aodh/evaluator/__init__.py, 23.0.0.

    Attributes:
        event_id: of the line; the same told again bears the same.
        detail: on creation the whole alarm in Aodh's storage form, on a change of the rule what is otherwise, of a
            transition the state and why.
        time: Unix seconds.
        user_id: who did it; "" where nobody is named.
        project_id: theirs.
    """

    event_id: str
    alarm_id: str
    told: Told
    detail: Mapping[str, Any]
    time: float
    user_id: str = ""
    project_id: str = ""

    @property
    def by_evaluator(self) -> bool:
        """Whether a transition is Aodh's own, and not somebody's word."""
        return self.told is Told.STATE_TRANSITION and "transition_reason" in self.detail
