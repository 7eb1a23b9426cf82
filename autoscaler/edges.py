"""The edges of a controller, made as its settings say: sources, actions, probes, targets and the API."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fastapi import FastAPI

from autoscaler.adapters import http
from autoscaler.adapters.actions.endpoints import EndpointBook
from autoscaler.adapters.actions.heat import HeatAction
from autoscaler.adapters.actions.log import LogAction
from autoscaler.adapters.actions.memory import MemoryAction
from autoscaler.adapters.actions.notification import NotificationAction
from autoscaler.adapters.actions.recorded import RecordedAction
from autoscaler.adapters.actions.trust import TrustAction
from autoscaler.adapters.actions.webhook import WebhookAction, tls_clients
from autoscaler.adapters.actions.zaqar import ZaqarAction
from autoscaler.adapters.clock import StoreClock, now
from autoscaler.adapters.clouds import Clouds
from autoscaler.adapters.heat import Heat
from autoscaler.adapters.keystone import Keystone, keystone_of
from autoscaler.adapters.openstack import PROJECT
from autoscaler.adapters.openstack import Service as CloudService
from autoscaler.adapters.orchestration import HeatOrchestration
from autoscaler.adapters.probes.octavia import OctaviaProbe
from autoscaler.adapters.probes.prometheus import PrometheusProbe
from autoscaler.adapters.reach import Guard
from autoscaler.adapters.redis import RedisStore, RedisTls
from autoscaler.adapters.sources import aodh, ceilometer, remote_write
from autoscaler.adapters.sources.again import Again, marking
from autoscaler.adapters.sources.amqp import AmqpSource
from autoscaler.adapters.sources.ceilometer import Reading
from autoscaler.adapters.sources.decode import LIVE, Limits, decode
from autoscaler.adapters.sources.gnocchi import GnocchiDecoder
from autoscaler.adapters.sources.heat import HeatSource
from autoscaler.adapters.sources.link import Tls
from autoscaler.adapters.sources.mqtt import MqttClearance, MqttSource, shared
from autoscaler.adapters.sources.openstack import OpenStackSource
from autoscaler.adapters.sources.partitions import PartitionClearance, PartitionSource, partitions, ring_of
from autoscaler.adapters.sources.streams import StreamSource
from autoscaler.adapters.sources.trust import Trust
from autoscaler.adapters.sources.udp import UdpSource
from autoscaler.adapters.targets.dry_run import DryRunTarget
from autoscaler.adapters.targets.heat import HeatTarget
from autoscaler.adapters.targets.http import HttpTarget
from autoscaler.adapters.targets.process import ProcessTarget
from autoscaler.adapters.targets.virtual import VirtualTarget
from autoscaler.adapters.tokens import TokenFile
from autoscaler.alarms.definition import SCHEMES
from autoscaler.alarms.rules import PoolHealthRule, PrometheusRule
from autoscaler.api import Readiness, create_app, v2
from autoscaler.api.authentication import by_tokens, noauth
from autoscaler.api.authentication import keystone as by_keystone
from autoscaler.api.failures import Failures
from autoscaler.api.guard import HEAD_SECONDS, Patience
from autoscaler.api.identity import Authenticate, Identity
from autoscaler.api.metrics import Metrics
from autoscaler.api.senders import Decoders
from autoscaler.api.v2.options import everywhere, nobody
from autoscaler.api.v2.stored import definition_of_stored
from autoscaler.engine.seats import Seats
from autoscaler.engine.service import Service
from autoscaler.engine.shadow import Shadow
from autoscaler.engine.tell import NOTIFICATION
from autoscaler.errors import PermanentError
from autoscaler.ports import Action, Bus, Decoder, Orchestration, Probe, Source, Target
from autoscaler.settings import Auth, Settings, SourceKind, stream_beginning

TEST_ROWS = 1000
"""Rows that ``test://`` keeps."""


