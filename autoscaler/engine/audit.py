"""Who changed what: every change by a person's or a token's word, kept for a while, logged, and told on the bus."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import structlog

from autoscaler.engine.cadf import event
from autoscaler.engine.leases import LEASE, Head
from autoscaler.engine.ledger import Leased
from autoscaler.engine.tell import NOTIFICATION
from autoscaler.errors import TemporaryError
from autoscaler.ports import AuditEntry, OutboxRow
from autoscaler.redaction import redacted, without_secrets

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.ports import Store
    from autoscaler.scaling.group import Actor

log = structlog.get_logger()

MAX_SIDE: Final = 4096
"""Characters of what was there before, or after, in JSON; what is longer is cut."""
LOOKED_AT: Final = 500
"""Changes that are read in one go where some are searched for."""
LANE: Final = "audit"
"""In the place of an alarm's id: what is told of changes waits in a lane of its own."""


class Change(StrEnum):
    """What was done."""

    CREATED = "created"
    REPLACED = "replaced"
    STATE_SET = "state set"
    DELETED = "deleted"
    QUOTA_SET = "quota set"
    PAUSED = "paused"
    RESUMED = "resumed"
    FROZEN = "frozen"
    UNFROZEN = "unfrozen"
    EXECUTED = "executed"
    FORCED = "forced"
    REPLAYED = "replayed"
    DROPPED = "dropped"
    PUBLISHED = "published"
    MOVED_IN = "moved in"
    MOVED_OUT = "moved out"
    EXPORTED = "exported"
    IMPORTED = "imported"
    UPGRADED = "upgraded"


class Audit:
    """Keeps changes, after they were made.

    Args:
        notify: tell each on the bus, too.
        leased: is told of rows that are this replica's to carry out.
    """

    def __init__(self, store: Store, leased: Leased, *, notify: bool = False) -> None:
        self._store = store
        self._leased = leased
        self._notify = notify

    async def record(
        self,
        actor: Actor,
        change: Change,
        kind: str,
        target: str,
        *,
        project_id: str = "",
        before: Any = None,
        after: Any = None,
    ) -> None:
        """Keep one change. The log has it first, and alone while the store is away: what was done is not undone.

        Args:
            kind: of what was changed: ``alarm``, ``group``, ``policy`` …
            target: its id or name.
            project_id: whose it is.
            before: what it was, as far as it is otherwise now; secrets in it are hidden.
            after: what it is.
        """
        entry = AuditEntry(
            event_id=str(uuid.uuid4()),
            actor=actor,
            change=change,
            kind=kind,
            target=redacted(target),
            project_id=project_id,
            before=_shown(before),
            after=_shown(after),
        )
        log.info(
            "changed",
            change=change.value,
            kind=kind,
            target=entry.target,
            by=actor.name,
            by_project=actor.project_id,
            address=actor.address,
            event_id=entry.event_id,
        )
        try:
            await self._store.audit(entry)
            if self._notify:
                await self._tell(entry)
        except TemporaryError as error:
            log.error("change not kept", event_id=entry.event_id, error=str(error))  # noqa: TRY400 - the log has it

    async def entries(
        self, *, limit: int, before: str = "", passes: Callable[[AuditEntry], bool] | None = None
    ) -> list[AuditEntry]:
        """Newest first, those that pass; ``before`` is the id of the last one already seen."""
        if passes is None:
            return await self._store.audits(limit=limit, before=before)
        found: list[AuditEntry] = []
        while len(found) < limit:
            page = await self._store.audits(limit=LOOKED_AT, before=before)
            found += filter(passes, page)
            if len(page) < LOOKED_AT:
                break
            before = page[-1].id
        return found[:limit]

    async def _tell(self, entry: AuditEntry) -> None:
        now = await self._store.now()
        row = OutboxRow(
            id=f"{LANE}:{entry.event_id}",
            alarm_id=LANE,
            url=NOTIFICATION,
            body={
                "event_type": "audit.http.response" if entry.actor.kind == "user" else "audit.controller",
                "publisher_id": "autoscaler",
                "payload": event(entry, now),
            },
            created=now,
            declared=True,
        )
        asked = time.monotonic()
        queued = await self._store.revive(row, entry.event_id, lease=LEASE)
        if queued is not None and queued.lanes:
            self._leased(Head(row, asked))


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What of two documents is not the same: as it was, and as it is."""
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return {key: before.get(key) for key in keys}, {key: after.get(key) for key in keys}


def _shown(side: Any) -> Any:
    """Without secrets, and not too long."""
    if side is None:
        return None
    hidden = without_secrets(side)
    text = json.dumps(hidden, default=str)
    return hidden if len(text) <= MAX_SIDE else {"cut": text[:MAX_SIDE]}
