"""The loops of a live controller: sources in, one pump, work, heartbeats."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TypeVar

import msgspec
import structlog

from autoscaler.alarms.evaluation import Sources
from autoscaler.alarms.events import KEPT_EVENTS
from autoscaler.engine.controller import Controller
from autoscaler.engine.leases import RENEWAL, Head
from autoscaler.engine.seats import Seats
from autoscaler.errors import TemporaryError, UnknownStateError
from autoscaler.measures.event import Event
from autoscaler.measures.measure import Measure
from autoscaler.ports import REPLICA_SILENCE, STATE_FORM, Batch, Claimed, Heartbeat, Source, WorkItem

log = structlog.get_logger()

_Answer = TypeVar("_Answer")

BATCH_LIMIT = 50_000
"""Measures in one write; what has arrived beyond that waits for the next."""
LOOKED_AT_BESIDE = 50
"""Windows that are due and looked at together while measures come: at the end of a minute thousands may be due at once,
and no measure is to wait for all of them."""
LOOKED_AT_WITHIN = 1.0
"""Seconds after which all that are due are looked at together nevertheless; else they would be due again."""
FLOWING = 1.0
"""Seconds since the last measure within which more are expected."""
FINISHED_WITHIN = 0.5
"""Seconds within which the store is told of windows that were looked at, before they are written again."""
IDLE_POLL = 0.5
"""Seconds between two looks for work that others may have left."""
HEARTBEAT = 1.0
BEHIND_HEARTBEAT = 0.25
"""Seconds between two heartbeats while some source is behind: how far all have read is known by them."""
OUT_OF_ORDER = 1.0
"""Seconds of event time by which measures of one source may come in another order than they were made."""
UNREAD_KEPT = 5.0
"""Seconds within which boundaries are evaluated once all is read that they rest on, whoever does it: what they look at
is kept as long."""
HANDED_OVER = 2.0
"""Seconds within which a broker has given to others what somebody had in hand whose connection was lost or closed."""
STANDING = 5.0
"""Seconds for which a replica that gets no further is waited for by those that do."""
CAUGHT_UP_AFTER = 1.0
"""Seconds with nothing waiting after which a source counts as caught up."""
LEAP = 30.0
"""Seconds by which the store's clock has run ahead of ours when it was set, or this machine has slept."""
LEAP_PATIENCE = 30.0
"""Seconds after a leap for which no source counts as caught up: two of the brokers' keepalives, in which a connection
that has died meanwhile is found out, and what waited at the broker is begun to be read."""
FIRST_RETRY = 0.05
LONGEST_RETRY = 2.0
FAREWELL_PATIENCE = 2.0
"""Seconds that a controller which is ending tries to say that it leaves to others what it has."""
FOLLOW_PATIENCE = 2.0
"""Seconds that one question for changes of alarms waits for an answer."""