@dataclass(frozen=True, slots=True)
class Edges:
    """What a controller has to do with the world.

    Attributes:
        keystone: None where there is none.
        tokens: the controller's own; None where it has none.
        witnesses: tell of groups that Heat owns.
        seats: that replicas share at brokers, those of each bus together.
        heat: None where no group of Heat's is to be signalled.
        guard: None where alarms may call anywhere.
        time: by which measures and events are in time.
    """

    settings: Settings
    trust: Trust
    keystone: Keystone | None
    tokens: TokenFile | None
    sources: list[Source]
    seats: Sequence[Seats]
    witnesses: list[Source]
    actions: dict[str, Action]
    probes: dict[type[PrometheusRule | PoolHealthRule], Probe]
    targets: dict[str, Target]
    heat: Orchestration | None
    guard: Guard | None
    time: StoreClock

    @classmethod
    async def build(cls, settings: Settings, stack: contextlib.AsyncExitStack) -> Edges:
        """All of them, connected to nothing yet; ``stack`` lets go of them.

        Raises:
            PermanentError, SettingsError, DeclarationError: one of them cannot be as it is told to.
        """
        time = StoreClock()
        trust = Trust.parse(settings.trusted_sources)
        keystone = keystone_of(settings, now)
        if keystone is not None:
            await stack.enter_async_context(keystone)
        cloud = await _cloud(settings, keystone, stack)
        heat = Heat(cloud("orchestration", settings.heat_url))
        guard = _guard(settings, keystone, stack)
        seats = _seats(settings)
        edges = cls(
            settings,
            trust,
            keystone,
            None if settings.tokens is None else TokenFile(settings.tokens, clock=now),
            _sources(settings, trust, time, seats),
            list(seats.values()),
            _witnesses(settings, time),
            await _actions(settings, keystone, cloud, heat, guard, stack),
            await _probes(settings, cloud, stack),
            await _targets(settings, cloud, stack),
            HeatOrchestration(heat),
            guard,
            time,
        )
        return edges._unmoving() if settings.shadow else edges

    def _unmoving(self) -> Edges:
        """The same, with nothing behind them that anybody could be called or moved by.

        Whatever actions and targets there are: each scheme's are recorded, each kind's are imagined.
        """
        recorder = RecordedAction({*SCHEMES, *self.actions, NOTIFICATION.partition(":")[0]} - {"policy"})
        return replace(
            self,
            witnesses=[],
            actions=dict.fromkeys(recorder.schemes, recorder),
            targets={kind: VirtualTarget(target) for kind, target in self.targets.items()},
            heat=None,
        )

    def shadow(self, metrics: Metrics) -> Shadow | None:
        """What compares this controller with Aodh; None where it is at work itself."""
        settings = self.settings
        if not settings.shadow:
            return None
        source = aodh.AodhSource(
            settings.aodh_url or "",
            now=self.time,
            tls=_amqp_tls(settings),
            exchange=settings.shadow_exchange,
            topic=settings.shadow_topic,
            queue=f"{settings.namespace}.aodh",
        )
        return Shadow(
            source,
            definition_of_stored,
            poll=settings.shadow_evaluation_interval,
            tolerance=settings.shadow_tolerance,
            counted=metrics.compared,
        )

    def api(self, service: Service, metrics: Metrics, readiness: Readiness, shadow: Shadow | None) -> FastAPI:
        """The API of a running controller."""
        settings, keystone = self.settings, self.keystone
        limits, by_http = _limits(settings), self._trusts(SourceKind.HTTP)
        trusts = keystone if settings.auth is Auth.KEYSTONE and not settings.shadow else None
        return create_app(
            service,
            decode=marking(
                lambda body: decode(body, now=self.time(), trusted=by_http, limits=limits),
                Decoder.NATIVE,
                trusted=by_http,
            ),
            decoders=self._decoders(),
            metrics=metrics,
            readiness=readiness,
            cors_origins=settings.cors_origins,
            authenticate=self._authenticate(),
            failures=Failures(settings.auth_failures, clock=asyncio.get_running_loop().time),
            metrics_open=settings.shows_metrics,
            own_names=settings.auth is Auth.NOAUTH and not settings.auth_force,
            aodh=v2.Options(
                alarm_max_actions=settings.alarm_max_actions,
                project_alarm_quota=settings.project_alarm_quota,
                user_alarm_quota=settings.user_alarm_quota,
                evaluation_metrics=settings.evaluation_metrics,
                trusts=None if trusts is None else _Trusts(trusts),
                admits=everywhere if self.guard is None else self.guard.admits,
                service_project=nobody if keystone is None else partial(keystone.project_id, "service"),
            ),
            beside=shadow,
        )

    @property
    def patience(self) -> Patience:
        """With whoever asks the API."""
        seconds = self.settings.api_timeout
        return Patience(self.settings.api_connections, request=seconds, head=min(HEAD_SECONDS, seconds))

    def _authenticate(self) -> Authenticate:
        settings, keystone, tokens = self.settings, self.keystone, self.tokens
        if settings.auth is Auth.KEYSTONE and keystone is not None:
            return by_keystone(keystone, settings.keystone_url or "", own=tokens)
        if settings.auth is Auth.TOKENS and tokens is not None:
            return by_tokens(tokens)
        return noauth()

    def read_again(self) -> Again:
        """What reads dead letters."""
        return Again(now=self.time, limits=_limits(self.settings), secret=_secret(self.settings))

    def _decoders(self) -> Decoders:
        limits, by_prometheus = _limits(self.settings), self._trusts(SourceKind.PROMETHEUS)
        samples = Reading(trusted=self._trusts(SourceKind.HTTP), limits=limits)
        events = replace(samples, kind="event", made_ids=True)
        return Decoders(
            samples=marking(
                lambda body: ceilometer.decode(body, samples, now=self.time()), Decoder.SAMPLES, trusted=samples.trusted
            ),
            events=marking(
                lambda body: ceilometer.decode(body, events, now=self.time()), Decoder.EVENTS, trusted=events.trusted
            ),
            remote_write=lambda body: remote_write.decode(body, now=self.time(), trusted=by_prometheus, limits=limits),
            gnocchi=GnocchiDecoder(limits),
            gnocchi_trusted=self.trust.trusts(SourceKind.GNOCCHI),
            clock=self.time,
        )

    def _trusts(self, kind: SourceKind) -> bool:
        """Whether what comes by HTTP may name its project; where senders show tokens, these decide in the end."""
        return self.settings.auth is not Auth.NOAUTH or self.trust.trusts(kind)


