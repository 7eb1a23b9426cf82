"""Answers as tables for people and JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer

from autoscaler.cli.options import Format

Json = dict[str, Any]
PIPED_WIDTH = 160
"""Columns of a table that no terminal shows."""

_COLOURS = {"ok": "green", "alarm": "bold red", "insufficient data": "yellow", "scale": "bold green", "hold": "yellow"}


def answer(found: Any, how: Format, columns: Mapping[str, str]) -> None:
    """Print things that were found.

    Args:
        found: as the API answered: a list, or one thing, which is printed as rows of key and value.
        how: table or JSON.
        columns: of a table: key by heading.
    """
    if how is Format.JSON:
        typer.echo(json.dumps(found, indent=2))
    elif isinstance(found, list):
        table(list(columns), [[text(thing.get(key)) for key in columns.values()] for thing in found])
    else:
        table(("", ""), [(key, text(value)) for key, value in found.items()], heading=False)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, heading: bool = True) -> None:
    """Print a table; known words in colour where a terminal shows them."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - only where a table is asked for
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPED_WIDTH)
    drawn = Table(box=SIMPLE_HEAD if heading else None, show_header=heading, pad_edge=False)
    for number, name in enumerate(headings):
        # names and times are looked for, so they stay whole; what wraps is the last column
        drawn.add_column(name, overflow="fold", no_wrap=number == 0, style="" if heading or number else "bold")
    lines = 0
    for row in rows:
        drawn.add_row(*(Text(_plain(cell), style=_COLOURS.get(cell, "")) for cell in row))
        lines += 1
    if lines:
        console.print(drawn)
    else:
        typer.echo("none")


def _plain(cell: str) -> str:
    """Without what a terminal would take for more than text: tenants give alarms their names."""
    if cell.isprintable():
        return cell
    return "".join(
        each if each.isprintable() or each == "\n" else each.encode("unicode_escape").decode() for each in cell
    )


def text(value: Any) -> str:
    """A value in a cell."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float() if value.is_integer():
            return str(int(value))
        case list() if all(isinstance(item, str) for item in value):
            return "\n".join(value) or "-"
        case dict() | list():
            return json.dumps(value) if value else "-"
        case _:
            return str(value)
