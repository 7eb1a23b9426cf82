"""``autoscaler policies``: what they are, and executing one."""

from __future__ import annotations

from typing import Annotated

import typer

from autoscaler.cli import client, show
from autoscaler.cli.options import DEFAULT_API, Api, AsFormat, Format

app = typer.Typer(no_args_is_help=True, help="Policies of a running controller.")


@app.command("list")
def policies(api: Api = DEFAULT_API, how: AsFormat = Format.TABLE) -> None:
    """All policies."""
    found = client.get(api, client.path("policies"))
    columns = {"name": "name", "group": "group", "type": "adjustment_type", "adjustment": "scaling_adjustment"}
    show.answer(found, how, {**columns, "min step": "min_adjustment_step", "cooldown": "cooldown"})


@app.command("execute")
def execute(
    name: Annotated[str, typer.Argument(help="Name of the policy.")],
    *,
    force: Annotated[bool, typer.Option("--force", help="Pass cooldown; all else still holds.")] = False,
    key: Annotated[
        str | None, typer.Option("--idempotency-key", metavar="KEY", help="Executed once, however often it is sent.")
    ] = None,
    api: Api = DEFAULT_API,
    how: AsFormat = Format.TABLE,
) -> None:
    """Apply a policy now; what was decided is printed, a refusal with its reason."""
    found = client.post(api, client.path("policies", name, "execute"), {"force": force}, idempotency_key=key)
    if how is Format.JSON:
        show.answer(found, how, {})
    elif found["decision"] == "scale":
        typer.echo(f"{found['group']} goes from {found['from']} to {found['to']}: {found['text']}.")
    else:
        until = f", until {found['until']}" if found["until"] else ""
        size = "" if found["from"] is None else f" at {found['from']}"
        typer.echo(f"{found['group']} is held{size} ({found['reason']}{until}): {found['text']}.")
