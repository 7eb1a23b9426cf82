"""What people do with stacks, by Heat's own API.

Functions that change a stack return when Heat is done with it; one that fails is an error unless it is expected.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

PATIENCE = 120.0
"""Seconds that Heat may take for one thing."""
Template = Mapping[str, Any]
GROUP = "group"


@dataclass(frozen=True)
class Stack:
    """A stack, as the person sees it whose client this is."""

    heat: httpx.AsyncClient
    name: str
    stack_id: str

    @property
    def path(self) -> str:
        return f"/stacks/{self.name}/{self.stack_id}"


@asynccontextmanager
async def a_stack(heat: httpx.AsyncClient, template: Template, **parameters: Any) -> AsyncIterator[Stack]:
    """A stack with a name of its own, complete; deleted in the end."""
    stack = await begun(heat, template, **parameters)
    try:
        await done(stack, "CREATE")
        yield stack
    finally:
        await deleted(stack)


async def begun(heat: httpx.AsyncClient, template: Template, **parameters: Any) -> Stack:
    """A stack that Heat has just begun to make."""
    name = f"s{uuid.uuid4().hex[:8]}"
    asked = {"stack_name": name, "template": template, "parameters": parameters}
    return Stack(heat, name, (await _asked(heat, "POST", "/stacks", asked)).json()["stack"]["id"])


async def updated(stack: Stack, template: Template, *, to: str = "COMPLETE", **parameters: Any) -> None:
    """Change it to another template."""
    await _and_done(stack, "UPDATE", "PUT", stack.path, {"template": template, "parameters": parameters}, to)


async def patched(stack: Stack, *, to: str = "COMPLETE", **parameters: Any) -> None:
    """Change parameters, and leave the template as it is."""
    await _and_done(stack, "UPDATE", "PATCH", stack.path, {"parameters": parameters}, to)


async def suspended(stack: Stack) -> None:
    await _and_done(stack, "SUSPEND", "POST", f"{stack.path}/actions", {"suspend": None})


async def resumed(stack: Stack) -> None:
    await _and_done(stack, "RESUME", "POST", f"{stack.path}/actions", {"resume": None})


async def checked(stack: Stack, *, to: str = "COMPLETE") -> None:
    await _and_done(stack, "CHECK", "POST", f"{stack.path}/actions", {"check": None}, to)


async def deleted(stack: Stack) -> None:
    """Delete it, and wait until it is gone."""
    await _asked(stack.heat, "DELETE", stack.path)
    await done(stack, "DELETE")


async def shown(stack: Stack) -> dict[str, Any]:
    """All of the stack, with its outputs resolved."""
    return (await _asked(stack.heat, "GET", stack.path)).json()["stack"]


async def outputs(stack: Stack) -> dict[str, Any]:
    """Values by their names."""
    return {each["output_key"]: each["output_value"] for each in (await shown(stack))["outputs"]}


async def resources(stack: Stack) -> dict[str, dict[str, Any]]:
    """Resources of the stack itself, by their names."""
    found = (await _asked(stack.heat, "GET", f"{stack.path}/resources")).json()["resources"]
    return {each["resource_name"]: each for each in found}


async def events(stack: Stack) -> list[dict[str, Any]]:
    """What happened to the stack and its own resources, oldest first."""
    return (await _asked(stack.heat, "GET", f"{stack.path}/events?sort_dir=asc")).json()["events"]


async def metadata(stack: Stack, resource: str = GROUP) -> dict[str, Any]:
    """A resource's metadata; a group's says whether it is being resized and when its cooldown ends."""
    return (await _asked(stack.heat, "GET", f"{stack.path}/resources/{resource}/metadata")).json()["metadata"]


async def members(stack: Stack, group: str = GROUP) -> dict[str, dict[str, Any]]:
    """Resources of a group, by their names."""
    found = (await _asked(stack.heat, "GET", f"{stack.path}/resources?nested_depth=1")).json()["resources"]
    return {each["resource_name"]: each for each in found if each.get("parent_resource") == group}


async def resting(stack: Stack, size: int, group: str = GROUP, *, seconds: float = PATIENCE) -> None:
    """Wait until a group has so many members, all complete, and is not being resized."""

    seen = ""

    async def rests() -> bool:
        nonlocal seen
        found, noted = await members(stack, group), await metadata(stack, group)
        statuses = [each["resource_status"] for each in found.values()]
        seen = f"{statuses}, {noted}"
        complete = all(status.endswith("_COMPLETE") for status in statuses)
        return len(found) == size and complete and not noted.get("scaling_in_progress")

    try:
        await until(rests, f"{group} has {size} members", seconds=seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}; it has {seen}") from error


async def until(holds: Callable[[], Awaitable[bool]], what: str, *, seconds: float = PATIENCE) -> None:
    """Wait until something holds."""
    try:
        async with asyncio.timeout(seconds):
            while not await holds():
                await asyncio.sleep(0.1)
    except TimeoutError as error:
        raise AssertionError(f"not within {seconds:g} s: {what}") from error


async def done(stack: Stack, action: str, *, to: str = "COMPLETE", since: frozenset[str] = frozenset()) -> None:
    """Wait until Heat is done with an action.

    Args:
        to: how it is expected to end, ``COMPLETE`` or ``FAILED``.
        since: ids of events that were there before it was asked for.
    """

    async def ended() -> bool:
        answer = await stack.heat.get(f"{stack.path}/events")
        if action == "DELETE" and answer.status_code == 404:
            return True
        answer.raise_for_status()
        for event in answer.json()["events"]:
            of_stack = event["physical_resource_id"] == stack.stack_id and event["id"] not in since
            if of_stack and event["resource_status"] == f"{action}_{to}":
                return True
            if of_stack and event["resource_status"] in {f"{action}_FAILED", f"{action}_COMPLETE"}:
                raise AssertionError(f"{event['resource_status']}: {event['resource_status_reason']}")
        return False

    await until(ended, f"{stack.name} {action}_{to}")


async def _and_done(stack: Stack, action: str, method: str, path: str, body: Any, to: str = "COMPLETE") -> None:
    before = frozenset(event["id"] for event in await events(stack))
    await _asked(stack.heat, method, path, body)
    await done(stack, action, to=to, since=before)


async def _asked(heat: httpx.AsyncClient, method: str, path: str, body: Any = None) -> httpx.Response:
    answer = await heat.request(method, path, json=body)
    assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
    return answer
