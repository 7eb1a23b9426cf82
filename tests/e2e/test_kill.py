"""The installed controller, killed again and again in the middle of a stream, loses nothing and doubles nothing."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from autoscaler.adapters.redis import RedisStore
from autoscaler.declarations import Declarations, load
from autoscaler.engine.route import Router
from autoscaler.measures.measure import Measure
from autoscaler.measures.series import unpack
from autoscaler.ports import HistoryEntry, WindowWrite
from autoscaler.scaling.decision import Decision
from autoscaler.simulation.plant import Plant
from autoscaler.simulation.world import World
from tests.e2e.controller import ControllerProcess
from tests.e2e.neighbours import Neighbours, Post, Publisher, Resize
from tests.servers import MosquittoServer, RedisServer, free_port

KILLS = int(os.environ.get("AUTOSCALER_TEST_KILLS", "8"))
SEED = int(os.environ.get("AUTOSCALER_TEST_SEED", "1"))
PERIOD = 24.0
"""Seconds in which the load rises and falls once."""
MEMBERS = 3
COOLDOWN = 2.0

DOCUMENT = """
alarms:
  - name: busy
    type: aggregation
    rule: {{metric: cpu_util, match: {{server_group: web}}, aggregation_method: mean, granularity: 1,
           evaluation_periods: 3, comparison_operator: gt, threshold: 70, window: aligned, evaluate: boundary}}
    alarm_actions: ["{hooks}/busy", "policy://out"]
    ok_actions: ["{hooks}/busy"]
    insufficient_data_actions: ["{hooks}/busy"]
  - name: idle
    type: aggregation
    rule: {{metric: cpu_util, match: {{server_group: web}}, aggregation_method: mean, granularity: 1,
           evaluation_periods: 3, comparison_operator: lt, threshold: 30, window: aligned, evaluate: boundary}}
    alarm_actions: ["{hooks}/idle", "policy://in"]
    ok_actions: ["{hooks}/idle"]
    insufficient_data_actions: ["{hooks}/idle"]
  - name: everything
    description: Keeps every measure of the test in the window
    type: aggregation
    rule: {{metric: cpu_util, match: {{server_group: web}}, aggregation_method: mean, granularity: 600,
           evaluation_periods: 2, comparison_operator: gt, threshold: 1000, window: aligned, evaluate: boundary}}
groups:
  - {{name: web, min_size: 1, max_size: 8, min_reporting: 0,
      target: {{type: http, url: "{hooks}/group", poll_interval: 1}}}}
policies:
  - {{name: out, group: web, adjustment_type: change_in_capacity, scaling_adjustment: 1, cooldown: {cooldown}}}
  - {{name: in, group: web, adjustment_type: change_in_capacity, scaling_adjustment: -1, cooldown: {cooldown}}}
