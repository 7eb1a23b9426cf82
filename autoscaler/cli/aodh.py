"""``autoscaler import-aodh`` and ``export-aodh``: alarms out of an Aodh's database, and back."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from autoscaler.cli.failures import CommandError, Exit
from autoscaler.cli.options import AsFormat, Format, Namespace, Redis, StateDir, settings_of

if TYPE_CHECKING:
    from autoscaler.engine.moved import Remark, Summary

DatabaseUrl = Annotated[
    str,
    typer.Option(
        "--database",
        envvar="AUTOSCALER_AODH_DATABASE",
        metavar="URL",
        help="Aodh's: mysql://… or postgresql://…, as its [database] connection has it.",
        show_default=False,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]

TRUSTS = (
    "{number} act by trusts whose trustee is Aodh's user: they can be used only by a controller that is this user at "
    "Keystone."
)


def import_aodh(
    database: DatabaseUrl,
    *,
    redis: Redis = None,
    state_dir: StateDir = None,
    namespace: Namespace = None,
    unconfined: Annotated[
        list[str] | None,
        typer.Option(metavar="PROJECT", help="The admins' project, whose alarms see every project; may be repeated."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Take alarms also that were changed here since the last import.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove imported alarms here that are gone in Aodh since.")
    ] = False,
    backfill: Annotated[
        bool, typer.Option("--backfill", help="Fill the windows of imported alarms from Gnocchi's stored measures.")
    ] = False,
    gnocchi: Annotated[str, typer.Option(metavar="URL", help="Gnocchi; else the catalog's.", show_default=False)] = "",
    gnocchi_user: Annotated[
        str,
        typer.Option(
            envvar="AUTOSCALER_AODH_GNOCCHI_USER",
            metavar="USER[:PASSWORD]",
            help="At a Gnocchi with basic authentication; else the controller's own user at Keystone.",
            show_default=False,
        ),
    ] = "",
    dry_run: DryRun = False,
    how: AsFormat = Format.TABLE,
) -> None:
    """Copy alarms, histories and quotas from Aodh's database, ids unchanged; again, only what changed since.

    Imported alarms keep their state and act on nothing until their first full window.
    """
    from autoscaler.moving import aodh as moving  # noqa: PLC0415 - half a second

    if not backfill and (gnocchi or gnocchi_user):
        raise CommandError("--gnocchi, --gnocchi-user: expected with --backfill", Exit.USAGE)
    settings = settings_of(redis, state_dir, namespace)
    found = asyncio.run(
        moving.import_aodh(
            settings,
            database,
            unconfined=unconfined or (),
            overwrite=overwrite,
            prune=prune,
            dry_run=dry_run,
            gnocchi=moving.Gnocchi(gnocchi, gnocchi_user) if backfill else None,
        )
    )
    _say(found, how, done="imported", left="left as they are here", dry_run=dry_run)


def export_aodh(
    database: DatabaseUrl,
    *,
    redis: Redis = None,
    state_dir: StateDir = None,
    namespace: Namespace = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write alarms also that were changed in Aodh since the import.")
    ] = False,
    dry_run: DryRun = False,
    how: AsFormat = Format.TABLE,
) -> None:
    """Write back to Aodh's database what was changed, made and removed here since the import.

    No evaluator of Aodh may be running meanwhile. Alarms that were never moved are not touched.
    """
    from autoscaler.moving import aodh as moving  # noqa: PLC0415 - half a second

    settings = settings_of(redis, state_dir, namespace)
    found = asyncio.run(moving.export_aodh(settings, database, overwrite=overwrite, dry_run=dry_run))
    _say(found, how, done="exported", left="left as they are in Aodh", dry_run=dry_run)


def _say(found: Summary, how: Format, *, done: str, left: str, dry_run: bool) -> None:
    if how is Format.JSON:
        typer.echo(json.dumps(dataclasses.asdict(found) | {"dry_run": dry_run}, indent=2))
    else:
        for line in _lines(found, done=f"would be {done}" if dry_run else done, left=left):
            typer.echo(line)
    if found.failed:
        raise typer.Exit(Exit.FAILED)


def _lines(found: Summary, *, done: str, left: str) -> list[str]:
    lines = [f"{_alarms(sum(found.new.values()))} {done}{_by_type(found.new)}"]
    lines += [f"{_alarms(sum(found.changed.values()))} changed{_by_type(found.changed)}"] if found.changed else []
    lines += (
        [f"{_alarms(sum(found.states.values()))} with another state{_by_type(found.states)}"] if found.states else []
    )
    lines += [f"{_alarms(found.removed)} removed"] if found.removed else []
    lines += [f"{_alarms(found.unchanged)} unchanged"] if found.unchanged else []
    lines.append(f"{found.history} lines of history, {found.quotas} quotas")
    if found.too_old:
        lines.append(f"{found.too_old} lines of history left out, being older than AUTOSCALER_HISTORY_TTL")
    if found.with_trusts:
        lines.append(TRUSTS.format(number=_alarms(found.with_trusts)))
    if found.unconfined:
        lines.append(f"{_alarms(len(found.unconfined))} see every project's measures: {', '.join(found.unconfined)}")
    if found.points or found.unfilled:
        lines.append(f"{found.points} points of {found.series} series written into windows")
    lines += _remarks("windows that could not be filled:", found.unfilled)
    lines += _remarks("not all of these can be held there:", found.beyond)
    lines += _remarks(f"{left}:", found.left)
    lines += _remarks("failed:", found.failed)
    return lines


def _alarms(number: int) -> str:
    return f"{number} alarm{'' if number == 1 else 's'}"


def _by_type(counted: Mapping[str, int]) -> str:
    told = ", ".join(f"{number} {kind}" for kind, number in sorted(counted.items()))
    return f": {told}" if told else ""


def _remarks(title: str, remarks: list[Remark]) -> list[str]:
    if not remarks:
        return []
    return [
        title,
        *(f"  {each.what} {each.key}{f' ({each.name})' if each.name else ''}: {each.why}" for each in remarks),
    ]
