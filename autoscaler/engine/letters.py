"""Dead letters by a person's word: looked at, sent on their way again, or dropped."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from autoscaler.engine.audit import Audit, Change
from autoscaler.engine.leases import LEASE, Head
from autoscaler.engine.ledger import Leased
from autoscaler.ports import OutboxRow

if TYPE_CHECKING:
    from autoscaler.measures.measure import Measure
    from autoscaler.ports import Batch, DeadLetter, Store
    from autoscaler.scaling.group import Actor

LOOKED_AT = 100
"""Letters that are read in one go where some are searched for."""


class Fate(StrEnum):
    """What became of a letter that somebody wanted something done with."""

    REPLAYED = "replayed"
    DROPPED = "dropped"
    GONE = "gone"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Handled:
    """One letter, and why it is as it is where that is not what was asked for."""

    id: str
    fate: Fate
    detail: str = ""


ReadAgain = Callable[["DeadLetter"], "Batch | None"]
"""What a letter holds, read as its source would read it today; None where too little of it was kept."""


def unreadable(_: DeadLetter) -> Batch | None:
    """For engines whose sources read nothing twice."""
    return None


class Letters:
    """Every method raises TemporaryError while the store is away; what was done until then is done.

    Args:
        store: keeps them.
        take: writes measures and has events heard, as :meth:`autoscaler.engine.run.Runner.take`.
        leased: is told of rows that are this replica's to carry out.
        audit: is told what became of letters by whose word.
        read_again: how measures and events are read.
    """

    def __init__(
        self,
        store: Store,
        take: Callable[[Batch], Awaitable[list[Measure]]],
        leased: Leased,
        audit: Audit,
        read_again: ReadAgain = unreadable,
    ) -> None:
        self._store = store
        self._take = take
        self._leased = leased
        self._audit = audit
        self._read_again = read_again

    async def found(self, kind: str, *, reason: str | None, limit: int, before: str = "") -> list[DeadLetter]:
        """The newest of a kind, of one reason or (None) of any; ``before`` is the id of the last one already seen."""
        found: list[DeadLetter] = []
        while True:
            page = await self._store.dead_letters(kind, limit=limit if reason is None else LOOKED_AT, before=before)
            found += [letter for letter in page if reason is None or letter.reason == reason]
            if reason is None or len(found) >= limit or len(page) < LOOKED_AT:
                return found[:limit]
            before = page[-1].id

    async def letter(self, letter_id: str) -> DeadLetter | None:
        """One; None where there is none such any more."""
        return await self._store.dead_letter(letter_id)

    async def drop(self, letter_ids: Sequence[str], actor: Actor) -> list[Handled]:
        """Keep these no longer."""
        ids = list(dict.fromkeys(letter_ids))
        dropped = await self._store.drop_letters(ids)
        pairs = zip(ids, dropped, strict=True)
        handled = [Handled(letter_id, Fate.DROPPED if done else Fate.GONE) for letter_id, done in pairs]
        await self._audited(Change.DROPPED, actor, handled)
        return handled

    async def replay(self, letter_ids: Sequence[str], actor: Actor) -> list[Handled]:
        """Send these on their way again; those that cannot be stay where they are, and it is said why."""
        handled = [await self._replayed(letter_id) for letter_id in dict.fromkeys(letter_ids)]
        await self._audited(Change.REPLAYED, actor, handled)
        return handled

    async def _audited(self, change: Change, actor: Actor, handled: Sequence[Handled]) -> None:
        target = handled[0].id if len(handled) == 1 else f"{len(handled)} of them"
        after = {each.id: each.fate.value for each in handled}
        await self._audit.record(actor, change, "dead letters", target, after=after)

    async def _replayed(self, letter_id: str) -> Handled:
        letter = await self._store.dead_letter(letter_id)
        if letter is None:
            return Handled(letter_id, Fate.GONE)
        match letter.kind:
            case "action":
                handled = await self._carried_out_again(letter)
            case "measure" | "event":
                handled = await self._taken_again(letter)
            case _:
                return Handled(letter_id, Fate.REFUSED, "what Aodh tells is not told again")
        if handled.fate is not Fate.REFUSED:
            # only now: a letter that is lost on the way would be lost for good, and one that is left does no harm
            await self._store.drop_letters([letter_id])
        return handled

    async def _carried_out_again(self, letter: DeadLetter) -> Handled:
        """Under its own id, so that a receiver that has had it after all can tell."""
        try:
            row = msgspec.json.decode(letter.payload, type=OutboxRow)
        except msgspec.DecodeError:
            return Handled(letter.id, Fate.REFUSED, "its row cannot be read")
        now = await self._store.now()
        row = msgspec.structs.replace(row, created=now, attempts=0, repeat=False)
        asked = time.monotonic()
        revived = await self._store.revive(row, letter.id, lease=LEASE)
        if revived is None:
            return Handled(letter.id, Fate.GONE, "it was replayed before")
        if revived.lanes:
            self._leased(Head(row, asked))
        return Handled(letter.id, Fate.REPLAYED)

    async def _taken_again(self, letter: DeadLetter) -> Handled:
        """Points of the same time replace, and an event that was heard is known, so twice does no harm."""
        batch = self._read_again(letter)
        if batch is None:
            return Handled(letter.id, Fate.REFUSED, "too little of it was kept to read it again")
        if batch.rejected:
            found = batch.rejected[0]
            return Handled(letter.id, Fate.REFUSED, f"{found.rejection}: {found.detail}")
        without_room = await self._take(batch)
        if without_room:  # and is buried anew
            return Handled(letter.id, Fate.REPLAYED, f"{len(without_room)} of its measures found no room again")
        return Handled(letter.id, Fate.REPLAYED)
