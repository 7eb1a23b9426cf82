"""``autoscaler token``: the controller's own tokens."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoscaler.cli.failures import CommandError, Exit

if TYPE_CHECKING:
    from autoscaler.declarations.tokens import Sends

app = typer.Typer(no_args_is_help=True, help="The controller's own tokens.")


@app.callback()
def tokens() -> None:
    """The controller's own tokens (AUTOSCALER_TOKENS)."""


@app.command("make")
def make(
    name: Annotated[str, typer.Argument(help="Whose it is, as records will name them.")],
    project: Annotated[str, typer.Option(help="Project that they ask for, or that their measures are.")] = "",
    role: Annotated[
        list[str] | None, typer.Option(help="admin, member, reader, service or monitor; for who asks.")
    ] = None,
    sends: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND[=NAMES]",
            help="measures, events, samples, remote_write or gnocchi, and names such as cpu,mem*; for who sends.",
        ),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="When it ends, as 2030-01-31 or with a time; UTC.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Write the line behind this file, too.")] = None,
) -> None:
    """Make a token: it is shown this once, with the line for the file, which holds its hash only."""
    from autoscaler.declarations.tokens import line, new_token  # noqa: PLC0415 - a third of a second
    from autoscaler.errors import DeclarationError  # noqa: PLC0415

    token = new_token()
    try:
        written = line(
            token, name, project=project, roles=role or (), sends=_sends(sends or ()), expires=_expires(expires)
        )
    except DeclarationError as error:
        raise CommandError("\n".join(f"{each.key}: {each.expected}" for each in error.problems), Exit.USAGE) from error
    if file is not None:
        _append(file, written)
    typer.echo(token)
    typer.echo(written, err=file is not None)


def _sends(words: Sequence[str]) -> Mapping[Sends, Sequence[str]]:
    from autoscaler.declarations.tokens import Sends  # noqa: PLC0415

    found: defaultdict[Sends, list[str]] = defaultdict(list)
    for word in words:
        kind, _, names = word.partition("=")
        if kind not in set(Sends):
            raise CommandError(f"--sends: expected one of {', '.join(Sends)}, got {kind!r}", Exit.USAGE)
        found[Sends(kind)] += [each for name in (names or "*").split(",") if (each := name.strip())]
    return found


def _expires(written: str | None) -> datetime | None:
    if written is None:
        return None
    try:
        at = datetime.fromisoformat(written)
    except ValueError as error:
        raise CommandError(f"--expires: expected a time such as 2030-01-31, got {written!r}", Exit.USAGE) from error
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _append(file: Path, written: str) -> None:
    """Add a line; a new file is its owner's alone, though it holds nothing that opens a door."""
    from autoscaler.declarations.tokens import parse  # noqa: PLC0415

    try:
        present = file.read_text() if file.exists() else ""
        behind = written if not present or present.endswith("\n") else f"\n{written}"
        parse(f"{present}{behind}\n", str(file))
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a") as stream:
            stream.write(f"{behind}\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--file: {error}") from error
