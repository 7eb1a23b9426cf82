"""What Heat tells of the resizes that signals set off: ``orchestration.autoscaling.*`` on the cloud's broker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from autoscaler.adapters.sources.decode import SHOWN_LENGTH
from autoscaler.adapters.sources.envelope import unwrapped
from autoscaler.adapters.sources.openstack import OsloSource
from autoscaler.errors import InvalidMeasureError
from autoscaler.ports import Batch, Source, Told, Undecoded
from autoscaler.scaling.group import Word

if TYPE_CHECKING:
    from collections.abc import Callable

    from autoscaler.adapters.sources.link import Received, Tls

EVENT_TYPES: Final = "orchestration.autoscaling."
PHASES: Final = frozenset(("start", "end", "error"))
TEXT_LENGTH: Final = 500
"""Characters of Heat's own words that are kept."""


class HeatSource(OsloSource):
    """See :class:`autoscaler.ports.Source`; its batches tell of groups and hold no measures.

    Heat tells of all that it does under the same two keys. What is of no interest here is let go, and what cannot be
    read is buried.

    Args:
        url: as of :class:`autoscaler.adapters.sources.openstack.OpenStackSource`, as are ``now``, ``queue``, ``ttl``
            and ``max_length``.
        exchange: that Heat publishes on.
        topic: of its notifications.
    """

    def __init__(
        self,
        url: str,
        *,
        now: Callable[[], float],
        exchange: str = "heat",
        topic: str = "notifications",
        queue: str = "autoscaler.openstack",
        ttl: float = 600.0,
        max_length: int = 100_000,
        tls: Tls | None = None,
    ) -> None:
        keys = {"heat.info": f"{topic}.info", "heat.error": f"{topic}.error"}
        super().__init__(
            url, keys=keys, now=now, exchange=exchange, queue=queue, ttl=ttl, max_length=max_length, tls=tls
        )
        self.name += ".heat"

    def _batch(self, received: Iterable[Received]) -> Batch:
        told: list[Told] = []
        rejected: list[Undecoded] = []
        now = self._now()
        for message in received:
            try:
                found = _told(unwrapped(message.payload), now)
            except InvalidMeasureError as error:
                shown = message.payload[:SHOWN_LENGTH].decode(errors="replace")
                rejected.append(Undecoded(error.rejection, error.detail, shown, kind="event"))
            else:
                told += [] if found is None else [found]
        return Batch((), rejected, self.name, told=told)


def _told(document: object, now: float) -> Told | None:
    """What a notification tells of a group; None where it tells of something else."""
    if not isinstance(document, Mapping):
        return None
    kind, payload = document.get("event_type"), document.get("payload")
    if not isinstance(kind, str) or not kind.startswith(EVENT_TYPES) or not isinstance(payload, Mapping):
        return None
    phase, nested = kind.removeprefix(EVENT_TYPES), payload.get("groupname")
    if phase not in PHASES or not isinstance(nested, str) or not nested:
        return None
    adjustment = f"{payload.get('adjustment_type')} : {payload.get('adjustment')}"
    return Told(nested, Word(phase, now, _whole(payload.get("capacity")), adjustment, _text(payload.get("message"))))


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _text(value: Any) -> str:
    return str(value)[:TEXT_LENGTH] if isinstance(value, str) else ""


_fits: type[Source] = HeatSource