class _Trusts:
    """See :class:`autoscaler.api.v2.Trusts`."""

    def __init__(self, keystone: Keystone) -> None:
        self._keystone = keystone

    async def make(self, identity: Identity) -> str:
        """See :class:`autoscaler.api.v2.Trusts`."""
        return await self._keystone.make_trust(identity.token)

    async def drop(self, trust_id: str) -> None:
        """See :class:`autoscaler.api.v2.Trusts`."""
        await self._keystone.drop_trust(trust_id)


def _limits(settings: Settings) -> Limits:
    return replace(LIVE, max_future=settings.max_future)


def _secret(settings: Settings) -> str:
    return "" if settings.telemetry_secret is None else settings.telemetry_secret.get_secret_value()


def _seats(settings: Settings) -> dict[Bus, Seats]:
    """What replicas share at brokers; a shadow has all it needs to itself."""
    found: dict[Bus, Seats] = {}
    if settings.shadow:
        return found
    if settings.mqtt_url is not None:
        # one of a kind and several of another: no session has both subscriptions
        seat, number = f"{settings.namespace}-seat", settings.mqtt_seats
        names = [seat] if number == 1 else [f"{seat}-{each}" for each in range(1, number + 1)]
        # before there were seats each replica had a session of its own, in which something may wait
        found[Bus.MQTT] = Seats(names, left=[f"{settings.namespace}-{settings.replica}"])
    if settings.amqp_url is not None:
        # one that is begun elsewhere is another seat, since it has a position of its own
        stream = f"{settings.amqp_stream}@{settings.amqp_stream_from}"
        names = _partitions(settings) if settings.amqp_stream is None else [stream]
        # where there are no partitions any more, somebody has to end those that there were
        found[Bus.AMQP] = Seats(names, left=[settings.amqp_queue] if names else [], bus=Bus.AMQP)
    return found


def _partitions(settings: Settings) -> list[str]:
    return partitions(settings.amqp_queue, settings.amqp_partitions or 0, settings.amqp_partition_header or "")


def _mqtt(settings: Settings, trust: Trust, time: StoreClock, seats: Seats | None) -> list[Source]:
    if settings.mqtt_url is None:
        return []
    options: dict[str, Any] = {
        "now": time,
        "username": settings.mqtt_username,
        "password": None if settings.mqtt_password is None else settings.mqtt_password.get_secret_value(),
        "tls": _mqtt_tls(settings),
        "trust": trust,
        "limits": _limits(settings),
    }
    if seats is None:
        client_id = f"{settings.namespace}-{settings.replica}"
        return [
            MqttSource(
                settings.mqtt_url, topic_filter=settings.mqtt_topic, client_id=client_id, session_expiry=0.0, **options
            )
        ]
    divided = shared(settings.mqtt_topic, settings.namespace)
    topic_filter = settings.mqtt_topic if settings.mqtt_seats == 1 else divided
    return [
        *(MqttSource(settings.mqtt_url, topic_filter=topic_filter, seat=seat, **options) for seat in seats.seats),
        MqttClearance(
            settings.mqtt_url,
            topic_filter=topic_filter,
            filters=[settings.mqtt_topic, divided],
            seat=seats.spare,
            **options,
        ),
    ]


