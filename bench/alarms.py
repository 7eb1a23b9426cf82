"""What 100 000 alarms cost: to make, to keep, to list, and to the measures of others.

Two controllers, each on a Redis of its own: one with the alarms that the stream of measures is about, one with those
and 100 000 more. The same measures go to both in turns; the ratio is what the others cost.

    python bench/alarms.py [--alarms 100000] [--rounds 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.e2e.controller import ControllerProcess
from tests.servers import RedisServer, free_port

STREAM = 1000
"""Resources that report, one alarm each."""
BATCH = 500
HEADERS = {"X-User-Id": "bench", "X-Project-Id": "bench", "X-Roles": "admin"}


def body(name: str, resource_id: str, metric: str = "cpu") -> dict[str, Any]:
    return {
        "name": name,
        "type": "gnocchi_resources_threshold",
        "alarm_actions": ["log://"],
        "gnocchi_resources_threshold_rule": {
            "metric": metric, "resource_id": resource_id, "resource_type": "instance", "aggregation_method": "mean",
            "comparison_operator": "gt", "threshold": 1e9, "granularity": 60, "evaluation_periods": 2,
        },
    }  # fmt: skip


class Controller:
    """A controller, its Redis, and a client."""

    def __init__(self, process: ControllerProcess, redis: RedisServer, client: httpx.AsyncClient) -> None:
        self.process, self.redis, self.client = process, redis, client

    async def create(self, names: range, prefix: str) -> float:
        """Alarms by 8 clients at a time; how many a second."""
        waiting = iter(names)

        async def some() -> None:
            for number in waiting:
                answer = await self.client.post("/v2/alarms", json=body(f"{prefix}{number}", f"{prefix}{number}"))
                assert answer.status_code == 201, answer.text

        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(some())
        return len(names) / (time.perf_counter() - began)

    async def measure(self, count: int) -> float:
        """Measures of the stream in batches, 4 at a time; how many a second."""
        now = time.time() - 1
        batches = iter(
            [
                [
                    {"metric": "cpu", "resource_id": f"s{(start + i) % STREAM}", "timestamp": at, "value": 1.0}
                    for i in range(BATCH)
                ]
                for start in range(0, count, BATCH)
                for at in [now + start / count]
            ]
        )  # fmt: skip

        async def some() -> None:
            for batch in batches:
                answer = await self.client.post("/v1/measures", json=batch)
                assert answer.status_code == 202, answer.text

        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(some())
        return count / (time.perf_counter() - began)

    async def timed(self, method: str, path: str, **options: Any) -> tuple[float, int]:
        """Seconds, and how many alarms came."""
        began = time.perf_counter()
        answer = await self.client.request(method, path, **options)
        assert answer.status_code == 200, answer.text
        return time.perf_counter() - began, len(answer.json())

    def resident(self) -> float:
        """MiB of the controller."""
        assert self.process.pid is not None
        return psutil.Process(self.process.pid).memory_info().rss / 2**20

    async def stored(self) -> float:
        """MiB in Redis."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.redis.port)
        writer.write(b"INFO memory\r\n")
        length = int((await reader.readline())[1:])
        text = (await reader.readexactly(length)).decode()
        writer.close()
        return int(text.split("used_memory:")[1].split()[0]) / 2**20


async def compare(few: Controller, many: Controller, alarms: int, rounds: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for controller in (few, many):
        await controller.create(range(STREAM), "s")
    found["resident_before_mib"], found["redis_before_mib"] = many.resident(), await many.stored()
    found["create_per_s"] = await many.create(range(alarms), "other")
    found["resident_after_mib"], found["redis_after_mib"] = many.resident(), await many.stored()
    simple = "/v2/alarms?q.field=name&q.op=eq&q.value=other777"
    query = {"filter": json.dumps({"=": {"name": "other777"}})}
    state = {"filter": json.dumps({"and": [{"=": {"state": "alarm"}}, {"=~": {"name": "^s1"}}]})}
    for name, method, path, options in (
        ("list_first_100_s", "GET", "/v2/alarms?limit=100", {}),
        ("list_by_name_s", "GET", simple, {}),
        ("query_by_name_s", "POST", "/v2/query/alarms", {"json": query}),
        ("query_by_state_s", "POST", "/v2/query/alarms", {"json": state}),
        ("query_history_s", "POST", "/v2/query/alarms/history", {"json": {"limit": 100}}),
        ("list_all_s", "GET", "/v2/alarms", {}),
    ):
        timings = [await many.timed(method, path, **options) for _ in range(3 if name != "list_all_s" else 1)]
        found[name] = statistics.median(seconds for seconds, _ in timings)
        found[name.removesuffix("_s") + "_count"] = timings[0][1]
    rates: dict[str, list[float]] = {"few": [], "many": []}
    for _ in range(rounds):
        rates["few"].append(await few.measure(50_000))
        rates["many"].append(await many.measure(50_000))
    found["measures_per_s_few"] = statistics.median(rates["few"])
    found["measures_per_s_many"] = statistics.median(rates["many"])
    ratios = sorted(m / f for m, f in zip(rates["many"], rates["few"], strict=True))
    found["ratio"], found["ratio_range"] = statistics.median(ratios), [ratios[0], ratios[-1]]
    began = time.perf_counter()
    many.process.end()
    many.process.start()
    many.process.until_ready()
    found["restart_s"] = time.perf_counter() - began
    return found


async def main(alarms: int, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, RedisServer() as first, RedisServer() as second:
        controllers = []
        for name, redis in (("few", first), ("many", second)):
            (Path(folder) / name).mkdir()
            port = free_port()
            settings = {"REDIS_URL": redis.url, "ALLOW_VOLATILE_REDIS": "true", "LOG_LEVEL": "warning"}
            process = ControllerProcess(Path(folder) / name, port=port, settings=settings)
            client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=HEADERS, timeout=120)
            controllers.append(Controller(process, redis, client))
        few, many = controllers
        with few.process, many.process:
            few.process.until_ready()
            many.process.until_ready()
            return await compare(few, many, alarms, rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alarms", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    result = asyncio.run(main(asked.alarms, asked.rounds))
    for key, value in result.items():
        print(f"{key:24} {value:,.3f}" if isinstance(value, float) else f"{key:24} {value}")
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1) + "\n")
