"""``autoscaler demo``: the whole thing at work, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autoscaler.cli.failures import CommandError, Exit


def demo(
    *,
    duration: Annotated[
        str | None, typer.Option(envvar="DURATION", metavar="2m", help="How long; else until Ctrl-C.")
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Lines only, also on a terminal.")] = False,
    state_dir: Annotated[Path | None, typer.Option(help="Keep state and logs here; else they are removed.")] = None,
) -> None:
    """Show real scaling: a broker, the controller, workers, and a load that rises and falls."""
    from autoscaler.api.duration import seconds  # noqa: PLC0415 - these load half of everything
    from autoscaler.demo.run import run_demo  # noqa: PLC0415

    try:
        length = None if duration is None else seconds(duration)
    except ValueError as error:
        raise CommandError(f"--duration: {error}", Exit.USAGE) from error
    raise typer.Exit(run_demo(length, state_dir, plain=plain))
