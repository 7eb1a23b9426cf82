"""One suite for every source on a bus: the memory twin, and MQTT, AMQP and Ceilometer's AMQP on real brokers."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import uuid
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import aio_pika
import aiomqtt
import pytest
from amqtt.broker import Broker
from structlog.testing import capture_logs

from autoscaler.adapters.sources import link
from autoscaler.adapters.sources.amqp import AmqpSource
from autoscaler.adapters.sources.link import Tls
from autoscaler.adapters.sources.memory import MemorySource
from autoscaler.adapters.sources.mqtt import MqttSource, _Inbox
from autoscaler.adapters.sources.openstack import OpenStackSource
from autoscaler.adapters.sources.partitions import PartitionSource
from autoscaler.adapters.sources.streams import StreamSource
from autoscaler.errors import PermanentError, Rejection
from autoscaler.ports import Batch, Delivery, Source
from tests.contract.held import Held
from tests.servers import HASHING, MosquittoServer, RabbitServer, free_port, installed

NOW = 1_700_000_000.0
PATIENCE = 30.0


def now() -> float:
    return NOW


def measure(number: int) -> bytes:
    return json.dumps({"metric": "cpu_util", "resource_id": "web-1", "timestamp": NOW, "value": number}).encode()


class Bus(Protocol):
    """A broker as a test sees it; all sources that it gives are one consumer, as after a restart of the process."""

    def source(self, **options: Any) -> Source: ...

    async def publish(self, payloads: Sequence[bytes]) -> None: ...

    def kill(self) -> None: ...

    def restart(self) -> None: ...


class MemoryBus:
    def __init__(self) -> None:
        self._source = MemorySource(now=now)

    def source(self, **options: Any) -> Source:
        return self._source

    async def publish(self, payloads: Sequence[bytes]) -> None:
        for payload in payloads:
            self._source.publish(payload)

    def kill(self) -> None:
        self._source.kill()

    def restart(self) -> None:
        self._source.restart()


class ServerBus:
    def __init__(self, server: MosquittoServer | RabbitServer) -> None:
        self.server = server
        self.id = uuid.uuid4().hex

    def kill(self) -> None:
        self.server.kill()

    def restart(self) -> None:
        self.server.restart()


class MqttBus(ServerBus):
    version = aiomqtt.ProtocolVersion.V5

    def source(self, **options: Any) -> Source:
        options = {"topic_filter": f"{self.id}/#", "client_id": self.id, "version": self.version, **options}
        return MqttSource(self.server.url, now=now, **options)

    async def publish(self, payloads: Sequence[bytes]) -> None:
        async with aiomqtt.Client("127.0.0.1", self.server.port) as client:
            for payload in payloads:
                await client.publish(f"{self.id}/web", payload, qos=1)


class OldMqttBus(MqttBus):
    version = aiomqtt.ProtocolVersion.V311


class AmqpBus(ServerBus):
    quorum = False

    def source(self, **options: Any) -> Source:
        return AmqpSource(self.server.url, now=now, queue=self.id, exchange=self.id, quorum=self.quorum, **options)

    async def publish(self, payloads: Sequence[bytes]) -> None:
        async with await aio_pika.connect(self.server.url) as connection:
            channel = await connection.channel()
            exchange = await channel.declare_exchange(self.id, aio_pika.ExchangeType.TOPIC, durable=True)
            async with asyncio.TaskGroup() as group:
                for payload in payloads:
                    message = aio_pika.Message(payload, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
                    group.create_task(exchange.publish(message, "web"))


class QuorumBus(AmqpBus):
    quorum = True


class PartitionBus(AmqpBus):
    """With one partition, so that all comes in order."""

    def source(self, **options: Any) -> Source:
        seat = Held(f"{self.id}.1")
        return PartitionSource(self.server.url, now=now, seat=seat, queue=self.id, exchange=self.id, **options)


class StreamBus(AmqpBus):
    def __init__(self, server: MosquittoServer | RabbitServer) -> None:
        super().__init__(server)
        self.positions: dict[str, int] = {}

    def source(self, **options: Any) -> Source:
        options = {"stream": self.id, "seat": Held(self.id, self.positions), "exchange": self.id, **options}
        return StreamSource(self.server.url, now=now, **options)


class OpenStackBus(ServerBus):
    """Ceilometer as a test sees it: each measure is a sample in a message of its own."""

    def source(self, **options: Any) -> Source:
        return OpenStackSource(self.server.url, now=now, queue=self.id, exchange=self.id, **options)

    async def publish(self, payloads: Sequence[bytes]) -> None:
        async with await aio_pika.connect(self.server.url) as connection:
            channel = await connection.channel()
            exchange = await channel.get_exchange(self.id)
            async with asyncio.TaskGroup() as group:
                for payload in payloads:
                    body = self._sample(payload) if payload.startswith(b"{") else payload
                    message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
                    group.create_task(exchange.publish(message, "metering.sample"))

    @staticmethod
    def _sample(payload: bytes) -> bytes:
        plain = json.loads(payload)
        sample = {
            "counter_name": plain["metric"],
            "counter_volume": plain["value"],
            "resource_id": plain["resource_id"],
            "timestamp": plain["timestamp"],
        }
        inner = json.dumps({"event_type": "metering", "payload": [sample]})
        return json.dumps({"oslo.version": "2.0", "oslo.message": inner}).encode()


MEMORY = pytest.param((MemoryBus, None), id="memory")
BROKERS = [
    pytest.param((MqttBus, "mosquitto"), id="mqtt-5", marks=pytest.mark.service),
    pytest.param((OldMqttBus, "mosquitto"), id="mqtt-3.1.1", marks=pytest.mark.service),
    pytest.param((AmqpBus, "rabbit"), id="amqp", marks=pytest.mark.service),
    pytest.param((QuorumBus, "rabbit"), id="amqp-quorum", marks=pytest.mark.service),
    pytest.param((PartitionBus, "rabbit"), id="amqp-partition", marks=pytest.mark.service),
    pytest.param((StreamBus, "rabbit"), id="amqp-stream", marks=pytest.mark.service),
    pytest.param((OpenStackBus, "rabbit"), id="openstack", marks=pytest.mark.service),
]


# A quorum queue declared less than a moment before a kill -9 is lost to RabbitMQ 3.10 itself; partitions, several
# at once, outlive their broker in test_partitions, and a stream in test_streams.
KILLABLE = [broker for broker in BROKERS if broker.id not in {"amqp-quorum", "amqp-partition", "amqp-stream"}]


@pytest.fixture(params=[MEMORY, *BROKERS])
def bus(request: pytest.FixtureRequest) -> Bus:
    kind, server = request.param
    return kind() if server is None else kind(request.getfixturevalue(server))


@pytest.fixture(params=[MEMORY, *KILLABLE])
def mortal(request: pytest.FixtureRequest) -> Bus:
    kind, server = request.param
    return kind() if server is None else kind(request.getfixturevalue(server))


@pytest.fixture(params=KILLABLE)
def broker(request: pytest.FixtureRequest) -> Bus:
    kind, server = request.param
    return kind(request.getfixturevalue(server))


@asynccontextmanager
async def listening(source: Source) -> AsyncIterator[AsyncGenerator[Delivery, None]]:
    async with asyncio.timeout(PATIENCE), aclosing(source.deliveries()) as deliveries:
        yield deliveries


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


async def introduce(source: Source) -> None:
    """Let the broker know the consumer, so that it keeps what is published from now on."""
    deliveries = source.deliveries()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(anext(deliveries))
        await until(lambda: source.connected)
        await asyncio.sleep(0)
        first.cancel()
    await deliveries.aclose()


def numbers(batch: Batch) -> list[float]:
    return [measure.value for measure in batch.measures]


async def taken(source: Source, count: int, *, acknowledge: bool = True) -> list[float]:
    """Values in order of arrival, until there are ``count``; afterwards the source is closed."""
    values: list[float] = []
    async with listening(source) as deliveries:
        async for delivery in deliveries:
            values += numbers(delivery.batch)
            if len(values) >= count and not acknowledge:
                break
            await delivery.ack()
            if len(values) >= count:
                break
    return values


async def test_what_is_published_arrives_in_order(bus: Bus) -> None:
    source = bus.source()
    async with listening(source) as deliveries, asyncio.TaskGroup() as group:
        first = group.create_task(anext(deliveries))
        await until(lambda: source.connected)
        await bus.publish([measure(number) for number in range(3)])
        delivery = await first
        got = numbers(delivery.batch)
        await delivery.ack()
        while len(got) < 3:
            delivery = await anext(deliveries)
            got += numbers(delivery.batch)
            await delivery.ack()

        assert got == [0, 1, 2]
        assert delivery.batch.source == source.name


async def test_what_was_published_while_nobody_listened_arrives(bus: Bus) -> None:
    await introduce(bus.source())
    await bus.publish([measure(1), measure(2)])

    assert await taken(bus.source(), 2) == [1, 2]


async def test_what_was_not_acknowledged_comes_again(bus: Bus) -> None:
    await introduce(bus.source())
    await bus.publish([measure(number) for number in range(5)])
    source = bus.source()
    async with listening(source) as deliveries:
        await until(lambda: source.waiting == 0)
        await anext(deliveries)

    assert sorted(await taken(bus.source(), 5)) == [0, 1, 2, 3, 4]


async def test_what_was_acknowledged_does_not_come_again(bus: Bus) -> None:
    await introduce(bus.source())
    await bus.publish([measure(1), measure(2)])
    await taken(bus.source(), 2)
    await bus.publish([measure(3)])

    assert await taken(bus.source(), 1) == [3]


async def test_asking_on_without_acknowledging_brings_the_delivery_again(bus: Bus) -> None:
    await introduce(bus.source())
    await bus.publish([measure(1)])
    async with listening(bus.source()) as deliveries:
        first = await anext(deliveries)
        again = await anext(deliveries)

    assert numbers(first.batch) == numbers(again.batch) == [1]


async def test_an_acknowledgement_never_counts_for_another_link(bus: Bus) -> None:
    await introduce(bus.source())
    await bus.publish([measure(1)])
    async with listening(bus.source()) as deliveries:
        old = await anext(deliveries)
        await anext(deliveries)  # over a new link, on which the numbering begins anew
        await old.ack()

    assert await taken(bus.source(), 1) == [1]


async def test_a_killed_broker_is_found_again(mortal: Bus) -> None:
    source = mortal.source()
    async with listening(source) as deliveries, asyncio.TaskGroup() as group:
        waiting = group.create_task(anext(deliveries))
        await until(lambda: source.connected)
        mortal.kill()
        await until(lambda: not source.connected)
        await asyncio.to_thread(mortal.restart)
        await until(lambda: source.connected)
        await mortal.publish([measure(1)])
        delivery = await waiting
        await delivery.ack()

    assert numbers(delivery.batch) == [1]


async def test_a_delivery_in_hand_survives_the_broker_and_spares_what_came_after(mortal: Bus) -> None:
    source = mortal.source()
    async with listening(source) as deliveries, asyncio.TaskGroup() as group:
        first = group.create_task(anext(deliveries))
        await until(lambda: source.connected)
        await mortal.publish([measure(1)])
        old = await first
        mortal.kill()
        await asyncio.to_thread(mortal.restart)
        following = group.create_task(anext(deliveries))
        await until(lambda: not source.connected)
        await until(lambda: source.connected)
        await mortal.publish([measure(2)])
        await following
        await old.ack()

    assert 2 in await taken(mortal.source(), 1, acknowledge=False) + await taken(mortal.source(), 1)


async def test_a_poison_message_harms_nobody_and_is_acknowledged_with_the_rest(bus: Bus) -> None:
    await introduce(bus.source())
    await bus.publish([measure(1), b"\xff\x00 poison", measure(2)])
    values: list[float] = []
    rejected: list[Any] = []
    async with listening(bus.source()) as deliveries:
        async for delivery in deliveries:
            values += numbers(delivery.batch)
            rejected += delivery.batch.rejected
            await delivery.ack()
            if len(values) == 2:
                break
    await bus.publish([measure(3)])
    async with listening(bus.source()) as deliveries:
        afterwards = await anext(deliveries)
        await afterwards.ack()

    assert values == [1, 2]
    assert [fault.rejection for fault in rejected] == [Rejection.UNDECODABLE]
    assert numbers(afterwards.batch) == [3]
    assert afterwards.batch.rejected == []


async def test_what_arrives_while_a_delivery_is_in_hand_is_the_next_one(bus: Bus) -> None:
    source = bus.source()
    async with listening(source) as deliveries, asyncio.TaskGroup() as group:
        first = group.create_task(anext(deliveries))
        await until(lambda: source.connected)
        await bus.publish([measure(0)])
        in_hand = await first
        await bus.publish([measure(number) for number in range(1, 11)])
        await until(lambda: source.waiting == 10)
        await in_hand.ack()
        following = await anext(deliveries)
        await following.ack()

        assert numbers(following.batch) == list(range(1, 11))
        assert source.waiting == 0


async def test_a_burst_arrives_whole_and_in_batches(bus: Bus) -> None:
    await introduce(bus.source())
    await bus.publish([measure(number) for number in range(9000)])
    values: list[float] = []
    sizes: list[int] = []
    async with listening(bus.source()) as deliveries:
        async for delivery in deliveries:
            values += numbers(delivery.batch)
            sizes.append(len(delivery.batch.measures))
            await delivery.ack()
            if len(values) >= 9000:
                break

    assert sorted(values) == list(range(9000))
    assert max(sizes) <= 4000
    assert len(sizes) < 9000


async def test_no_more_is_taken_together_than_is_enough(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "TAKEN_BYTES", 3 * len(measure(10)))
    await introduce(bus.source())
    await bus.publish([measure(number) for number in range(10, 60)])
    source = bus.source()
    sizes: list[int] = []
    async with listening(source) as deliveries:
        async for delivery in deliveries:
            sizes.append(len(delivery.batch.measures))
            await delivery.ack()
            if sum(sizes) == 50:
                break

        assert max(sizes) <= 3
        assert source.waiting == 0


async def test_closing_leaves_no_task_behind(bus: Bus) -> None:
    before = asyncio.all_tasks()
    await introduce(bus.source())
    await bus.publish([measure(1)])
    source = bus.source()
    await taken(source, 1)
    gc.collect()  # what was left open would warn

    await until(lambda: asyncio.all_tasks() == before)
    assert not source.connected
    assert source.waiting == 0


async def test_a_cancelled_consumer_leaves_no_task_behind(bus: Bus) -> None:
    before = asyncio.all_tasks()
    source = bus.source()

    async def consume() -> None:
        async with listening(source) as deliveries:
            async for delivery in deliveries:
                await delivery.ack()

    async with asyncio.TaskGroup() as group:
        consumer = group.create_task(consume())
        await until(lambda: source.connected)
        consumer.cancel()
    gc.collect()  # what was left open would warn

    await until(lambda: asyncio.all_tasks() == before)
    assert not source.connected


async def test_a_broker_that_is_not_there_yet_is_waited_for_and_told_of_once(broker: Bus) -> None:
    broker.kill()
    source = broker.source()
    with capture_logs() as logs:
        async with listening(source) as deliveries, asyncio.TaskGroup() as group:
            first = group.create_task(anext(deliveries))
            await until(lambda: len(logs) > 0)
            await asyncio.to_thread(broker.restart)
            await until(lambda: source.connected)
            await broker.publish([measure(1)])
            await (await first).ack()

    events = [entry["event"] for entry in logs if entry["log_level"] != "debug"]
    assert events == ["source unreachable", "source connected"]


@pytest.mark.service
async def test_messages_of_qos_0_are_taken_too(mosquitto: MosquittoServer) -> None:
    bus = MqttBus(mosquitto)
    source = bus.source()
    async with listening(source) as deliveries, asyncio.TaskGroup() as group:
        first = group.create_task(anext(deliveries))
        await until(lambda: source.connected)
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
            await client.publish(f"{bus.id}/web", measure(1), qos=0)
        delivery = await first
        await delivery.ack()

    assert numbers(delivery.batch) == [1]


def test_what_nobody_promised_to_deliver_cannot_fill_the_memory() -> None:
    inbox = _Inbox()
    with capture_logs() as logs:
        for number in range(50_003):
            inbox.put_nowait(aiomqtt.Message("measures", b"", qos=0, retain=False, mid=number, properties=None))
        inbox.put_nowait(aiomqtt.Message("measures", b"", qos=1, retain=False, mid=1, properties=None))

    assert inbox.qsize() == 50_001
    assert [entry["event"] for entry in logs] == ["messages dropped"]


@pytest.mark.service
async def test_mqtt_5_is_asked_for_first(mosquitto: MosquittoServer) -> None:
    source = MqttSource(mosquitto.url, now=now, client_id=uuid.uuid4().hex)
    await introduce(source)

    assert source.version is aiomqtt.ProtocolVersion.V5


@pytest.mark.service
async def test_a_queue_declared_otherwise_is_told_of(rabbit: RabbitServer) -> None:
    queue = uuid.uuid4().hex
    await introduce(AmqpSource(rabbit.url, now=now, queue=queue))
    other = AmqpSource(rabbit.url, now=now, queue=queue, ttl=60, max_length=1000)
    with capture_logs() as logs:
        async with listening(other) as deliveries, asyncio.TaskGroup() as group:
            first = group.create_task(anext(deliveries))
            await until(lambda: len(logs) > 0)
            first.cancel()

    assert [entry["event"] for entry in logs] == ["source refused"]
    assert "PRECONDITION_FAILED" in logs[0]["error"]


@pytest.mark.service
async def test_a_deleted_queue_is_made_again(rabbit: RabbitServer) -> None:
    bus = AmqpBus(rabbit)
    source = bus.source()
    async with listening(source) as deliveries, asyncio.TaskGroup() as group:
        first = group.create_task(anext(deliveries))
        await until(lambda: source.connected)
        async with await aio_pika.connect(rabbit.url) as connection:
            await (await connection.channel()).queue_delete(bus.id)
        await until(lambda: not source.connected)
        await until(lambda: source.connected)
        await bus.publish([measure(1)])
        delivery = await first
        await delivery.ack()

    assert numbers(delivery.batch) == [1]


async def refusal(source: Source) -> dict[str, Any]:
    """The first thing that a source says of itself."""
    with capture_logs() as logs:
        async with listening(source) as deliveries, asyncio.TaskGroup() as group:
            first = group.create_task(anext(deliveries))
            await until(lambda: len(logs) > 0)
            first.cancel()
    assert "a secret" not in str(logs)
    return dict(logs[0])


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MosquittoServer]:
    """A broker that knows one user, who may use one topic."""
    folder = tmp_path_factory.mktemp("guarded")
    passwords, rights = folder / "passwords", folder / "rights"
    program = installed("mosquitto_passwd", package="mosquitto")
    subprocess.run([program, "-b", "-c", str(passwords), "ann", "a/secret"], check=True, capture_output=True)
    rights.write_text("user ann\ntopic readwrite ann/#\n")
    for file in (passwords, rights):
        file.chmod(0o600)
    with MosquittoServer(f"password_file {passwords}", f"acl_file {rights}") as server:
        yield server


@pytest.mark.service
async def test_mqtt_credentials_may_stand_in_the_url_or_beside_it(guarded: MosquittoServer) -> None:
    with_user = guarded.url.replace("//", "//ann:a%2Fsecret@")
    for source in (
        MqttSource(with_user, now=now, topic_filter="ann/#", client_id=uuid.uuid4().hex),
        MqttSource(guarded.url, now=now, topic_filter="ann/#", username="ann", password="a/secret"),
    ):
        await introduce(source)

        assert "secret" not in source.name


@pytest.mark.service
@pytest.mark.parametrize("version", [aiomqtt.ProtocolVersion.V5, aiomqtt.ProtocolVersion.V311], ids=["5", "3.1.1"])
async def test_wrong_mqtt_credentials_are_told_of(guarded: MosquittoServer, version: aiomqtt.ProtocolVersion) -> None:
    source = MqttSource(guarded.url, now=now, username="ann", password="a secret guessed", version=version)
    entry = await refusal(source)

    assert entry["event"] == "source refused"
    assert "not auth" in entry["error"].lower()


@pytest.mark.service
async def test_wrong_amqp_credentials_are_told_of(rabbit: RabbitServer) -> None:
    entry = await refusal(AmqpSource(rabbit.url, now=now, username="guest", password="a secret guessed"))

    assert entry["event"] == "source refused"
    assert "ACCESS_REFUSED" in entry["error"]


@pytest.mark.service
async def test_a_missing_virtual_host_is_told_of(rabbit: RabbitServer) -> None:
    entry = await refusal(AmqpSource(rabbit.url.replace("%2F", "nowhere"), now=now))

    assert entry["event"] == "source refused"
    assert "virtual host" in entry["error"]


@dataclass(frozen=True)
class Certificate:
    """Signed by itself, for 127.0.0.1."""

    file: str
    key: str


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("tls")
    made = Certificate(str(folder / "certificate.pem"), str(folder / "key.pem"))
    command = [installed("openssl", package="openssl"), "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]
    command += [
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-subj",
        "/CN=test",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    subprocess.run([*command, "-keyout", made.key, "-out", made.file], check=True, capture_output=True)
    return made


@pytest.mark.service
async def test_mqtt_over_tls(certificate: Certificate) -> None:
    port = free_port()
    files = [f"certfile {certificate.file}", f"keyfile {certificate.key}"]
    with MosquittoServer(f"listener {port} 127.0.0.1", *files):
        url = f"mqtts://127.0.0.1:{port}"
        await introduce(MqttSource(url, now=now, tls=Tls(ca=certificate.file)))
        await introduce(MqttSource(url, now=now, tls=Tls(verify=False)))
        entry = await refusal(MqttSource(url, now=now))

        assert entry["event"] == "source unreachable"
        assert "certificate verify failed" in entry["error"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # paho leaves the socket of a failed handshake to the garbage collector


@pytest.fixture(scope="module")
def plain_rabbit(certificate: Certificate) -> Iterator[tuple[RabbitServer, int]]:
    """A broker without plugins, and the port at which it speaks TLS."""
    port = free_port()
    files = [f"ssl_options.certfile = {certificate.file}", f"ssl_options.keyfile = {certificate.key}"]
    with RabbitServer(f"listeners.ssl.local = 127.0.0.1:{port}", *files, "ssl_options.verify = verify_none") as server:
        yield server, port


@pytest.mark.service
async def test_amqp_over_tls(plain_rabbit: tuple[RabbitServer, int], certificate: Certificate) -> None:
    url = f"amqps://guest:guest@127.0.0.1:{plain_rabbit[1]}"
    await introduce(AmqpSource(url, now=now, tls=Tls(ca=certificate.file)))
    await introduce(AmqpSource(url, now=now, tls=Tls(verify=False)))
    entry = await refusal(AmqpSource(url, now=now))

    assert entry["event"] == "source unreachable"
    assert "certificate verify failed" in entry["error"]


@pytest.mark.service
async def test_a_broker_without_the_plugin_for_partitions_is_told_of_with_the_command(
    plain_rabbit: tuple[RabbitServer, int],
) -> None:
    entry = await refusal(PartitionBus(plain_rabbit[0]).source())

    assert entry["event"] == "source refused"
    assert f"`rabbitmq-plugins enable {HASHING[0]}`" in entry["error"]


async def test_missing_tls_files_are_named() -> None:
    entry = await refusal(MqttSource("mqtts://127.0.0.1:1", now=now, tls=Tls(ca="/nowhere/ca.pem")))

    assert entry["event"] == "source refused"
    assert entry["error"].startswith("TLS files /nowhere/ca.pem: ")


@pytest.mark.parametrize(
    "url",
    ["http://host", "mqtt://", "host:1883", "mqtt://host:port", "mqtt://host/path", "mqtt://host:99999", "mqtt://[::1"],
)
def test_a_url_that_is_none_of_mqtt_is_refused(url: str) -> None:
    with pytest.raises(PermanentError, match="MQTT URL: "):
        MqttSource(url, now=now)


@pytest.mark.parametrize("url", ["http://host", "amqp://", "host:5672", "amqp://host:port", "amqp://host:99999"])
def test_a_url_that_is_none_of_amqp_is_refused(url: str) -> None:
    with pytest.raises(PermanentError, match="AMQP URL: "):
        AmqpSource(url, now=now)


@asynccontextmanager
async def old_broker() -> AsyncIterator[str]:
    """The URL of a broker that knows MQTT 3.1.1 only, and forbids all topics but some."""
    port = free_port()
    plugins = {
        "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True},
        "amqtt.plugins.topic_checking.TopicAccessControlListPlugin": {"acl": {"anonymous": ["measures/#"]}},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own affair
        broker = Broker({"listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}}, "plugins": plugins})
        await broker.start()
        try:
            yield f"mqtt://127.0.0.1:{port}"
        finally:
            await broker.shutdown()


@pytest.mark.service
async def test_a_broker_of_mqtt_3_1_1_is_spoken_to_in_its_own_tongue() -> None:
    async with old_broker() as url:
        source = MqttSource(url, now=now, topic_filter="measures/#")
        async with listening(source) as deliveries, asyncio.TaskGroup() as group:
            first = group.create_task(anext(deliveries))
            await until(lambda: source.connected)
            async with aiomqtt.Client("127.0.0.1", int(url.rpartition(":")[2])) as client:
                await client.publish("measures/web", measure(1), qos=1)
            delivery = await first
            await delivery.ack()

    assert numbers(delivery.batch) == [1]
    assert source.version is aiomqtt.ProtocolVersion.V311


async def test_a_forbidden_topic_is_told_of() -> None:
    async with old_broker() as url:
        entry = await refusal(MqttSource(url, now=now, topic_filter="a/#", version=aiomqtt.ProtocolVersion.V311))

    assert entry["event"] == "source refused"
    assert entry["error"].startswith("subscribing to a/#: ")


@pytest.mark.service
@pytest.mark.parametrize("kind", [MosquittoServer, RabbitServer])
async def test_closing_does_not_wait_for_a_broker_that_has_stopped_answering(
    kind: type[MosquittoServer | RabbitServer], request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("mosquitto" if kind is MosquittoServer else "rabbit")
    bus = MqttBus(server) if kind is MosquittoServer else AmqpBus(server)
    source = bus.source()
    before = asyncio.all_tasks()
    async with listening(source) as deliveries:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(anext(deliveries))
            await until(lambda: source.connected)
            await bus.publish([measure(1)])
            await first
        server.freeze()
        try:
            async with asyncio.timeout(10):
                await deliveries.aclose()
        finally:
            server.thaw()

    await until(lambda: asyncio.all_tasks() == before)
