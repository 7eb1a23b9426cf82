"""How many measures a second: a backlog that waits at the broker, taken by one contestant after another."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import islice
from typing import Final

from autoscaler.alarms.definition import Definition
from bench import flame
from bench.alarms import of_group, of_resource
from bench.contestants import Controller, Race, Reference
from bench.nothing import called
from bench.publish import AmqpPublisher, MqttPublisher, Reporting, batched
from bench.rows import BY_KEY, Measured
from bench.world import Sizes, World, names

FEW: Final = 1000
"""Series that report one by one, with an alarm each."""
SERIES: Final = 10_000
BATCH: Final = 100
"""Measures of a message."""
GROUPS, MEMBERS = 100, 1000
WATCHED: Final = 10
"""Alarms over the stream, of a tenth of its series each, while there are ever more alarms over others."""
MANY: Final = 100_000
SPREAD: Final = 150.0
"""Seconds over which the measures of the first round were taken: of a whole minute every alarm has a state."""
SECONDS: Final = 2.0
"""That calls of a function which does nothing are counted."""

Messages = Callable[[int], Sequence[bytes]]


def _reported(series: Sequence[str], batch: int, tail: Sequence[str] = ()) -> Messages:
    reporting = Reporting(series, seconds=SPREAD, tail=tail)
    return lambda count: batched(reporting.measures(count), batch)


def _of_groups(members: int, groups: int) -> Messages:
    series = names(members * groups)
    return _reported(
        series, BATCH, [f',"metadata":{{"server_group":"group-{number % groups}"}}' for number in range(len(series))]
    )


def _own(series: Sequence[str]) -> Iterator[Definition]:
    """An alarm for each series."""
    return (of_resource(number, each) for number, each in enumerate(series))


def _over_groups(count: int) -> Iterator[Definition]:
    return (of_group(number, f"group-{number}") for number in range(count))


def _amqp(world: World, name: str) -> dict[str, str]:
    """Settings for a controller with an exchange and a queue of its own."""
    return {"AMQP_URL": world.amqp, "AMQP_EXCHANGE": name, "AMQP_QUEUE": name}


async def amqp(world: World) -> list[Measured]:
    """One measure per message over AMQP."""
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(
            Controller.running("amqp-ours", world.folder, _amqp(world, "single"), _own(names(FEW)))
        )
        theirs = await stack.enter_async_context(Reference.running("amqp", world.amqp, "single", "single-reference"))
        publisher = await stack.enter_async_context(AmqpPublisher.connected(world.amqp, "single"))
        return [await _against(world, "amqp", ours, theirs, Race(publisher, [theirs, ours]))]


async def mqtt(world: World) -> list[Measured]:
    """One measure per message over MQTT with QoS 1."""
    async with AsyncExitStack() as stack:
        settings = {"MQTT_URL": world.mosquitto.url}
        ours = await stack.enter_async_context(
            Controller.running("mqtt-ours", world.folder, settings, _own(names(FEW)))
        )
        theirs = await stack.enter_async_context(Reference.running("mqtt", world.mosquitto.url, "measures/#"))
        publisher = await stack.enter_async_context(MqttPublisher.connected(world.mosquitto.url, "measures/bench"))
        return [await _against(world, "mqtt", ours, theirs, Race(publisher, [theirs, ours]))]


async def _against(world: World, key: str, ours: Controller, theirs: Reference, race: Race) -> Measured:
    found, sizes, messages = Measured(BY_KEY[key]), Sizes(10_000, 1000), _reported(names(FEW), 1)
    for number in range(world.rounds + 1):
        count = sizes.count
        took = await race.run(messages(count))
        sizes.learn(took.values())
        if number:  # the first was to warm up
            found.add(count / took[ours.name], count / took[theirs.name])
            world.say(found)
    return found


async def batches(world: World) -> list[Measured]:
    """Many measures per message: an alarm for each series, and alarms over groups of series."""
    each, groups = Measured(BY_KEY["batches"]), Measured(BY_KEY["groups"])
    batch = [(some, [struct.pack("<dd", 1e9, 1.0)] * BATCH) for some in _pieces(names(SERIES), BATCH)]
    async with AsyncExitStack() as stack:
        races = {}
        for name, definitions, messages, first in (
            ("each", _own(names(SERIES)), _reported(names(SERIES), BATCH), 10 * SERIES),
            ("groups", _over_groups(GROUPS), _of_groups(MEMBERS, GROUPS), GROUPS * MEMBERS),
        ):
            ours = await stack.enter_async_context(
                Controller.running(name, world.folder, _amqp(world, name), definitions)
            )
            publisher = await stack.enter_async_context(AmqpPublisher.connected(world.amqp, name))
            races[name] = (ours, Race(publisher, [ours]), messages, Sizes(first, 1000))
        for number in range(world.rounds + 1):
            rates = {}
            for name, (ours, race, messages, sizes) in races.items():
                count, last = sizes.count, number == world.rounds
                with flame.graph(world.flame if name == "each" and last else None, ours.pid):
                    took = await race.run(messages(count))
                sizes.learn(took.values())
                rates[name] = count / took[ours.name]
            if number:
                each.add(rates["each"], await called(races["each"][0].redis.url, batch, seconds=SECONDS))
                groups.add(rates["groups"], rates["each"])
                world.say(each)
                world.say(groups)
    return [each, groups]


async def alarms(world: World) -> list[Measured]:
    """The same stream while there are few alarms, and many; what it takes to hold these and to start with them."""
    found, resident, start = (Measured(BY_KEY[key]) for key in ("alarms", "resident", "start"))
    messages, sizes = _of_groups(SERIES // WATCHED, WATCHED), Sizes(50_000, 1000)
    others = (of_resource(WATCHED + number, f"other-{number}") for number in range(MANY - WATCHED))
    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(AmqpPublisher.connected(world.amqp, "stream"))
        # each with a queue of its own at the one exchange
        few, many = [
            await stack.enter_async_context(
                Controller.running(
                    name, world.folder, _amqp(world, "stream") | {"AMQP_QUEUE": name}, [*_over_groups(WATCHED), *more]
                )
            )
            for name, more in (("few", ()), ("many", others))
        ]
        race = Race(publisher, [few, many])
        for each in (few, many):
            await each.settled()
        for number in range(world.rounds + 1):
            count = sizes.count
            took = await race.run(messages(count))
            sizes.learn(took.values())
            if number:
                found.add(took[many.name] / count * 1e6, took[few.name] / count * 1e6)
                world.say(found)
        for _ in range(world.rounds):
            many.end()
            start.add(many.started())
            resident.add(many.resident())
            world.say(start)
            world.say(resident)
    return [found, resident, start]


def _pieces(series: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    rest = iter(series)
    while some := list(islice(rest, size)):
        yield some
