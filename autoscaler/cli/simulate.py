"""``autoscaler simulate``: real rules in a loop with a simulated world."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from autoscaler.cli.failures import CommandError, Exit
from autoscaler.cli.options import Policies, Rules
from autoscaler.cli.replay import quiet, say_ignored

if TYPE_CHECKING:
    from autoscaler.declarations import Declarations


def simulate(
    rules: Rules,
    policies: Policies = None,
    *,
    stdio: Annotated[bool, typer.Option("--stdio", help="Lines in and out; the only way there is.")] = False,
) -> None:
    """Drive rules by a world of your own.

    Each line in is a measure, or {"now": T, "groups": {"web": {"size": 4, "ready": 3}}}. After each "now" come the
    happenings up to T, then {"now": T, "groups": {"web": {"desired_capacity": 5}}}.
    """
    from autoscaler.simulation.replay import declared  # noqa: PLC0415 - a third of a second

    if not stdio:
        raise CommandError("expected --stdio: measures come in and decisions go out as lines", Exit.USAGE)
    quiet()
    declarations = declared(rules, policies)
    say_ignored(declarations)
    asyncio.run(_answer(declarations))


async def _answer(declarations: Declarations) -> None:
    from autoscaler.simulation.simulate import simulate as answers  # noqa: PLC0415

    async for line in answers(declarations, sys.stdin, refused=_refused):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()  # the other side waits for it


def _refused(number: int, fault: str) -> None:
    typer.echo(f"line {number}: {fault}; skipped", err=True)
