"""What is asked of a real Keystone, and what it answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from autoscaler.adapters.keystone import (
    ApplicationCredentials,
    Keystone,
    PasswordCredentials,
)
from autoscaler.api import authentication
from autoscaler.api.authentication import Authentication
from autoscaler.api.callers import OPERATES, READS, RequestIds
from autoscaler.api.faults import install
from autoscaler.api.identity import Asker
from autoscaler.errors import PermanentError, TemporaryError, TrustGoneError, TrustScopedError
from tests.keystone_server import PASSWORD, Cloud, KeystoneServer

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(300)]

US = PasswordCredentials("autoscaler", PASSWORD)


@dataclass
class People:
    """Who is there."""

    cloud: Cloud
    service: str
    shop: str
    ada: str

    def token(self, user: str = "ada", project: str | None = "shop") -> str:
        return self.cloud.token(user, PASSWORD, project)


@pytest.fixture(scope="module")
def server() -> Iterator[KeystoneServer]:
    with KeystoneServer() as running:
        yield running


@pytest.fixture(scope="module")
def people(server: KeystoneServer) -> Iterator[People]:
    cloud = Cloud(server)
    service, shop = (cloud.project(name) for name in ("service", "shop"))
    cloud.user("autoscaler", service, "service")
    cloud.user("root", shop, "admin")
    for interface, url in (
        ("public", "http://heat.example.org/v1/$(project_id)s"),
        ("internal", "http://heat.local/v1/$(project_id)s/"),
    ):
        heat = cloud.call("GET", "/services?type=orchestration").json()["services"] or [
            cloud.make("service", "/services", type="orchestration", name="heat")
        ]
        cloud.make("endpoint", "/endpoints", service_id=heat[0]["id"], interface=interface, url=url, region_id="north")
    yield People(cloud, service, shop, cloud.user("ada", shop, "member"))
    cloud.close()


@dataclass
class Asking:
    """A client whose clock can be set ahead."""

    keystone: Keystone
    ahead: list[float]


@pytest.fixture
async def asking(server: KeystoneServer, people: People) -> AsyncIterator[Asking]:
    ahead = [0.0]
    async with Keystone(server.url, US, clock=lambda: time.time() + ahead[0], region="north") as found:
        yield Asking(found, ahead)


async def test_a_token_tells_of_its_user_project_and_roles(asking: Asking, people: People) -> None:
    member = await asking.keystone.validate(people.token())
    admin = await asking.keystone.validate(people.token("root"))
    nowhere = await asking.keystone.validate(people.token(project=None))

    assert member is not None
    assert admin is not None
    assert nowhere is not None
    assert (member.user_id, member.project_id, member.trust_id) == (people.ada, people.shop, "")
    assert member.roles == {"member", "reader"}
    assert {"admin", "member", "reader"} <= admin.roles
    assert (nowhere.project_id, nowhere.roles) == ("", frozenset())
    assert member.expires - time.time() == pytest.approx(3600, abs=60)


@pytest.mark.parametrize("token", ["", "nonsense", "gAAAAABl" + "x" * 200, "two words", "ä", "x" * 10_000])
async def test_what_is_no_token_belongs_to_nobody(asking: Asking, token: str) -> None:
    assert await asking.keystone.validate(token) is None


async def test_a_revoked_token_is_refused_after_the_cache_at_the_latest(asking: Asking, people: People) -> None:
    token = people.token()
    before = await asking.keystone.validate(token)
    people.cloud.revoke(token)
    remembered = await asking.keystone.validate(token)
    asking.ahead[0] = 61.0

    assert before is not None
    assert remembered == before
    assert await asking.keystone.validate(token) is None


async def test_a_trust_is_made_used_and_dropped(asking: Asking, people: People) -> None:
    trust_id = await asking.keystone.make_trust(people.token())
    token = await asking.keystone.token(trust_id)
    whose = await asking.keystone.validate(token)

    assert whose is not None
    assert (whose.user_id, whose.project_id, whose.trust_id) == (people.ada, people.shop, trust_id)
    assert whose.roles == {"member", "reader"}
    assert await asking.keystone.token(trust_id) == token
    with pytest.raises(TrustScopedError):
        await asking.keystone.make_trust(token)

    await asking.keystone.drop_trust(trust_id)
    await asking.keystone.drop_trust(trust_id)
    with pytest.raises(TrustGoneError, match=f"trust {trust_id}: the trust is gone"):
        await asking.keystone.token(trust_id)


async def test_a_trust_is_worth_nothing_without_the_role(asking: Asking, people: People) -> None:
    bob = people.cloud.user("bob", people.shop, "member")
    trust_id = await asking.keystone.make_trust(people.token("bob"))
    people.cloud.call("DELETE", f"/projects/{people.shop}/users/{bob}/roles/{people.cloud.role('member')}")

    with pytest.raises(TrustGoneError):
        await asking.keystone.token(trust_id)
    with pytest.raises(PermanentError, match=f"refuses to end trust {trust_id}"):
        await asking.keystone.drop_trust(trust_id)


async def test_a_trust_needs_a_token_with_a_project(asking: Asking, people: People) -> None:
    with pytest.raises(PermanentError, match="scoped to a project"):
        await asking.keystone.make_trust(people.token(project=None))
    with pytest.raises(PermanentError, match="none any more"):
        await asking.keystone.make_trust("nonsense")


async def test_the_catalog_tells_where_services_are(server: KeystoneServer, asking: Asking, people: People) -> None:
    trust_id = await asking.keystone.make_trust(people.token())

    assert await asking.keystone.endpoint("orchestration") == f"http://heat.local/v1/{people.service}"
    assert await asking.keystone.endpoint("orchestration", trust_id) == f"http://heat.local/v1/{people.shop}"
    with pytest.raises(PermanentError, match="no internal endpoint of type messaging in region north"):
        await asking.keystone.endpoint("messaging")
    async with Keystone(server.url, US, clock=time.time, interface="public") as public:
        assert await public.endpoint("orchestration") == f"http://heat.example.org/v1/{people.service}"
    async with Keystone(server.url, US, clock=time.time, region="south") as south:
        with pytest.raises(PermanentError, match="in region south"):
            await south.endpoint("orchestration")


async def test_projects_are_known_by_name(server: KeystoneServer, asking: Asking, people: People) -> None:
    assert await asking.keystone.project_id("service") == people.service
    assert await asking.keystone.project_id("shop") is None  # a service may not look

    admin = PasswordCredentials("root", PASSWORD, project="shop")
    async with Keystone(server.url, admin, clock=time.time) as keystone:
        assert await keystone.project_id("service") == people.service
        assert await keystone.project_id("service", "Elsewhere") is None
        assert await keystone.project_id("nix") is None


async def test_an_application_credential_looks_at_tokens_but_stands_for_no_trust(
    server: KeystoneServer, people: People
) -> None:
    ours = people.token("autoscaler", "service")
    user = people.cloud.call("GET", "/users?name=autoscaler").json()["users"][0]["id"]
    path = f"/users/{user}/application_credentials"
    made = people.cloud.call("POST", path, ours, json={"application_credential": {"name": "controller"}}).json()
    credential = made["application_credential"]
    credentials = ApplicationCredentials(credential["id"], credential["secret"])

    async with Keystone(server.url.removesuffix("/v3"), credentials, clock=time.time) as keystone:
        found = await keystone.validate(people.token())

        assert found is not None
        assert found.user_id == people.ada
        for asked in (keystone.make_trust(people.token()), keystone.token("f" * 32)):
            with pytest.raises(PermanentError, match="user and password"):
                await asked


async def test_a_wrong_password_of_ours_is_nobody_elses_fault(server: KeystoneServer, people: People) -> None:
    async with Keystone(server.url, PasswordCredentials("autoscaler", "wrong"), clock=time.time) as keystone:
        for asked in (keystone.validate(people.token()), keystone.token(), keystone.token("f" * 32)):
            with pytest.raises(TemporaryError, match="refuses our credentials") as refused:
                await asked
            assert "wrong" not in str(refused.value)


async def test_a_user_without_the_role_may_not_look_at_tokens(server: KeystoneServer, people: People) -> None:
    credentials = PasswordCredentials("ada", PASSWORD, project="shop")
    async with Keystone(server.url, credentials, clock=time.time) as keystone:
        with pytest.raises(TemporaryError, match="is our role service"):
            await keystone.validate(people.token("root"))


async def test_our_own_token_may_be_revoked(asking: Asking, people: People) -> None:
    ours = await asking.keystone.token()
    people.cloud.revoke(ours)

    assert await asking.keystone.validate(people.token()) is not None
    assert await asking.keystone.token() != ours


def _app(keystone: Keystone, uri: str) -> FastAPI:
    app = FastAPI()
    install(app)

    @app.get("/v1/who", dependencies=[READS])
    async def who(asker: Asker) -> dict[str, Any]:
        return {"user": asker.user_id, "project": asker.project_id, "admin": asker.is_admin}

    @app.get("/v1/all", dependencies=[OPERATES])
    async def everything() -> None: ...

    app.add_middleware(Authentication, authenticate=authentication.keystone(keystone, uri))
    app.add_middleware(RequestIds)
    return app


async def test_requests_are_their_users(server: KeystoneServer, asking: Asking, people: People) -> None:
    transport = httpx.ASGITransport(_app(asking.keystone, server.url))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:

        async def asked(path: str, token: str) -> httpx.Response:
            return await client.get(path, headers={"x-auth-token": token} if token else {})

        member = await asked("/v1/who", people.token())
        admin = await asked("/v1/who", people.token("root"))
        nobody = await asked("/v1/who", "")

        assert member.json() == {"user": people.ada, "project": people.shop, "admin": False}
        assert admin.json()["admin"] is True
        assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, f'Keystone uri="{server.url}"')
        assert (await asked("/v1/who", people.token(project=None))).status_code == 403
        assert (await asked("/v1/all", people.token())).status_code == 403
        assert (await asked("/v1/all", people.token("root"))).status_code == 200


async def test_an_expired_token_is_none(server: KeystoneServer, people: People) -> None:
    server.kill()
    server.expiration = 3
    server.restart()
    async with Keystone(server.url, US, clock=time.time, token_cache=3600.0) as keystone:
        token, ours = people.token(), await keystone.token()
        info = await keystone.validate(token)
        assert info is not None
        async with asyncio.timeout(30):
            while await keystone.validate(token) is not None:
                await asyncio.sleep(0.05)

        assert time.time() >= info.expires
        async with asyncio.timeout(30):  # ours is a moment younger
            while await keystone.token() == ours:
                await asyncio.sleep(0.05)


async def test_while_keystone_is_away_nobody_knows(server: KeystoneServer) -> None:
    server.kill()
    async with Keystone(server.url, US, clock=time.time) as keystone:
        with pytest.raises(TemporaryError, match="Keystone at http"):
            await keystone.validate("gAAAAABtoken")
