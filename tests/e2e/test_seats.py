"""Installed controllers that share the sessions at an MQTT broker: killed, stopped, replaced, and nothing is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from autoscaler.adapters.redis import RedisStore
from autoscaler.declarations import load
from autoscaler.engine.route import Router
from autoscaler.measures.series import unpack
from autoscaler.ports import WindowWrite
from tests.e2e.controller import ControllerProcess
from tests.e2e.neighbours import Publisher
from tests.servers import MosquittoServer, RedisServer, free_port

REPLICAS, SEATS = 3, 4
WITHIN = 5.0
"""Seconds."""
STOPPED_FOR = 10.0
TOPIC = "seats/web"

RULES = """
alarms:
  - name: everything
    type: aggregation
    rule: {metric: load, match: {server_group: web}, aggregation_method: mean, granularity: 600,
           evaluation_periods: 2, comparison_operator: gt, threshold: 1000, window: aligned, evaluate: boundary}
"""


def measured(number: int, now: float) -> dict[str, Any]:
    return {
        "metric": "load",
        "resource_id": f"web-{number % 3}",
        "timestamp": now,
        "value": float(number),
        "metadata": {"server_group": "web"},
    }


@pytest.fixture
def redis_on_disk() -> Iterator[RedisServer]:
    with RedisServer(None, "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


@pytest.fixture
def broker() -> Iterator[MosquittoServer]:
    with MosquittoServer() as server:
        yield server


async def _values(url: str) -> set[float]:
    store = RedisStore(url)
    try:
        (spec,) = Router(load({"rules.yaml": RULES}).alarms.values()).windows.values()
        (window,) = await store.write([WindowWrite(spec)])
        assert not await store.dead_letters("measure", limit=1)
        return {value for packed in window.series.values() for _, value in unpack(packed).points()}
    finally:
        await store.close()


def values(server: RedisServer) -> set[float]:
    """Of all measures that are in the window."""
    return asyncio.run(_values(server.url))


def holders(server: RedisServer) -> dict[str, str]:
    """Whose each seat is, without those that are nobody's, and sessions of older times."""
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        now = client.time()[0]
        seats = client.hgetall("autoscaler:{hub}:seats")
        return {
            seat: holder.rsplit("-", 2)[0]
            for seat, holder in seats.items()
            if holder and "-seat" in seat and (client.zscore("autoscaler:{hub}:seated", seat) or 0) > now
        }


def spread(server: RedisServer) -> list[int]:
    """How many seats each replica has that has any."""
    return sorted(Counter(holders(server).values()).values())


