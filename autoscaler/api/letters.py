"""``/v1/dead-letters``: what could not be taken or delivered; operators look at it, replay it and drop it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query

from autoscaler.api.asked import NO_QUERY, LetterFilter, LettersBody
from autoscaler.api.callers import OPERATES, Caller
from autoscaler.api.wire import DeadLetterAnswer, HandledAnswer, dead_letter_answer, handled_answer
from autoscaler.engine.service import NotFoundError
from autoscaler.ports import LETTER_KINDS

if TYPE_CHECKING:
    from autoscaler.engine.service import Service


def router(service: Service) -> APIRouter:
    """The paths."""
    paths = APIRouter(prefix="/v1/dead-letters", tags=["dead letters"], dependencies=[OPERATES])
    letters = service.letters

    @paths.get("")
    async def dead_letters(asked: Annotated[LetterFilter, Query()]) -> list[DeadLetterAnswer]:
        """Newest first."""
        kinds = LETTER_KINDS if asked.kind is None else (asked.kind,)
        found = [
            letter
            for kind in kinds
            for letter in await letters.found(kind, reason=asked.reason, limit=asked.limit, before=asked.before or "")
        ]
        newest = sorted(found, key=lambda letter: letter.time, reverse=True)[: asked.limit]
        return [dead_letter_answer(letter) for letter in newest]

    @paths.post("/replay", dependencies=[NO_QUERY])
    async def replay(body: LettersBody, caller: Caller) -> list[HandledAnswer]:
        """Send letters on their way again: measures and events are read again, actions put at the end of their lanes.

        Those that cannot be stay.
        """
        return [handled_answer(handled) for handled in await letters.replay(body.ids, caller)]

    @paths.post("/drop", dependencies=[NO_QUERY])
    async def drop(body: LettersBody, caller: Caller) -> list[HandledAnswer]:
        """Keep letters no longer."""
        return [handled_answer(handled) for handled in await letters.drop(body.ids, caller)]

    @paths.get("/{letter_id}", dependencies=[NO_QUERY])
    async def dead_letter(letter_id: str) -> DeadLetterAnswer:
        """One of them."""
        letter = await letters.letter(letter_id)
        if letter is None:
            raise NotFoundError(f"no dead letter {letter_id}")
        return dead_letter_answer(letter)

    return paths
