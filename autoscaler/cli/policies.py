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
    else:
        typer.echo(sentence(found))


def sentence(decision: show.Json) -> str:
    """What was decided, as people say it; the size may not be known."""
    group, size, text = decision["group"], decision["from"], decision["text"]
    if decision["decision"] == "scale":
        return f"{group} goes from {size} to {decision['to']}: {text}."
    until = f", until {decision['until']}" if decision["until"] else ""
    return f"{group} is held{'' if size is None else f' at {size}'} ({decision['reason']}{until}): {text}."