"""


def measured(number: int, now: float) -> dict[str, Any]:
    """A numbered measure of a load that is high for half of a period and low for the other."""
    high = (now % PERIOD) < PERIOD / 2
    return {
        "metric": "cpu_util",
        "resource_id": f"web-{number % MEMBERS}",
        "timestamp": now,
        "value": (90 if high else 10) + number % 7,
        "metadata": {"server_group": "web"},
    }


@dataclass(frozen=True)
class Found:
    """All that the controller has left behind."""

    points: dict[str, dict[float, float]]
    histories: dict[str, list[HistoryEntry]]
    decisions: list[Decision]
    waiting: int
    dead: int

    def transitions(self, alarm: str) -> list[HistoryEntry]:
        return [entry for entry in self.histories[alarm] if entry.type == "state transition"]


async def found_in(url: str, declarations: Declarations) -> Found:
    store = RedisStore(url)
    try:
        (spec,) = Router(declarations.alarms.values()).windows.values()
        (window,) = await store.write([WindowWrite(spec)])
        histories, waiting = {}, 0
        for alarm in declarations.alarms.values():
            histories[alarm.name] = list(reversed(await store.history(alarm.alarm_id, limit=1000)))
            waiting += sum((await store.lanes(alarm.alarm_id)).values())
        dead = [await store.dead_letters(kind, limit=10) for kind in ("measure", "action")]
        return Found(
            {name: dict(unpack(packed).points()) for name, packed in window.series.items()},
            histories,
            list(reversed(await store.decisions("web", limit=1000))),
            waiting,
            sum(len(letters) for letters in dead),
        )
    finally:
        await store.close()


async def replayed(declarations: Declarations, published: Sequence[dict[str, Any]]) -> dict[str, list[tuple[str, str]]]:
    """What an undisturbed controller makes of the same measures: state and time of each transition, by alarm."""
    world = World(Plant(obedient=True))
    world.declare(declarations)
    happenings: list[dict[str, Any]] = []
    for fields in published:
        happenings += await world.feed(Measure(**fields))
    happenings += await world.advance(published[-1]["timestamp"] + 30)
    states: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for happening in happenings:
        if happening["event"] == "transition":
            states[happening["alarm"]].append((str(happening["current"]), happening["time"]))
    return states


def until_quiet(url: str, declarations: Declarations) -> Found:
    """Wait for the last transitions, those to insufficient data, and for their actions."""
    end = time.monotonic() + 90
    while time.monotonic() < end:
        found = asyncio.run(found_in(url, declarations))
        last = [entries[-1].detail["state"] for name in ("busy", "idle") if (entries := found.transitions(name))]
        if last == ["insufficient data"] * 2 and not found.waiting:
            return found
        time.sleep(0.5)
    raise TimeoutError(f"not quiet: {asyncio.run(found_in(url, declarations))}")


def check_measures(published: Sequence[dict[str, Any]], found: Found) -> None:
    sent: dict[str, dict[float, float]] = defaultdict(dict)
    for measure in published:
        sent[measure["resource_id"]][measure["timestamp"]] = float(measure["value"])
    assert found.points == sent, "measures lost"
    assert found.dead == 0, "something was given up"


def check_webhooks(posts: Sequence[Post], found: Found) -> int:
    """Every transition was said, in order, under one key with one body; how many deliveries were repeated."""
    bodies: dict[str, bytes] = {}
    for post in posts:
        assert bodies.setdefault(post.key, post.body) == post.body, "one key, two bodies"
    said: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for body in (json.loads(text) for text in bodies.values()):
        said[body["alarm_name"]].append((body["current"], body["reason"]))
    for name in ("busy", "idle"):
        # what the history says beside Aodh's sentence stands in brackets behind it
        stored = [(e.detail["state"], e.detail["transition_reason"].split(" (")[0]) for e in found.transitions(name)]
        assert said[name] == stored, "webhooks lost, or out of order"
        ids = [entry.event_id for entry in found.histories[name]]
        assert len(set(ids)) == len(ids), "history doubled"
    return len(posts) - len(bodies)


def check_decisions(resizes: Sequence[Resize], found: Found) -> list[Decision]:
    """One chain of decisions, each carried out and none invented; the moves."""
    ids = [made.id for made in found.decisions]
    assert len(set(ids)) == len(ids), "decided twice"
    moves = [made for made in found.decisions if made.decision == "scale"]
    assert all(later.before == earlier.to for earlier, later in pairwise(moves)), "a broken chain"
    assert {resize.size for resize in resizes} <= {made.to for made in moves}, "resized to what nobody decided"
    obeyed = [resize for resize in resizes if resize.obeyed]
    by_fence = {resize.fence: resize.size for resize in obeyed}
    assert all(by_fence[resize.fence] == resize.size for resize in obeyed), "one fence, two sizes"
    assert [by_fence[fence] for fence in sorted(by_fence)] == [made.to for made in moves], "moves not carried out"
    return moves


def check_cooldowns(moves: Sequence[Decision], resizes: Sequence[Resize]) -> None:
    took: dict[str, float] = {}
    for resize in resizes:
        if resize.obeyed:
            took.setdefault(resize.key, resize.time)
    times = sorted(took.values())
    for effect, following in zip(times, moves[1:], strict=False):
        assert following.time >= effect + COOLDOWN - 0.001, "cooldown not kept"


@pytest.mark.service
@pytest.mark.timeout(120 + 10 * KILLS)
def test_a_killed_controller_carries_on_where_it_was(
    redis_on_disk: RedisServer, mosquitto: MosquittoServer, tmp_path: Path
) -> None:
    drawn = random.Random(SEED)
    with Neighbours() as neighbours:
        document = DOCUMENT.format(hooks=neighbours.url, cooldown=COOLDOWN)
        (tmp_path / "rules.yaml").write_text(document)
        declarations = load({"rules.yaml": document})
        settings = {
            "RULES": str(tmp_path / "rules.yaml"),
            "REDIS_URL": redis_on_disk.url,
            "MQTT_URL": mosquitto.url,
            "MQTT_TOPIC": "killed/#",
            "REPLICA": f"kill-{mosquitto.port}",
        }
        with ControllerProcess(tmp_path, port=free_port(), settings=settings) as controller:
            controller.until_ready()
            with Publisher(mosquitto.port, "killed/web", measured, interval=0.03) as publisher:
                for _ in range(KILLS):
                    time.sleep(drawn.uniform(0.3, 4.0))
                    controller.kill()
                    controller.start()
                controller.until_ready()
                time.sleep(6)  # the stream goes on for a while in peace
                publisher.stop()
                found = until_quiet(redis_on_disk.url, declarations)
            assert controller.end() == 0
        expected = asyncio.run(replayed(declarations, publisher.published))

        check_measures(publisher.published, found)
        for name in ("busy", "idle"):
            assert [entry.detail["state"] for entry in found.transitions(name)] == [s for s, _ in expected[name]]
        repeated = check_webhooks(neighbours.posts, found)
        moves = check_decisions(neighbours.resizes, found)
        check_cooldowns(moves, neighbours.resizes)
        print(
            f"{KILLS} kills (seed {SEED}): {len(publisher.published)} measures, none lost; "
            f"{sum(len(found.transitions(name)) for name in ('busy', 'idle'))} transitions, "
            f"{len(neighbours.posts)} webhooks ({repeated} repeated); "
            f"{len(found.decisions)} decision records, {len(moves)} moves, {len(neighbours.resizes)} PUTs"
        )
