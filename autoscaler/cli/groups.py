"""``autoscaler groups``, ``freeze`` and ``unfreeze``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from autoscaler.cli import client, show
from autoscaler.cli.options import DEFAULT_API, Api, AsFormat, Format, Limit

app = typer.Typer(no_args_is_help=True, help="Groups of a running controller.")

Name = Annotated[str, typer.Argument(help="Name of the group.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for whoever wonders.")]


class Direction(StrEnum):
    """One way of scaling."""

    IN = "in"
    OUT = "out"


@app.command("list")
def groups(api: Api = DEFAULT_API, how: AsFormat = Format.TABLE) -> None:
    """All groups and their sizes."""
    found = client.get(api, client.path("groups"))
    if how is Format.TABLE:
        found = [{**group, "condition": _condition(group)} for group in found]
    numbers = {"desired": "desired_capacity", "size": "size", "ready": "ready", "min": "min_size", "max": "max_size"}
    show.answer(found, how, {"name": "name", **numbers, "condition": "condition"})


def _condition(group: show.Json) -> str:
    """All that holds or moves a group, in a few words."""
    found = []
    if group["frozen"]:
        found.append(f"frozen by {group['frozen']['by']}")
    if group["paused"]:
        until = group["paused"]["until"]
        found.append(f"paused by {group['paused']['by']}" + (f" until {until}" if until else ""))
    if group["unreachable"]:
        found.append(f"unreachable: {group['unreachable']}")
    if group["resizing"]:
        found.append("resizing")
    if group["busy"]:
        found.append(f"busy: {group['busy']}")
    if group["failed"]:
        found.append(f"{len(group['failed'])} failed")
    if group["maintenance"]:
        found.append(f"{len(group['maintenance'])} in maintenance")
    found += [f"{name}: {group['facts'][name]}" for name in ("warning", "wedged") if name in group["facts"]]
    if group["error"]:
        found.append(f"error: {group['error']}")
    if group["cooldown_until"]:
        found.append(f"cooling until {group['cooldown_until']}")
    return "; ".join(found) or "-"


@app.command("show")
def group(name: Name, api: Api = DEFAULT_API, how: AsFormat = Format.TABLE) -> None:
    """One group as it stands."""
    show.answer(client.get(api, client.path("groups", name)), how, {})


@app.command("decisions")
def decisions(name: Name, limit: Limit = 20, api: Api = DEFAULT_API, how: AsFormat = Format.TABLE) -> None:
    """What was decided about a group and why, refusals included, newest first."""
    found = client.get(api, client.path("groups", name, "decisions"), limit=limit)
    columns = {"time": "time", "decision": "decision", "from": "from", "to": "to", "policy": "policy"}
    show.answer(found, how, {**columns, "times": "times", "reason": "reason", "text": "text"})


@app.command("pause")
def pause(
    name: Name,
    length: Annotated[str | None, typer.Option("--for", metavar="2h", help="90s, 30m, 2h; else until resumed.")] = None,
    reason: Reason = "",
    direction: Annotated[Direction | None, typer.Option(help="Hold one direction only.")] = None,
    api: Api = DEFAULT_API,
    how: AsFormat = Format.TABLE,
) -> None:
    """Leave a group alone."""
    body = {"for": length, "reason": reason, "direction": direction}
    found = client.post(api, client.path("groups", name, "pause"), body)
    _say(found, how, f"{name} is paused{_until(found)}.")


def _until(group: show.Json) -> str:
    until = (group["paused"] or {}).get("until")
    return f" until {until}" if until else " until it is resumed"


@app.command("resume")
def resume(name: Name, api: Api = DEFAULT_API, how: AsFormat = Format.TABLE) -> None:
    """Let a group move again."""
    _say(client.post(api, client.path("groups", name, "resume")), how, f"{name} may move again.")


def freeze(reason: Reason = "", api: Api = DEFAULT_API, how: AsFormat = Format.TABLE) -> None:
    """Hold every group, on every replica, until unfrozen."""
    _say(client.post(api, client.path("freeze"), {"reason": reason}), how, "Every group is held until `unfreeze`.")


def unfreeze(api: Api = DEFAULT_API, how: AsFormat = Format.TABLE) -> None:
    """Let groups move again."""
    _say(client.post(api, client.path("unfreeze")), how, "Groups may move again.")


def _say(found: show.Json, how: Format, sentence: str) -> None:
    if how is Format.JSON:
        show.answer(found, how, {})
    else:
        typer.echo(sentence)
