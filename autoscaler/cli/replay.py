"""``autoscaler replay``: real rules over recorded measures."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoscaler.cli import show
from autoscaler.cli.failures import CommandError, Exit
from autoscaler.cli.options import Format, Policies, Rules
from autoscaler.errors import PermanentError

if TYPE_CHECKING:
    from autoscaler.declarations import Declarations
    from autoscaler.engine.route import Router
    from autoscaler.ports import Undecoded
    from autoscaler.simulation.replay import Recorded

SHOWN_REJECTIONS = 20
"""How many rows that could not be read are shown one by one."""


def replay(
    files: Annotated[
        list[str],
        typer.Argument(help="CSV with timestamp,value, or JSON lines of measures; - is stdin.", metavar="FILE…"),
    ],
    rules: Rules,
    policies: Policies = None,
    metric: Annotated[str, typer.Option(help="Metric of a CSV.")] = "",
    resource_id: Annotated[str, typer.Option(help="Resource of a CSV; else the file's name.")] = "",
    project_id: Annotated[str, typer.Option(help="Project of a CSV.")] = "",
    metadata: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Metadata of a CSV.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Leave out what is later; go on to it.")] = None,
    how: Annotated[Format, typer.Option("--format", help="Lines of JSON, or a table at the end.")] = Format.JSON,
) -> None:
    """Run rules over recorded measures, on the measures' own clock."""
    from autoscaler.simulation.replay import Label, declared, moment, recorded  # noqa: PLC0415 - a third of a second

    quiet()
    label = Label(metric, resource_id, project_id, _pairs(metadata or ()))
    try:
        end = None if until is None else moment(until)
    except PermanentError as error:
        raise CommandError(f"--until: {error}", Exit.USAGE) from error
    declarations = declared(rules, policies)
    say_ignored(declarations)
    run = _Run(declarations, end, how)
    items = recorded(files, label)
    with _progress(files, items, shown=how is Format.TABLE or not sys.stdout.isatty()) as watched:
        asyncio.run(run.play(watched))
    run.close()


def quiet() -> None:
    """What happens is told on standard output; the log would only say it again."""
    import structlog  # noqa: PLC0415

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(50), logger_factory=structlog.PrintLoggerFactory(sys.stderr)
    )


def say_ignored(declarations: Declarations) -> None:
    """Say what of the declarations is left out, and what cannot be known here."""
    from autoscaler.alarms.rules import Rule, leaves_of  # noqa: PLC0415 - a third of a second

    for problem in declarations.ignored:
        typer.echo(str(problem), err=True)
    for alarm in declarations.alarms.values():
        leaves = leaves_of(alarm.rule)
        if alarm.enabled and not (leaves and all(isinstance(leaf, Rule) for leaf in leaves)):
            text = f'alarm "{alarm.name}" rests on what measures do not tell, and that stays unknown here'
            typer.echo(str(declarations.origin("alarm", alarm.alarm_id).problem(text)), err=True)


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise CommandError(f"--metadata: expected KEY=VALUE, got {text!r}", Exit.USAGE)
        found[key] = value
    return found


class _Run:
    """One replay, and what is to be said at its end."""

    def __init__(self, declarations: Declarations, until: float | None, how: Format) -> None:
        self._declarations = declarations
        self._until = until
        self._how = how
        self._happenings: list[dict[str, Any]] = []
        self._rejected = 0
        self._read = 0
        self._asked_for = False

    async def play(self, items: Iterable[Recorded]) -> None:
        from autoscaler.simulation.replay import replay as replayed  # noqa: PLC0415
        from autoscaler.simulation.world import line  # noqa: PLC0415

        async for happening in replayed(
            self._declarations, self._counted(items), until=self._until, rejected=self._reject
        ):
            if self._how is Format.JSON:
                sys.stdout.write(line(happening) + "\n")
            else:
                self._happenings.append(happening)

    def _counted(self, items: Iterable[Recorded]) -> Iterator[Recorded]:
        from autoscaler.engine.route import Router  # noqa: PLC0415

        router = Router(self._declarations.alarms.values())
        for item in items:
            self._read += 1
            self._asked_for = self._asked_for or _is_asked_for(item, router)
            yield item

    def _reject(self, found: Undecoded) -> None:
        self._rejected += 1
        if self._rejected <= SHOWN_REJECTIONS:
            typer.echo(f"{found.detail} ({found.rejection})", err=True)

    def close(self) -> None:
        """Say what is left to be said.

        Raises:
            CommandError: nothing could be read.
        """
        if self._how is Format.TABLE:
            show.table(("time", "event", "what", "change", "reason"), map(_row, self._happenings))
        if self._rejected:
            typer.echo(f"{self._rejected} of {self._read} rows could not be read and were left out.", err=True)
        if self._rejected == self._read:
            raise CommandError("nothing could be read, so nothing was replayed")
        if not self._asked_for:
            metrics = _metrics(self._declarations)
            typer.echo(
                f"No alarm looks at any of these measures; alarms look at the metrics: {', '.join(metrics) or 'none'}. "
                "What a CSV holds is said by --metric, --resource-id, --metadata and --project-id.",
                err=True,
            )


def _metrics(declarations: Declarations) -> list[str]:
    """What alarms look at; of a derived metric what it is made of, too."""
    from autoscaler.alarms.rules import Rule, leaves_of  # noqa: PLC0415

    leaves = [leaf for alarm in declarations.alarms.values() if alarm.enabled for leaf in leaves_of(alarm.rule)]
    return sorted({metric for leaf in leaves if isinstance(leaf, Rule) for metric in leaf.metrics})


def _is_asked_for(item: Recorded, router: Router) -> bool:
    from autoscaler.ports import Undecoded  # noqa: PLC0415

    return not isinstance(item, Undecoded) and bool(router.route(item).windows)


def _row(happening: dict[str, Any]) -> list[str]:
    if happening["event"] == "transition":
        change = f"{happening['previous']} → {happening['current']}"
        return [happening["time"], "alarm", happening["alarm"], change, happening["reason"]]
    change = f"{happening['from']} → {happening['to']}" if happening["decision"] == "scale" else f"{happening['from']}"
    what = " ".join(filter(None, (happening["group"], happening["policy"])))
    return [happening["time"], happening["decision"], what, change, f"{happening['reason']}: {happening['text']}"]


@contextmanager
def _progress(files: Sequence[str], items: Iterable[Recorded], *, shown: bool) -> Iterator[Iterable[Recorded]]:
    """The items, counted by a bar on standard error while that is a terminal."""
    if not shown or not sys.stderr.isatty():
        yield items
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    # what is printed meanwhile goes to standard output, which is not the bar's
    console = Console(stderr=True)
    with Progress(console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
        yield bar.track(items, total=_rows(files), description="replaying")


def _rows(files: Sequence[str]) -> float | None:
    """Lines of all files; None where one can be read only once."""
    found = 0
    for name in files:
        path = Path(name)
        if not path.is_file():
            return None
        with path.open("rb") as file:
            found += sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
    return found
