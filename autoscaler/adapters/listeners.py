"""Who hears what the engine says: everybody in a list, and the log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

from autoscaler.engine.listen import Listener, Silence

if TYPE_CHECKING:
    from autoscaler.alarms.alarm import Alarm
    from autoscaler.alarms.evaluation import Transition
    from autoscaler.errors import Rejection
    from autoscaler.ports import OutboxRow
    from autoscaler.scaling.decision import Decision

log = structlog.get_logger()


class Listeners:
    """See :class:`autoscaler.engine.listen.Listener`. Tells each of several, in their order.

    Args:
        records: deliveries are not told as such, since nothing is delivered: they are ``recorded``.
    """

    def __init__(self, listeners: Iterable[Listener], *, records: bool = False) -> None:
        self._listeners = tuple(listeners)
        self._records = records

    def received(self, source: str, count: int) -> None:
        """See :class:`autoscaler.engine.listen.Listener`."""
        for listener in self._listeners:
            listener.received(source, count)

    def unrouted(self, count: int) -> None:
        """See :class:`autoscaler.engine.listen.Listener`."""
        for listener in self._listeners:
            listener.unrouted(count)

    def too_old(self, count: int) -> None:
        """See :class:`autoscaler.engine.listen.Listener`."""
        for listener in self._listeners:
            listener.too_old(count)

    def rejected(self, rejection: Rejection, count: int) -> None:
        """See :class:`autoscaler.engine.listen.Listener`."""
        for listener in self._listeners:
            listener.rejected(rejection, count)

    def evaluated(self, count: int, lag: float | None) -> None:
        """See :class:`autoscaler.engine.listen.Listener`."""
        for listener in self._listeners:
            listener.evaluated(count, lag)

    def transitioned(self, alarm: Alarm, transition: Transition) -> None:
        """See :class:`autoscaler.engine.listen.Listener`."""
        for listener in self._listeners:
            listener.transitioned(alarm, transition)

    def acted(self, row: OutboxRow, outcome: str, seconds: float) -> None:
        """See :class:`autoscaler.engine.listen.Listener`."""
        if self._records and outcome == "delivered":
            outcome = "recorded"
        for listener in self._listeners:
            listener.acted(row, outcome, seconds)

    def decided(self, decision: Decision) -> None:
        """See :class:`autoscaler.engine.listen.Listener`."""
        for listener in self._listeners:
            listener.decided(decision)

    def circuit(self, endpoint: str, is_open: bool) -> None:  # noqa: FBT001
        """See :class:`autoscaler.engine.listen.Listener`."""
        for listener in self._listeners:
            listener.circuit(endpoint, is_open)


class LoggingListener(Silence):
    """Logs what people look for: transitions, decisions, delivered actions. Never a URL: it may hold a secret."""

    def rejected(self, rejection: Rejection, count: int) -> None:
        """Log at debug level, since one broken sender would fill the log; the metric and the dead letters tell all."""
        log.debug("measures rejected", reason=str(rejection), count=count)

    def transitioned(self, alarm: Alarm, transition: Transition) -> None:
        """Log the new state."""
        log.info(
            "alarm transitioned",
            alarm=alarm.name,
            alarm_id=alarm.alarm_id,
            previous=str(transition.previous),
            current=str(transition.current),
            reason=transition.reason,
        )

    def acted(self, row: OutboxRow, outcome: str, seconds: float) -> None:
        """Log a delivery; what failed is logged, with its cause, where it failed."""
        if outcome == "delivered":
            scheme = urlsplit(row.url).scheme
            log.debug("action delivered", alarm_id=row.alarm_id, row=row.id, scheme=scheme, seconds=round(seconds, 3))

    def decided(self, decision: Decision) -> None:
        """Log what was decided; of equal holds in a row the first counts."""
        facts = {
            "group": decision.group,
            "policy": decision.policy,
            "alarm": decision.alarm,
            "by": "" if decision.actor is None else f"{decision.actor.kind} {decision.actor.name}".strip(),
            "before": decision.before,
            "to": decision.to,
            "reason": str(decision.reason),
            "text": decision.text,
        }
        known = {key: value for key, value in facts.items() if value not in {"", None}}
        if decision.decision == "scale":
            log.info("group scaled", **known)
        elif decision.times == 1:
            log.info("group held", **known)
        else:
            log.debug("group held", times=decision.times, **known)

    def circuit(self, endpoint: str, is_open: bool) -> None:  # noqa: FBT001
        """Log the change; what is put off meanwhile is logged at debug level only."""
        if is_open:
            log.warning("endpoint left alone", endpoint=endpoint, reason="it does not answer")
        else:
            log.info("endpoint answers again", endpoint=endpoint)


_fits: tuple[type[Listener], ...] = (Listeners, LoggingListener)
