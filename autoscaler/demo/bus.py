"""Measures to and from the demo's broker; quick to import, since every worker does."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Self

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

TOPIC = "measures"
GROUP = "web"

Measure = dict[str, Any]
"""Native, as the controller takes it: metric, resource_id, timestamp, value, unit, metadata."""


def measure(metric: str, resource_id: str, value: float, *, unit: str, now: float) -> Measure:
    """A measure of the demo's group, taken at ``now`` (Unix seconds)."""
    return {
        "metric": metric,
        "resource_id": resource_id,
        "timestamp": now,
        "value": value,
        "unit": unit,
        "metadata": {"server_group": GROUP},
    }


class Bus:
    """A connection that comes back by itself; what is published meanwhile waits.

    Args:
        port: of the broker on this machine.
        name: MQTT client id.
        heard: called with each message's measures, in the connection's own thread; None subscribes to nothing.
    """

    def __init__(self, port: int, name: str, heard: Callable[[Sequence[Measure]], None] | None = None) -> None:
        self._port = port
        self._heard = heard
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=name)
        self._client.max_queued_messages_set(1000)
        self._client.reconnect_delay_set(1, 2)
        self._client.on_connect = self._connected
        self._client.on_message = self._arrived

    def __enter__(self) -> Self:
        self._client.connect_async("127.0.0.1", self._port, keepalive=15)
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, measures: Sequence[Measure]) -> None:
        """Send ``measures`` as one message, at least once; nothing for none."""
        if measures:
            self._client.publish(f"{TOPIC}/{measures[0]['resource_id']}", json.dumps(measures), qos=1)

    def _connected(
        self, client: Client, _data: Any, _flags: ConnectFlags, _code: ReasonCode, _properties: Properties | None
    ) -> None:
        if self._heard is not None:
            client.subscribe(f"{TOPIC}/#", qos=1)

    def _arrived(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        if self._heard is not None:
            self._heard(json.loads(message.payload))
