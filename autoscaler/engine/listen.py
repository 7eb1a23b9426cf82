"""What the engine says of its own doing, to whoever prints, counts or logs it."""

from __future__ import annotations

from typing import Protocol

from autoscaler.alarms.alarm import Alarm
from autoscaler.alarms.evaluation import Transition
from autoscaler.errors import Rejection
from autoscaler.ports import OutboxRow
from autoscaler.scaling.decision import Decision


class Listener(Protocol):
    """Told once of everything that happened here; must not block or raise."""

    def received(self, source: str, count: int) -> None:
        """Measures were decoded."""
        ...

    def unrouted(self, count: int) -> None:
        """Measures that no alarm asks for were let go."""
        ...

    def too_old(self, count: int) -> None:
        """Measures were behind their window's horizon."""
        ...

    def rejected(self, rejection: Rejection, count: int) -> None:
        """Measures could not be taken and were buried."""
        ...

    def evaluated(self, count: int, lag: float | None) -> None:
        """Alarms were evaluated; ``lag`` is the age of the newest measure of the batch, in seconds."""
        ...

    def transitioned(self, alarm: Alarm, transition: Transition) -> None:
        """An alarm changed its state, and the change is stored."""
        ...

    def acted(self, row: OutboxRow, outcome: str, seconds: float) -> None:
        """An action was ``delivered`` in so many seconds, or ``retried`` or ``buried`` so long after it was written.

        One that was buried since it may not go where it leads is an ``address refused``. In a shadow, which delivers
        nothing, it was ``recorded``.
        """
        ...

    def decided(self, decision: Decision) -> None:
        """A group was moved or left alone, and the decision is stored."""
        ...

    def circuit(self, endpoint: str, is_open: bool) -> None:  # noqa: FBT001 - the one thing that is told
        """An endpoint (host and port) is left alone from now on, since it does not answer, or it answers again."""
        ...


class Silence:
    """A listener that does nothing; the base of those that care for some of it."""

    def received(self, source: str, count: int) -> None:
        """See :class:`Listener`."""

    def unrouted(self, count: int) -> None:
        """See :class:`Listener`."""

    def too_old(self, count: int) -> None:
        """See :class:`Listener`."""

    def rejected(self, rejection: Rejection, count: int) -> None:
        """See :class:`Listener`."""

    def evaluated(self, count: int, lag: float | None) -> None:
        """See :class:`Listener`."""

    def transitioned(self, alarm: Alarm, transition: Transition) -> None:
        """See :class:`Listener`."""

    def acted(self, row: OutboxRow, outcome: str, seconds: float) -> None:
        """See :class:`Listener`."""

    def decided(self, decision: Decision) -> None:
        """See :class:`Listener`."""

    def circuit(self, endpoint: str, is_open: bool) -> None:  # noqa: FBT001
        """See :class:`Listener`."""
