"""The composition root: from settings to a running controller. Builds everything, decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from functools import partial
from pathlib import Path

import structlog
import uvicorn

from autoscaler import __version__
from autoscaler.adapters.allocator import give_back
from autoscaler.adapters.clock import now
from autoscaler.adapters.files import changes, texts
from autoscaler.adapters.listeners import Listeners, LoggingListener
from autoscaler.adapters.logs import configure
from autoscaler.adapters.redis import EmbeddedServer, RedisStore
from autoscaler.adapters.schedule import CronCalendar
from autoscaler.alarms.rules import OnOutage
from autoscaler.api.guard import MAX_HEADER_BYTES, guarded
from autoscaler.api.metrics import Metrics
from autoscaler.declarations import Declarations, dump, load, parse, warnings
from autoscaler.declarations.definitions import alarm_of, definition_of
from autoscaler.edges import Edges, redis_store
from autoscaler.engine.audit import Change
from autoscaler.engine.catalogue import Dialect
from autoscaler.engine.controller import Controller
from autoscaler.engine.run import Runner, Wake
from autoscaler.engine.service import CLOCK_SKEW_LIMIT, Service
from autoscaler.engine.shadow import Shadow
from autoscaler.errors import AutoscalerError, DeclarationError, PermanentError, TemporaryError, UnknownStateError
from autoscaler.ports import STATE_FORM, Heartbeat
from autoscaler.scaling.group import Actor
from autoscaler.settings import Mixed, Settings, unknown_variables

log = structlog.get_logger()

GRACE = 5
"""Seconds that requests which are being answered may take when the controller ends."""
BACKLOG = 256
"""Connections that may wait to be taken."""
GIVEN_BACK_EVERY = 60.0
"""Seconds between two times that free memory is given back, which takes milliseconds."""
COLLECTED_AFTER = 50_000
"""Objects made that were not given back, after which the garbage collector looks at these."""
FROZEN_STEP, FROZEN_INTERVAL = 1000, 5.0
"""Alarms that must have come since the garbage collector was last told, and seconds between two looks."""
START_PATIENCE = 60.0
"""Seconds that a controller waits for its Redis when it starts."""


def run(settings: Settings) -> int:
    """Run a controller until it is told to end; the exit status."""
    configure(settings.log_format, settings.log_level)
    for unknown in unknown_variables(os.environ):
        log.warning("setting ignored", setting=unknown)
    # until the controller has its own: what is the first process of a container hears of no signal without a handler
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    failures: list[BaseException] = []
    try:
        asyncio.run(run_controller(settings))
    except* AutoscalerError as group:
        failures = _leaves(group)
    for failure in failures:
        for line in str(failure).splitlines():
            log.error("cannot run", error=line)
    return 1 if failures else 0


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


async def run_controller(settings: Settings) -> None:
    """Run a controller until SIGTERM or SIGINT; everything it started has ended when this returns.

    Raises:
        PermanentError: it cannot run here as it is told to.
        DeclarationError: what is declared cannot be loaded, and nothing was in force before.
        TemporaryError: Redis could not be reached for a minute.
        UnknownStateError: its state is in a form that this version does not know.
    """
    # what a batch makes lives as long as the batch, and what a start makes stays; hardly any of it is in a cycle
    gc.set_threshold(COLLECTED_AFTER, *gc.get_threshold()[1:])
    gc.disable()  # until it runs: what a start with many alarms makes stays
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(gc.enable)
        _check_certificate(settings)
        listening = _bound(settings)
        stack.callback(listening.close)
        embedded, url = None, settings.redis_url
        if url is None:
            embedded = await stack.enter_async_context(EmbeddedServer(settings.state_dir / "valkey"))
            url = embedded.url
        store = redis_store(settings, url)
        stack.push_async_callback(store.close)
        await _patiently(store.generation)
        for problem in () if settings.allow_volatile_redis else await store.check():
            log.warning("not ready", problem=problem)
        live = await _Live.build(settings, store, stack)
        await live.start()
        await live.serve(listening, embedded)


async def adopt(
    controller: Controller, generation: str, declared: Declarations, *, mixed_as_aodh: bool, outage: OnOutage
) -> None:
    """Have a controller run what is declared, and understand definitions beside it.

    Raises:
        TemporaryError: as :meth:`autoscaler.engine.controller.Controller.adopt`.
    """
    dialect = Dialect(
        partial(alarm_of, derived=declared.derived, mixed_as_aodh=mixed_as_aodh, outage=outage),
        partial(definition_of, timestamp=0.0),
        # of nothing else: each other key has every stored definition understood anew
        f"{sorted(declared.derived.items())} {mixed_as_aodh} {outage}",
    )
    await controller.adopt(
        generation,
        declared.alarms,
        declared.groups,
        declared.policies,
        declared.schedules,
        origins={alarm_id: str(declared.origin("alarm", alarm_id)) for alarm_id in declared.alarms},
        dialect=dialect,
    )


def _check_certificate(settings: Settings) -> None:
    """Fail at once where the API could not show its certificate."""
    if settings.api_cert is None:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(settings.api_cert, settings.api_key)
        if settings.api_client_ca is not None:
            context.load_verify_locations(settings.api_client_ca)
    except OSError as error:  # of which SSLError is one
        raise PermanentError(f"AUTOSCALER_API_CERT, _KEY, _CLIENT_CA: {error}") from error


def _bound(settings: Settings) -> socket.socket:
    """The API's socket, bound before anything is started, so that a second controller fails at once."""
    family = socket.AF_INET6 if ":" in settings.api_host else socket.AF_INET
    # of a socket that does not say TCP asyncio does not know that answers must not wait for one another (TCP_NODELAY)
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((settings.api_host, settings.api_port))
    except OSError as error:
        bound.close()
        raise PermanentError(f"cannot listen at {settings.api}: {error.strerror or error}") from error
    return bound


