"""What is seen of the demo: a live picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from autoscaler.demo.observe import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

BARS = "▁▂▃▄▅▆▇█"
SPARKLINE = 60
"""Seconds of capacity that the picture shows."""

STYLES: Mapping[Kind, str] = {
    Kind.NOTE: "dim",
    Kind.LOAD: "magenta",
    Kind.CAPACITY: "bold green",
    Kind.TRANSITION: "yellow",
    Kind.DECISION: "bold cyan",
    Kind.REFUSAL: "blue",
}
STATES: Mapping[str, str] = {"ok": "green", "alarm": "bold red", "insufficient data": "dim"}


@dataclass(frozen=True, slots=True)
class Picture:
    """The demo at one moment.

    Attributes:
        elapsed: seconds since it began.
        load: jobs per second that are put into the queue.
        utilisation: percent, by member id, as last published.
        p50: seconds, of the jobs of the last few seconds; None when none was done.
        p95: the same.
        capacity: workers that were connected, one number a second, newest last.
        group: as the controller says, None when it does not.
    """

    elapsed: float
    load: float
    utilisation: Mapping[str, float]
    waiting: int
    in_hand: int
    p50: float | None
    p95: float | None
    capacity: Sequence[int]
    alarms: Sequence[Mapping[str, Any]]
    group: Mapping[str, Any] | None
    controller: int | None


class View(Protocol):
    """Where the demo shows itself."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def tell(self, elapsed: float, kind: Kind, text: str) -> None:
        """Say that something happened."""
        ...

    def show(self, picture: Picture) -> None:
        """Show how things stand."""
        ...

    def write(self, text: str) -> None:
        """Say something that belongs to no moment."""
        ...


class PlainView:
    """One line per happening, flushed at once; how things stand is said every ten seconds."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._stood_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def tell(self, elapsed: float, kind: Kind, text: str) -> None:
        """See :meth:`View.tell`."""
        self._write(f"[{elapsed:6.1f} s] {kind:<8}  {text}")

    def show(self, picture: Picture) -> None:
        """See :meth:`View.show`."""
        if picture.elapsed - self._stood_at < 10:
            return
        self._stood_at = picture.elapsed
        workers = counted(len(picture.utilisation), "worker")
        busy = _or(mean(picture.utilisation.values()), "{:.0f} % busy")
        latency = f"latency p50 {_or(picture.p50, '{:.2f} s')} p95 {_or(picture.p95, '{:.2f} s')}"
        self.tell(picture.elapsed, Kind.NOTE, f"{workers} {busy}, {picture.waiting} jobs waiting, {latency}")

    def write(self, text: str) -> None:
        """See :meth:`View.write`."""
        self._write(text)


class LiveView:
    """A picture that stays at the bottom; happenings scroll above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def tell(self, elapsed: float, kind: Kind, text: str) -> None:
        """See :meth:`View.tell`."""
        line = Text(f"{elapsed:6.1f} s  ", style="dim")
        line.append(f"{kind:<9}", style=STYLES[kind]).append(text, style=STYLES[kind])
        self._console.print(line)

    def show(self, picture: Picture) -> None:
        """See :meth:`View.show`."""
        self._live.update(rendered(picture), refresh=True)

    def write(self, text: str) -> None:
        """See :meth:`View.write`."""
        self._console.print(Text(text))


def rendered(picture: Picture) -> RenderableType:
    """The picture as rich draws it."""
    facts = Table.grid(padding=(0, 3))
    busy = mean(picture.utilisation.values())
    each = "  ".join(f"{member} {share:.0f} %" for member, share in sorted(picture.utilisation.items()))
    facts.add_row("load", f"{picture.load:g} jobs/s")
    facts.add_row("utilisation", f"{_or(busy, '{:.0f} %')} mean    {each}")
    facts.add_row("queue", f"{picture.waiting} waiting, {picture.in_hand} in hand")
    facts.add_row("latency", f"p50 {_or(picture.p50, '{:.2f} s')}    p95 {_or(picture.p95, '{:.2f} s')}")
    facts.add_row("capacity", Text(f"{sparkline(picture.capacity)}  {(picture.capacity or [0])[-1]}", style="green"))
    facts.add_row("group web", _group(picture.group))
    for alarm in picture.alarms:
        state = str(alarm["state"])
        facts.add_row(str(alarm["name"]), Text(state, style=STATES.get(state, "")))
    controller = "restarting" if picture.controller is None else f"pid {picture.controller}"
    title = f"autoscaler demo   {picture.elapsed:.0f} s   controller {controller}"
    return Group(Panel(facts, title=title, title_align="left"), Text("Ctrl-C ends it.", style="dim"))


def _group(group: Mapping[str, Any] | None) -> Text:
    if group is None:
        return Text("unknown", style="dim")
    text = f"{group['desired_capacity']} wanted, {group['size']} there, {group['ready']} ready"
    text += f" (of {group['min_size']} to {group['max_size']})"
    if group["cooldown_until"]:
        text += f", cooldown until {group['cooldown_until']}"
    return Text(text + (", PAUSED" if group["paused"] else ""))


def sparkline(numbers: Sequence[int]) -> str:
    """The newest of ``numbers`` as bars, one character each, the tallest for the highest."""
    newest = numbers[-SPARKLINE:]
    top = max((*newest, 1))
    return "".join(BARS[round(number / top * (len(BARS) - 1))] for number in newest)


def mean(values: Sequence[float] | Any) -> float | None:
    """The mean, None for no values."""
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else None


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 worker, 2 workers."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _or(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
