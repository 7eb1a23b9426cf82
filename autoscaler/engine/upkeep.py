"""What an operator does with the state as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoscaler.errors import PermanentError
from autoscaler.ports import STATE_FORM, Schema

if TYPE_CHECKING:
    from autoscaler.ports import Store


async def upgrade(store: Store, version: str) -> Schema:
    """Have the state written in the newest form that this version knows.

    Raises:
        PermanentError: a replica that lives does not know that form; nothing was changed.
    """
    behind = [replica for replica in await store.replicas() if replica.form < STATE_FORM]
    if behind:
        named = ", ".join(f"{replica.replica} (autoscaler {replica.version or '?'})" for replica in behind)
        raise PermanentError(f"form {STATE_FORM} is not known to every replica: {named}; replace these first")
    return await store.upgrade(version)
