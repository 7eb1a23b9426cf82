"""Worker processes on this machine, which live and die with the controller."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Self

import structlog

from autoscaler.adapters.targets import guard, member
from autoscaler.adapters.targets.fences import Fences
from autoscaler.declarations.targets import ProcessOptions
from autoscaler.errors import PermanentError, TemporaryError
from autoscaler.scaling.policy import Order
from autoscaler.scaling.status import TargetStatus

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from autoscaler.scaling.group import Group

STEADY_AFTER = 10.0
"""Seconds of life after which a member no longer counts as one that dies young."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Slot:
    """A place in a group and whoever fills it now."""

    id: str
    process: Process | None = None
    serves_at: float = inf  # loop time
    deaths: int = 0  # in a row, all young
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True, eq=False)
class _Members:
    """The slots of a group by number, oldest first, those on their way out included."""

    group: str
    options: ProcessOptions
    slots: dict[int, _Slot] = field(default_factory=dict)

    def staying(self) -> list[_Slot]:
        return [slot for slot in self.slots.values() if not slot.leaving.is_set()]

    def free_number(self) -> int:
        return next(number for number in count(1) if number not in self.slots)


class ProcessTarget:
    """See :class:`autoscaler.ports.Target`; to be entered before use, and left in the same task.

    A member is a process group of its own with a readable id (``web-1``: the lowest free number). One that ends by
    itself is started again, later and later if it dies young, and is no ready member before it has outlived its last
    delay, so one that dies again and again is hardly ever ready. One that is to go gets SIGTERM and, after the grace
    time, SIGKILL; until it is gone it counts in ``size``. Members inherit the environment except ``AUTOSCALER_…``,
    which may hold passwords.

    Args:
        restart_delay: seconds before a member that died is started again; doubled each time it dies young.
        longest_delay: seconds that the doubling ends at.
    """

    resident = True
    pace = 0.5

    def __init__(self, *, restart_delay: float = 0.5, longest_delay: float = 30.0) -> None:
        self._restart_delay = restart_delay
        self._longest_delay = longest_delay
        self._groups: dict[str, _Members] = {}
        self._fences = Fences()
        self._guard = _Guard()
        self._tasks = asyncio.TaskGroup()
        self._closing = False

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        for members in self._groups.values():
            _send_away(members.slots.values())
        try:
            await self._tasks.__aexit__(None, None, None)  # graceful even when we are being cancelled
        finally:
            await self._guard.close()

    async def status(self, group: Group) -> TargetStatus:
        """Slots, and of them those whose process has lived for ``ready_after``."""
        members = self._members(group)
        await self._watched(group)
        now = asyncio.get_running_loop().time()
        ready = [slot.id for slot in members.staying() if slot.process is not None and slot.serves_at <= now]
        return TargetStatus(size=len(members.slots), ready=ready)

    async def resize(
        self, group: Group, capacity: int, *, fence: int, deadline: float, order: Order = Order.ANY
    ) -> None:
        """Fill free slots, or send the newest members away, the oldest if told so; both happen after this returns."""
        try:
            async with asyncio.timeout(deadline):
                await self._watched(group)
        except TimeoutError as error:
            raise TemporaryError(f"group {group.name}: no process was started within {deadline:g} s") from error
        if self._closing:
            raise TemporaryError(f"group {group.name}: the controller is shutting down")
        self._fences.enter(group.name, fence)
        members = self._members(group)
        staying = members.staying()
        if capacity > len(staying):
            _check(group.name, members.options)
        leaving = max(0, len(staying) - capacity)
        _send_away(staying[:leaving] if order is Order.OLDEST else reversed(staying[capacity:]))
        for _ in range(capacity - len(staying)):
            self._fill(members)

    async def release(self, group: Group) -> None:
        """End every member and wait until they are gone."""
        members = self._groups.get(group.name)
        if members is None:
            return
        slots = list(members.slots.values())
        _send_away(slots)
        for slot in slots:
            await slot.gone.wait()
        self._fences.forget(group.name)

    def pids(self, name: str) -> dict[str, int]:
        """Process ids of a group's living members by member id."""
        members = self._groups.get(name)
        slots = members.slots.values() if members else ()
        return {slot.id: slot.process.pid for slot in slots if slot.process is not None}

    async def _watched(self, group: Group) -> None:
        """Make sure that our members would not outlive us."""
        try:
            await self._guard.ensure(self._pids)
        except OSError as error:
            raise TemporaryError(f"group {group.name}: no process can be started: {error}") from error

    def _pids(self) -> list[int]:
        return [pid for name in self._groups for pid in self.pids(name).values()]

    def _members(self, group: Group) -> _Members:
        options = ProcessOptions.model_validate(dict(group.target))
        members = self._groups.setdefault(group.name, _Members(group.name, options))
        members.options = options  # after a reload, from the next start on
        return members

    def _fill(self, members: _Members) -> None:
        number = members.free_number()
        slot = members.slots[number] = _Slot(f"{members.group}-{number}")
        self._tasks.create_task(self._keep(members, number, slot), name=f"member {slot.id}")

    async def _keep(self, members: _Members, number: int, slot: _Slot) -> None:
        """Keep a slot filled until it is to go."""
        try:
            while not slot.leaving.is_set():
                delay = await self._lived(members, slot)
                with suppress(TimeoutError):
                    await asyncio.wait_for(slot.leaving.wait(), delay)
        finally:
            del members.slots[number]
            slot.gone.set()

    async def _lived(self, members: _Members, slot: _Slot) -> float:
        """One life of a member, from its start to its end; seconds to wait before the next one."""
        loop = asyncio.get_running_loop()
        born = loop.time()
        try:
            slot.process = await self._started(members, slot)
        except OSError as error:
            outcome = str(error)
        else:
            slot.serves_at = loop.time() + max(members.options.ready_after, self._delay(slot.deaths))
            _log.info("member started", group=members.group, member=slot.id, pid=slot.process.pid)
            outcome = await self._ended(members.options, slot, slot.process)
        slot.process, slot.serves_at = None, inf
        if slot.leaving.is_set():
            _log.info("member stopped", group=members.group, member=slot.id, outcome=outcome)
            return 0.0
        slot.deaths = 1 if loop.time() - born > STEADY_AFTER else slot.deaths + 1
        delay = self._delay(slot.deaths)
        _log.warning("member died", group=members.group, member=slot.id, outcome=outcome, restart_in=delay)
        return delay

    def _delay(self, deaths: int) -> float:
        if deaths == 0:
            return 0.0
        return min(self._restart_delay * 2.0 ** min(deaths - 1, 30), self._longest_delay)

    async def _started(self, members: _Members, slot: _Slot) -> Process:
        """A process that runs the command and that the guard knows."""
        read, write = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *_program(member), str(os.getpid()), *_command(members, slot),
                stdin=read, env=_environment(members, slot), start_new_session=True,
            )  # fmt: skip
            self._guard.watch(process.pid)
            with suppress(BrokenPipeError):
                os.write(write, b".")
        finally:
            os.close(read)
            os.close(write)
        return process

    async def _ended(self, options: ProcessOptions, slot: _Slot, process: Process) -> str:
        """Wait for the end of a process, bringing it about once the slot is to go; how it ended, for people."""
        try:
            async with asyncio.TaskGroup() as tasks:
                stopping = tasks.create_task(_stop(slot, process.pid, options.graceful_stop))
                code = await process.wait()
                stopping.cancel()
        finally:
            _signal(process.pid, signal.SIGKILL)  # what it started and left behind; itself, if we are cancelled
            self._guard.forget(process.pid)
        return f"exit {code}" if code >= 0 else signal.Signals(-code).name


