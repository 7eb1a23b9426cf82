"""``autoscaler state``: the state of a deployment as a whole, straight in its Redis."""

from __future__ import annotations

import asyncio
import json

import typer

from autoscaler.cli.options import AsFormat, Format, Namespace, Redis, StateDir, settings_of

app = typer.Typer(no_args_is_help=True, help="The state of a deployment as a whole, straight in its Redis.")


@app.command()
def show(
    redis: Redis = None, state_dir: StateDir = None, namespace: Namespace = None, how: AsFormat = Format.TABLE
) -> None:
    """In which form the state is, which this version knows, and who runs on it."""
    from autoscaler.moving import state  # noqa: PLC0415 - half a second
    from autoscaler.ports import OLDEST_STATE_FORM, STATE_FORM  # noqa: PLC0415

    found = asyncio.run(state.show(settings_of(redis, state_dir, namespace)))
    schema = found.schema
    if how is Format.JSON:
        replicas = [{"replica": each.replica, "version": each.version, "form": each.form} for each in found.replicas]
        known = {"oldest": OLDEST_STATE_FORM, "newest": STATE_FORM}
        told = {"form": schema.form, "oldest": schema.oldest, "by": schema.by, "since": schema.since}
        typer.echo(json.dumps(told | {"known": known, "refusal": schema.refusal, "replicas": replicas}, indent=2))
        return
    raised = f", raised by autoscaler {schema.by}" if schema.by else ""
    typer.echo(f"the state is written in form {schema.form}{raised}; its oldest records are of form {schema.oldest}")
    typer.echo(f"this version knows forms {OLDEST_STATE_FORM} to {STATE_FORM}")
    if schema.refusal:
        typer.echo(schema.refusal)
    elif schema.form < STATE_FORM:
        typer.echo("`autoscaler state upgrade` raises it, once no older version is to come back")
    for each in found.replicas:
        typer.echo(f"running: {each.replica}, autoscaler {each.version or '?'}, knows form {each.form}")


@app.command()
def upgrade(redis: Redis = None, state_dir: StateDir = None, namespace: Namespace = None) -> None:
    """Have the state written in the form of this version; versions that do not know it are refused from then on.

    To be done when every controller runs this version, and none before it is to come back.
    """
    from autoscaler.moving import state  # noqa: PLC0415 - half a second

    schema = asyncio.run(state.upgrade(settings_of(redis, state_dir, namespace)))
    typer.echo(f"the state is written in form {schema.form}")
