"""One suite over every target, then what is particular to each."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from autoscaler.adapters.targets import process as process_module
from autoscaler.adapters.targets.dry_run import DryRunTarget
from autoscaler.adapters.targets.http import HttpTarget
from autoscaler.adapters.targets.memory import MemoryTarget
from autoscaler.adapters.targets.process import ProcessTarget
from autoscaler.adapters.targets.virtual import VirtualTarget
from autoscaler.errors import PermanentError, TemporaryError
from autoscaler.ports import Target, TargetStatus
from autoscaler.scaling.group import Group
from autoscaler.scaling.policy import Order

pytestmark = pytest.mark.slow  # a second or more in all

SLEEPER = (sys.executable, "-S", "-c", "import time; time.sleep(600)")

STUBBORN = (
    sys.executable, "-S", "-c",
    ("import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "open(sys.argv[1], 'w').close(); time.sleep(600)"),
)  # fmt: skip


def group(name: str = "web", target_type: str = "process", **options: object) -> Group:
    return Group(name=name, min_size=0, max_size=10, target_type=target_type, target=options)


async def until(condition: Callable[[], Awaitable[bool]] | Callable[[], bool]) -> None:
    """Look again and again, for at most 10 s."""
    async with asyncio.timeout(10):
        while True:
            result = condition()
            if result if isinstance(result, bool) else await result:
                return
            await asyncio.sleep(0.01)


# --- a service with a size, for the HTTP target ----------------------------------------------------------------------


@dataclass
class Request:
    method: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Service:
    """A small HTTP server that owns a size."""

    port: int = 0
    size: int = 0
    fence: int = 0
    requests: list[Request] = field(default_factory=list)
    answer: tuple[int, str, str] | None = None  # status, headers, body; instead of what it would say
    hangs: bool = False
    connections: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/groups/web"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self.connections.add(connection)
        with suppress(asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {
                    name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.requests.append(Request(lines[0].split()[0], headers, body))
                if self.hangs:
                    await asyncio.Event().wait()
                status, fields, text = self.answer or self.answered(self.requests[-1])
                writer.write(f"HTTP/1.1 {status} X\r\n{fields}content-length: {len(text)}\r\n\r\n{text}".encode())
                await writer.drain()
        self.connections.discard(connection)
        writer.close()

    def answered(self, request: Request) -> tuple[int, str, str]:
        if request.method == "GET":
            members = [f"vm-{number}" for number in range(self.size)]
            return 200, "", json.dumps({"size": self.size, "members": members})
        asked = json.loads(request.body)
        if asked["fence"] < self.fence:
            return 409, "", f"fence {asked['fence']} is older than {self.fence}"
        self.size, self.fence = asked["size"], asked["fence"]
        return 202, "", ""


@asynccontextmanager
async def running_service() -> AsyncIterator[Service]:
    it = Service()
    server = await asyncio.start_server(it.serve, "127.0.0.1", 0)
    it.port = server.sockets[0].getsockname()[1]
    try:
        yield it
    finally:
        server.close()
        for connection in it.connections:
            connection.cancel()


# --- every target ----------------------------------------------------------------------------------------------------


@dataclass
class Subject:
    target: Target
    group: Group
    other: Group
    names: bool


@pytest.fixture(params=["process", "http", "dry_run", "virtual", "memory", "memory-half-way"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    async with AsyncExitStack() as stack:
        match request.param:
            case "process":
                target: Target = await stack.enter_async_context(ProcessTarget())
                yield Subject(target, group(command=SLEEPER), group("db", command=SLEEPER), names=True)
            case "http":
                target = await stack.enter_async_context(HttpTarget())
                web, database = [await stack.enter_async_context(running_service()) for _ in range(2)]
                yield Subject(target, group(url=web.url), group("db", url=database.url), names=True)
            case "dry_run":
                yield Subject(DryRunTarget(), group(), group("db"), names=False)
            case "virtual":
                yield Subject(VirtualTarget(MemoryTarget()), group(), group("db"), names=False)
            case _:
                target = MemoryTarget(stride=1 if request.param == "memory-half-way" else None)
                yield Subject(target, group(), group("db"), names=True)


async def settled(subject: Subject, size: int, group: Group | None = None) -> TargetStatus:
    """The status once ``size`` members are there and serve."""
    found: list[TargetStatus] = []

    async def there() -> bool:
        found.append(await subject.target.status(group or subject.group))
        return found[-1].size == size == found[-1].ready_count

    await until(there)
    return found[-1]


async def test_a_group_starts_with_nobody(subject: Subject) -> None:
    assert await subject.target.status(subject.group) == TargetStatus(0, [], None if subject.names else 0) or (
        not subject.names and (await subject.target.status(subject.group)).size == 0
    )


@pytest.mark.parametrize("sizes", [[3], [1, 4, 2], [5, 0], [2, 2], [0]], ids=str)
async def test_a_group_gets_the_sizes_it_is_asked_for(subject: Subject, sizes: list[int]) -> None:
    for fence, size in enumerate(sizes, start=1):
        await subject.target.resize(subject.group, size, fence=fence, deadline=5)
        status = await settled(subject, size)
        assert len(set(status.ready)) == (size if subject.names else 0)


async def test_asking_for_the_same_again_is_harmless(subject: Subject) -> None:
    for _ in range(3):
        await subject.target.resize(subject.group, 2, fence=1, deadline=5)
    before = await settled(subject, 2)
    await subject.target.resize(subject.group, 2, fence=2, deadline=5)
    assert await settled(subject, 2) == before


async def test_an_older_resize_is_refused_and_changes_nothing(subject: Subject) -> None:
    await subject.target.resize(subject.group, 2, fence=7, deadline=5)
    await settled(subject, 2)
    with pytest.raises(PermanentError):
        await subject.target.resize(subject.group, 4, fence=6, deadline=5)
    assert (await settled(subject, 2)).size == 2


async def test_groups_of_one_target_are_apart(subject: Subject) -> None:
    await subject.target.resize(subject.group, 3, fence=9, deadline=5)
    await subject.target.resize(subject.other, 1, fence=1, deadline=5)
    await settled(subject, 3)
    await settled(subject, 1, subject.other)
    await subject.target.release(subject.other)
    await settled(subject, 3)


async def test_members_that_stay_keep_their_ids(subject: Subject) -> None:
    await subject.target.resize(subject.group, 4, fence=1, deadline=5)
    before = await settled(subject, 4)
    await subject.target.resize(subject.group, 2, fence=2, deadline=5)
    after = await settled(subject, 2)
    assert set(after.ready) <= set(before.ready)


async def test_a_target_at_rest_is_not_busy_and_keeps_what_it_has(subject: Subject) -> None:
    await subject.target.resize(subject.group, 2, fence=1, deadline=5)
    status = await settled(subject, 2)
    assert (status.busy, status.trouble, list(status.failed)) == ("", "", [])
    assert status.wanted in (None, 2)


@pytest.mark.parametrize("order", [order for order in Order if order])
async def test_an_order_changes_who_goes_and_not_how_many(subject: Subject, order: Order) -> None:
    await subject.target.resize(subject.group, 4, fence=1, deadline=5)
    await settled(subject, 4)
    await subject.target.resize(subject.group, 2, fence=2, deadline=5, order=order)
    await settled(subject, 2)


async def test_released_resident_members_end_and_others_stay(subject: Subject) -> None:
    await subject.target.resize(subject.group, 2, fence=5, deadline=5)
    await settled(subject, 2)
    await subject.target.release(subject.group)
    await settled(subject, 0 if subject.target.resident else 2)
    if subject.target.resident:  # a new owner counts anew
        await subject.target.resize(subject.group, 1, fence=1, deadline=5)
        await settled(subject, 1)


async def test_a_group_that_is_unknown_can_be_released(subject: Subject) -> None:
    await subject.target.release(subject.other)


# --- processes -------------------------------------------------------------------------------------------------------


def alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


async def grown(target: ProcessTarget, group: Group, size: int, fence: int = 1) -> dict[str, int]:
    await target.resize(group, size, fence=fence, deadline=5)
    await settled(Subject(target, group, group, names=True), size)
    return target.pids(group.name)


async def test_members_have_the_lowest_free_numbers_and_the_newest_goes_first() -> None:
    web = group(command=SLEEPER)
    async with ProcessTarget() as target:
        pids = await grown(target, web, 3)
        assert list(pids) == ["web-1", "web-2", "web-3"]
        assert list(await grown(target, web, 2, fence=2)) == ["web-1", "web-2"]
        assert not alive(pids["web-3"])
        again = await grown(target, web, 3, fence=3)
        assert list(again) == ["web-1", "web-2", "web-3"]
        assert again["web-3"] != pids["web-3"]


async def test_the_oldest_go_first_where_that_is_asked_for() -> None:
    web = group(command=SLEEPER)
    async with ProcessTarget() as target:
        pids = await grown(target, web, 3)
        await target.resize(web, 1, fence=2, deadline=5, order=Order.OLDEST)
        await settled(Subject(target, web, web, names=True), 1)
        assert target.pids("web") == {"web-3": pids["web-3"]}


async def test_a_member_knows_its_name_and_none_of_the_controllers_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOSCALER_MQTT_URL", "mqtt://me:secret@bus")
    monkeypatch.setenv("PLAIN", "kept")
    program = (
        "import json, os, sys, time; file = sys.argv[1]; "
        "open(file + '~', 'w').write(json.dumps([sys.argv[1:], dict(os.environ), sys.stdin.read()])); "
        "os.rename(file + '~', file); time.sleep(600)"
    )
    web = group(
        command=(sys.executable, "-S", "-c", program, f"{tmp_path}/{{member}}", "{group}"),
        env={"EXTRA": "1"},
    )
    async with ProcessTarget() as target:
        await grown(target, web, 1)
        await until((tmp_path / "web-1").exists)
    arguments, environment, given = json.loads((tmp_path / "web-1").read_text())
    assert arguments == [f"{tmp_path}/web-1", "web"]
    assert {name: value for name, value in environment.items() if name.startswith("AUTOSCALER_")} == {
        "AUTOSCALER_GROUP": "web",
        "AUTOSCALER_MEMBER": "web-1",
    }
    assert (environment["PLAIN"], environment["EXTRA"]) == ("kept", "1")
    assert given == ""


async def test_a_member_that_ignores_the_request_to_stop_is_killed_after_the_grace_time(tmp_path: Path) -> None:
    web = group(command=(*STUBBORN, f"{tmp_path}/{{member}}"), graceful_stop=0.2)
    async with ProcessTarget() as target:
        pids = await grown(target, web, 1)
        await until((tmp_path / "web-1").exists)
        began = asyncio.get_running_loop().time()
        await target.resize(web, 0, fence=2, deadline=5)
        going = await target.status(web)
        assert (going.size, list(going.ready)) == (1, [])
        await settled(Subject(target, web, web, names=True), 0)
        assert asyncio.get_running_loop().time() - began >= 0.2
        assert not alive(pids["web-1"])


async def test_a_member_that_stops_by_itself_when_asked_may_finish_its_work(tmp_path: Path) -> None:
    program = """
        import signal, sys, time
        def stop(*_):
            open(sys.argv[1] + ".finished", "w").close()
            sys.exit(0)
        signal.signal(signal.SIGTERM, stop)
        open(sys.argv[1], "w").close()
        time.sleep(600)
    """
    web = group(command=(sys.executable, "-S", "-c", textwrap.dedent(program), f"{tmp_path}/{{member}}"))
    async with ProcessTarget() as target:
        await grown(target, web, 1)
        await until((tmp_path / "web-1").exists)
    assert (tmp_path / "web-1.finished").exists()


async def test_what_a_member_started_ends_with_it(tmp_path: Path) -> None:
    program = (
        "import os, subprocess, sys; child = subprocess.Popen(['sleep', '600']); "
        "open(sys.argv[1] + '~', 'w').write(str(child.pid)); os.rename(sys.argv[1] + '~', sys.argv[1]); child.wait()"
    )
    web = group(command=(sys.executable, "-c", program, f"{tmp_path}/{{member}}"))
    async with ProcessTarget() as target:
        pids = await grown(target, web, 2)
        await until(lambda: (tmp_path / "web-1").exists() and (tmp_path / "web-2").exists())
        grandchildren = {name: int((tmp_path / name).read_text()) for name in pids}
        os.kill(pids["web-1"], signal.SIGKILL)
        await until(lambda: not alive(grandchildren["web-1"]))
        assert alive(grandchildren["web-2"])
    await until(lambda: not any(alive(pid) for pid in grandchildren.values()))


async def test_a_dead_member_is_replaced_under_its_own_name() -> None:
    web = group(command=SLEEPER)
    async with ProcessTarget(restart_delay=0.05) as target:
        before = await grown(target, web, 2)
        os.kill(before["web-2"], signal.SIGKILL)
        await until(lambda: target.pids("web").get("web-2", before["web-2"]) != before["web-2"])
        assert (await target.status(web)).size == 2
        await settled(Subject(target, web, web, names=True), 2)
        assert target.pids("web")["web-1"] == before["web-1"]


async def test_a_member_that_dies_again_and_again_waits_longer_and_longer_and_is_not_ready(tmp_path: Path) -> None:
    log = tmp_path / "starts"
    # A shell, since what takes long to start also takes long to die, and might be ready meanwhile.
    web = group(command=("/bin/sh", "-c", 'printf x >> "$1"; exit 3', "member", str(log)))
    clock = asyncio.get_running_loop().time
    async with ProcessTarget(restart_delay=0.2) as target:
        await target.resize(web, 1, fence=1, deadline=5)
        # The first life may look ready until it ends; from the second on nothing does.
        await until(lambda: log.exists() and log.stat().st_size >= 2)
        seen, starts = [], [clock()]
        while len(starts) < 3:
            seen.append(await target.status(web))
            await asyncio.sleep(0.005)
            if log.stat().st_size >= 2 + len(starts):
                starts.append(clock())
        assert {status.size for status in seen} == {1}
        assert sum(status.ready_count for status in seen) < len(seen) / 4
        # Twice as long each time: 0.4 and 0.8 s, less what it took here to see a start.
        assert starts[1] - starts[0] > 0.25
        assert starts[2] - starts[1] > 0.6
        await target.resize(web, 0, fence=2, deadline=5)
        await settled(Subject(target, web, web, names=True), 0)


async def test_a_member_is_ready_only_after_its_time() -> None:
    web = group(command=SLEEPER, ready_after=0.3)
    async with ProcessTarget() as target:
        await target.resize(web, 1, fence=1, deadline=5)
        await until(lambda: bool(target.pids("web")))
        began = asyncio.get_running_loop().time()
        assert (await target.status(web)).ready_count == 0
        await settled(Subject(target, web, web, names=True), 1)
        assert asyncio.get_running_loop().time() - began > 0.2


async def test_a_command_that_does_not_exist_is_refused() -> None:
    web = group(command=("no-such-program-anywhere",))
    async with ProcessTarget() as target:
        with pytest.raises(PermanentError, match="group web: command not found: no-such-program-anywhere"):
            await target.resize(web, 1, fence=1, deadline=5)
        assert (await target.status(web)).size == 0


async def test_a_changed_command_is_used_from_the_next_start_on(tmp_path: Path) -> None:
    async with ProcessTarget(restart_delay=0.02) as target:
        before = await grown(target, group(command=SLEEPER), 1)
        await target.status(group(command=(*STUBBORN, f"{tmp_path}/new"), graceful_stop=0))
        assert target.pids("web") == before
        os.kill(before["web-1"], signal.SIGKILL)
        await until((tmp_path / "new").exists)


async def test_leaving_the_target_ends_every_process_it_started() -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    async with ProcessTarget() as target:
        pids = [*(await grown(target, group(command=SLEEPER), 3)).values()]
        pids += (await grown(target, group("db", command=SLEEPER), 1)).values()
    assert not any(alive(pid) for pid in pids)
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


async def test_members_end_gracefully_when_the_controller_is_cancelled(tmp_path: Path) -> None:
    started = asyncio.Event()

    async def controller() -> None:
        async with ProcessTarget() as target:
            pids.update(await grown(target, group(command=SLEEPER), 2))
            started.set()
            await asyncio.Event().wait()

    pids: dict[str, int] = {}
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(controller())
        await started.wait()
        running.cancel()
    assert running.cancelled()
    assert not any(alive(pid) for pid in pids.values())


CONTROLLER = """
    import asyncio, sys
    from autoscaler.adapters.targets.process import ProcessTarget
    from autoscaler.scaling.group import Group

    web = Group(name="web", min_size=0, max_size=9, target_type="process", target={"command": tuple(sys.argv[1:])})

    async def main():
        async with ProcessTarget() as target:
            await target.resize(web, 3, fence=1, deadline=5)
            while (await target.status(web)).ready_count < 3:
                await asyncio.sleep(0.01)
            print(*target.pids("web").values(), target._guard._process.pid, flush=True, file=sys.stderr)
            await asyncio.Event().wait()

    asyncio.run(main())
