"""Samples over UDP, on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

import msgspec
import pytest

from autoscaler.adapters.sources.ceilometer import Reading
from autoscaler.adapters.sources.udp import UdpSource
from autoscaler.errors import PermanentError, Rejection
from autoscaler.ports import Delivery

NOW = 1_795_186_800.0


def sample(number: int) -> bytes:
    return msgspec.msgpack.encode(
        {"counter_name": "cpu", "counter_volume": number, "resource_id": "vm", "timestamp": "2026-11-20T15:00:00"}
    )


def source(address: str = "127.0.0.1:0", *, room: int = 100) -> UdpSource:
    return UdpSource(address, now=lambda: NOW, reading=Reading(), room=room)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def listening(source: UdpSource) -> AsyncIterator[tuple[AsyncGenerator[Delivery, None], asyncio.Task[Delivery]]]:
    """The source with its first delivery under way."""
    async with aclosing(source.deliveries()) as deliveries, asyncio.TaskGroup() as group:
        first = group.create_task(anext(deliveries))  # type: ignore[arg-type]
        await until(lambda: source.connected)
        yield deliveries, first


def send(source: UdpSource, *datagrams: bytes) -> None:
    assert source.port is not None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for datagram in datagrams:
            sender.sendto(datagram, ("127.0.0.1", source.port))


async def test_datagrams_come_as_batches() -> None:
    udp = source()
    async with listening(udp) as (deliveries, first):
        send(udp, sample(1))
        delivery = await first
        await delivery.ack()
        send(udp, sample(2), b"\xc1", sample(3))
        await until(lambda: udp.waiting == 3)
        second = await anext(deliveries)

    assert [measure.value for measure in delivery.batch.measures] == [1]
    assert [measure.value for measure in second.batch.measures] == [2, 3]
    assert [found.rejection for found in second.batch.rejected] == [Rejection.UNDECODABLE]
    assert delivery.batch.source == udp.name
    assert not udp.connected


async def test_what_has_no_room_is_dropped_and_told_of() -> None:
    udp = source(room=2)
    async with listening(udp) as (deliveries, first):
        send(udp, sample(0))
        await first
        send(udp, *(sample(number) for number in range(1, 6)))
        await until(lambda: udp._inbox.lost == 3)
        delivery = await anext(deliveries)

    assert [measure.value for measure in delivery.batch.measures] == [1, 2]
    ((rejection, detail),) = [(found.rejection, found.detail) for found in delivery.batch.rejected]
    assert rejection is Rejection.OVERRUN
    assert detail.startswith("3 datagrams")


async def test_a_port_that_is_taken_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoscaler.adapters.sources.udp.RETRY_DELAY", 0.01)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        udp = source(f"127.0.0.1:{other.getsockname()[1]}")
        deliveries = udp.deliveries()
        async with asyncio.TaskGroup() as group:
            first = group.create_task(anext(deliveries))  # type: ignore[arg-type]
            await asyncio.sleep(0)
            assert not udp.connected
            other.close()
            await until(lambda: udp.connected)
            send(udp, sample(1))
            delivery = await first
        await deliveries.aclose()

    assert len(delivery.batch.measures) == 1


@pytest.mark.parametrize("address", ["", "4952", ":4952", "host", "host:", "host:port", "host:70000"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(PermanentError, match="expected HOST:PORT"):
        source(address)
