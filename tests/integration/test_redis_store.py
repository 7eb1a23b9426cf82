"""What the store in Redis does beside the protocol: loading, deadlines, faults, expiry."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
import redis
import structlog
from msgspec.structs import replace

from autoscaler.adapters.redis import RedisStore
from autoscaler.adapters.redis.calls import library
from autoscaler.adapters.redis.definitions import PIECE
from autoscaler.adapters.redis.health import _faults as faults_of
from autoscaler.alarms.alarm import AlarmRecord
from autoscaler.alarms.definition import Definition
from autoscaler.errors import PermanentError, TemporaryError, UnknownStateError
from autoscaler.measures.match import Equals
from autoscaler.measures.series import pack
from autoscaler.measures.window import WindowSpec
from autoscaler.ports import (
    STATE_FORM,
    Acceptance,
    Accepted,
    GroupPut,
    Heartbeat,
    HistoryEntry,
    OutboxRow,
    WindowWrite,
)
from autoscaler.redaction import redacted
from autoscaler.scaling.group import GroupRecord
from tests.servers import RedisServer, ValkeyServer, free_port

pytestmark = pytest.mark.service

SPEC = WindowSpec("", ("cpu",), Equals("server_group", "web"), horizon=100.0)


@pytest.fixture
def namespace() -> str:
    return uuid.uuid4().hex


@pytest.fixture(
    params=[
        pytest.param("redis_server", id="redis"),
        pytest.param("valkey", id="valkey"),
        pytest.param("redis_cluster", id="redis-cluster"),
        pytest.param("valkey_cluster", id="valkey-cluster"),
    ]
)
def redis_url(request: pytest.FixtureRequest) -> str:
    """Of a server of each kind."""
    server = request.getfixturevalue(request.param)
    return str(server.url)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    # what is asked of either is answered by both
    if "+cluster" in redis_url:
        host, _, port = redis_url.partition("://")[2].partition(",")[0].partition(":")
        with redis.RedisCluster(host=host, port=int(port)) as cluster:
            yield cast("redis.Redis", cluster)
    else:
        with redis.Redis.from_url(redis_url) as client:
            yield client


def blocked(client: redis.Redis) -> int:
    """How many wait for something at the server, or at all of a cluster."""
    found = client.info("clients")
    return (
        int(found["blocked_clients"])
        if "blocked_clients" in found
        else sum(int(node["blocked_clients"]) for node in found.values())
    )


@asynccontextmanager
async def opened(url: str, namespace: str = "n", **options: float) -> AsyncIterator[RedisStore]:
    store = RedisStore(url, namespace=namespace, **options)  # type: ignore[arg-type]
    try:
        yield store
    finally:
        await store.close()


def definition_of(alarm_id: str, name: str = "busy") -> Definition:
    return Definition(
        alarm_id=alarm_id,
        type="event",
        name=name,
        description="",
        enabled=True,
        severity="low",
        ok_actions=(),
        alarm_actions=(),
        insufficient_data_actions=(),
        repeat_actions=False,
        time_constraints=(),
        rule={"event_type": "*", "query": []},
        user_id="u",
        project_id="p",
        timestamp=1.0,
        scope="p",
    )


def happened(alarm_id: str, timestamp: float) -> HistoryEntry:
    return HistoryEntry(
        event_id=f"{alarm_id}:{timestamp}",
        alarm_id=alarm_id,
        type="creation",
        detail={},
        timestamp=timestamp,
        on_behalf_of="p",
    )


async def define(store: RedisStore, *alarm_ids: str, expected: int = 0) -> None:
    answers = await store.accept(
        [
            Acceptance(alarm_id, "", 0, expected, AlarmRecord(), definition=definition_of(alarm_id, str(expected)))
            for alarm_id in alarm_ids
        ],
        lease=30.0,
    )
    assert all(isinstance(answer, Accepted) for answer in answers)


async def use_everything(store: RedisStore) -> None:
    now = await store.now()
    for key in range(20):
        spec = WindowSpec("", ("cpu",), Equals("server_group", str(key)), horizon=100.0)
        await store.write([WindowWrite(spec, 0, {"a": pack([(now, 1.0)])})])
        row = OutboxRow(id=f"{key}:1:0", alarm_id=str(key), url="log://", body={}, created=now)
        record = AlarmRecord(version=1)
        history = [happened(str(key), now)]
        made = Acceptance(str(key), spec.window_id, 1, 0, record, [row], history, definition_of(str(key)))
        await store.accept([made], lease=30.0)
        await store.tally({str(key): {"ok": 1}})
        await store.keep("quota", {str(key): b"{}"})
        await store.undelivered(row.lane, row.id, retry_at=now)
        await store.put_group(GroupPut(str(key), 0, None, GroupRecord(version=1), None, now))
        await store.schedule(str(key), "d", now)
    await store.freeze(None)
    await store.publish("g", b"{}", insist=False)
    await store.beat(Heartbeat(replica="r", clock=now, caught_up=True))
    await store.claim(limit=1000, lease=30.0)


async def test_functions_that_are_missing_are_loaded(redis_url: str, client: redis.Redis, namespace: str) -> None:
    async with opened(redis_url, namespace) as store:
        await store.write([WindowWrite(SPEC)])
        client.function_flush()

        claimed = await store.claim(limit=1, lease=1.0)

    assert list(claimed.items) == []


async def test_every_key_names_its_shard(redis_url: str, client: redis.Redis, namespace: str) -> None:
    async with opened(redis_url, namespace) as store:
        await use_everything(store)

    keys = [key.decode() for key in client.scan_iter(f"{namespace}*", count=1000)]
    tags = {key[len(namespace) : key.index("}") + 1] for key in keys}
    assert tags <= {f":{{s{shard:02d}}}" for shard in range(16)} | {":{hub}"}
    assert len(tags) > 10


async def test_namespaces_do_not_see_each_other(redis_url: str, namespace: str) -> None:
    async with opened(redis_url, namespace) as one, opened(redis_url, namespace + "x") as other:
        await use_everything(one)

        assert (await other.claim(limit=10, lease=1.0)).next_due is None
        assert await other.generation() is None


async def test_the_number_of_shards_stays_as_it_was_first(redis_url: str, namespace: str) -> None:
    async with opened(redis_url, namespace, shards=4) as first, opened(redis_url, namespace, shards=32) as second:
        await use_everything(first)
        with structlog.testing.capture_logs() as logs:
            states = [await second.group(str(key)) for key in range(20)]

    assert {state.record.version for state in states} == {1}
    assert [(log["stored"], log["configured"]) for log in logs] == [(4, 32)]


async def test_windows_are_forgotten_some_time_after_their_horizon(
    redis_url: str, client: redis.Redis, namespace: str
) -> None:
    async with opened(redis_url, namespace) as store:
        await store.write([WindowWrite(SPEC, 0, {"a": pack([(await store.now(), 1.0)])})])

    keys = [
        *client.scan_iter(f"{namespace}*window:*", count=1000),
        *client.scan_iter(f"{namespace}*points:*", count=1000),
    ]
    lives = [client.pttl(key) / 1000 for key in keys]
    assert len(lives) == 2
    assert all(2 * SPEC.horizon + 3000 < life <= 2 * SPEC.horizon + 3600 for life in lives)


async def test_a_window_that_is_written_lives_on(redis_url: str, client: redis.Redis, namespace: str) -> None:
    now, long = 1_700_000_000.0, replace(SPEC, horizon=10_000.0)
    async with opened(redis_url, namespace, clock=lambda: now) as store:
        version = 0
        for _ in range(2):
            (reply,) = await store.write([WindowWrite(long, version, {"a": pack([(now, 1.0)])})])
            version, now = reply.version, now + 1.0
        keys = [
            *client.scan_iter(f"{namespace}*window:*", count=1000),
            *client.scan_iter(f"{namespace}*points:*", count=1000),
        ]
        for key in keys:
            client.pexpire(key, 1000)  # as if the time had passed
        for _ in range(10):
            now += 600.0
            (reply,) = await store.write([WindowWrite(long, version, {"a": pack([(now, 1.0)])})])
            version = reply.version

    assert len(keys) == 2
    assert all(client.pttl(key) > 3000 * 1000 for key in keys)


async def test_a_forgotten_window_begins_with_a_version_it_never_had(
    redis_url: str, client: redis.Redis, namespace: str
) -> None:
    async with opened(redis_url, namespace) as store:
        (before,) = (await store.write([WindowWrite(SPEC, 0, {"a": pack([(1.0, 1.0)])})] * 50))[-1:]
        client.delete(*client.scan_iter(f"{namespace}*window:*", count=1000))

        (after,) = await store.write([WindowWrite(SPEC, before.version)])

    assert after.version > before.version
    assert (after.whole, dict(after.series), after.newest) == (True, {}, None)


async def test_the_clock_is_that_of_the_server(redis_url: str, client: redis.Redis, namespace: str) -> None:
    async with opened(redis_url, namespace) as store:
        before = client.time()
        (reply,) = await store.write([WindowWrite(SPEC)])
        now, after = await store.now(), client.time()

    assert before[0] + before[1] / 1e6 <= reply.asof <= now <= after[0] + after[1] / 1e6


async def test_a_server_that_does_not_answer_is_a_temporary_error_and_mixes_nothing_up(namespace: str) -> None:
    with RedisServer() as server:
        async with opened(server.url, namespace, deadline=0.3) as store:
            await store.publish("g1", b"one", insist=False)
            server.freeze()
            with pytest.raises(TemporaryError, match=r"no answer within 0\.3 s"):
                await store.generation()
            with pytest.raises(TemporaryError, match=r"no answer within 0\.3 s|Timeout"):
                await store.write([WindowWrite(SPEC)])
            server.thaw()

            assert await store.generation() == ("g1", b"one")
            assert len(await store.write([WindowWrite(SPEC)])) == 1


async def test_a_call_that_was_given_up_disturbs_no_other(redis_url: str, namespace: str) -> None:
    async with opened(redis_url, namespace) as store:
        await store.publish("g1", b"one", insist=False)
        for turn in range(50):
            async with asyncio.TaskGroup() as tasks:
                doomed = tasks.create_task(store.write([WindowWrite(SPEC, 0, {"a": pack([(1.0, 1.0)])})]))
                for _ in range(turn % 5):
                    await asyncio.sleep(0)
                doomed.cancel()
            assert await store.generation() == ("g1", b"one")
            assert await store.alarms(["a", "b"]) == [None, None]


async def test_a_server_that_comes_back_is_used_again(namespace: str) -> None:
    with ValkeyServer("--appendonly", "yes", "--appendfsync", "always") as server:
        async with opened(server.url, namespace) as store:
            await use_everything(store)
            server.kill()
            with pytest.raises(TemporaryError):
                await store.group("1")
            server.restart()

            assert (await store.group("1")).record.version == 1


async def test_connections_that_the_server_has_closed_are_made_anew() -> None:
    with RedisServer() as server, redis.Redis.from_url(server.url) as client:
        async with opened(server.url, uuid.uuid4().hex) as store:
            await asyncio.gather(*(store.now() for _ in range(8)))
            client.client_kill_filter(_type="normal")
            await asyncio.sleep(0.1)

            assert len(await asyncio.gather(*(store.now() for _ in range(8)))) == 8


async def test_nobody_there_is_a_temporary_error_without_the_password() -> None:
    async with opened(f"redis://ops:secret@127.0.0.1:{free_port()}/0") as store:
        with pytest.raises(TemporaryError, match=r"redis://\*\*\*@127\.0\.0\.1") as caught:
            await store.now()

        faults = await store.check()

    assert "secret" not in str(caught.value)
    assert len(faults) == 1
    assert "secret" not in faults[0]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        pytest.param("redis://h:1/0", "redis://h:1/0", id="nothing-to-hide"),
        pytest.param("rediss://:pa:ss@h:1", "rediss://***@h:1", id="password-only"),
        pytest.param("redis://u:p/w@h:1", "redis://***@h:1", id="slash-in-password"),
        pytest.param("redis://u:p@w@h:1", "redis://***@h:1", id="at-in-password"),
        pytest.param("unix:///s?db=1&password=secret", "unix:///s?db=***&password=***", id="in-the-query"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert redacted(url) == shown


@pytest.mark.parametrize(
    ("options", "settings", "faults"),
    [
        pytest.param(["--appendonly", "yes"], {}, [], id="append-only"),
        pytest.param([], {"save": "60 1"}, [], id="save-points"),
        pytest.param([], {}, ["keeps nothing on disk"], id="memory-only"),
        pytest.param(
            ["--appendonly", "yes"], {"maxmemory-policy": "allkeys-lru"}, [], id="would-evict-but-has-no-limit"
        ),
        pytest.param(
            ["--appendonly", "yes"],
            {"maxmemory-policy": "allkeys-lru", "maxmemory": "100mb"},
            ["may throw state away: maxmemory-policy is allkeys-lru"],
            id="may-evict",
        ),
    ],
)
@pytest.mark.parametrize("kind", [pytest.param(RedisServer, id="redis"), pytest.param(ValkeyServer, id="valkey")])
async def test_a_server_that_would_lose_something_is_found_out(
    kind: type[RedisServer], options: list[str], settings: dict[str, str], faults: list[str]
) -> None:
    with (
        RedisServer(None, *options) if kind is RedisServer else ValkeyServer(*options) as server,
        redis.Redis.from_url(server.url) as client,
    ):
        for name, value in settings.items():
            client.config_set(name, value)
        async with opened(server.url) as store:
            found = await store.check()

    assert len(found) == len(faults)
    for one, fault in zip(found, faults, strict=True):
        assert fault in one


def test_a_server_without_functions_is_found_out() -> None:
    (fault,) = faults_of({"redis_version": "6.2.14", "aof_enabled": 1}, None)

    assert fault == "version 6.2.14 knows no FUNCTION; Redis 7 or Valkey 7.2 is needed"


async def test_of_replicas_at_the_same_time_one_is_accepted_per_version(redis_url: str, namespace: str) -> None:
    accepted: list[int] = []

    async def push(store: RedisStore) -> None:
        while len(accepted) < 200:
            (record,) = await store.alarms(["alarm"])
            version = 0 if record is None else record.version
            acceptance = Acceptance("alarm", "w", 1, version, AlarmRecord(version=version + 1))
            (answer,) = await store.accept([acceptance], lease=1.0)
            if isinstance(answer, Accepted):
                accepted.append(version + 1)

    async with opened(redis_url, namespace) as one, opened(redis_url, namespace) as other:
        async with asyncio.TaskGroup() as tasks:
            for store in (one, other, one, other):
                tasks.create_task(push(store))
        (record,) = await one.alarms(["alarm"])

    assert record is not None
    assert sorted(accepted) == list(range(1, record.version + 1))


async def test_a_replica_is_found_out() -> None:
    with RedisServer(None, "--appendonly", "yes", "--replicaof", "127.0.0.1", str(free_port())) as server:
        async with opened(server.url) as store:
            assert any("is a replica" in fault for fault in await store.check())


async def test_what_is_stored_is_with_the_replicas_that_are_asked_for() -> None:
    with (
        RedisServer(None, "--repl-diskless-sync-delay", "0") as primary,
        RedisServer(None, "--replicaof", "127.0.0.1", str(primary.port)) as replica,
    ):
        with redis.Redis(port=replica.port) as client:
            while client.info("replication")["master_link_status"] != "up":
                await asyncio.sleep(0.01)
        async with opened(primary.url, wait=1, deadline=20.0) as store:
            await store.keep("quota", {"p": b"1"})
            with redis.Redis(port=replica.port) as client:
                kept = [client.hgetall(key) for key in client.scan_iter("*:kept:quota")]
        async with opened(primary.url, wait=1, deadline=1.0) as store:
            assert await store.kept("quota", ["p"]) == [b"1"]
            replica.kill()
            with pytest.raises(TemporaryError, match="only 0 of 1 replicas have it"):
                await store.keep("quota", {"p": b"2"})
            read = await store.kept("quota", ["p"])
        async with opened(primary.url, wait=0) as store:
            await store.keep("quota", {"p": b"3"})

    assert kept == [{b"p": b"1"}]
    assert read == [b"2"], "reading waits for nobody"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"url": "http://h"}, "not a URL of a Redis", id="another-scheme"),
        pytest.param({"namespace": "a{b}"}, "namespace", id="braces-in-namespace"),
        pytest.param({"namespace": ""}, "namespace", id="empty-namespace"),
        pytest.param({"shards": 0}, "shards", id="no-shards"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RedisStore(**{"url": "redis://127.0.0.1", **options})  # type: ignore[arg-type]


async def test_more_calls_than_connections_wait_for_one(redis_url: str, client: redis.Redis, namespace: str) -> None:
    async with opened(redis_url, namespace) as store, asyncio.TaskGroup() as calls:
        asked = [calls.create_task(store.now()) for _ in range(500)]

    assert len({call.result() for call in asked}) > 0


async def test_who_waits_for_changes_is_woken_by_them(redis_url: str, client: redis.Redis, namespace: str) -> None:
    async with opened(redis_url, namespace, shards=3, deadline=0.5) as store, opened(redis_url, namespace) as other:
        position = (await store.definitions()).position
        before = blocked(client)
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            wait = tasks.create_task(store.changes(position, patience=60))
            while blocked(client) == before:
                await asyncio.sleep(0.001)
            # longer than a call may take
            await asyncio.sleep(0.7)
            await define(other, "alarm")

    assert dict(wait.result().changed) == {"alarm": definition_of("alarm", "0")}


async def test_waiting_takes_no_connection_from_calls(redis_url: str, client: redis.Redis, namespace: str) -> None:
    async with opened(redis_url, namespace, shards=3) as store:
        position = (await store.definitions()).position
        before = blocked(client)
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            waits = [tasks.create_task(store.changes(position, patience=60)) for _ in range(40)]
            while blocked(client) < before + len(waits):
                await asyncio.sleep(0.001)
            await define(store, "alarm")

    assert {tuple(wait.result().changed) for wait in waits} == {("alarm",)}


async def test_a_server_that_dies_while_somebody_waits_is_a_temporary_error(namespace: str) -> None:
    with ValkeyServer("--appendonly", "yes", "--appendfsync", "always") as server:
        async with opened(server.url, namespace) as store:
            position = (await store.definitions()).position
            with redis.Redis.from_url(server.url) as client:
                async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
                    wait = tasks.create_task(_error_of(store, position))
                    while blocked(client) == 0:
                        await asyncio.sleep(0.001)
                    server.kill()
            server.restart()
            await store.check()  # the connection that died with the server is found out by the first who uses it
            await define(store, "alarm")

            told = await store.changes(position, patience=0)

    assert isinstance(wait.result(), TemporaryError)
    assert (told.complete, list(told.changed)) == (True, ["alarm"])


async def _error_of(store: RedisStore, position: str) -> TemporaryError | None:
    try:
        await store.changes(position, patience=60)
    except TemporaryError as error:
        return error
    return None


async def test_a_server_that_has_lost_its_last_changes_is_found_out(
    redis_url: str, client: redis.Redis, namespace: str
) -> None:
    async with opened(redis_url, namespace, shards=1) as store:
        await define(store, "a")
        kept = await store.definitions()
        await define(store, "b")
        lost = await store.definitions()
        client.delete(f"{namespace}:{{s00}}:changes")

        assert not (await store.changes(lost.position, patience=60)).complete
        assert not (await store.changes(kept.position, patience=60)).complete


async def test_changes_that_took_the_place_of_lost_ones_are_found_out(
    redis_url: str, client: redis.Redis, namespace: str
) -> None:
    stream = f"{namespace}:{{s00}}:changes"
    async with opened(redis_url, namespace, shards=1) as store:
        await define(store, "a")
        kept = await store.definitions()
        (first,) = client.xrange(stream)
        await define(store, "b")
        lost = await store.definitions()
        # as after a crash of a server that writes to disk every second
        client.delete(stream)
        client.xadd(stream, first[1], id=first[0])
        await define(store, "c", "d")

        behind = await store.changes(lost.position, patience=60)
        level = await store.changes(kept.position, patience=60)

    assert not behind.complete
    assert (level.complete, sorted(level.changed)) == (True, ["c", "d"])


async def test_many_definitions_are_read_in_pieces(redis_url: str, namespace: str) -> None:
    names = [f"alarm-{number}" for number in range(2 * PIECE + 1)]
    async with opened(redis_url, namespace, shards=1) as store:
        nothing = await store.definitions()
        await define(store, *names)

        found = await store.definitions()
        told = await store.changes(nothing.position, patience=60)
        records = await store.alarms(names)

    assert sorted(one.alarm_id for one in found.definitions) == sorted(names)
    assert sorted(found.recent) == sorted(names)
    assert len(told.changed) == PIECE
    assert {record.version for record in records if record is not None} == {1}


async def test_histories_end_by_themselves(redis_url: str, client: redis.Redis, namespace: str) -> None:
    async with opened(redis_url, namespace, history_ttl=100.0) as store:
        now = await store.now()
        accept = Acceptance("alarm", "", 0, 0, AlarmRecord(), history=[happened("alarm", now)])
        await store.accept([accept], lease=1.0)
        await store.forget(["alarm"])

        keys = list(client.scan_iter(f"{namespace}*histor*", count=1000))
        lives = [client.pttl(key) / 1000 for key in keys]

        assert len(lives) == 3
        assert all(90 < life <= 100 for life in lives)
        assert await store.histories("p") == ["alarm"]


async def test_of_a_removed_alarm_only_its_history_is_left(redis_url: str, client: redis.Redis, namespace: str) -> None:
    async with opened(redis_url, namespace) as store:
        await define(store, "alarm")
        await store.accept([Acceptance("alarm", "w", 7, 1, further=[("v", 8)])], lease=1.0)
        await store.tally({"alarm": {"ok": 1}})
        now = await store.now()
        gone = Acceptance("alarm", "", 0, 1, removed=True, history=[happened("alarm", now)])
        await store.accept([gone], lease=1.0)

    keys = {key.decode().partition("}:")[2] for key in client.scan_iter(f"{namespace}*", count=1000)}
    assert keys == {"shards", "schema", "changes", "history:alarm", "histories", "histories:p"}


async def everything_asked(store: RedisStore) -> list[Exception | None]:
    """What each of many kinds of calls comes to."""
    happened = HistoryEntry(event_id="e", alarm_id="a", type="creation", detail={}, timestamp=1.0)
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: store.write([WindowWrite(SPEC, 0, {"a": pack([(1.0, 1.0)])})]),
        lambda: store.accept([Acceptance("a", "", 0, 0, AlarmRecord(), history=[happened])], lease=1),
        lambda: store.alarms(["a"]),
        store.definitions,
        lambda: store.history("a", limit=1),
        lambda: store.claim(limit=1, lease=1),
        lambda: store.put_group(GroupPut("web", 0, None, GroupRecord(desired_capacity=1))),
        lambda: store.decisions("web", limit=1),
        lambda: store.freeze(None),
        lambda: store.keep("quota", {"p": b"1"}),
        lambda: store.dead_letters("measure", limit=1),
        lambda: store.beat(Heartbeat(replica="r", clock=1.0, caught_up=True)),
        store.replicas,
        lambda: store.publish("g", b"", insist=False),
        lambda: store.upgrade("0"),
    ]
    found: list[Exception | None] = []
    for call in calls:
        try:
            await call()
            found.append(None)
        except TemporaryError as error:
            found.append(error)
    return found


def raised(client: redis.Redis, namespace: str, form: int, *, only: str = "*") -> None:
    """As a newer version leaves the state behind that has raised its form."""
    shards = [f"s{number:02d}" for number in range(16)]
    for place in [*shards, "hub"] if only == "*" else [only]:
        client.hset(f"{namespace}:{{{place}}}:schema", "form", form)


def contents(client: redis.Redis, namespace: str) -> dict[bytes, bytes | None]:
    return {key: client.dump(key) for key in client.scan_iter(f"{namespace}:*")}  # type: ignore[misc]


async def test_a_newer_state_is_not_touched(redis_url: str, client: redis.Redis, namespace: str) -> None:
    async with opened(redis_url, namespace) as store:
        assert await everything_asked(store) == [None] * 15
    raised(client, namespace, STATE_FORM + 1)
    before = contents(client, namespace)

    async with opened(redis_url, namespace) as store:
        found = await everything_asked(store)
        schema = await store.schema()

    assert {type(error) for error in found} == {UnknownStateError}
    assert f"the state is in form {STATE_FORM + 1}, and this version knows form {STATE_FORM}" in str(found[0])
    assert schema.refusal in str(found[0])
    assert contents(client, namespace) == before


async def test_whoever_works_when_a_state_is_raised_is_refused_at_once(
    redis_url: str, client: redis.Redis, namespace: str
) -> None:
    async with opened(redis_url, namespace) as store:
        await everything_asked(store)
        raised(client, namespace, STATE_FORM + 1)
        before = contents(client, namespace)

        found = await everything_asked(store)

    assert [type(error) for error in found] == [UnknownStateError] * 15
    assert contents(client, namespace) == before


async def test_each_shard_is_closed_by_itself(redis_url: str, client: redis.Redis, namespace: str) -> None:
    async with opened(redis_url, namespace) as store:
        names = [f"web-{number}" for number in range(40)]
        await store.group(names[0])
        raised(client, namespace, STATE_FORM + 1, only="s03")

        refused = set()
        for name in names:
            try:
                await store.group(name)
            except UnknownStateError:
                refused.add(store._prefix(name))

    assert refused == {f"{namespace}:{{s03}}:"}


async def test_a_state_of_before_there_were_forms_is_taken_for_the_first(
    redis_url: str, client: redis.Redis, namespace: str
) -> None:
    client.set(f"{namespace}:{{hub}}:shards", 4)

    async with opened(redis_url, namespace) as store:
        await store.group("web")
        schema = await store.schema()

    assert (schema.form, schema.oldest) == (1, 1)
    assert client.hget(f"{namespace}:{{hub}}:schema", "form") == b"1"


async def test_an_older_state_than_this_version_reads_is_refused(
    redis_url: str, client: redis.Redis, namespace: str
) -> None:
    async with opened(redis_url, namespace) as store:
        await store.group("web")
    client.hset(f"{namespace}:{{hub}}:schema", "oldest", 0)

    async with opened(redis_url, namespace) as store:
        with pytest.raises(UnknownStateError, match=r"form 0.*export it with the version that ran before"):
            await store.group("web")


async def test_an_upgrade_removes_the_libraries_of_other_versions(
    redis_url: str, client: redis.Redis, namespace: str
) -> None:
    for name in ("autoscaler_0123456789ab", "somebody_elses"):
        code = f"#!lua name={name}\nredis.register_function('{name}_f', function() return 1 end)"
        client.function_load(code, replace=True)
    async with opened(redis_url, namespace) as store:
        await store.group("web")
        await store.upgrade("0.1.0")
        await store.group("web")

    left = str(client.function_list())

    assert "autoscaler_0123456789ab" not in left
    assert "somebody_elses" in left
    assert library().name in left


async def test_nobody_begins_on_an_import_that_has_not_ended(redis_url: str, namespace: str) -> None:
    async with opened(redis_url, namespace) as store, opened(redis_url, namespace) as other:
        await store.begin_import(shards=4, replace=False)
        await store.keep("quota", {"p": b"1"})
        with pytest.raises(TemporaryError, match="was broken off; in that case do it again with --replace"):
            await other.kept("quota", ["p"])
        with pytest.raises(PermanentError, match="is not empty"):
            await other.begin_import(shards=4, replace=False)

        await store.end_import()

        assert await other.kept("quota", ["p"]) == [b"1"]
        assert (await other.schema()).shards == 4


async def test_an_import_may_take_the_place_of_a_newer_state(
    redis_url: str, client: redis.Redis, namespace: str
) -> None:
    async with opened(redis_url, namespace) as store:
        assert await everything_asked(store) == [None] * 15
    client.zadd(f"{namespace}:{{hub}}:replicas", {"r": 1.0})
    raised(client, namespace, STATE_FORM + 1)

    async with opened(redis_url, namespace) as store:
        await store.begin_import(shards=16, replace=True)
        await store.end_import()

        assert [one async for one in store.saved()] == []
        assert (await store.schema()).form == STATE_FORM
