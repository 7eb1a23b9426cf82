"""All commands."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from autoscaler import __version__
from autoscaler.cli import (
    alarms,
    aodh,
    audit,
    check,
    dead_letters,
    demo,
    groups,
    policies,
    replay,
    run,
    shadow,
    simulate,
    state,
    tokens,
)
from autoscaler.cli.failures import CommandError, Exit
from autoscaler.errors import AutoscalerError


class Commands(TyperGroup):
    """Turns our errors into one sentence each; anything else is a fault of ours and shows as one."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override] # typer hides the click it carries
        """Run the command."""
        try:
            return super().invoke(ctx)
        except CommandError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(error.status) from error
        except AutoscalerError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(Exit.FAILED) from error


app = typer.Typer(
    cls=Commands,
    name="autoscaler",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("demo")(demo.demo)
app.command("check")(check.check)
app.command("replay")(replay.replay)
app.command("simulate")(simulate.simulate)
app.command("import-aodh")(aodh.import_aodh)
app.command("export-aodh")(aodh.export_aodh)
app.add_typer(alarms.app, name="alarms")
app.add_typer(groups.app, name="groups")
app.command("freeze")(groups.freeze)
app.command("unfreeze")(groups.unfreeze)
app.add_typer(policies.app, name="policies")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(shadow.app, name="shadow")
app.add_typer(state.app, name="state")
app.add_typer(audit.app, name="audit")
app.add_typer(tokens.app, name="token")


def _version(asked: bool) -> None:  # noqa: FBT001 - typer calls it
    if asked:
        typer.echo(f"autoscaler {__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    _: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Alarms on streaming measures, and groups that scale by them."""
