"""Installed controllers that share the sessions at an MQTT broker: killed, stopped, replaced, and nothing is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.e2e.fleet import Fleet, known, measured, spread, taken_over, until, values
from tests.e2e.neighbours import Publisher
from tests.servers import MosquittoServer, RedisServer

SEATS = [f"autoscaler-seat-{each}" for each in range(1, 5)]
WITHIN = 5.0
"""Seconds."""
STOPPED_FOR = 10.0
TOPIC = "seats/web"


@pytest.fixture
def broker() -> Iterator[MosquittoServer]:
    with MosquittoServer() as server:
        yield server


def settings(store: RedisServer, broker: MosquittoServer) -> dict[str, str]:
    return {"REDIS_URL": store.url, "MQTT_URL": broker.url, "MQTT_TOPIC": "seats/#"}


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


@pytest.mark.service
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_seats_of_those_who_die_are_taken_within_five_seconds(
    redis_on_disk: RedisServer, broker: MosquittoServer, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        fleet = Fleet(tmp_path, stack, settings(redis_on_disk, broker))
        replicas = fleet.begin("r0", "r1", "r2", MQTT_SEATS=str(len(SEATS)))
        until(lambda: spread(redis_on_disk, SEATS) == [1, 1, 2])
        with Publisher(broker.port, TOPIC, measured, interval=0.02) as publisher:
            times = []
            for replica in replicas:
                replica.kill()
                times.append(taken_over(publisher, redis_on_disk))
                replica.start()
                replica.until_ready()
                until(lambda: spread(redis_on_disk, SEATS) == [1, 1, 2])
            print("taken over after " + ", ".join(f"{seconds:.2f}" for seconds in times) + " s")

            stopped, *others = replicas
            lost = [replica.whole_log().count("source lost") for replica in others]
            assert stopped.pid is not None
            os.kill(stopped.pid, signal.SIGSTOP)
            times.append(taken_over(publisher, redis_on_disk))
            time.sleep(STOPPED_FOR - times[-1])
            os.kill(stopped.pid, signal.SIGCONT)
            until(lambda: spread(redis_on_disk, SEATS) == [1, 1, 2])
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
        until(lambda: spread(redis_on_disk, SEATS) == [1, 1, 2])
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
        fleet = Fleet(tmp_path, stack, settings(redis_on_disk, broker))
        with Publisher(broker.port, TOPIC, measured, interval=0.02) as publisher:
            until(lambda: len(publisher.published) >= 100)
            # of each replica what it had before there were seats, though only one has a seat
            single = fleet.begin("r0", "r1", MQTT_SEATS="1")
            until(lambda: len(values(redis_on_disk)) >= 100)
            until(lambda: "autoscaler-r1" not in known(redis_on_disk))
            for replica in single:
                assert replica.end() == 0
            (several,) = fleet.begin("r0", MQTT_SEATS=str(len(SEATS)))
            until(lambda: set(known(redis_on_disk)) == set(SEATS))
            several.kill()
            time.sleep(0.3)
            (fewer,) = fleet.begin("r0", MQTT_SEATS="2")
            until(lambda: set(known(redis_on_disk)) == set(SEATS[:2]))
            publisher.stop()
        until(lambda: len(values(redis_on_disk)) == len(publisher.published))

        assert values(redis_on_disk) == {measure["value"] for measure in publisher.published}
        assert fewer.end() == 0
    ended = ["autoscaler-r0", "autoscaler-r1", "autoscaler-seat", "autoscaler-seat-3", "autoscaler-seat-4"]
    assert [session(broker.port, name, clean=True) for name in ended] == [False] * len(ended)
    assert session(broker.port, "autoscaler-seat-1")
