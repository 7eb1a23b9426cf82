"""The client against a small server that speaks Keystone's API; a real one is asked in tests/integration."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from autoscaler.adapters import keystone as module
from autoscaler.adapters.keystone import ApplicationCredentials, Keystone, PasswordCredentials, keystone_of
from autoscaler.errors import PermanentError, TemporaryError
from autoscaler.settings import load

pytestmark = pytest.mark.service

NOW = 1_800_000_000.0
US = PasswordCredentials("controller", "our-password")


@dataclass
class Stand:
    """Keystone as far as it is asked, with a clock that is set."""

    now: float = NOW
    life: float = 3600.0
    users: dict[str, str] = field(default_factory=lambda: {"token-of-ada": "ada"})
    asked: Counter[str] = field(default_factory=Counter)
    waiting: asyncio.Event | None = None
    failure: int = 0
    url: str = ""
    own: set[str] = field(default_factory=set)
    credentials: Any = None

    def keystone(self, **options: Any) -> Keystone:
        return Keystone(self.url, US, clock=lambda: self.now, **options)

    async def authenticate(self, request: Request) -> Response:
        self.asked["authenticate"] += 1
        if self.failure:
            return JSONResponse({"error": {"message": "out of order"}}, self.failure)
        self.credentials = (await request.json())["auth"]["identity"]
        token = f"own-{self.asked['authenticate']}"
        self.own.add(token)
        return JSONResponse(self._token("controller"), 201, {"X-Subject-Token": token})

    async def look(self, request: Request) -> Response:
        self.asked["look"] += 1
        if self.waiting is not None:
            await self.waiting.wait()
        token = request.headers["x-subject-token"]
        if self.failure:
            return JSONResponse({"error": {"message": f"cannot look at {token}"}}, self.failure)
        if request.headers["x-auth-token"] not in self.own:
            return JSONResponse({"error": {"message": "who are you"}}, 401)
        if token not in self.users:
            return JSONResponse({"error": {"message": f"Could not find token {token}"}}, 404)
        return JSONResponse(self._token(self.users[token]))

    async def catalog(self, request: Request) -> Response:
        self.asked["catalog"] += 1
        services = [
            {"type": kind, "endpoints": [
                {"interface": interface, "region_id": region, "url": f"http://{interface}.{region}/{kind}"}
                for interface in ("public", "internal") for region in ("one", "two")
            ]} for kind in ("orchestration", "cloudformation", "identity")
        ]  # fmt: skip
        return JSONResponse({"catalog": services})

    def _token(self, user: str) -> dict[str, Any]:
        expires = datetime.fromtimestamp(self.now + self.life, UTC).isoformat().replace("+00:00", "Z")
        domain = {"id": "default", "name": "Default"}
        return {
            "token": {
                "user": {"id": user, "name": user, "domain": domain},
                "project": {"id": "p1", "name": "service", "domain": domain},
                "roles": [{"id": "r1", "name": "Member"}],
                "expires_at": expires,
            }
        }


class _Server(uvicorn.Server):
    @asynccontextmanager
    async def running(self, listening: socket.socket) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(self._serve([listening]))
            yield
            self.should_exit = True
            await serving


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    found = Stand()
    routes = [
        Route("/v3/auth/tokens", found.authenticate, methods=["POST"]),
        Route("/v3/auth/tokens", found.look, methods=["GET"]),
        Route("/v3/auth/catalog", found.catalog, methods=["GET"]),
    ]
    config = uvicorn.Config(Starlette(routes=routes), log_config=None, lifespan="off")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        found.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with _Server(config).running(listening):
            yield found


async def test_a_word_on_a_token_is_believed_for_a_while(stand: Stand) -> None:
    async with stand.keystone(token_cache=60.0) as keystone:
        first = await keystone.validate("token-of-ada")
        stand.now += 59.9
        again = await keystone.validate("token-of-ada")
        before = stand.asked["look"]
        stand.now += 0.1
        await keystone.validate("token-of-ada")

    assert first is not None
    assert (first.user_id, first.project_id, first.roles) == ("ada", "p1", {"member"})
    assert (again, before, stand.asked["look"]) == (first, 1, 2)


async def test_a_word_is_not_believed_beyond_the_tokens_end(stand: Stand) -> None:
    stand.life = 30.0
    async with stand.keystone(token_cache=3600.0) as keystone:
        await keystone.validate("token-of-ada")
        stand.now += 30.0
        del stand.users["token-of-ada"]

        assert await keystone.validate("token-of-ada") is None


async def test_nothing_is_believed_where_nothing_is_to_be_remembered(stand: Stand) -> None:
    async with stand.keystone(token_cache=0.0) as keystone:
        for _ in range(2):
            await keystone.validate("token-of-ada")
            await keystone.validate("nobodys")

    assert stand.asked["look"] == 4


async def test_a_token_that_is_none_is_asked_about_again_soon(stand: Stand) -> None:
    async with stand.keystone() as keystone:
        assert await keystone.validate("late") is None
        stand.users["late"] = "bob"
        assert await keystone.validate("late") is None
        stand.now += module.NEGATIVE_CACHE

        assert await keystone.validate("late") is not None
    assert stand.asked["look"] == 2


async def test_many_who_show_one_token_at_once_ask_once(stand: Stand) -> None:
    async with stand.keystone() as keystone:
        await keystone.token()
        stand.waiting = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(keystone.validate("token-of-ada")) for _ in range(50)]
            while not stand.asked["look"]:
                await asyncio.sleep(0.001)
            stand.waiting.set()

    assert stand.asked == {"authenticate": 1, "look": 1}
    assert len({task.result() for task in tasks}) == 1


async def test_who_waits_for_one_that_gives_up_asks_for_itself(stand: Stand) -> None:
    async with stand.keystone() as keystone:
        await keystone.token()
        stand.waiting = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            first = group.create_task(keystone.validate("token-of-ada"))
            while not stand.asked["look"]:
                await asyncio.sleep(0.001)
            second = group.create_task(keystone.validate("token-of-ada"))
            await asyncio.sleep(0)
            first.cancel()
            stand.waiting.set()

    assert second.result() is not None
    assert (first.cancelled(), stand.asked["look"]) == (True, 2)


async def test_all_who_wait_hear_that_keystone_fails(stand: Stand) -> None:
    async with stand.keystone() as keystone:
        await keystone.token()
        stand.failure, stand.waiting = 503, asyncio.Event()
        stand.waiting.set()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_outcome(keystone)) for _ in range(5)]
        texts = {task.result() for task in tasks}
        stand.failure = 0

        assert texts == {f"Keystone at {stand.url}/v3 fails: status 503 (cannot look at ***)"}
        assert await keystone.validate("token-of-ada") is not None


async def _outcome(keystone: Keystone) -> str:
    with pytest.raises(TemporaryError) as failed:
        await keystone.validate("token-of-ada")
    return str(failed.value)


@pytest.mark.parametrize(
    ("life", "renewed_after"), [pytest.param(3600.0, 3540.0, id="long"), pytest.param(8.0, 6.0, id="short")]
)
async def test_our_token_is_renewed_before_it_ends(stand: Stand, life: float, renewed_after: float) -> None:
    stand.life = life
    async with stand.keystone() as keystone:
        first = await keystone.token()
        stand.now += renewed_after - 0.1
        assert await keystone.token() == first
        stand.now += 0.2

        assert await keystone.token() == "own-2"


async def test_our_token_is_renewed_when_it_is_refused(stand: Stand) -> None:
    async with stand.keystone() as keystone:
        first = await keystone.token()
        stand.own.clear()

        assert await keystone.validate("token-of-ada") is not None
        assert stand.asked["authenticate"] == 2
        assert await keystone.renewed(first) == "own-2"  # another was at it before
        assert await keystone.renewed("own-2") == "own-3"


async def test_keystone_that_fails_or_is_away_is_no_refusal(stand: Stand) -> None:
    stand.failure = 500
    async with stand.keystone() as keystone:
        with pytest.raises(TemporaryError, match=r"fails: status 500 \(out of order\)"):
            await keystone.token()
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    async with Keystone(f"http://me:secret@127.0.0.1:{port}", US, clock=lambda: NOW) as keystone:
        with pytest.raises(TemporaryError) as away:
            await keystone.validate("token-of-ada")
    assert "secret" not in str(away.value)


async def test_what_is_no_keystone_is_not_believed() -> None:
    async def other(_: Request) -> Response:
        return JSONResponse({"token": {"user": "ada"}}, 201, {"x-subject-token": "t"})

    config = uvicorn.Config(
        Starlette(routes=[Route("/v3/auth/tokens", other, methods=["POST"])]), log_config=None, lifespan="off"
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with _Server(config).running(listening):
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            async with Keystone(url, US, clock=lambda: NOW) as keystone:
                with pytest.raises(TemporaryError, match="the answer is not Keystone's"):
                    await keystone.token()


async def test_only_so_many_tokens_are_remembered(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 2)
    stand.users |= {name: name for name in ("a", "b", "c")}
    async with stand.keystone() as keystone:
        for name in ("a", "b", "c", "c", "b", "a"):
            await keystone.validate(name)

    assert stand.asked["look"] == 4


async def test_the_settings_say_who_we_are(stand: Stand) -> None:
    settings = load(keystone_url=stand.url, keystone_username="controller", keystone_password="our-password")
    keystone = keystone_of(settings, lambda: stand.now)

    assert keystone_of(load(), lambda: stand.now) is None
    assert keystone is not None
    async with keystone:
        assert await keystone.validate("token-of-ada") is not None
    assert stand.credentials == US.identity


async def test_an_application_credential_is_shown_as_such(stand: Stand) -> None:
    settings = load(keystone_url=stand.url, keystone_credential_id="i", keystone_credential_secret="our-secret")
    keystone = keystone_of(settings, lambda: stand.now)

    assert keystone is not None
    async with keystone:
        await keystone.token()
    assert stand.credentials == ApplicationCredentials("i", "our-secret").identity


def test_secrets_are_not_shown() -> None:
    shown = f"{US!r} {ApplicationCredentials('id', 'our-secret')!r} {Keystone('http://k', US, clock=lambda: NOW)!r}"

    assert "our-" not in shown


def test_certificates_that_are_not_there_are_said_at_once() -> None:
    with pytest.raises(PermanentError, match=r"certificates of Keystone: /nowhere/ca\.pem"):
        Keystone("https://k", US, clock=lambda: NOW, ca="/nowhere/ca.pem")


async def test_services_are_found_by_every_interface_of_our_region(stand: Stand) -> None:
    async with stand.keystone(region="one") as keystone:
        found = await keystone.endpoints(("orchestration", "cloudformation"))
        await keystone.endpoints(("orchestration",))

    assert found == [
        "http://public.one/orchestration",
        "http://internal.one/orchestration",
        "http://public.one/cloudformation",
        "http://internal.one/cloudformation",
    ]
    assert stand.asked["catalog"] == 1
