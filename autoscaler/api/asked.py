"""What may be asked: query parameters and bodies, unknown keys refused."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from fastapi import Depends, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, Strict, field_validator, model_validator

from autoscaler.alarms.alarm import AlarmState
from autoscaler.api.duration import LONGEST, seconds
from autoscaler.engine.shadow import NEWEST
from autoscaler.ports import AUDITS, DEAD_LETTERS, DECISIONS, HISTORY_ENTRIES, AuditEntry

LETTER_ID = 64
"""Characters of a dead letter's id."""


class Asked(BaseModel):
    """Strict about its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class _Nothing(Asked):
    """No parameters."""


def _no_query(_: Annotated[_Nothing, Query()]) -> None: ...


NO_QUERY = Depends(_no_query)
"""For paths without parameters: an unknown one is refused there, too."""


class AlarmFilter(Asked):
    """Which alarms."""

    name: str | None = None
    """Exactly this name."""

    state: AlarmState | None = None
    """In this state."""


class HistoryPage(Asked):
    """How much of a history."""

    limit: Annotated[int, Field(ge=1, le=HISTORY_ENTRIES)] = 100


class DecisionPage(Asked):
    """How many decisions."""

    limit: Annotated[int, Field(ge=1, le=DECISIONS)] = 100


class AuditPage(Asked):
    """Which changes."""

    kind: Annotated[str, Field(max_length=100)] | None = None
    """Of exactly this kind of thing."""

    project: Annotated[str, Field(max_length=255)] | None = None
    """By somebody of this project, or to something of it."""

    user: Annotated[str, Field(max_length=255)] | None = None
    """By exactly this user."""

    since: AwareDatetime | None = None
    """Not before this time, ISO 8601 with its zone."""

    before: Annotated[str, Field(max_length=LETTER_ID)] | None = None
    """Id of a change; only older ones."""

    limit: Annotated[int, Field(ge=1, le=AUDITS)] = 100

    @property
    def asks_for_some(self) -> bool:
        """Whether not all of them are wanted."""
        return any(each is not None for each in (self.kind, self.project, self.user, self.since))

    def passes(self, entry: AuditEntry) -> bool:
        """Whether it is one of them."""
        return (
            self.kind in (None, entry.kind)
            and self.user in (None, entry.actor.name)
            and (self.project is None or self.project in {entry.project_id, entry.actor.project_id})
            and (self.since is None or entry.time >= self.since.timestamp())
        )


class LetterFilter(Asked):
    """Which dead letters."""

    kind: Literal["measure", "event", "notice", "action"] | None = None
    """All where it is not given."""

    reason: Annotated[str, Field(max_length=100)] | None = None
    """With exactly this reason."""

    before: Annotated[str, Field(max_length=LETTER_ID)] | None = None
    """Id of a letter of this kind; only older ones."""

    limit: Annotated[int, Field(ge=1, le=DEAD_LETTERS)] = 100

    @model_validator(mode="after")
    def _has_a_kind(self) -> Self:
        if self.before is not None and self.kind is None:
            raise ValueError("expected kind with before: each kind has an order of its own")
        return self


class LettersBody(Asked):
    """Which dead letters something is to be done with."""

    ids: Annotated[list[Annotated[str, Strict(), Field(max_length=LETTER_ID)]], Field(min_length=1, max_length=1000)]


class ShadowFilter(Asked):
    """How much of a shadow's report."""

    alarm: Annotated[str, Field(max_length=255)] | None = None
    """Id of one alarm; all where it is not given."""

    limit: Annotated[int, Field(ge=1, le=NEWEST)] = 20
    """Of disagreements, at most."""


Reason = Annotated[str, Strict(), Field(max_length=1000)]


class PauseBody(Asked):
    """How long and why a group is left alone; until it is resumed where no length is given."""

    seconds: Annotated[float, Strict(), Field(gt=0, le=LONGEST, allow_inf_nan=False)] | None = None
    """How long."""

    for_: Annotated[str, Strict()] | None = Field(default=None, alias="for")
    """How long, such as 90s, 30m or 2h."""

    reason: Reason = ""
    """For people."""

    direction: Literal["in", "out"] | None = None
    """Leave alone one direction only."""

    @field_validator("for_")
    @classmethod
    def _is_duration(cls, text: str | None) -> str | None:
        if text is not None:
            seconds(text)
        return text

    @model_validator(mode="after")
    def _has_one_length(self) -> Self:
        if self.seconds is not None and self.for_ is not None:
            raise ValueError("expected either seconds or for")
        return self

    def length(self) -> float | None:
        """Seconds; None means until resumed."""
        return self.seconds if self.for_ is None else seconds(self.for_)


class FreezeBody(Asked):
    """Why everything is held."""

    reason: Reason = ""


class ExecuteBody(Asked):
    """How a policy is executed."""

    force: Annotated[bool, Strict()] = False
    """Pass cooldown; bounds, pauses and resizes in flight still hold."""
