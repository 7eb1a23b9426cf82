"""``autoscaler shadow``: what a controller beside Aodh has seen."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from autoscaler.cli import client, show
from autoscaler.cli.options import DEFAULT_API, Api, AsFormat, Format, Limit

app = typer.Typer(no_args_is_help=True, help="A controller that changes nothing, beside Aodh.")


@app.callback()
def shadow() -> None:
    """A controller that changes nothing, beside Aodh."""


@app.command("report")
def report(
    alarm: Annotated[str | None, typer.Option(metavar="ID", help="Of this alarm only.")] = None,
    limit: Limit = 20,
    api: Api = DEFAULT_API,
    how: AsFormat = Format.TABLE,
) -> None:
    """Where the controller agrees with Aodh, where it differs, and why."""
    found = client.get(api, client.path("shadow"), alarm=alarm, limit=limit)
    if how is Format.JSON:
        show.answer(found, how, {})
        return
    newest = found.pop("disagreements")
    show.answer(_lines(found), how, {})
    columns = {"time": "time", "who": "side", "alarm": "alarm", "moved": "moved", "why": "why", "reason": "reason"}
    show.answer([_line(each) for each in newest], how, columns)


def _lines(found: dict[str, Any]) -> dict[str, Any]:
    """The totals as people read them."""
    delay = found["earlier"]
    return {
        "since": found["began"],
        "alarms": found["alarms"],
        "agreed": _share(found["agreed"], found["agreement"]["decisions"], "of decisions"),
        "same state": _share(None, found["agreement"]["time"], "of the time"),
        "earlier than Aodh": "-"
        if delay["median"] is None
        else f"median {delay['median']:g} s, p95 {delay['p95']:g} s",
        "disagreed": found["disagreed"],
        **{f"  {reason}": count for reason, count in found["differences"].items()},
        "not compared": sum(found["uncompared"].values()),
        **{f"  {reason}": count for reason, count in found["uncompared"].items()},
        "open": found["open"],
        "notices": found["notices"],
        "not understood": found["not_understood"],
    }


def _share(count: int | None, percent: float | None, of: str) -> str:
    share = "-" if percent is None else f"{percent:g} % {of}"
    return share if count is None else f"{count} ({share})"


def _line(found: dict[str, Any]) -> dict[str, Any]:
    said = [found["reason"], found["beside"] and f"beside: {found['beside']}", *found["actions"]]
    return {
        "time": found["time"],
        "side": found["side"],
        "alarm": found["name"] or found["alarm_id"],
        "moved": f"{found['previous']} -> {found['state']}",
        "why": f"{found['difference']}: {found['text']}",
        "reason": "\n".join(line for line in said if line),
    }
