"""The real controller, to be killed at a step of its protocol: ``python -m tests.chaos.controller run``.

It wraps the ports of the real application (store, sources, actions, targets) and changes nothing else. A step is armed
by a file ``armed`` beside the folder that ``AUTOSCALER_TEST_CHAOS`` names, and whoever reaches it first, of all
replicas, kills its own process there; a file ``clock`` in it holds seconds by which this process' clock is wrong.
``AUTOSCALER_TEST_BROKEN`` names one of :data:`BROKEN`, builds that a checker must find out.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from autoscaler.adapters import clock
from tests.chaos.records import Records

STEPS = (
    "received",
    "written",
    "acknowledging",
    "acknowledged",
    "accepting",
    "accepted",
    "finishing",
    "posting",
    "posted",
    "deciding",
    "decided",
    "resizing",
    "resized",
)
"""Of the protocol, in its order. ``posting`` and ``resizing`` are while the other side has the request in hand."""

BROKEN = {
    "acknowledge-first": "measures are acknowledged before they are written",
    "no-outbox": "a state is stored, and its actions after that",
    "no-version-check": "a verdict is accepted whatever record it was made from",
    "own-clock": "cooldown is looked at by the replica's own clock",
}
"""Builds that lose or double something, by name."""
REVEALING = {
    "acknowledge-first": "kill when received",
    "no-outbox": "kill when accepted",
    "no-version-check": "stop",
    "own-clock": "clock off by an hour",
}
"""The kind of fault that each of them does not stand."""


def shifted() -> float:
    """A clock that is wrong by what the file ``clock`` says."""
    try:
        return time.time() + float((_folder() / "clock").read_text())
    except (OSError, ValueError):
        return time.time()


def _folder() -> Path:
    return Path(os.environ["AUTOSCALER_TEST_CHAOS"])


class Failpoints:
    """Dies where it is told to.

    Attributes:
        windows: ids and versions of the windows that were written last.
    """

    def __init__(self, folder: Path, records: Records) -> None:
        self.windows: list[list[Any]] = []
        self._armed = folder.parent / "armed"
        self._mine = folder / "armed"
        self._records = records

    def reach(self, step: str, **in_hand: Any) -> None:
        """Die here, or a moment later, if that is armed; ``in_hand`` is what somebody else then has to finish."""
        if not self._armed.exists():
            return
        try:
            order = msgspec.json.decode(self._armed.read_bytes())
            if order["step"] != step or self._mine.parent.name not in order["folders"]:
                return
            self._armed.rename(self._mine)
        except FileNotFoundError:  # another was quicker
            return
        if order["delay"]:
            asyncio.get_running_loop().call_later(order["delay"], self._die, step, in_hand)
        else:
            self._die(step, in_hand)

    def _die(self, step: str, in_hand: dict[str, Any]) -> None:
        self._records.say("died", step=step, in_hand=in_hand)
        os.kill(os.getpid(), signal.SIGKILL)


class WatchedStore:
    """See :class:`autoscaler.ports.Store`."""

    def __init__(self, store: Any, failpoints: Failpoints, records: Records, broken: str) -> None:
        self._store = store
        self._failpoints = failpoints
        self._records = records
        self._broken = broken

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def write(self, writes: Sequence[Any]) -> Any:
        from autoscaler.measures.series import unpack

        replies = await self._store.write(writes)
        points = {name: list(unpack(packed).times) for write in writes for name, packed in write.points.items()}
        if points:
            self._records.say("written", points=points)
            windows = [
                [write.spec.window_id, reply.version]
                for write, reply in zip(writes, replies, strict=True)
                if write.points
            ]
            self._failpoints.windows = windows
            self._failpoints.reach("written", windows=windows)
        return replies

    async def accept(self, acceptances: Sequence[Any], *, lease: float) -> Any:
        from autoscaler.ports import Accepted

        rows = [row.id for acceptance in acceptances for row in acceptance.rows if row.url.startswith("http")]
        windows = [[acceptance.window_id, acceptance.window_version] for acceptance in acceptances]
        if rows:
            self._failpoints.reach("accepting", windows=windows)
        if self._broken == "no-outbox":
            answers = await self._in_two_steps(acceptances, lease)
        else:
            answers = await self._store.accept(acceptances, lease=lease)
        accepted = [a for a, answer in zip(acceptances, answers, strict=True) if isinstance(answer, Accepted)]
        told = [[row.id, row.url, row.repeat] for acceptance in accepted for row in acceptance.rows]
        self._records.say("accepted", windows=windows, rows=told)
        if rows and any(url.startswith("http") for _, url, _ in told):
            keys = [row_id for row_id, url, _ in told if url.startswith("http")]
            self._failpoints.reach("accepted", keys=keys)
        return answers

    async def _in_two_steps(self, acceptances: Sequence[Any], lease: float) -> list[Any]:
        from autoscaler.ports import Acceptance, Accepted

        answers = await self._store.accept(
            [msgspec.structs.replace(each, rows=()) for each in acceptances], lease=lease
        )
        for number, (acceptance, answer) in enumerate(zip(acceptances, answers, strict=True)):
            if acceptance.rows and isinstance(answer, Accepted):
                keys = [row.id for row in acceptance.rows if row.url.startswith("http")]
                if keys:
                    self._failpoints.reach("accepted", keys=keys)
                version = acceptance.expected if acceptance.record is None else acceptance.record.version
                actions = Acceptance(acceptance.alarm_id, "", 0, version, rows=acceptance.rows)
                (answers[number],) = await self._store.accept([actions], lease=lease)
                if not isinstance(answers[number], Accepted):
                    answers[number] = answer
        return list(answers)

    async def done(self, marks: Sequence[Any]) -> None:
        self._failpoints.reach("finishing", windows=[[mark.window_id, mark.version] for mark in marks])
        await self._store.done(marks)

    async def group(self, name: str) -> Any:
        return self._seen(await self._store.group(name))

    def _seen(self, state: Any) -> Any:
        return replace(state, now=clock.now()) if self._broken == "own-clock" else state

    async def put_group(self, put: Any) -> Any:
        from autoscaler.ports import AlreadyDecided, Changed

        scales = put.decision is not None and put.decision.decision == "scale"
        if scales:
            self._failpoints.reach("deciding", decisions=[put.decision.id])
        answer = await self._store.put_group(put)
        if isinstance(answer, Changed):
            return replace(answer, state=self._seen(answer.state))
        decision = answer.decision or put.decision if not isinstance(answer, AlreadyDecided) else answer.decision
        if decision is not None:
            repeated = isinstance(answer, AlreadyDecided)
            self._records.say("decided", repeated=repeated, asked=put.decision.id, decision=decision)
            if scales and not repeated:
                self._failpoints.reach("decided", fences=[put.record.fence])
        return answer


class WatchedAction:
    """See :class:`autoscaler.ports.Action`."""

    def __init__(self, action: Any, failpoints: Failpoints) -> None:
        self.schemes = action.schemes
        self._action = action
        self._failpoints = failpoints

    async def deliver(self, row: Any) -> None:
        self._failpoints.reach("posting", keys=[row.id])
        await self._action.deliver(row)
        self._failpoints.reach("posted", keys=[row.id])


class WatchedTarget:
    """See :class:`autoscaler.ports.Target`."""

    def __init__(self, target: Any, failpoints: Failpoints) -> None:
        self._target = target
        self._failpoints = failpoints

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    async def resize(self, group: Any, capacity: int, *, fence: int, **options: Any) -> Any:
        self._failpoints.reach("resizing", fences=[fence])
        answer = await self._target.resize(group, capacity, fence=fence, **options)
        self._failpoints.reach("resized", fences=[fence])
        return answer


class WatchedSource:
    """See :class:`autoscaler.ports.Source`."""

    def __init__(self, source: Any, failpoints: Failpoints, broken: str) -> None:
        self._source = source
        self._failpoints = failpoints
        self._broken = broken

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    async def deliveries(self) -> AsyncGenerator[Any, None]:
        async with contextlib.aclosing(self._source.deliveries()) as deliveries:
            async for delivery in deliveries:
                if self._broken == "acknowledge-first":
                    await delivery.ack()
                    await asyncio.sleep(0.002)  # the broker hears of it
                names = [[measure.resource_id, measure.timestamp] for measure in delivery.batch.measures]
                self._failpoints.reach("received", measures=names)
                yield WatchedDelivery(delivery, self._failpoints)


class WatchedDelivery:
    """See :class:`autoscaler.ports.Delivery`."""

    def __init__(self, delivery: Any, failpoints: Failpoints) -> None:
        self.batch = delivery.batch
        self._delivery = delivery
        self._failpoints = failpoints

    async def ack(self) -> None:
        self._failpoints.reach("acknowledging", windows=self._failpoints.windows)
        await self._delivery.ack()
        self._failpoints.reach("acknowledged", windows=self._failpoints.windows)


def without_version_check() -> None:
    """Have the library of functions take every verdict, however old."""
    from autoscaler.adapters.redis import calls

    whole = calls.library()
    text = whole.text
    for check in ("stale", "expected ~= version"):
        text = text.replace(f"if {check} then", "if false then")
    assert text.count("if false then") == 2, "the check stands elsewhere by now"
    name = whole.name + "_unchecked"
    broken = calls.Library(
        name, text.replace(whole.name, name), frozenset(each.replace(whole.name, name) for each in whole.reads)
    )
    calls.library = lambda: broken  # type: ignore[assignment]


def end_with(parent: int) -> None:
    """Die when the process that has started this one is gone."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGKILL)