def _amqp(settings: Settings, trust: Trust, time: StoreClock, seats: Seats | None) -> list[Source]:
    url = settings.amqp_url
    if url is None:
        return []
    options: dict[str, Any] = {
        "now": time,
        "tls": _amqp_tls(settings),
        "queue": settings.amqp_queue,
        "exchange": settings.amqp_exchange,
        "routing_key": settings.amqp_routing_key,
        "prefetch": settings.amqp_prefetch,
        "quorum": settings.amqp_quorum,
        "ttl": settings.amqp_ttl,
        "max_length": settings.amqp_max_length,
        "expires": aodh.KEPT if settings.shadow else None,
        "trust": trust,
        "limits": _limits(settings),
    }
    if seats is None:
        return [AmqpSource(url, **options)]
    return [*_seated(url, settings, seats, options), _clearance(url, settings, seats, options)]


def _seated(url: str, settings: Settings, seats: Seats, options: Mapping[str, Any]) -> Sequence[Source]:
    if settings.amqp_stream is not None:
        (seat,) = seats.seats
        stream = {name: value for name, value in options.items() if name not in {"queue", "quorum", "max_length"}}
        return [
            StreamSource(
                url,
                stream=settings.amqp_stream,
                seat=seat,
                begin=stream_beginning(settings.amqp_stream_from),
                max_bytes=settings.amqp_stream_max_bytes,
                **stream,
            )
        ]
    header = settings.amqp_partition_header or ""
    divided = [PartitionSource(url, seat=seat, header=header, **options) for seat in seats.seats]
    return divided or [AmqpSource(url, **options)]


def _clearance(url: str, settings: Settings, seats: Seats, options: Mapping[str, Any]) -> Source:
    ring = ring_of(_partitions(settings)[0]) if settings.amqp_partitions else ""
    return PartitionClearance(url, seat=seats.spare, ring=ring, single=not seats.seats, **options)


def _sources(settings: Settings, trust: Trust, time: StoreClock, seats: Mapping[Bus, Seats]) -> list[Source]:
    limits = _limits(settings)
    sources = _mqtt(settings, trust, time, seats.get(Bus.MQTT)) + _amqp(settings, trust, time, seats.get(Bus.AMQP))
    if settings.openstack_url is not None:
        sources.append(
            OpenStackSource(
                settings.openstack_url,
                now=time,
                tls=_amqp_tls(settings),
                exchange=settings.openstack_exchange,
                samples=settings.openstack_samples,
                events=settings.openstack_events,
                queue=settings.openstack_queue,
                existing_queues=settings.openstack_existing_queues,
                ttl=settings.openstack_ttl,
                max_length=settings.openstack_max_length,
                expires=aodh.KEPT if settings.shadow else None,
                secret=_secret(settings),
                trust=trust,
                limits=limits,
            )
        )
    if settings.udp is not None:
        reading = Reading(trusted=trust.trusts(SourceKind.UDP), secret=_secret(settings), limits=limits)
        sources.append(UdpSource(settings.udp, now=time, reading=reading))
    return sources


def _witnesses(settings: Settings, time: StoreClock) -> list[Source]:
    if settings.openstack_url is None or not settings.heat_exchange:
        return []
    return [
        HeatSource(
            settings.openstack_url,
            now=time,
            tls=_amqp_tls(settings),
            exchange=settings.heat_exchange,
            queue=settings.openstack_queue,
            ttl=settings.openstack_ttl,
            max_length=settings.openstack_max_length,
        )
    ]


def _mqtt_tls(settings: Settings) -> Tls | None:
    if settings.mqtt_ca is None and settings.mqtt_cert is None:
        return None
    return Tls(str(settings.mqtt_ca or ""), str(settings.mqtt_cert or ""), str(settings.mqtt_key or ""))


def _amqp_tls(settings: Settings) -> Tls:
    return Tls(str(settings.amqp_ca or ""), str(settings.amqp_cert or ""), str(settings.amqp_key or ""))