def until(condition: Callable[[], bool], seconds: float = 30.0) -> float:
    """Wait; how many seconds it took."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > seconds:
            raise TimeoutError(f"not within {seconds:g} s")
        time.sleep(0.02)
    return time.monotonic() - begun


def session(port: int, client_id: str, *filters: str, clean: bool = False) -> bool:
    """Have a session for a moment, which stays behind unless it is clean; whether it was there already."""
    client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTv5)
    found: list[bool] = []
    heard: list[int] = []
    client.on_connect = lambda _c, _u, flags, _r, _p: found.append(flags.session_present)
    client.on_subscribe = lambda _c, _u, mid, _r, _p: heard.append(mid)
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 0 if clean else 600
    client.connect("127.0.0.1", port, clean_start=False, properties=properties)
    client.loop_start()
    until(lambda: bool(found))
    for each in filters:
        client.subscribe(each, qos=1)
    until(lambda: len(heard) == len(filters))
    client.disconnect()
    client.loop_stop()
    return found[0]


class Fleet:
    """Controllers on one Redis and one broker."""

    def __init__(self, folder: Path, stack: ExitStack, store: RedisServer, broker: MosquittoServer) -> None:
        self._folder = folder
        self._stack = stack
        self._settings = {"REDIS_URL": store.url, "MQTT_URL": broker.url, "MQTT_TOPIC": "seats/#"}
        (folder / "rules.yaml").write_text(RULES)
        self._settings["RULES"] = str(folder / "rules.yaml")

    def begin(self, *names: str, seats: int = SEATS) -> Sequence[ControllerProcess]:
        """Start some, all at once; they are ready when this returns."""
        begun = []
        for name in names:
            folder = self._folder / f"{name}-{seats}"
            folder.mkdir()
            settings = self._settings | {"REPLICA": name, "MQTT_SEATS": str(seats)}
            process = ControllerProcess(folder, port=free_port(), settings=settings)
            begun.append(self._stack.enter_context(process))
        for process in begun:
            process.until_ready()
        return begun


def taken_over(publisher: Publisher, server: RedisServer) -> float:
    """Seconds until all that was published up to a moment from now is in the window."""
    begun = time.monotonic()
    time.sleep(0.5)
    wanted = {measure["value"] for measure in list(publisher.published)}
    until(lambda: wanted <= values(server))
    return time.monotonic() - begun


@pytest.mark.service
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_seats_of_those_who_die_are_taken_within_five_seconds(
    redis_on_disk: RedisServer, broker: MosquittoServer, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        replicas = Fleet(tmp_path, stack, redis_on_disk, broker).begin("r0", "r1", "r2")
        until(lambda: spread(redis_on_disk) == [1, 1, 2])
        with Publisher(broker.port, TOPIC, measured, interval=0.02) as publisher:
            times = []
            for replica in replicas:
                replica.kill()
                times.append(taken_over(publisher, redis_on_disk))
                replica.start()
                replica.until_ready()
                until(lambda: spread(redis_on_disk) == [1, 1, 2])
            print("taken over after " + ", ".join(f"{seconds:.2f}" for seconds in times) + " s")

            stopped, *others = replicas
            lost = [replica.whole_log().count("source lost") for replica in others]
            assert stopped.pid is not None
            os.kill(stopped.pid, signal.SIGSTOP)
            times.append(taken_over(publisher, redis_on_disk))
            time.sleep(STOPPED_FOR - times[-1])
            os.kill(stopped.pid, signal.SIGCONT)
            until(lambda: spread(redis_on_disk) == [1, 1, 2])
            time.sleep(3)
            print(f"and after {times[-1]:.2f} s of one that was stopped")

            for replica in replicas:
                assert replica.end() == 0
                times.append(taken_over(publisher, redis_on_disk))
                replica.start()
                replica.until_ready()
            print("taken on after " + ", ".join(f"{seconds:.2f}" for seconds in times[4:]) + " s of those that ended")
            publisher.stop()
        until(lambda: len(values(redis_on_disk)) == len(publisher.published))

        assert values(redis_on_disk) == {measure["value"] for measure in publisher.published}
        until(lambda: spread(redis_on_disk) == [1, 1, 2])
        # whoever woke did not throw out those who had taken its seats
        assert [replica.whole_log().count("source lost") for replica in others] == lost
        for replica in replicas:
            assert "Traceback" not in replica.whole_log()
    assert max(times) < WITHIN


@pytest.mark.service
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_waits_in_sessions_of_older_settings_is_taken_and_they_end(
    redis_on_disk: RedisServer, broker: MosquittoServer, tmp_path: Path
) -> None:
    session(broker.port, "autoscaler-r0", "seats/#")
    session(broker.port, "autoscaler-r1", "seats/#")
    with ExitStack() as stack:
        fleet = Fleet(tmp_path, stack, redis_on_disk, broker)
        with Publisher(broker.port, TOPIC, measured, interval=0.02) as publisher:
            until(lambda: len(publisher.published) >= 100)
            # of each replica what it had before there were seats, though only one has a seat
            single = fleet.begin("r0", "r1", seats=1)
            until(lambda: len(values(redis_on_disk)) >= 100)
            until(lambda: "autoscaler-r1" not in known(redis_on_disk))
            for replica in single:
                assert replica.end() == 0
            (several,) = fleet.begin("r0", seats=SEATS)
            until(lambda: known(redis_on_disk) == {f"autoscaler-seat-{each}" for each in range(1, SEATS + 1)})
            several.kill()
            time.sleep(0.3)
            (fewer,) = fleet.begin("r0", seats=2)
            until(lambda: known(redis_on_disk) == {"autoscaler-seat-1", "autoscaler-seat-2"})
            publisher.stop()
        until(lambda: len(values(redis_on_disk)) == len(publisher.published))

        assert values(redis_on_disk) == {measure["value"] for measure in publisher.published}
        assert fewer.end() == 0
    ended = ["autoscaler-r0", "autoscaler-r1", "autoscaler-seat", "autoscaler-seat-3", "autoscaler-seat-4"]
    assert [session(broker.port, name, clean=True) for name in ended] == [False] * len(ended)
    assert session(broker.port, "autoscaler-seat-1")


def known(server: RedisServer) -> set[str]:
    """All seats that there are."""
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        return set(client.hgetall("autoscaler:{hub}:seats"))
