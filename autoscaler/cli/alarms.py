"""``autoscaler alarms``: their states and what happened to them."""

from __future__ import annotations

from typing import Annotated

import typer

from autoscaler.cli import client, show
from autoscaler.cli.options import DEFAULT_API, Api, AsFormat, Format, Limit

app = typer.Typer(no_args_is_help=True, help="Alarms of a running controller.")

Alarm = Annotated[str, typer.Argument(help="Name or id.")]


@app.command("list")
def alarms(
    name: Annotated[str | None, typer.Option(help="Exactly this name.")] = None,
    state: Annotated[str | None, typer.Option(help="ok, alarm or 'insufficient data'.")] = None,
    api: Api = DEFAULT_API,
    how: AsFormat = Format.TABLE,
) -> None:
    """All alarms and their states."""
    found = client.get(api, client.path("alarms"), name=name, state=state)
    columns = {"name": "name", "state": "state", "severity": "severity", "since": "state_timestamp"}
    show.answer(found, how, {**columns, "reason": "state_reason"})


@app.command("show")
def alarm(name: Alarm, api: Api = DEFAULT_API, how: AsFormat = Format.TABLE) -> None:
    """One alarm, with its rule."""
    show.answer(client.get(api, client.path("alarms", name)), how, {})


@app.command("history")
def history(name: Alarm, limit: Limit = 100, api: Api = DEFAULT_API, how: AsFormat = Format.TABLE) -> None:
    """What happened to an alarm, newest first."""
    found = client.get(api, client.path("alarms", name, "history"), limit=limit)
    show.answer(found, how, {"time": "timestamp", "what": "type", "detail": "detail"})