def redis_store(settings: Settings, url: str) -> RedisStore:
    """The store at a URL, which is the settings' own or the embedded server's. It is to be closed."""
    return RedisStore(
        url,
        namespace=settings.namespace,
        shards=settings.shards,
        history_ttl=settings.history_ttl,
        wait=settings.redis_wait,
        tls=RedisTls(str(settings.redis_ca or ""), str(settings.redis_cert or ""), str(settings.redis_key or "")),
    )


Cloud = Callable[[str, str | None], CloudService]
"""A service by its type in the catalog, or at the URL that the settings give."""


async def _cloud(settings: Settings, keystone: Keystone | None, stack: contextlib.AsyncExitStack) -> Cloud:
    context = http.tls("AUTOSCALER_KEYSTONE_CA", str(settings.keystone_ca or ""))
    client = await stack.enter_async_context(http.client(verify=context))

    def service(kind: str, url: str | None) -> CloudService:
        return CloudService(kind, keystone, client, url=url or "", timeout=settings.webhook_timeout)

    return service


def _guard(settings: Settings, keystone: Keystone | None, stack: contextlib.AsyncExitStack) -> Guard | None:
    reach = settings.reach
    if reach is None:
        return None
    services = () if settings.heat_url is None else (settings.heat_url.replace(PROJECT, ""),)
    return stack.enter_context(Guard(reach, services=services, catalog=keystone))


async def _actions(
    settings: Settings,
    keystone: Keystone | None,
    cloud: Cloud,
    heat: Heat,
    guard: Guard | None,
    stack: contextlib.AsyncExitStack,
) -> dict[str, Action]:
    clients = tls_clients(
        ca=str(settings.webhook_ca or ""),
        verify=settings.webhook_verify,
        certificate=str(settings.webhook_cert or ""),
        key=str(settings.webhook_key or ""),
    )
    try:
        await clients(True).aclose()
    except OSError as error:
        raise PermanentError(f"AUTOSCALER_WEBHOOK_CA, _CERT, _KEY: {error}") from error
    webhook = await stack.enter_async_context(
        WebhookAction(
            settings.webhook_timeout,
            clients,
            allow_unverified=settings.webhook_allow_unverified,
            guard=guard,
            endpoints=None if settings.endpoints is None else EndpointBook(settings.endpoints, now=now),
        )
    )
    actions: list[Action] = [
        webhook,
        LogAction(),
        MemoryAction({"test"}, limit=TEST_ROWS),
        TrustAction(webhook, keystone),
        ZaqarAction(cloud("messaging", settings.zaqar_url), settings.webhook_timeout, guard),
        HeatAction(heat, settings.webhook_timeout),
    ]
    if settings.notify_url is not None:
        notification = NotificationAction(
            settings.notify_url,
            exchange=settings.notify_exchange,
            topic=settings.notify_topic,
            timeout=settings.webhook_timeout,
            tls=_amqp_tls(settings).context() if settings.notify_url.startswith("amqps:") else None,
        )
        actions.append(await stack.enter_async_context(notification))
    return {scheme: action for action in actions for scheme in action.schemes}


async def _probes(
    settings: Settings, cloud: Cloud, stack: contextlib.AsyncExitStack
) -> dict[type[PrometheusRule | PoolHealthRule], Probe]:
    probes: dict[type[PrometheusRule | PoolHealthRule], Probe] = {}
    if settings.prometheus_url is not None:
        probes[PrometheusRule] = await stack.enter_async_context(
            PrometheusProbe(
                settings.prometheus_url,
                ca=str(settings.prometheus_ca or ""),
                project_label=settings.prometheus_project_label,
            )
        )
    if settings.octavia_url is not None or settings.keystone_url is not None:
        probes[PoolHealthRule] = OctaviaProbe(cloud("load-balancer", settings.octavia_url), now)
    return probes


async def _targets(settings: Settings, cloud: Cloud, stack: contextlib.AsyncExitStack) -> dict[str, Target]:
    clouds = await stack.enter_async_context(Clouds(settings.clouds, clock=now, timeout=settings.webhook_timeout))

    async def service(name: str, kind: str) -> CloudService:
        if name:
            return await clouds.service(name, kind)
        return cloud(kind, settings.heat_url if kind == "orchestration" else None)

    return {
        "heat": HeatTarget(service, now, wedged_after=settings.heat_wedged_after, repair=settings.heat_repair),
        "process": await stack.enter_async_context(ProcessTarget()),
        "http": await stack.enter_async_context(HttpTarget()),
        "dry_run": DryRunTarget(),
    }