@dataclass(slots=True)
class _SourceWatch:
    """How far a source has been read.

    Attributes:
        idle_since: when it last had nothing waiting; None while it has something or is not connected.
        read_until: Unix seconds by the store's clock up to which everything was read: the event time of the newest
            measure that was taken from it, or when it was last caught up; None before either.
        moved_at: by the steady clock, when that was last more than before; None before it was first looked at.
        lost_at: by the steady clock, when it was last seen without a connection; None where it never was since the
            first one.
        lost_until: up to where everything was read when it was lost.
        seen: the steady clock's time at the last look, and up to where everything was read then.
        fresh_since: by the steady clock, since when all that was written had just been measured, without a pause; None
            where what was written last had not, or the connection was lost.
        fresh_at: by the steady clock, when something was last written that had just been measured.
        pending: measures that were taken from it and are not written yet.
    """

    idle_since: float | None = None
    read_until: float | None = None
    moved_at: float | None = None
    lost_at: float | None = None
    lost_until: float = math.inf
    seen: tuple[float, float | None] | None = None
    fresh_since: float | None = None
    fresh_at: float = -math.inf
    pending: int = 0

    def wrote(self, oldest: float, newest: float, now: float, there: float | None) -> None:
        """Measures are written whose event times lie between these, as of ``now`` by the steady clock.

        Args:
            there: the store's time, as far as it is known.
        """
        if there is None or there - oldest > OUT_OF_ORDER:
            self.fresh_since = None
        else:
            if self.fresh_since is None or now - self.fresh_at > CAUGHT_UP_AFTER:
                self.fresh_since = now
            self.fresh_at = now
        self.read(newest, now)

    def read(self, until: float, now: float) -> None:
        """Everything is read until then, as of ``now`` by the steady clock.

        Where that is much earlier, what comes was another's until now, or was in hand before: so far it is read again.
        """
        if self.read_until is None or not self.read_until - HANDED_OVER <= until <= self.read_until:
            self.read_until, self.moved_at = until, now

    def look(self, now: float, *, connected: bool, waiting: bool) -> None:
        """See whether anything waits.

        A backlog may be read so that nothing waits at the moment of a look; but then more event time was read since
        the last one than has passed.
        """
        if self.moved_at is None:
            self.moved_at = now
        if not connected:
            self.fresh_since = None
        if not connected and self.read_until is not None:
            if not self._was_lost(now):
                self.lost_until = self.read_until
            self.lost_at = now
        if not connected or waiting or self._has_leapt(now):
            self.idle_since = None
        elif self.idle_since is None:
            self.idle_since = now

    def _has_leapt(self, now: float) -> bool:
        if self.seen is None or self.read_until is None:
            return False
        then, before = self.seen
        return before is None or self.read_until - before > now - then + OUT_OF_ORDER

    def _was_lost(self, now: float) -> bool:
        return self.lost_at is not None and now - self.lost_at < HANDED_OVER

    def is_given_up(self, now: float, max_hold: float) -> bool:
        """Whether it has brought nothing for so long that it is not waited for."""
        return self.moved_at is not None and now - self.moved_at >= max_hold

    def whole_until(self, now: float) -> float:
        """Up to where all is written that this replica had to take, Unix seconds.

        What was in hand when the connection was lost comes again, here or to another replica; for a while that is not
        known to have come.
        """
        if self.read_until is None:
            return 0.0
        return (self.lost_until if self._was_lost(now) else self.read_until) - OUT_OF_ORDER

    def is_caught_up(self, now: float) -> bool:
        """Whether nothing has waited for long enough, ``now`` being the steady clock's."""
        return self.idle_since is not None and now - self.idle_since >= CAUGHT_UP_AFTER

    def is_prompt(self, now: float) -> bool:
        """Whether all that was written of late had just been measured: something always waits, but nothing waits long.

        Measures come in the order in which they were sent, so what is fresh was not sent behind a backlog.
        """
        return self.fresh_since is not None and self.fresh_since <= now - CAUGHT_UP_AFTER <= self.fresh_at


@dataclass(slots=True)
class _Submission:
    measures: Sequence[Measure]
    written: asyncio.Future[list[Measure]]
    events: Sequence[Event] = ()
    watch: _SourceWatch | None = None


@dataclass(slots=True)
class Lag:
    """How far this replica is behind, as last seen.

    Attributes:
        pending: measures that have arrived and are not written.
        newest: age in seconds of the newest measure of the last batch.
    """

    pending: int = 0
    newest: float = 0.0


class Wake:
    """Lets the work loop sleep until the earliest due time that anybody here has set."""

    def __init__(self) -> None:
        self._due = math.inf
        self._event = asyncio.Event()

    def at(self, due: float) -> None:
        """Something here is due at ``due`` (Unix seconds by the store's clock)."""
        if due < self._due:
            self._due = due
            self._event.set()

    async def sleep(self, now: float, next_due: float | None) -> None:
        """Sleep from ``now`` until the earliest due time, or a moment."""
        if next_due is not None:
            self._due = min(self._due, next_due)
        self._event.clear()
        pause = min(IDLE_POLL, max(0.0, self._due - now))
        if pause and self._due > now:
            try:
                async with asyncio.timeout(pause):
                    await self._event.wait()
            except TimeoutError:
                pass
        self._due = math.inf


