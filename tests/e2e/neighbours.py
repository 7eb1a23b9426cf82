"""What stands around a controller: a service with a size, a receiver of webhooks, and a publisher of measures."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import aio_pika
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

CONFLICT = 409


@dataclass(frozen=True)
class Resize:
    """A PUT, and whether it was obeyed."""

    time: float
    size: int
    fence: int
    key: str
    obeyed: bool


@dataclass(frozen=True)
class Post:
    """A webhook that was received."""

    time: float
    key: str
    body: bytes


@dataclass
class Neighbours:
    """An HTTP server that owns the size of a group and takes webhooks, each recorded."""

    size: int = 1
    fence: int = 0
    resizes: list[Resize] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def resized(self, body: bytes, key: str) -> int:
        """Take a PUT as a careful target does: what is older than what was obeyed is refused."""
        asked = json.loads(body)
        with self._lock:
            obeyed = asked["fence"] >= self.fence
            self.resizes.append(Resize(time.time(), asked["size"], asked["fence"], key, obeyed))
            if obeyed:
                self.size, self.fence = asked["size"], asked["fence"]
        return 200 if obeyed else CONFLICT

    def posted(self, body: bytes, key: str) -> int:
        with self._lock:
            self.posts.append(Post(time.time(), key, body))
        return 200


def _handler(neighbours: Neighbours) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(200, json.dumps({"size": neighbours.size}).encode())

        def do_PUT(self) -> None:
            self._answer(neighbours.resized(self._body(), self.headers["idempotency-key"]), b"{}")

        def do_POST(self) -> None:
            self._answer(neighbours.posted(self._body(), self.headers["idempotency-key"]), b"")

        def _body(self) -> bytes:
            length = int(self.headers.get("content-length", 0))
            body = self.rfile.read(length)
            if len(body) < length:
                raise ConnectionError("whoever sent it was killed meanwhile")
            return body

        def _answer(self, status: int, body: bytes) -> None:
            with suppress(ConnectionError):  # whoever asked was killed meanwhile
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def handle(self) -> None:
            with suppress(ConnectionError):
                super().handle()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Requests are recorded elsewhere."""

    return Handler


class Pace(ABC):
    """Publishes measures one by one, at a pace, until told to stop; keeps those that the broker has taken.

    Args:
        measure: the n-th, made at its time.
        interval: seconds between two.
    """

    def __init__(self, measure: Callable[[int, float], dict[str, Any]], *, interval: float) -> None:
        self.published: list[dict[str, Any]] = []
        self._measure = measure
        self._interval = interval
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._thread = threading.Thread(target=self._run)

    @abstractmethod
    def _connected(self) -> AbstractContextManager[Callable[[dict[str, Any]], None]]:
        """What publishes a measure, and returns when the broker has it; used in one thread."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Publish no more; returns when the broker has the last one."""
        self._stop.set()
        self._thread.join()
        for failure in self._failures:
            raise failure

    def _run(self) -> None:
        try:
            with self._connected() as publish:
                while not self._stop.wait(self._interval):
                    measure = self._measure(len(self.published), time.time())
                    publish(measure)
                    self.published.append(measure)
        except BaseException as failure:  # noqa: BLE001 - raised again by whoever stops it
            self._failures.append(failure)


class Publisher(Pace):
    """Publishes to one topic of an MQTT broker."""

    def __init__(
        self, port: int, topic: str, measure: Callable[[int, float], dict[str, Any]], *, interval: float
    ) -> None:
        super().__init__(measure, interval=interval)
        self._port = port
        self._topic = topic

    @contextmanager
    def _connected(self) -> Iterator[Callable[[dict[str, Any]], None]]:
        client = Client(CallbackAPIVersion.VERSION2)
        client.connect("127.0.0.1", self._port)
        client.loop_start()

        def publish(measure: dict[str, Any]) -> None:
            sent = client.publish(self._topic, json.dumps(measure), qos=1)
            sent.wait_for_publish(10)
            assert sent.is_published(), "the broker did not take a measure"

        try:
            yield publish
        finally:
            client.disconnect()
            client.loop_stop()


class AmqpPublisher(Pace):
    """Publishes to a topic exchange, which is there already, under the resource's id."""

    def __init__(
        self, url: str, exchange: str, measure: Callable[[int, float], dict[str, Any]], *, interval: float
    ) -> None:
        super().__init__(measure, interval=interval)
        self._url = url
        self._exchange = exchange

    @contextmanager
    def _connected(self) -> Iterator[Callable[[dict[str, Any]], None]]:
        with asyncio.Runner() as runner:
            connection = runner.run(aio_pika.connect(self._url))
            exchange = runner.run(self._found(connection))

            def publish(measure: dict[str, Any]) -> None:
                message = aio_pika.Message(json.dumps(measure).encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
                runner.run(exchange.publish(message, measure["resource_id"], timeout=10))

            try:
                yield publish
            finally:
                runner.run(connection.close())

    async def _found(self, connection: aio_pika.abc.AbstractConnection) -> aio_pika.abc.AbstractExchange:
        channel = await connection.channel(on_return_raises=True)  # what goes nowhere is not taken
        return await channel.get_exchange(self._exchange)
