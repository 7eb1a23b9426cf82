"""Changes by commands that work on the state itself: who gave them is known by the name on this machine."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Any

from autoscaler.engine.audit import Audit, Change
from autoscaler.scaling.group import Actor

if TYPE_CHECKING:
    from autoscaler.ports import Store
    from autoscaler.settings import Settings


async def record(
    store: Store, settings: Settings, change: Change, kind: str, target: str, *, before: Any = None, after: Any = None
) -> None:
    """Keep a change, as :meth:`autoscaler.engine.audit.Audit.record`."""
    audit = Audit(store, leased=lambda _: None, notify=settings.audit_notify)
    await audit.record(Actor(kind="user", name=_person()), change, kind, target, before=before, after=after)


def _person() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