async def _stop(slot: _Slot, pid: int, grace: float) -> None:
    await slot.leaving.wait()
    _signal(pid, signal.SIGTERM)
    await asyncio.sleep(grace)
    _signal(pid, signal.SIGKILL)


def _send_away(slots: Iterable[_Slot]) -> None:
    for slot in slots:
        slot.leaving.set()


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS refuses when only zombies are left
        os.killpg(group, number)


def _program(module: object) -> list[str]:
    """A command line that runs one of our programs by its path, quickly: no site packages, no environment."""
    return [sys.executable, "-I", "-S", str(Path(str(getattr(module, "__file__", ""))).resolve())]


def _command(members: _Members, slot: _Slot) -> list[str]:
    return [part.replace("{member}", slot.id).replace("{group}", members.group) for part in members.options.command]


def _environment(members: _Members, slot: _Slot) -> Mapping[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AUTOSCALER_")}
    own = {"AUTOSCALER_GROUP": members.group, "AUTOSCALER_MEMBER": slot.id}
    return inherited | dict(members.options.env) | own


def _check(group: str, options: ProcessOptions) -> None:
    """Raise PermanentError where the command cannot be found, instead of starting it for ever in vain."""
    path = options.env.get("PATH", os.environ.get("PATH"))
    if shutil.which(options.command[0], path=path) is None:
        raise PermanentError(f"group {group}: command not found: {options.command[0]}")


class _Guard:
    """The program that kills our members when we no longer can; started when first needed, and again if it ends."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._pipe = -1
        self._starting = asyncio.Lock()

    async def ensure(self, pids: Callable[[], Iterable[int]]) -> None:
        """Start it if it does not run, and tell it of ``pids``, asked for when it does."""
        async with self._starting:
            if self._process is not None and self._process.returncode is None:
                return
            self._hang_up()
            read, self._pipe = os.pipe()
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *_program(guard), stdin=read, stdout=asyncio.subprocess.DEVNULL, start_new_session=True
                )
            finally:
                os.close(read)
            for pid in pids():
                self.watch(pid)

    def watch(self, pid: int) -> None:
        self._tell(f"+{pid}\n")

    def forget(self, pid: int) -> None:
        self._tell(f"-{pid}\n")

    async def close(self) -> None:
        self._hang_up()
        if self._process is not None:
            await self._process.wait()

    def _tell(self, line: str) -> None:
        if self._pipe >= 0:
            with suppress(BrokenPipeError):  # it was killed; the next reading starts another and tells it all
                os.write(self._pipe, line.encode())

    def _hang_up(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
