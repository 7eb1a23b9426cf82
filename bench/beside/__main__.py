"""A real Aodh and Gnocchi beside us: the same alarms, the same measures, on this machine; ``docs/performance/aodh.md``.

    python -m bench.beside [--alarms 1000] [--breaching 60] [--minutes 4] [--only aodh-default] [--json FILE]

One after another, so that neither takes the other's CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psutil

from bench.beside.plan import AGENTS, THRESHOLD, Plan
from bench.beside.systems import ANEW, METRIC, PROJECT, Contestant, System, at_a_time
from bench.beside.usage import Usage, usage
from tests.aodh_server import PYTHON
from tests.receiver import Receiver, answering, receiver

READY_SECONDS = 600.0
TAIL_SECONDS = 180.0
"""How long webhooks are waited for behind the stretch."""
HEADERS = {"X-User-Id": "compared", "X-Project-Id": PROJECT, "X-Roles": "admin,member,reader"}
CONTESTANTS = {
    each.key: each
    for each in (
        Contestant("autoscaler-60", "autoscaler", 60),
        Contestant("aodh-default", "Aodh, default", 60, ""),
        Contestant("autoscaler-10", "autoscaler", 10),
        Contestant("aodh-hurried", "Aodh, hurried", 10, "evaluation_interval = 1\nworkers = 2\n", hurried=True),
    )
}


@dataclass
class Traffic:
    """Measures of a plan, handed over when they are due.

    Attributes:
        began: Unix seconds at which the stretch began; None before it.
        sent: Unix seconds at which the first high measure of a resource was handed over.
    """

    plan: Plan
    system: System
    began: float | None = None
    sent: dict[str, float] = field(default_factory=dict)

    async def run(self) -> None:
        """For ever."""
        first = self.plan.first(time.time())
        async with asyncio.TaskGroup() as tasks:
            for number in count():
                due = first + number * self.plan.interval / AGENTS
                await asyncio.sleep(max(0.0, due - time.time()))
                tasks.create_task(self._send(number, due))

    async def _send(self, number: int, due: float) -> None:
        into = -1.0 if self.began is None else due - self.began
        values = self.plan.batch(number, into)
        now = time.time()
        for resource in values:
            if into >= self.plan.breaches.get(resource, float("inf")):
                self.sent.setdefault(resource, now)
        await self.system.send(values, due)


@dataclass(frozen=True)
class Found:
    """What a contestant came to."""

    contestant: Contestant
    latencies: list[float]
    breaching: int
    services: Usage
    servers: Usage
    load: float

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "key": self.contestant.key,
            "title": self.contestant.title,
            "interval_s": self.contestant.interval,
            "breaching": self.breaching,
            "told": len(self.latencies),
            "latency_median_s": statistics.median(self.latencies) if self.latencies else None,
            "latency_worst_s": max(self.latencies, default=None),
            "latencies_s": [round(each, 4) for each in self.latencies],
            "services": self.services.document(),
            "servers": self.servers.document(),
            "load_average": self.load,
        }


@asynccontextmanager
async def noting() -> AsyncIterator[tuple[Receiver, dict[str, float]]]:
    """A receiver, and when it was told first of the alarm of each name."""
    told: dict[str, float] = {}

    async def note(writer: asyncio.StreamWriter) -> None:
        said = hook.received.pop().json
        if said["current"] == "alarm":
            told.setdefault(said["alarm_name"], time.time())
        await answering(200)(writer)

    async with receiver(it=Receiver(answer=note)) as hook:
        yield hook, told


async def alarms(client: httpx.AsyncClient, plan: Plan, url: str) -> None:
    """Have an alarm on each resource, named as that is; all of them ok in the end."""

    async def make(resource: str) -> None:
        rule = {
            "metric": METRIC, "resource_id": resource, "resource_type": "generic", "aggregation_method": "mean",
            "granularity": plan.interval, "evaluation_periods": 1, "comparison_operator": "gt", "threshold": THRESHOLD,
        }  # fmt: skip
        kind = "gnocchi_resources_threshold"
        body = {"name": resource, "type": kind, f"{kind}_rule": rule, "alarm_actions": [url]}
        answer = await client.post("/v2/alarms", json=body)
        assert answer.status_code == 201, answer.text

    await at_a_time(make, plan.resources)
    other = {"filter": json.dumps({"!=": {"state": "ok"}}), "limit": 1}
    async with asyncio.timeout(READY_SECONDS):
        while (await client.post("/v2/query/alarms", json=other)).raise_for_status().json():
            await asyncio.sleep(2)


async def measured(contestant: Contestant, plan: Plan) -> Found:
    """Start it, let it run, and look."""
    async with contestant.running(plan) as system, noting() as (hook, told):
        traffic = Traffic(plan, system)
        client = httpx.AsyncClient(base_url=system.alarming, headers=HEADERS, timeout=60, limits=ANEW)
        async with client, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(traffic.run())
            began = time.time()
            await alarms(client, plan, hook.url)
            print(f"  all alarms are made and ok after {time.time() - began:.0f} s", flush=True)
            before = usage(system.services()), usage(system.servers())
            traffic.began = time.time()
            await asyncio.sleep(plan.seconds)
            load = os.getloadavg()[1]
            lasted = time.time() - traffic.began
            after = usage(system.services()), usage(system.servers())
            end = time.monotonic() + plan.interval + TAIL_SECONDS
            while len(told) < plan.breaching and time.monotonic() < end:
                await asyncio.sleep(0.1)
            running.cancel()
    latencies = sorted(at - traffic.sent[name] for name, at in told.items() if name in traffic.sent)
    services, servers = (now.since(then, lasted) for now, then in zip(after, before, strict=True))
    return Found(contestant, latencies, plan.breaching, services, servers, load)


def table(found: list[Found]) -> str:
    """One column for each, in Markdown."""
    rows = {
        "measures of a resource, a granule: every": [f"{each.contestant.interval:g} s" for each in found],
        "breaches told": [f"{len(each.latencies)} of {each.breaching}" for each in found],
        "breaching measure handed over → webhook received, median": [
            _seconds(statistics.median(each.latencies) if each.latencies else None) for each in found
        ],
        "the same, worst": [_seconds(max(each.latencies, default=None)) for each in found],
        "CPU seconds per minute: itself": [f"{each.services.cpu:.1f}" for each in found],
        "its databases and brokers": [f"{each.servers.cpu:.1f}" for each in found],
        "resident memory: itself": [f"{each.services.memory:.0f} MiB" for each in found],
        "its databases and brokers ": [f"{each.servers.memory:.0f} MiB" for each in found],
        "processes: itself": [f"{each.services.processes}" for each in found],
        "its databases and brokers  ": [f"{each.servers.processes}" for each in found],
        "load of the machine (5 min)": [f"{each.load:.1f}" for each in found],
    }
    titles = " | ".join(each.contestant.title for each in found)
    lines = [f"| | {titles} |", f"| --- |{' ---: |' * len(found)}"]
    return "\n".join([*lines, *(f"| {name.rstrip()} | {' | '.join(cells)} |" for name, cells in rows.items())])


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alarms", type=int, default=1000)
    parser.add_argument("--breaching", type=int, default=60, help="of these alarms")
    parser.add_argument("--minutes", type=float, default=4.0, help="of the stretch in which they breach")
    parser.add_argument("--only", nargs="*", default=list(CONTESTANTS), choices=list(CONTESTANTS))
    parser.add_argument("--json", type=Path, help="file for all figures")
    asked = parser.parse_args()
    if not PYTHON.exists():
        sys.exit(f"{PYTHON} is missing: make bench-aodh makes it; or AUTOSCALER_TEST_AODH_PYTHON names another")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nobody is left behind
    arguments = {"alarms": asked.alarms, "breaching": asked.breaching, "minutes": asked.minutes}
    found: list[Found] = []
    for key in asked.only:
        contestant = CONTESTANTS[key]
        print(f"{contestant.title}, measures every {contestant.interval:g} s", flush=True)
        plan = Plan(asked.alarms, contestant.interval, asked.breaching, asked.minutes * 60)
        found.append(asyncio.run(measured(contestant, plan)))
        print(f"{table(found[-1:])}\n", flush=True)
        if asked.json is not None:  # each time: the rest takes long
            document = {"machine": machine(), **arguments, "contestants": [each.document() for each in found]}
            asked.json.write_text(json.dumps(document, indent=1) + "\n")
    print(table(found))


def machine() -> dict[str, Any]:
    """What all of it runs on, as JSON."""
    memory = round(psutil.virtual_memory().total / 2**30)
    return {"cores": psutil.cpu_count(), "memory_gib": memory, "python": platform.python_version()}


if __name__ == "__main__":
    main()
