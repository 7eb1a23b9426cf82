"""``/v1/dead-letters``: what could not be taken or delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query

from autoscaler.api.asked import LetterFilter
from autoscaler.api.callers import OPERATES
from autoscaler.api.wire import DeadLetterAnswer, dead_letter_answer

if TYPE_CHECKING:
    from autoscaler.engine.service import Service


def router(service: Service) -> APIRouter:
    """The paths."""
    paths = APIRouter(prefix="/v1/dead-letters", tags=["dead letters"], dependencies=[OPERATES])

    @paths.get("")
    async def dead_letters(asked: Annotated[LetterFilter, Query()]) -> list[DeadLetterAnswer]:
        """Newest first."""
        kinds = ("measure", "event", "notice", "action") if asked.kind is None else (asked.kind,)
        found = [letter for kind in kinds for letter in await service.dead_letters(kind, limit=asked.limit)]
        newest = sorted(found, key=lambda letter: letter.time, reverse=True)[: asked.limit]
        return [dead_letter_answer(letter) for letter in newest]

    return paths
