"""``autoscaler dead-letters``: what could not be taken or delivered."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from autoscaler.cli import client, show
from autoscaler.cli.options import DEFAULT_API, Api, AsFormat, Format, Limit

app = typer.Typer(no_args_is_help=True, help="What could not be taken or delivered.")


class Kind(StrEnum):
    """Of what."""

    MEASURE = "measure"
    EVENT = "event"
    NOTICE = "notice"
    ACTION = "action"


@app.command("list")
def dead_letters(
    kind: Annotated[Kind | None, typer.Option(help="Only these.")] = None,
    limit: Limit = 20,
    api: Api = DEFAULT_API,
    how: AsFormat = Format.TABLE,
) -> None:
    """Measures, events and notices that could not be taken and actions that could not be delivered, newest first."""
    found = client.get(api, client.path("dead-letters"), kind=kind, limit=limit)
    columns = {"time": "time", "kind": "kind", "source": "source", "reason": "reason", "detail": "detail"}
    show.answer(found, how, {**columns, "payload": "payload"})
