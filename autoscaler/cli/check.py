"""``autoscaler check``: whether declarations can be loaded, and what looks wrong with them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoscaler.cli.failures import CommandError, Exit
from autoscaler.cli.options import AsFormat, Format

if TYPE_CHECKING:
    from autoscaler.declarations import Declarations
    from autoscaler.errors import Problem

KINDS = ("alarms", "groups", "policies", "schedules")


def check(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders; all of them together.", metavar="PATH…")],
    *,
    endpoints: Annotated[Path | None, typer.Option(help="A file of what is shown to webhooks, too.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
    how: AsFormat = Format.TABLE,
) -> None:
    """Check rules and policies without running them."""
    from autoscaler.adapters.files import text, texts  # noqa: PLC0415 - a fifth of a second
    from autoscaler.declarations import Declarations, load, warnings  # noqa: PLC0415
    from autoscaler.declarations.endpoints import parse  # noqa: PLC0415
    from autoscaler.errors import DeclarationError  # noqa: PLC0415

    declared = Declarations()
    errors: list[Problem] = []
    try:
        found = texts(paths)
        if not found:
            raise CommandError(f"{', '.join(map(str, paths))}: no *.yaml or *.yml there; nothing was checked")
        declared = load(found)
    except DeclarationError as error:
        errors += error.problems
    try:
        if endpoints is not None:
            parse(text(endpoints), str(endpoints))
    except DeclarationError as error:
        errors += error.problems
    advice = warnings(declared)
    _say(declared, errors, advice, how)
    if errors or (strict and advice):
        raise typer.Exit(Exit.FAILED)


def _say(declared: Declarations, errors: Sequence[Problem], advice: Sequence[Problem], how: Format) -> None:
    counted = {kind: len(getattr(declared, kind)) for kind in KINDS}
    if how is Format.JSON:
        found = {
            "errors": [dataclasses.asdict(problem) for problem in errors],
            "warnings": [dataclasses.asdict(problem) for problem in advice],
            "files": list(declared.texts),
            **counted,
        }
        typer.echo(json.dumps(found, indent=2))
        return
    for problem in errors:
        typer.echo(str(problem))
    for problem in advice:
        typer.echo(str(dataclasses.replace(problem, expected=f"warning: {problem.expected}")))
    if errors:
        typer.echo(f"{_number(len(errors), 'error')}; nothing of this would be loaded.", err=True)
        return
    things = ", ".join(_number(number, kind) for kind, number in counted.items())
    typer.echo(f"{_number(len(declared.texts), 'files')} read: {things}; {_number(len(advice), 'warning')}.")


def _number(number: int, kind: str) -> str:
    singular = {"policies": "policy"}.get(kind, kind.removesuffix("s"))
    plural = "policies" if singular == "policy" else f"{singular}s"
    return f"{number} {singular if number == 1 else plural}"