def read_program() -> None:
    """Import all of the program, with a clock that can be wrong."""
    clock.now = shifted  # before anybody has imported it
    from autoscaler import app
    from autoscaler.cli import main

    assert app.now is shifted
    assert main.app


def launch() -> None:
    """Put the wrapping in place, and run the command."""
    read_program()
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    folder, broken = _folder(), os.environ.get("AUTOSCALER_TEST_BROKEN", "")
    from autoscaler import app
    from autoscaler.__main__ import main
    from autoscaler.api.metrics import Metrics
    from autoscaler.edges import Edges, redis_store

    records = Records(folder / "records.jsonl")
    failpoints = Failpoints(folder, records)
    if broken == "no-version-check":
        without_version_check()

    class CountingMetrics(Metrics):
        def unrouted(self, count: int) -> None:
            records.say("unrouted", count=count)
            super().unrouted(count)

        def too_old(self, count: int) -> None:
            records.say("too old", count=count)
            super().too_old(count)

    class WatchedEdges(Edges):
        @classmethod
        async def build(cls, *args: Any) -> Any:
            edges = await super().build(*args)
            return replace(
                edges,
                sources=[WatchedSource(source, failpoints, broken) for source in edges.sources],
                actions={scheme: WatchedAction(action, failpoints) for scheme, action in edges.actions.items()},
                targets={kind: WatchedTarget(target, failpoints) for kind, target in edges.targets.items()},
            )

    app.Metrics = CountingMetrics  # type: ignore[misc]
    app.Edges = WatchedEdges  # type: ignore[misc]
    assert app.redis_store is redis_store
    app.redis_store = lambda *args: WatchedStore(  # type: ignore[assignment, return-value]
        redis_store(*args), failpoints, records, broken
    )
    main()


if __name__ == "__main__":
    launch()
