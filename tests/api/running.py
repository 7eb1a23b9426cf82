"""The API on the real engine, with a store in memory and a clock that is set."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache

import httpx
from fastapi import FastAPI

from autoscaler.adapters.actions.memory import MemoryAction
from autoscaler.adapters.listeners import Listeners, LoggingListener
from autoscaler.adapters.memory import MemoryStore
from autoscaler.adapters.schedule import CronCalendar
from autoscaler.adapters.sources.again import Again, marking
from autoscaler.adapters.sources.ceilometer import Reading
from autoscaler.adapters.sources.ceilometer import decode as decode_ceilometer
from autoscaler.adapters.sources.decode import LIVE, decode
from autoscaler.adapters.sources.gnocchi import GnocchiDecoder
from autoscaler.adapters.sources.remote_write import decode as decode_remote_write
from autoscaler.adapters.targets.dry_run import DryRunTarget
from autoscaler.alarms.rules import OnOutage
from autoscaler.api import create_app
from autoscaler.api.authentication import noauth
from autoscaler.api.failures import Failures
from autoscaler.api.identity import Authenticate
from autoscaler.api.metrics import Metrics
from autoscaler.api.senders import Decoders
from autoscaler.app import adopt
from autoscaler.declarations import Declarations, load
from autoscaler.engine.controller import Controller
from autoscaler.engine.listen import Listener
from autoscaler.engine.run import Runner, Wake
from autoscaler.engine.service import Service
from autoscaler.errors import TemporaryError
from autoscaler.ports import Decoder, Source, Store, WindowReply, WindowWrite
from tests.api.standing import Standing

NOW = 1_800_000_000.0

DECLARED = """
alarms:
  - name: busy
    type: threshold
    description: too busy
    severity: critical
    rule: {metric: cpu, resource_id: vm-1, aggregation_method: mean, granularity: 60, evaluation_periods: 1,
           comparison_operator: gt, threshold: 70, window: aligned, evaluate: measure}
    alarm_actions: ["policy://out", "https://me:secret@hooks.example.org/a?Signature=abc&token=def"]
    time_constraints: [{name: always, start: "* * * * *", duration: 86400}]
  - name: shop/slow
    type: aggregation
    rule: {metric: latency, match: {service: shop}, aggregation_method: mean, granularity: 60, threshold: 1,
           comparison_operator: gt, for: 30}
    alarm_actions: ["log://"]
groups:
  - {name: web, min_size: 1, max_size: 5, desired_capacity: 2, cooldown: 60, target: {type: dry_run}}
policies:
  - {name: out, group: web, adjustment_type: change_in_capacity, scaling_adjustment: 1}
  - {name: in, group: web, adjustment_type: change_in_capacity, scaling_adjustment: -1}
