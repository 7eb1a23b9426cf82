"""``autoscaler audit``: who changed what."""

from __future__ import annotations

import typer

from autoscaler.cli import client, show
from autoscaler.cli.options import DEFAULT_API, Api, AsFormat, Format, Limit

app = typer.Typer(no_args_is_help=True, help="Who changed what.")


@app.callback()
def audit() -> None:
    """Who changed what."""


@app.command("list")
def entries(limit: Limit = 20, api: Api = DEFAULT_API, how: AsFormat = Format.TABLE) -> None:
    """Changes by people and tokens, newest first; as JSON with what was there before and after."""
    found = client.get(api, client.path("audit"), limit=limit)
    columns = {"time": "time", "user": "user", "project": "project_id", "address": "address", "change": "change"}
    show.answer(found, how, {**columns, "of": "kind", "which": "target", "request": "request_id"})
