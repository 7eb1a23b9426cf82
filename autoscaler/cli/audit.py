"""``autoscaler audit``: who changed what."""

from __future__ import annotations

from typing import Annotated

import typer

from autoscaler.cli import client, show
from autoscaler.cli.options import DEFAULT_API, Api, AsFormat, Format, Limit

app = typer.Typer(no_args_is_help=True, help="Who changed what.")


@app.callback()
def audit() -> None:
    """Who changed what."""


@app.command("list")
def entries(
    kind: Annotated[
        str | None, typer.Option(help="Only of this kind: alarm, group, policy, quota, state, dead letters …")
    ] = None,
    project: Annotated[str | None, typer.Option(help="Only by this project, or of what is its.")] = None,
    user: Annotated[str | None, typer.Option(help="Only by this user.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Not before, as 2030-01-31T12:00:00Z.")] = None,
    limit: Limit = 20,
    api: Api = DEFAULT_API,
    how: AsFormat = Format.TABLE,
) -> None:
    """Changes by people and tokens, newest first; as JSON with what was there before and after."""
    found = client.get(api, client.path("audit"), kind=kind, project=project, user=user, since=since, limit=limit)
    columns = {"time": "time", "user": "user", "project": "project_id", "address": "address", "change": "change"}
    show.answer(found, how, {**columns, "of": "kind", "which": "target", "request": "request_id"})
