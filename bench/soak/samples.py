"""What is looked at every few seconds: processes, Redis, the brokers, and what the controllers say of themselves."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import aio_pika
import httpx
import psutil
import redis.asyncio

from bench.soak.verdict import KEPT_FOR_A_TIME, OTHERS, Sample

KIND = re.compile(rb"\}:([a-z-]+)")
LINE = re.compile(r"^(?P<name>[a-z_]+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)$", re.MULTILINE)
CLOSELY_EVERY = 6
"""Samples between two close looks: the names of all keys in Redis, the pages of all processes."""
MIB = 2**20
UNKNOWN = 1e9
"""Of what waits where nobody says how much."""


def metrics(text: str) -> Counter[str]:
    """Prometheus' text as name and name{labels} -> value; the bare name has the sum."""
    found: Counter[str] = Counter()
    for line in LINE.finditer(text):
        value = float(line["value"])
        found[line["name"]] += value
        if line["labels"]:
            found[f"{line['name']}{{{line['labels']}}}"] += value
    return found


@dataclass
class Watched:
    """A set of processes that counts as one.

    Attributes:
        cpu_seconds: at the last look.
    """

    name: str
    pids: list[int]
    cpu_seconds: float | None = None
    looked: float = 0.0

    def look(self, *, closely: bool) -> Sample:
        """MiB, descriptors, and cores taken since the last look; ``closely``, also unshared MiB."""
        resident = unique = files = cpu = 0.0
        for pid in self.pids:
            try:
                process = psutil.Process(pid)
                with process.oneshot():
                    resident += process.memory_info().rss
                    unique += process.memory_full_info().uss if closely else 0.0
                    times = process.cpu_times()
                    files += process.num_fds()
                    cpu += times.user + times.system
            except psutil.NoSuchProcess:
                continue
        now = time.monotonic()
        cores = 0.0 if self.cpu_seconds is None else (cpu - self.cpu_seconds) / (now - self.looked)
        self.cpu_seconds, self.looked = cpu, now
        return {
            **({f"{self.name} uss MiB": unique / MIB} if closely else {}),
            f"{self.name} rss MiB": resident / MIB,
            f"{self.name} fds": files,
            f"{self.name} cores": cores,
        }


@dataclass
class Sampler:
    """Takes samples.

    Attributes:
        counters: of the controllers, all together, as they were last read.
        unread: samples in which a controller did not answer.
    """

    processes: list[Watched]
    bases: Mapping[str, str]
    store: redis.asyncio.Redis
    channel: aio_pika.abc.AbstractChannel
    queue: str
    counters: Counter[str] = field(default_factory=Counter)
    unread: int = 0
    _of: dict[str, Counter[str]] = field(default_factory=dict)
    _samples: int = 0

    async def sample(self) -> Sample:
        """One of everything."""
        found: Sample = {"machine load": os.getloadavg()[0]}
        for watched in self.processes:
            found |= watched.look(closely=self._samples % CLOSELY_EVERY == 0)
        found |= await self._controllers()
        found |= await self._redis()
        found["queue messages"] = await self._waiting()
        self._samples += 1
        return found

    async def waiting(self) -> float:
        """What waits at the broker and in the controllers; very much where one of them does not say."""
        pending = await self._controllers()
        return await self._waiting() + sum(pending.get(f"{name} pending", UNKNOWN) for name in self.bases)

    async def _read(self, client: httpx.AsyncClient, name: str) -> Counter[str] | None:
        try:
            self._of[name] = read = metrics((await client.get(f"{self.bases[name]}/metrics")).text)
        except httpx.HTTPError:
            self.unread += 1
            return None
        return read

    async def _controllers(self) -> Sample:
        found: Sample = {}
        async with httpx.AsyncClient(timeout=30) as client, asyncio.TaskGroup() as group:
            asked = {name: group.create_task(self._read(client, name)) for name in self.bases}
        for name, answer in asked.items():
            read = answer.result()
            if read is not None:
                found[f"{name} lag s"] = read["autoscaler_lag_seconds"]
                found[f"{name} pending"] = read["autoscaler_measures_pending"]
        self.counters = sum(self._of.values(), Counter())
        found["received"] = self.counters["autoscaler_measures_received_total"]
        found["transitions"] = self.counters["autoscaler_transitions_total"]
        found["metric series"] = float(max(len(read) for read in self._of.values()) if self._of else 0)
        return found

    async def _redis(self) -> Sample:
        info = await self.store.info()
        found = {"redis used MiB": info["used_memory"] / MIB, "redis keys": float(info["db0"]["keys"])}
        if self._samples % CLOSELY_EVERY == 0:
            kinds, work = await self._kinds()
            found |= {f"keys {kind}": float(count) for kind, count in kinds.items()} | {"work items": float(work)}
            found[OTHERS] = float(sum(count for kind, count in kinds.items() if kind not in KEPT_FOR_A_TIME))
        return found

    async def _kinds(self) -> tuple[Counter[str], int]:
        kinds: Counter[str] = Counter()
        work: list[bytes] = []
        async for key in self.store.scan_iter(count=500):
            kind = KIND.search(key)
            kinds[kind[1].decode() if kind else "other"] += 1
            work += [key] if key.endswith(b"}:work") else []
        return kinds, sum([await self.store.zcard(key) for key in work])

    async def _waiting(self) -> float:
        async with asyncio.timeout(5):
            queue = await self.channel.declare_queue(self.queue, passive=True)
        return float(queue.declaration_result.message_count or 0)