async def _patiently(once: Callable[[], Awaitable[object]]) -> None:
    """Wait for a Redis that is still starting, or falls silent meanwhile; what it does wrong is said by /readyz."""
    deadline = asyncio.get_running_loop().time() + START_PATIENCE
    while True:
        try:
            await once()
        except UnknownStateError:
            raise
        except TemporaryError as error:
            if asyncio.get_running_loop().time() >= deadline:
                raise
            log.warning("waiting for the store", error=str(error))
            await asyncio.sleep(1.0)
        else:
            return


class _Server(uvicorn.Server):
    """A server whose process handles its own signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them to the controller, which ends in its own order."""
        yield


class _Live:
    """The parts of a running controller."""

    def __init__(self, settings: Settings, store: RedisStore, edges: Edges, metrics: Metrics) -> None:
        self._settings = settings
        self._store = store
        self._edges = edges
        self._metrics = metrics
        self._wake = Wake()
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        self._controller: Controller
        self._runner: Runner
        self._service: Service
        self._shadow = edges.shadow(metrics)
        self._replica = f"{settings.replica}-{os.getpid()}-{secrets.token_hex(3)}"
        self.problems: list[str] = []
        self._unreadable: dict[str, list[str]] = {}  # problems of a published generation

    @classmethod
    async def build(cls, settings: Settings, store: RedisStore, stack: contextlib.AsyncExitStack) -> _Live:
        """Everything, connected to nothing yet."""
        metrics = Metrics()
        edges = await Edges.build(settings, stack)
        live = cls(settings, store, edges, metrics)
        live._controller = Controller(
            store,
            Listeners(
                [LoggingListener(), metrics, *(() if live._shadow is None else (live._shadow,))],
                records=settings.shadow,
            ),
            actions=edges.actions,
            targets=edges.targets,
            probes=edges.probes,
            probe_interval=settings.probe_interval,
            notify=settings.notify_url is not None,
            count=settings.evaluation_metrics,
            calendar=CronCalendar(),
            replica=live._replica,
            woken=live._wake.at,
            min_evaluation_interval=settings.min_evaluation_interval,
            max_attempts=settings.webhook_max_attempts,
            action_deadline=settings.webhook_deadline,
            heat=edges.heat,
            wedged_after=settings.heat_wedged_after,
            repair=settings.heat_repair,
        )
        live._runner = Runner(
            live._controller,
            edges.sources,
            wake=live._wake,
            clock=now,
            replica=live._replica,
            version=__version__,
            max_hold=settings.max_hold,
            generation_changed=lambda _: live._adopt_newer(),
            witnesses=edges.witnesses,
            seats=edges.seats,
            heard=edges.time.heard,
        )
        live._service = Service(live._controller, live._runner, edges.read_again(), tell_changes=settings.audit_notify)
        return live

    # --- declarations ------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Put what is declared into force, or go on with what was, and learn what else there is."""
        await _patiently(self._begin)
        log.info("alarms restored", alarms=len(self._controller.catalogue.of(None)))
        if self._shadow is not None:
            await self._begin_shadow(self._shadow)

    async def _begin(self) -> None:
        try:
            declared = self._load()
        except DeclarationError as error:
            if await self._store.generation() is None:
                raise
            self._refused(error)
        else:
            before = await self._store.generation()
            await self._publish(declared, insist=False)
            if before is not None and before[0] != declared.generation:
                self._controller.was_declared(self._declared_in(before[1]))
        await self._adopt_published()
        await self._controller.restore()
        self._edges.time.heard(await self._store.now())

    async def _begin_shadow(self, shadow: Shadow) -> None:
        heartbeat = Heartbeat(replica=self._replica, clock=now(), caught_up=False, version=__version__, form=STATE_FORM)
        if not await shadow.start(self._controller, self._runner.carry_out, heartbeat):
            raise PermanentError(
                f"another shadow runs in {self._settings.namespace}: one at a time compares; "
                "AUTOSCALER_NAMESPACE gives this one a place of its own"
            )
        log.info("shadow of Aodh", note="evaluates and records; calls nobody, moves nothing")

    def _paths(self) -> list[Path]:
        return [path for path in (self._settings.rules, self._settings.policies) if path is not None]

    def _load(self) -> Declarations:
        declared = load(texts(self._paths()), mixed_as_aodh=self._mixed_as_aodh)
        for warning in (*declared.ignored, *warnings(declared)):
            log.warning("declared", note=str(warning))
        return declared

    def _declared_in(self, documents: bytes) -> Collection[str]:
        """Ids of the alarms in published declarations; none where another version wrote what this one cannot read."""
        try:
            return parse(documents, mixed_as_aodh=self._mixed_as_aodh).alarms
        except DeclarationError as error:
            log.warning("records of alarms that are gone may stay", error=str(error))
            return ()

    async def _publish(self, declared: Declarations, *, insist: bool) -> None:
        was = await self._store.generation()
        before = None if was is None else was[0]
        in_force = await self._store.publish(declared.generation, dump(declared), insist=insist)
        if in_force == declared.generation != before:
            await self._service.audit.record(
                Actor(kind="controller", name=self._settings.replica),
                Change.PUBLISHED,
                "declarations",
                declared.generation,
                before=before,
                after={
                    "alarms": len(declared.alarms),
                    "groups": len(declared.groups),
                    "policies": len(declared.policies),
                    "schedules": len(declared.schedules),
                },
            )
        if in_force != declared.generation:
            log.warning("newer declarations are in force", here=declared.generation, in_force=in_force)

    def _refused(self, error: DeclarationError) -> None:
        self.problems = [str(problem) for problem in error.problems]
        for problem in self.problems:
            log.error("declarations refused", problem=problem)

    async def _adopt_published(self) -> None:
        published = await self._store.generation()
        if published is None or published[0] == self._controller.adopted:
            return
        generation, documents = published
        declared = parse(documents, mixed_as_aodh=self._mixed_as_aodh)
        await adopt(
            self._controller,
            generation,
            declared,
            mixed_as_aodh=self._mixed_as_aodh,
            outage=self._settings.api_outage,
        )
        self._unreadable = {}
        log.info(
            "declarations adopted",
            generation=generation,
            alarms=len(declared.alarms),
            groups=len(declared.groups),
            policies=len(declared.policies),
            schedules=len(declared.schedules),
        )

    @property
    def _mixed_as_aodh(self) -> bool:
        return self._settings.composite_mixed is Mixed.AODH

    async def _adopt_newer(self) -> None:
        """Adopt what another has published; what this version does not understand leaves the old in force."""
        try:
            await self._adopt_published()
        except DeclarationError as error:
            generation = self._runner.published
            if generation not in self._unreadable:
                self._unreadable = {generation: [str(problem) for problem in error.problems]}
                log.error("published declarations refused", generation=generation, problem=str(error))  # noqa: TRY400

    async def _reloads(self) -> None:
        """Reload all or nothing whenever asked."""
        while True:
            await self._reload.wait()
            self._reload.clear()
            try:
                await self._publish(self._load(), insist=True)
                await self._adopt_published()
            except DeclarationError as error:
                self._refused(error)
            except TemporaryError as error:
                log.warning("reload put off", error=str(error))
                await asyncio.sleep(1.0)
                self._reload.set()
            else:
                if self.problems:
                    log.info("declarations in order again")
                self.problems = []

    async def _watch(self) -> None:
        async for _ in self._changes():
            self._reload.set()

    def _changes(self) -> AsyncIterator[None]:
        return changes(self._paths(), stop=self._stop)

    # --- running -----------------------------------------------------------------------------------------------------

    async def serve(self, listening: socket.socket, embedded: EmbeddedServer | None) -> None:
        """Run until a signal says to end, then drain."""
        service = self._service
        app = self._edges.api(service, self._metrics, self._missing, self._shadow)
        server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                http=guarded(self._edges.patience, self._metrics.refused),
                h11_max_incomplete_event_size=MAX_HEADER_BYTES,
                backlog=BACKLOG,
                log_level=logging.ERROR,
                ssl_certfile=self._settings.api_cert,
                ssl_keyfile=self._settings.api_key,
                ssl_ca_certs=self._settings.api_client_ca,
                ssl_cert_reqs=ssl.CERT_NONE if self._settings.api_client_ca is None else ssl.CERT_REQUIRED,
                ws="none",
                server_header=False,
                proxy_headers=bool(self._settings.trusted_proxies),
                forwarded_allow_ips=list(self._settings.trusted_proxies),
                timeout_graceful_shutdown=GRACE,
            )
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.serve(sockets=[listening]))
            running = group.create_task(self._runner.run())
            keeper = None if embedded is None else group.create_task(embedded.keep())
            helpers = [group.create_task(self._reloads()), group.create_task(self._leave_alone())]
            helpers.append(group.create_task(self._give_back()))
            helpers.append(group.create_task(self._let_go_with(running)))
            if self._paths():
                helpers.append(group.create_task(self._watch()))
            if self._shadow is not None:
                helpers.append(group.create_task(self._shadow.run()))
            host, port = listening.getsockname()[:2]
            scheme = "http" if self._settings.api_cert is None else "https"
            log.info("controller running", api=f"{scheme}://{host}:{port}", version=__version__)
            await self._stop.wait()
            log.info("controller ending")
            server.should_exit = True
            for task in helpers:
                task.cancel()
            # whoever is being answered may still have measures to be written
            await serving
            self._runner.stop()
            await running
            await self._let_go()
            if self._shadow is not None:
                await self._end_shadow(self._shadow)
            if keeper is not None:
                keeper.cancel()

    async def _leave_alone(self) -> None:
        """Keep the garbage collector from looking through code and alarms again and again: they stay, many as they are.

        It took a third of the time under load, and half of it with 100 000 alarms.
        """
        left = -FROZEN_STEP - 1
        while True:
            alarms = len(self._controller.catalogue.of(None))
            if alarms > left + left // 10 + FROZEN_STEP:
                gc.freeze()
                gc.enable()
                left = alarms
            await asyncio.sleep(FROZEN_INTERVAL)

    async def _give_back(self) -> None:
        """Give back to the system what a flood has taken: by itself it stays here, nearly all of it unused.

        Again and again, since points leave their windows long after they came.
        """
        while True:
            await asyncio.sleep(GIVEN_BACK_EVERY)
            give_back()

    async def _let_go_with(self, running: asyncio.Task[None]) -> None:
        """Where the runner stops by itself others take over: members that live here must not go on beside theirs."""
        await asyncio.wait([running])
        if not self._stop.is_set():
            await self._let_go()

    async def _let_go(self) -> None:
        try:
            async with asyncio.timeout(30):
                await self._controller.scaler.release(list(self._controller.plan.groups.values()))
        except (TemporaryError, TimeoutError) as error:
            log.warning("groups not let go", error=str(error))

    async def _end_shadow(self, shadow: Shadow) -> None:
        try:
            async with asyncio.timeout(30):
                await shadow.end()
        except (TemporaryError, TimeoutError) as error:
            log.warning("shadow not summed up", error=str(error))

    async def _missing(self) -> list[str]:
        """What keeps this controller from doing its work; nothing when it is ready."""
        missing = [f"declarations: {problem}" for problem in self.problems]
        if self._edges.tokens is not None and self._edges.tokens.problem:
            missing.append(f"tokens: {self._edges.tokens.problem}")
        unreadable = self._unreadable.get(self._runner.published, [])
        missing += [f"published declarations: {problem}" for problem in unreadable]
        if not self._controller.plan.generation:
            missing.append("no declarations are in force")
        if self._runner.store_error:
            missing.append(self._runner.store_error)
        elif not self._settings.allow_volatile_redis:
            missing += await self._store.check()
        sources = [*self._edges.sources, *(() if self._shadow is None else (self._shadow.source,))]
        # of several links each is one source, and all have one name
        missing += dict.fromkeys(f"{source.name} is not connected" for source in sources if not source.connected)
        if abs(self._runner.skew) > CLOCK_SKEW_LIMIT:
            missing.append(f"the clock is {self._runner.skew:+.1f} s off the store's")
        return missing