"""


class ShakyStore(MemoryStore):
    """A memory store that can be taken away."""

    away = False

    async def write(self, writes: Sequence[WindowWrite]) -> list[WindowReply]:
        if self.away:
            raise TemporaryError("the store is away")
        return await super().write(writes)


@dataclass
class Api:
    """A running controller and a client of its API."""

    app: FastAPI
    client: httpx.AsyncClient
    service: Service
    store: ShakyStore
    runner: Runner
    controller: Controller
    missing: list[str]
    wake: Wake
    now: list[float]
    action: MemoryAction

    def measure(self, value: float = 90.0, **changes: object) -> dict[str, object]:
        """A measure of now."""
        return {"metric": "cpu", "resource_id": "vm-1", "timestamp": self.now[0], "value": value, **changes}

    def later(self, seconds: float) -> None:
        """Let time pass."""
        self.now[0] += seconds
        self.wake.at(-math.inf)

    async def settled(self) -> None:
        """Wait until the group was looked at and nothing is under way."""
        async with asyncio.timeout(10):
            while True:
                record = (await self.service.group("web")).state.record
                if record.size is not None and not record.resizing:
                    return
                self.later(1.0)
                await asyncio.sleep(0.001)


async def begun(
    declared: Declarations,
    store: Store,
    now: Sequence[float],
    wake: Wake,
    *listeners: Listener,
    action: MemoryAction | None = None,
    sources: Sequence[Source] = (),
) -> tuple[Controller, Runner]:
    """A controller that has adopted declarations, and its loops, which stand still; the time is ``now[0]``."""
    controller = Controller(
        store,
        Listeners([LoggingListener(), *listeners]),
        actions=dict.fromkeys(("http", "https", "log", "notification"), action or MemoryAction()),
        targets={"dry_run": DryRunTarget()},
        calendar=CronCalendar(),
        replica="here",
        woken=wake.at,
    )

    async def same_generation(_: str) -> None: ...

    runner = Runner(
        controller,
        sources,
        wake=wake,
        clock=lambda: now[0],
        replica="here",
        version="1",
        max_hold=600,
        generation_changed=same_generation,
    )
    await adopt(controller, declared.generation, declared, mixed_as_aodh=False, outage=OnOutage.BELIEVE)
    await controller.restore()
    return controller, runner


@asynccontextmanager
async def running(
    cors_origins: Sequence[str] = (),
    *,
    declared: str = DECLARED,
    authenticate: Authenticate | None = None,
    failures: Failures | None = None,
    metrics_open: bool = True,
    own_names: bool = False,
    tell_changes: bool = False,
    trusted: bool = False,
    sources: Sequence[Source] = (),
) -> AsyncIterator[Api]:
    """A controller at work, its group already looked at."""
    now, missing = [NOW], []
    action = MemoryAction()
    store, metrics, wake = ShakyStore(lambda: now[0]), Metrics(), Wake()
    controller, runner = await begun(
        load({"declared.yaml": declared}), store, now, wake, metrics, action=action, sources=sources
    )
    service = Service(controller, runner, Again(now=lambda: now[0]), tell_changes=tell_changes)
    app, told = _application(tuple(cors_origins), trusted, metrics_open, own_names, failures is not None)
    told.service.present, told.metrics.present = lambda: service, lambda: metrics
    told.authenticate.present, told.failures.present = lambda: authenticate or noauth(), lambda: failures
    told.now, told.missing = now, missing
    transport = httpx.ASGITransport(app, client=("192.0.2.7", 4711))
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://api") as client,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(runner.run())
        found = Api(app, client, service, store, runner, controller, missing, wake, now, action)
        await found.settled()
        yield found
        runner.stop()


@dataclass
class _Told:
    """What an application is told of the controller that is at work now."""

    service: Standing = field(default_factory=Standing)
    metrics: Standing = field(default_factory=Standing)
    authenticate: Standing = field(default_factory=Standing)
    failures: Standing = field(default_factory=Standing)
    now: Sequence[float] = ()
    missing: list[str] = field(default_factory=list)


@cache
def _application(
    cors_origins: tuple[str, ...],
    trusted: bool,  # noqa: FBT001 - it is a key
    metrics_open: bool,  # noqa: FBT001
    own_names: bool,  # noqa: FBT001
    limited: bool,  # noqa: FBT001
) -> tuple[FastAPI, _Told]:
    told = _Told()

    async def readiness() -> list[str]:
        return told.missing

    app = create_app(
        told.service,
        decode=marking(lambda body: decode(body, now=told.now[0], trusted=trusted), Decoder.NATIVE, trusted=trusted),
        decoders=decoders(trusted=trusted),
        metrics=told.metrics,
        readiness=readiness,
        cors_origins=cors_origins,
        authenticate=told.authenticate,
        failures=told.failures if limited else None,
        metrics_open=metrics_open,
        own_names=own_names,
    )
    return app, told


def decoders(*, trusted: bool) -> Decoders:
    """As a controller makes them."""
    reading = Reading(trusted=trusted)
    events = Reading(trusted=trusted, kind="event", made_ids=True)
    return Decoders(
        samples=marking(lambda body: decode_ceilometer(body, reading, now=NOW), Decoder.SAMPLES, trusted=trusted),
        events=marking(lambda body: decode_ceilometer(body, events, now=NOW), Decoder.EVENTS, trusted=trusted),
        remote_write=lambda body: decode_remote_write(body, now=NOW, trusted=trusted, limits=LIVE),
        gnocchi=GnocchiDecoder(),
        gnocchi_trusted=trusted,
        clock=lambda: NOW,
    )
