"""``autoscaler state``: the state of a deployment as a whole, straight in its Redis."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Annotated

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


@app.command("export")
def export_state(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; gzipped where it ends in .gz.")],
    redis: Redis = None,
    state_dir: StateDir = None,
    namespace: Namespace = None,
) -> None:
    """Write the state into a file, while controllers go on working.

    The file holds secrets, such as the URLs of webhooks: only its owner may read it. Windows of measures are left out.
    """
    from autoscaler.moving import state  # noqa: PLC0415 - half a second

    counted = asyncio.run(state.export(settings_of(redis, state_dir, namespace), path))
    told = ", ".join(f"{number} {kind}" for kind, number in sorted(counted.items()))
    typer.echo(f"{path}: {told or 'an empty state'}")


@app.command("import")
def import_state(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="What `autoscaler state export` has written.")],
    redis: Redis = None,
    state_dir: StateDir = None,
    namespace: Namespace = None,
    *,
    check: Annotated[bool, typer.Option("--check", help="Only say whether the file is whole and understood.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Remove what is there now.")] = False,
    how: AsFormat = Format.TABLE,
) -> None:
    """Put an exported state back; every controller must have ended.

    Nothing is done by it: alarms keep their states and act on nothing until their first full window, groups keep the
    size they have now, and actions that had yet to be carried out are set aside among the dead letters.
    """
    from autoscaler.moving import state  # noqa: PLC0415 - half a second

    if check:
        header = state.checked(path)
        typer.echo(f"{path}: whole; form {header.form}, by autoscaler {header.version}, at {_iso(header.time)}")
        return
    found = asyncio.run(state.put_back(settings_of(redis, state_dir, namespace), path, replace=replace))
    if how is Format.JSON:
        typer.echo(json.dumps(dataclasses.asdict(found), indent=2))
        return
    typer.echo(
        f"alarms: {found.alarms}, {found.definitions} of them of the API; groups: {found.groups}; lines of history: "
        f"{found.history}; decisions: {found.decisions}; documents: {found.documents}; "
        f"changes: {found.changes}; dead letters: {found.letters}"
    )
    if found.actions:
        typer.echo(
            f"actions that had yet to be carried out: {found.actions}; they are among the dead letters now: "
            "`autoscaler dead-letters --help` says how to send them again or drop them"
        )
    if found.frozen:
        typer.echo("everything is frozen, as it was: `autoscaler unfreeze` ends that")


def _iso(time: float) -> str:
    from autoscaler.scaling.guards import iso  # noqa: PLC0415

    return iso(time)