"""


@pytest.fixture
def controller(tmp_path: Path) -> AsyncIterator[subprocess.Popen[str]]:
    """A process of its own that holds three members; each has a child that ignores everything but SIGKILL."""
    member = (
        "import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', "
        "'import os, signal, sys, time; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]; "
        'open(sys.argv[1] + str(os.getpid()), "w"); time.sleep(600)\', sys.argv[1]])'
    )
    running = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CONTROLLER), sys.executable, "-c", member, f"{tmp_path}/child-"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    yield running
    running.kill()
    running.wait()
    assert running.stderr
    running.stderr.close()


@pytest.mark.parametrize("first_the_guard", [False, True], ids=["guarded", "guard-killed-first"])
async def test_members_die_with_a_controller_that_is_killed(
    controller: subprocess.Popen[str], tmp_path: Path, *, first_the_guard: bool
) -> None:
    assert controller.stderr
    *members, guard = [int(word) for word in (await asyncio.to_thread(controller.stderr.readline)).split()]
    assert len(members) == 3
    await until(lambda: len(list(tmp_path.glob("child-*"))) == 3)
    children = [int(path.name.removeprefix("child-")) for path in tmp_path.glob("child-*")]
    if first_the_guard:
        os.kill(guard, signal.SIGKILL)
    controller.kill()
    await until(lambda: not any(alive(pid) for pid in members))
    if first_the_guard:  # the kernel's word reaches the members themselves only
        for pid in children:
            os.kill(pid, signal.SIGKILL)
    await until(lambda: not any(alive(pid) for pid in [*children, guard]))


async def test_a_guard_that_was_killed_is_replaced_and_knows_the_members() -> None:
    web = group(command=SLEEPER)
    async with ProcessTarget() as target:
        pids = await grown(target, web, 2)
        first = target._guard._process
        assert first is not None
        first.kill()
        await first.wait()
        await target.status(web)
        second = target._guard._process
        assert second is not None
        assert second.pid != first.pid
        target._guard._hang_up()  # as the kernel does when we die
        await until(lambda: not any(alive(pid) for pid in pids.values()))


async def test_a_member_whose_controller_died_before_the_word_never_runs(tmp_path: Path) -> None:
    program = process_module._program(process_module.member)
    begun = await asyncio.create_subprocess_exec(
        *program, str(os.getpid()), "touch", str(tmp_path / "ran"), stdin=asyncio.subprocess.PIPE
    )
    assert begun.stdin
    begun.stdin.close()
    assert await begun.wait() == 1
    assert not (tmp_path / "ran").exists()


# --- HTTP ------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with running_service() as it:
        yield it


@pytest.fixture
async def http_target() -> AsyncIterator[HttpTarget]:
    async with HttpTarget() as target:
        yield target


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param('{"size": 3}', (3, [], 3), id="size-only"),
        pytest.param('{"size": 3, "ready": 1}', (3, [], 1), id="size-and-ready"),
        pytest.param('{"size": 2, "members": ["a", "b"]}', (2, ["a", "b"], 2), id="ids"),
        pytest.param(
            '{"size": 2, "members": [{"id": "a", "ready": false}, {"id": "b"}]}', (2, ["b"], 1), id="ids-and-ready"
        ),
        pytest.param('{"size": 3, "members": ["a"], "ready": 2}', (3, ["a"], 2), id="some-ids"),
        pytest.param('{"size": 0, "members": []}', (0, [], 0), id="nobody"),
        pytest.param('{"size": 1, "colour": "blue"}', (1, [], 1), id="more-keys"),
    ],
)
async def test_an_answer_is_read(
    service: Service, http_target: HttpTarget, body: str, expected: tuple[int, list[str], int]
) -> None:
    service.answer = (200, "", body)
    status = await http_target.status(group(url=service.url))
    assert (status.size, list(status.ready), status.ready_count) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param("", "Input data was truncated", id="empty"),
        pytest.param("<html>", "invalid", id="not-json"),
        pytest.param("[]", "Expected `object`", id="not-an-object"),
        pytest.param("{}", "missing required field `size`", id="no-size"),
        pytest.param('{"size": "3"}', "Expected `int`, got `str`", id="text"),
        pytest.param('{"size": true}', "Expected `int`, got `bool`", id="boolean"),
        pytest.param('{"size": 2.5}', "Expected `int`, got `float`", id="fraction"),
        pytest.param('{"size": -1}', "size is -1, expected 0 or more", id="negative"),
        pytest.param('{"size": 1, "ready": 2}', "ready is 2, expected 0 to size, which is 1", id="more-ready"),
        pytest.param('{"size": 1, "members": ["a", "b"]}', "2 members are listed, size is only 1", id="more-members"),
        pytest.param('{"size": 2, "members": ["a", "a"]}', "a member is listed twice", id="twice"),
        pytest.param('{"size": 1, "members": [7]}', r"Expected `str \| object`", id="strange-member"),
    ],
)
async def test_an_answer_that_makes_no_sense_is_no_size(
    service: Service, http_target: HttpTarget, body: str, expected: str
) -> None:
    service.answer = (200, "", body)
    with pytest.raises(TemporaryError, match=rf"GET {service.url}: .*{expected}"):
        await http_target.status(group(url=service.url))


@pytest.mark.parametrize("status", [302, 401, 404, 429, 500, 503])
async def test_a_reading_that_fails_is_always_temporary(service: Service, http_target: HttpTarget, status: int) -> None:
    service.answer = (status, "location: /x\r\n", "not now")
    with pytest.raises(TemporaryError, match=rf"answered {status} \(not now\)"):
        await http_target.status(group(url=service.url))


@pytest.mark.parametrize(
    ("status", "error"),
    [(302, PermanentError), (400, PermanentError), (404, PermanentError), (409, PermanentError), (429, TemporaryError),
     (500, TemporaryError), (503, TemporaryError)],
)  # fmt: skip
async def test_a_resize_fails_in_the_services_own_words(
    service: Service, http_target: HttpTarget, status: int, error: type[Exception]
) -> None:
    service.answer = (status, "location: /x\r\nretry-after: 4\r\n", "quota of 3 exceeded")
    with pytest.raises(error, match=rf"PUT {service.url}: answered {status} \(quota of 3 exceeded\)") as caught:
        await http_target.resize(group(url=service.url), 4, fence=1, deadline=5)
    if isinstance(caught.value, TemporaryError):
        assert caught.value.delay == 4


async def test_a_resize_names_size_and_fence_and_is_recognised_when_it_comes_again(
    service: Service, http_target: HttpTarget
) -> None:
    web = group(url=service.url, headers={"X-Token": "t"})
    for size, fence in ((4, 7), (4, 7), (5, 8)):
        await http_target.resize(web, size, fence=fence, deadline=5)
    assert [json.loads(request.body) for request in service.requests] == [
        {"size": 4, "fence": 7}, {"size": 4, "fence": 7}, {"size": 5, "fence": 8}
    ]  # fmt: skip
    keys = [request.headers["idempotency-key"] for request in service.requests]
    assert keys[0] == keys[1] != keys[2]
    assert {request.headers["x-token"] for request in service.requests} == {"t"}


async def test_a_service_that_hangs_is_given_up_at_the_deadline(service: Service, http_target: HttpTarget) -> None:
    service.hangs = True
    web = group(url=service.url, timeout=0.2)
    with pytest.raises(TemporaryError, match=r"no answer within 0\.2 s"):
        await http_target.status(web)
    with pytest.raises(TemporaryError, match=r"no answer within 0\.1 s"):
        await http_target.resize(web, 1, fence=1, deadline=0.1)


async def test_a_service_that_is_away_is_no_size(http_target: HttpTarget, unused_tcp_port: int) -> None:
    with pytest.raises(TemporaryError):
        await http_target.status(group(url=f"http://127.0.0.1:{unused_tcp_port}/"))


# --- dry run ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "desired", "size"),
    [
        pytest.param({}, None, 1, id="min-size"),
        pytest.param({}, 3, 3, id="desired-capacity"),
        pytest.param({"size": 5}, 3, 5, id="its-own-size"),
    ],
)
async def test_a_dry_run_begins_with_the_size_it_is_told(
    options: dict[str, int], desired: int | None, size: int
) -> None:
    web = Group(name="web", min_size=1, max_size=9, desired_capacity=desired, target=options)
    assert (await DryRunTarget().status(web)).size == size


# --- the twin --------------------------------------------------------------------------------------------------------


async def test_the_twin_can_fail_before_and_after_its_work() -> None:
    target = MemoryTarget()
    target.resize_failures.extend([TemporaryError("before"), TemporaryError("after")])
    with pytest.raises(TemporaryError, match="before"):
        await target.resize(group(), 2, fence=1, deadline=1)
    assert (await target.status(group())).size == 0
    target.fails_after_work = True
    with pytest.raises(TemporaryError, match="after"):
        await target.resize(group(), 2, fence=1, deadline=1)
    assert (await target.status(group())).size == 2


async def test_the_twin_can_be_unreadable_slow_short_and_deaf() -> None:
    target = MemoryTarget()
    target.status_failures.append(TemporaryError("away"))
    with pytest.raises(TemporaryError, match="away"):
        await target.status(group())
    target.open.clear()
    with pytest.raises(TemporaryError, match=r"no answer within 0\.05 s"):
        await target.resize(group(), 2, fence=1, deadline=0.05)
    target.open.set()
    target.limit = 3
    await target.resize(group(), 5, fence=1, deadline=1)
    assert (await target.status(group())).size == 3
    target.deaf = True
    await target.resize(group(), 1, fence=2, deadline=1)
    assert (await target.status(group())).size == 3
    assert [resize.capacity for resize in target.resizes] == [5, 1]


async def test_the_twin_says_what_it_is_told_to_say() -> None:
    target = MemoryTarget()
    target.said = {"busy": "updating", "failed": ["web-2"], "wanted": 1}
    target.again = 2.5
    assert await target.resize(group(), 3, fence=1, deadline=1, order=Order.NEWEST) == 2.5
    status = await target.status(group())
    assert (status.size, status.busy, status.failed, status.wanted) == (3, "updating", ["web-2"], 3)
    assert target.resizes[-1].order is Order.NEWEST


async def test_the_twin_changes_behind_the_controllers_back_and_has_members_that_do_not_serve() -> None:
    target = MemoryTarget()
    target.set_size("web", 3)
    target.unready.add("web-2")
    status = await target.status(group())
    assert (status.size, list(status.ready)) == (3, ["web-1", "web-3"])


# --- a target as it would be -----------------------------------------------------------------------------------------


async def test_what_is_imagined_is_never_asked_of_the_real_target() -> None:
    real = MemoryTarget()
    real.set_size("web", 2)
    target = VirtualTarget(real)
    await target.resize(group(), 5, fence=1, deadline=5)

    assert (await target.status(group())).size == 5
    await target.release(group())
    assert (await real.status(group())).size == 2
    assert real.resizes == []


async def test_what_is_imagined_is_past_when_somebody_moves_the_real_group() -> None:
    real = MemoryTarget()
    real.set_size("web", 2)
    target = VirtualTarget(real)
    await target.status(group())
    await target.resize(group(), 5, fence=1, deadline=5)
    real.set_size("web", 3)

    found = await target.status(group())
    assert (found.size, found.ready) == (3, ["web-1", "web-2", "web-3"])


async def test_a_real_target_that_cannot_be_read_is_no_size() -> None:
    real = MemoryTarget()
    real.status_failures.append(TemporaryError("away"))
    with pytest.raises(TemporaryError):
        await VirtualTarget(real).resize(group(), 5, fence=1, deadline=5)


async def test_members_of_this_process_are_imagined_too() -> None:
    async with ProcessTarget() as real:
        target = VirtualTarget(real)
        await target.resize(group(command=SLEEPER), 3, fence=1, deadline=5)

        assert not target.resident
        assert (await target.status(group(command=SLEEPER))).size == 3
        assert (await real.status(group(command=SLEEPER))).size == 0
