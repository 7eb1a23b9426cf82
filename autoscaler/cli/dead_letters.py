"""``autoscaler dead-letters``: what could not be taken or delivered."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import Annotated

import typer

from autoscaler.cli import client, show
from autoscaler.cli.failures import CommandError, Exit
from autoscaler.cli.options import DEFAULT_API, Api, AsFormat, Format, Limit

app = typer.Typer(no_args_is_help=True, help="What could not be taken or delivered.")

PAGE = 200
"""Letters that are listed in one go."""
AT_ONCE = 50
"""Letters that the controller is asked to do something with in one go."""


class Kind(StrEnum):
    """Of what."""

    MEASURE = "measure"
    EVENT = "event"
    NOTICE = "notice"
    ACTION = "action"


Id = Annotated[str, typer.Argument(metavar="ID", help="Of the letter, as `list` shows it.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Of the letters, as `list` shows them.")]
OfKind = Annotated[Kind | None, typer.Option("--kind", help="Only these.")]
OfReason = Annotated[str | None, typer.Option("--reason", help="Only those with exactly this reason.")]
All = Annotated[bool, typer.Option("--all", help="All there are, of --kind and --reason where they are given.")]


@app.command("list")
def dead_letters(
    kind: OfKind = None,
    reason: OfReason = None,
    limit: Limit = 20,
    api: Api = DEFAULT_API,
    how: AsFormat = Format.TABLE,
) -> None:
    """Measures, events and notices that could not be taken and actions that could not be delivered, newest first."""
    found = client.get(api, client.path("dead-letters"), kind=kind, reason=reason, limit=limit)
    columns = {"id": "id", "time": "time", "source": "source", "reason": "reason", "detail": "detail"}
    show.answer(found, how, columns)


@app.command("show")
def dead_letter(letter_id: Id, api: Api = DEFAULT_API, how: AsFormat = Format.TABLE) -> None:
    """One letter, with what was received or to be sent."""
    show.answer(client.get(api, client.path("dead-letters", letter_id)), how, {})


@app.command("replay")
def replay(
    ids: Ids = None,
    every: All = False,  # noqa: FBT002 - a flag
    kind: OfKind = None,
    reason: OfReason = None,
    api: Api = DEFAULT_API,
    how: AsFormat = Format.TABLE,
) -> None:
    """Send letters on their way again: measures and events as if they came now, actions to the end of their lanes.

    Actions bear the same id as before. What cannot be replayed stays; then the command fails.
    """
    _handle("replay", _asked(api, ids, kind, reason, every=every), api, how)


@app.command("drop")
def drop(
    ids: Ids = None,
    every: All = False,  # noqa: FBT002 - a flag
    kind: OfKind = None,
    reason: OfReason = None,
    api: Api = DEFAULT_API,
    how: AsFormat = Format.TABLE,
) -> None:
    """Keep letters no longer; this cannot be undone."""
    _handle("drop", _asked(api, ids, kind, reason, every=every), api, how)


def _asked(api: str, ids: list[str] | None, kind: Kind | None, reason: str | None, *, every: bool) -> list[str]:
    """The ids of the letters that are meant, oldest first where they are searched for."""
    if bool(ids) == every:
        raise CommandError("expected either ids of letters, or --all", Exit.USAGE)
    if ids:
        if kind is not None or reason is not None:
            raise CommandError("--kind and --reason: expected only with --all", Exit.USAGE)
        return ids
    found: list[str] = []
    for each in [kind] if kind is not None else list(Kind):
        listed: list[str] = []
        while True:
            before = listed[-1] if listed else None
            page = client.get(api, client.path("dead-letters"), kind=each, reason=reason, limit=PAGE, before=before)
            listed += [letter["id"] for letter in page]
            if len(page) < PAGE:
                break
        found += reversed(listed)
    return found


def _handle(what: str, ids: list[str], api: str, how: Format) -> None:
    handled: list[show.Json] = []
    for start in range(0, len(ids), AT_ONCE):
        handled += client.post(api, client.path("dead-letters", what), {"ids": ids[start : start + AT_ONCE]})
    if how is Format.JSON:
        show.answer(handled, how, {})
    else:
        told = [each for each in handled if each["detail"]]
        if told:
            show.answer(told, how, {"id": "id", "fate": "fate", "detail": "detail"})
        fates = Counter(each["fate"] for each in handled)
        typer.echo(", ".join(f"{number} {fate}" for fate, number in sorted(fates.items())) or "none")
    if any(each["fate"] == "refused" for each in handled):
        raise typer.Exit(Exit.FAILED)