class Runner:
    """Runs a :class:`Controller` against live sources.

    One pump writes and evaluates all that has arrived while the write before was in flight, so a batch is one measure
    when idle and thousands under load, and a window's copy is never touched by two at once.

    Args:
        clock: this process' own clock, Unix seconds; only compared with the store's.
        heard: told of the store's time, Unix seconds, with each heartbeat.
        witnesses: sources that tell of groups and bring no measures, so nothing is missing while they are away.
        seats: that sources have, where replicas share them.
    """

    def __init__(
        self,
        controller: Controller,
        sources: Sequence[Source],
        *,
        wake: Wake,
        clock: Callable[[], float],
        replica: str,
        version: str,
        max_hold: float,
        generation_changed: Callable[[str], Awaitable[None]],
        witnesses: Sequence[Source] = (),
        seats: Sequence[Seats] = (),
        heard: Callable[[float], None] = lambda _now: None,
    ) -> None:
        self.controller = controller
        self.lag = Lag()
        self.skew = 0.0
        self.replicas: Sequence[Heartbeat] = ()
        self.store_error = ""
        self.published = ""
        self.sources = sources
        self._witnesses = witnesses
        self._seats = seats
        self._heard = heard
        self._watches = [_SourceWatch() for _ in sources]
        self._heard_of: dict[str, tuple[float, Heartbeat]] = {}  # what others said last, and when by the steady clock
        self._stood: dict[str, tuple[float | None, float]] = {}  # how far others are behind, and since when they stand
        self._reads: deque[tuple[float, float]] = deque()  # how far all had read, and when by the steady clock
        self._announced = asyncio.Event()
        self._last_seen: tuple[float, float] | None = None  # the store's clock, and ours that nobody sets
        self._patient_until = -math.inf
        self._wake = wake
        self._clock = clock
        self._replica = replica
        self._version = version
        self._max_hold = max_hold
        self._generation_changed = generation_changed
        self._pending: list[_Submission] = []
        self._beats: dict[str, tuple[float, float]] = {}  # of each replica the last one's clock, and when it was heard
        self._finished_at = -math.inf  # by the steady clock
        self._due: dict[str, tuple[WorkItem, float]] = {}  # windows to look at, and when they were claimed
        self._flowed_at = -math.inf  # by the steady clock, when measures last came
        self._lanes: asyncio.TaskGroup | None = None
        self._arrived = asyncio.Event()
        self._stopping = asyncio.Event()
        # what is being done, with what came up again meanwhile and when that was asked for
        self._in_hand: dict[tuple[str, str], tuple[WorkItem, float] | None] = {}
        # until the sources have been heard of, what is missing is not believed
        controller.sources = Sources(caught_up=not sources, max_hold=max_hold, read_until=0.0 if sources else None)
        controller.unread_from = 0.0 if sources else math.inf

    def stop(self) -> None:
        """Take nothing new; :meth:`run` ends once what is in hand is done."""
        self._stopping.set()
        self._arrived.set()
        self._wake.at(-math.inf)

    async def submit(
        self,
        measures: Sequence[Measure],
        events: Sequence[Event] = (),
        watch: _SourceWatch | None = None,
    ) -> list[Measure]:
        """Have measures written and events heard; when this returns they are, and may be acknowledged.

        Args:
            watch: of the source that they come of; None where they come another way.

        Returns:
            Those whose series had no room; they are buried.

        Raises:
            TemporaryError: the controller is ending; nothing was taken.
        """
        if self._stopping.is_set():
            raise TemporaryError("the controller is ending")
        future: asyncio.Future[list[Measure]] = asyncio.get_running_loop().create_future()
        self._pending.append(_Submission(measures, future, events, watch))
        self.lag.pending += len(measures)
        if measures:
            self._flowed_at = asyncio.get_running_loop().time()
        if watch is not None:
            watch.pending += len(measures)
        self._arrived.set()
        return await future

    async def run(self) -> None:
        """Run until :meth:`stop`, or until the state is in a form that this version does not know."""
        async with asyncio.TaskGroup() as group:
            feeders = [
                *(
                    group.create_task(self._forever(partial(self._feed, source, watch)))
                    for source, watch in zip(self.sources, self._watches, strict=True)
                ),
                *(group.create_task(self._forever(partial(self._feed, source, None))) for source in self._witnesses),
            ]
            helpers = [
                group.create_task(self._forever(self._beat)),
                group.create_task(self._forever(self._follow)),
            ]
            helpers += [group.create_task(self._forever(partial(self._sit, seats))) for seats in self._seats]
            # also of what is brought to its end when nothing new is taken
            holder = group.create_task(self._forever(self._renew))
            pump = group.create_task(self._pump())
            worker = group.create_task(self._work())
            await self._stopping.wait()
            for task in (*feeders, *helpers):
                task.cancel()
            self._arrived.set()
            # by itself, so that nothing is claimed that it does not hear of
            await asyncio.wait([worker], timeout=FAREWELL_PATIENCE)
            worker.cancel()
            await asyncio.wait([worker, *feeders])
            await self._let_go()
            await pump
            holder.cancel()
            async with self._farewell():
                await self.controller.store.leave(self._replica)
            async with self._farewell():
                await self.controller.finish()

    async def _forever(self, once: Callable[[], Awaitable[None]]) -> None:
        """Begin again, after a pause that grows, whenever the store is away."""
        pause = FIRST_RETRY
        while True:
            try:
                await once()
                pause = FIRST_RETRY
            except UnknownStateError as error:
                # somebody has raised the state's form: it is theirs from now on, and so are the sources
                log.error("state not known", error=str(error))  # noqa: TRY400 - one line says it
                self.stop()
                self.store_error = str(error)
                return
            except TemporaryError as error:
                self.store_error = str(error)
                log.warning("store unreachable", error=str(error), retry_in=pause)
                await asyncio.sleep(pause)
                pause = min(LONGEST_RETRY, pause * 2)

    # --- measures ----------------------------------------------------------------------------------------------------

    async def _feed(self, source: Source, watch: _SourceWatch | None) -> None:
        # whoever reads beside us must know of it before: what we take is not read before we have written it
        await self._announced.wait()
        async with contextlib.aclosing(source.deliveries()) as deliveries:
            async for delivery in deliveries:
                await self.take(delivery.batch, watch)
                await delivery.ack()

    async def take(self, batch: Batch, watch: _SourceWatch | None = None) -> list[Measure]:
        """Write a batch and bury what could not be decoded; as :meth:`submit`."""
        if batch.rejected:
            await self._until_stored(lambda: self.controller.bury(batch))
        if batch.told:
            await self._until_stored(lambda: self.controller.hear_of_groups(batch.told))
        self.controller.listener.received(batch.source, len(batch.measures) + len(batch.events))
        return await self.submit(batch.measures, batch.events, watch) if batch.measures or batch.events else []

    async def _until_stored(self, once: Callable[[], Awaitable[None]]) -> None:
        """Repeat until the store has taken it: nothing is acknowledged before."""
        pause = FIRST_RETRY
        while True:
            try:
                await once()
            except TemporaryError as error:
                self.store_error = str(error)
                await asyncio.sleep(pause)
                pause = min(LONGEST_RETRY, pause * 2)
            else:
                return

    async def _pump(self) -> None:
        async with asyncio.TaskGroup() as lanes:
            self._lanes = lanes
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while self._pending or self._due:
                    await self._process(self._next_batch(), self._next_due())
                    await self._finish()
                if self._stopping.is_set():
                    return

    def _next_batch(self) -> list[_Submission]:
        """What has arrived, up to the limit; a submission is never split."""
        taken: list[_Submission] = []
        measures = 0
        while self._pending and (not taken or measures + len(self._pending[0].measures) <= BATCH_LIMIT):
            submission = self._pending.pop(0)
            taken.append(submission)
            measures += len(submission.measures)
        return taken

    def _next_due(self) -> list[WorkItem]:
        """Windows that are due and looked at next."""
        if not self._due:
            return []
        now = asyncio.get_running_loop().time()
        _, oldest = next(iter(self._due.values()))
        some = self._is_flowing(now) and now - oldest < LOOKED_AT_WITHIN
        keys = list(islice(self._due, LOOKED_AT_BESIDE if some else None))
        return [self._due.pop(key)[0] for key in keys]

    def _is_flowing(self, now: float) -> bool:
        """Whether measures come, ``now`` being the steady clock's."""
        return now - self._flowed_at < FLOWING

    async def _finish(self) -> None:
        """Between two batches, now and then: what is written in every batch would otherwise be newer each time."""
        now = asyncio.get_running_loop().time()
        if self._is_flowing(now) and now - self._finished_at < FINISHED_WITHIN:
            return
        self._finished_at = now
        try:
            await self.controller.finish()
        except TemporaryError as error:
            self.store_error = str(error)
            log.warning("marks put off", error=str(error))

    async def _process(self, batch: Sequence[_Submission], windows: Sequence[WorkItem]) -> None:
        measures = [measure for submission in batch for measure in submission.measures]
        due = [item.key for item in windows]
        events = [event for submission in batch for event in submission.events]
        try:
            written = await self._stored(lambda: self.controller.write(measures, due), len(measures))
            # in pieces: what must be heard again is no more than an alarm knows as taken
            for start in range(0, len(events), KEPT_EVENTS):
                hear = partial(self.controller.hear, events[start : start + KEPT_EVENTS], self.carry_out)
                await self._stored(hear, len(events))
        except TemporaryError as error:
            for submission in batch:
                if not submission.written.done():
                    submission.written.set_exception(error)
            self.controller.leases.leave(windows)
            return
        finally:
            self.lag.pending -= len(measures)
            for submission in batch:
                if submission.watch is not None:
                    submission.watch.pending -= len(submission.measures)
        refused = {id(measure) for measure in written.refused}
        for submission in batch:
            if not submission.written.done():
                submission.written.set_result([m for m in submission.measures if id(m) in refused])
            if submission.measures and submission.watch is not None:
                times = [measure.timestamp for measure in submission.measures]
                here = asyncio.get_running_loop().time()
                submission.watch.wrote(min(times), max(times), here, self._store_clock())
        if written.lag is not None:
            self.lag.newest = max(0.0, written.lag)
        try:
            await self.controller.evaluate(written, self.carry_out)
        except TemporaryError as error:
            # the windows' marks bring them up again
            self.store_error = str(error)
            log.warning("evaluation put off", error=str(error))

    async def _stored(self, once: Callable[[], Awaitable[_Answer]], count: int) -> _Answer:
        """Try until the store has it, or, when we must end, raise TemporaryError: the broker keeps it."""
        pause = FIRST_RETRY
        while True:
            try:
                answer = await once()
            except TemporaryError as error:
                self.store_error = str(error)
                log.warning("write put off", error=str(error), measures=count)
                if self._stopping.is_set():
                    raise
                await asyncio.sleep(pause)
                pause = min(LONGEST_RETRY, pause * 2)
            else:
                self.store_error = ""
                return answer

    def carry_out(self, head: Head) -> None:
        """Carry out a lane that was just leased to this replica; one that is ending leaves it to its lease."""
        if self._lanes is None:
            return
        carrying = self._carry_out(head)
        try:
            self._lanes.create_task(carrying)
        except RuntimeError:  # all lanes have ended
            carrying.close()

    async def _carry_out(self, head: Head) -> None:
        key = ("lane", head.row.lane)
        self._in_hand[key] = None
        try:
            async with self.controller.leases.held(WorkItem("lane", head.row.lane, 0.0), head.asked):
                await self.controller.carry_out(head)
        except TemporaryError as error:
            log.warning("lane put off", row=head.row.id, error=str(error))
        finally:
            self._in_hand.pop(key, None)

    # --- work --------------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            doing: set[asyncio.Task[None]] = set()

            def begin(work: Coroutine[None, None, None]) -> None:
                task = group.create_task(work)
                doing.add(task)
                task.add_done_callback(doing.discard)

            while (found := await self._claimed()) is not None:
                asked, claimed = found
                self._look_at_clock(claimed.now)
                windows = [item for item in claimed.items if item.kind == "window"]
                self._look_at(windows)
                for item in claimed.items:
                    if item.kind == "window":
                        continue
                    if (item.kind, item.key) in self._in_hand:
                        self._in_hand[item.kind, item.key] = (item, asked)
                    else:
                        self._in_hand[item.kind, item.key] = None
                        begin(self._do(item, asked))
                await self._wake.sleep(claimed.now, claimed.next_due)
            await asyncio.sleep(0)  # what is broken off is known to be in hand once it has begun
            for task in list(doing):
                task.cancel()

    async def _claimed(self) -> tuple[float, Claimed] | None:
        """What is due, as soon as the store can be reached, and when it was asked; None when we are to end."""
        pause = FIRST_RETRY
        while not self._stopping.is_set():
            try:
                await self.controller.finish()  # before the leases begin
                asked = time.monotonic()
                claimed = await self.controller.claim()
            except TemporaryError as error:
                self.store_error = str(error)
                log.warning("store unreachable", error=str(error), retry_in=pause)
                await asyncio.sleep(pause)
                pause = min(LONGEST_RETRY, pause * 2)
            else:
                self.store_error = ""
                return asked, claimed
        return None

    def _look_at(self, windows: Sequence[WorkItem]) -> None:
        """Have windows looked at in one of the next batches, each once, however often it was claimed until then."""
        if self._stopping.is_set():
            # a controller that is ending leaves them to others
            self.controller.leases.leave(windows)
            return
        now = asyncio.get_running_loop().time()
        for item in windows:
            self._due.setdefault(item.key, (item, now))
        self._arrived.set()

    async def _do(self, item: WorkItem, asked: float) -> None:
        """Do it, and again if it came up meanwhile: what is decided during a look at the target does not wait."""
        key = (item.kind, item.key)
        again: tuple[WorkItem, float] | None = (item, asked)
        try:
            while again is not None:
                self._in_hand[key] = None
                await self._done(*again)
                again = self._in_hand.get(key)
        finally:
            again = self._in_hand.pop(key, None)
            if again is not None:
                self.controller.leases.leave([again[0]])

    async def _done(self, item: WorkItem, asked: float) -> None:
        try:
            async with self.controller.leases.held(item, asked):
                await self.controller.do(item, self.carry_out)
        except TemporaryError as error:
            log.warning("work put off", kind=item.kind, key=item.key, error=str(error))

    async def _renew(self) -> None:
        while True:
            await self.controller.leases.renew()
            await asyncio.sleep(RENEWAL)

    # --- seats -------------------------------------------------------------------------------------------------------

    async def _sit(self, seats: Seats) -> None:
        await seats.keep(self.controller.store, self._replica)

    # --- the end -----------------------------------------------------------------------------------------------------

    async def _let_go(self) -> None:
        """Let others have the seats, and all that is not done here, at once; what cannot be said, leases say."""
        async with self._farewell():
            if self._seats:
                await self.controller.store.rise(self._replica)
            await self.controller.leases.give_back()

    @contextlib.asynccontextmanager
    async def _farewell(self) -> AsyncIterator[None]:
        """Say something, unless the store is away."""
        with contextlib.suppress(TemporaryError, TimeoutError):
            async with asyncio.timeout(FAREWELL_PATIENCE):
                yield

    # --- changes of alarms -------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            await self.controller.follow(FOLLOW_PATIENCE)

    # --- heartbeat ---------------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        while True:
            caught_up = self._caught_up()
            now = asyncio.get_running_loop().time()
            heartbeat = Heartbeat(
                replica=self._replica,
                clock=self._clock(),
                caught_up=caught_up,
                prompt=self._prompt(),
                behind=max(self.behind().values(), default=0.0),
                version=self._version,
                form=STATE_FORM,
                read_until=None if caught_up else self._read_until(now),
                given_up=any(watch.is_given_up(now, self._max_hold) for watch in self._watches),
            )
            pulse = await self.controller.store.beat(heartbeat)
            self._heard(pulse.now)
            self.skew = self._clock() - pulse.now
            self._look_at_clock(pulse.now)
            self.replicas = pulse.replicas
            self.published = pulse.generation
            # as it is now, not as the heartbeat said: the answer may have told of a leap
            caught_up = self._caught_up() and all(replica.caught_up for replica in pulse.replicas)
            if heartbeat.caught_up and not caught_up:
                heartbeat = msgspec.structs.replace(heartbeat, caught_up=False, read_until=self._read_until(now))
            read_until = self._read_by_all([*pulse.replicas, heartbeat])
            prompt = self._are_prompt(pulse.replicas, now) and self._prompt()
            self.controller.sources = replace(
                self.controller.sources,
                caught_up=caught_up or prompt,
                max_hold=self._max_hold,
                read_until=read_until,
                given_up=any(replica.given_up for replica in pulse.replicas),
            )
            self._announced.set()
            await self.controller.tally()
            if pulse.generation and pulse.generation != self.controller.adopted:
                await self._generation_changed(pulse.generation)
            await asyncio.sleep(HEARTBEAT if read_until is None else BEHIND_HEARTBEAT)

    def _read_until(self, now: float) -> float | None:
        """Up to where this replica has written all that was for it to take; None where it takes nothing.

        ``now`` is the steady clock's. A source that has brought nothing for long is not waited for.
        """
        there = self._store_clock() or 0.0
        return min(
            (
                there if watch.is_given_up(now, self._max_hold) else watch.whole_until(now)
                for watch in self._watches
                if not watch.is_caught_up(now)
            ),
            default=there if self._watches else None,
        )

    def _read_by_all(self, replicas: Sequence[Heartbeat]) -> float | None:
        """Up to where everything was written when these said how far they were; None where nothing waits.

        That is what may be relied on: a replica that has begun since takes what comes after that. Of one that is gone
        the rest is given to others by the broker; it counts for as long as that may last.
        """
        now = asyncio.get_running_loop().time()
        self._heard_of |= {replica.replica: (now, replica) for replica in replicas}
        self._heard_of = {
            name: (heard, said) for name, (heard, said) in self._heard_of.items() if now - heard < HANDED_OVER
        }
        found = self._read_least(now)
        self._reads.append((now, math.inf if found is None else found))
        while self._reads[0][0] < now - UNREAD_KEPT:
            self._reads.popleft()
        self.controller.unread_from = min(until for _, until in self._reads)
        return found

    def _read_least(self, now: float) -> float | None:
        """Of all that were heard of, up to where the one is that is farthest behind.

        Who gets no further is not waited for while others read what there is.
        """
        said = {name: beat for name, (_, beat) in self._heard_of.items()}
        behind = {name: beat.read_until for name, beat in said.items() if not beat.caught_up}
        if not behind or None in behind.values():
            return None  # one that does not say how far it is leaves all in doubt
        for name, until in behind.items():
            if self._stood.get(name, (None, 0.0))[0] != until:
                self._stood[name] = (until, now)
        self._stood = {name: stood for name, stood in self._stood.items() if name in behind}
        moving = [until for until, since in self._stood.values() if until is not None and now - since < STANDING]
        if len(behind) == len(said) and not moving:
            return min(until for until in behind.values() if until is not None)
        return min(moving, default=self._store_clock())

    def _look_at_clock(self, now: float) -> None:
        """After a leap of the store's clock, have nothing believed that rests on what did not arrive.

        All that was due meanwhile is due at once, windows that would have heard of their series among it.
        """
        here = asyncio.get_running_loop().time()
        before, self._last_seen = self._last_seen, (now, here)
        if before is None:
            return
        leapt = (now - before[0]) - (here - before[1])
        if leapt > LEAP:
            log.warning("clock leapt", seconds=round(leapt, 1), patience=LEAP_PATIENCE)
            self._patient_until = here + LEAP_PATIENCE
            self.controller.sources = replace(
                self.controller.sources, caught_up=self._caught_up(), read_until=self._read_until(here)
            )

    def _caught_up(self) -> bool:
        """Whether every source is connected and has had nothing waiting for a second, and no clock has just leapt."""
        now = asyncio.get_running_loop().time()
        patient = now < self._patient_until
        for source, watch in zip(self.sources, self._watches, strict=True):
            waiting = patient or source.waiting > 0 or watch.pending > 0
            watch.look(now, connected=source.connected, waiting=waiting)
        there = self._store_clock()
        for watch in self._watches:
            if watch.is_caught_up(now) and there is not None:
                watch.read(there, now)
            watch.seen = (now, watch.read_until)
        return not patient and all(watch.is_caught_up(now) for watch in self._watches)

    def _prompt(self) -> bool:
        """Whether nothing of any source waits for long, as of the last look at them."""
        now = asyncio.get_running_loop().time()
        return now >= self._patient_until and all(
            watch.is_caught_up(now) or watch.is_prompt(now) for watch in self._watches
        )

    def _are_prompt(self, replicas: Sequence[Heartbeat], now: float) -> bool:
        """Whether nothing waits for long at the others, ``now`` being the steady clock's.

        What one had to read that says nothing any more waits until others are given it.
        """
        for replica in replicas:
            clock, _ = self._beats.get(replica.replica, (None, now))
            if clock != replica.clock:
                self._beats[replica.replica] = (replica.clock, now)
        self._beats = {
            name: beat for name, beat in self._beats.items() if now - beat[1] < REPLICA_SILENCE + HANDED_OVER
        }
        self._beats.pop(self._replica, None)
        return all(now - at < 2 * HEARTBEAT for _, at in self._beats.values()) and all(
            replica.caught_up or replica.prompt for replica in replicas if replica.replica != self._replica
        )

    def behind(self) -> dict[str, float]:
        """How many seconds each source is behind, by name; what nothing is known of is left out.

        0 where it is caught up, else how old the newest measure was that was taken from it, seen from now: that grows
        while nothing is taken. Of several of one name the slowest counts.
        """
        now, there = asyncio.get_running_loop().time(), self._store_clock()
        found: dict[str, float] = {}
        for source, watch in zip(self.sources, self._watches, strict=True):
            if watch.is_caught_up(now):
                found.setdefault(source.name, 0.0)
            elif there is not None and watch.read_until is not None:
                found[source.name] = max(found.get(source.name, 0.0), there - watch.read_until)
        return found

    def _store_clock(self) -> float | None:
        """The store's time, as it was last heard and carried on; None before it was."""
        if self._last_seen is None:
            return None
        there, here = self._last_seen
        return there + asyncio.get_running_loop().time() - here
