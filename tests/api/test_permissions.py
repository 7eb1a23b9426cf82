"""Who may see and do what under /v1."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from autoscaler.api import authentication
from autoscaler.api.authentication import OPEN
from autoscaler.errors import TemporaryError
from tests.api.running import Api, running

pytestmark = pytest.mark.slow  # many small ones, each with an API of its own

RULE = (
    "{metric: cpu, resource_id: vm-1, aggregation_method: mean, granularity: 60, "
    "comparison_operator: gt, threshold: 70, evaluate: measure}"
)
ALARMS = [("busy", "shop"), ("busy", "bank"), ("slow", "shop"), ("vault", "bank"), ("ours", '""'), ("everyones", "any")]
DECLARED = "alarms:\n" + "".join(
    f"  - {{name: {name}, project_id: {project}, type: threshold, rule: {RULE}}}\n" for name, project in ALARMS
)
DECLARED += """
groups:
  - {name: web, project_id: shop, min_size: 1, max_size: 5, target: {type: dry_run}}
  - {name: safe, project_id: bank, min_size: 1, max_size: 5, target: {type: dry_run}}
  - {name: ours, min_size: 1, max_size: 5, target: {type: dry_run}}
policies:
  - {name: out, group: web, adjustment_type: change_in_capacity, scaling_adjustment: 1}
  - {name: dig, group: safe, adjustment_type: change_in_capacity, scaling_adjustment: 1}
  - {name: grow, group: ours, adjustment_type: change_in_capacity, scaling_adjustment: 1}
"""


@dataclass(frozen=True)
class Known:
    user_id: str
    project_id: str
    roles: frozenset[str]


@dataclass
class Tokens:
    """Knows ``USER:PROJECT:ROLES``; Keystone as far as the API sees it."""

    away: bool = False
    asked: list[str] = field(default_factory=list)

    async def validate(self, token: str) -> Known | None:
        self.asked.append(token)
        if self.away:
            raise TemporaryError(f"Keystone at http://secret-place is away, {token} unknown")
        if token.count(":") != 2:
            return None
        user, project, roles = token.split(":")
        return Known(user, project, frozenset(roles.split()))


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture(params=["noauth", "keystone"])
async def api(request: pytest.FixtureRequest, tokens: Tokens) -> AsyncIterator[Api]:
    asked = (
        authentication.noauth() if request.param == "noauth" else authentication.keystone(tokens, "http://k:5000/v3")
    )
    async with running(declared=DECLARED, authenticate=asked) as found:
        yield found


@pytest.fixture
async def guarded(tokens: Tokens) -> AsyncIterator[Api]:
    asked = authentication.keystone(tokens, "http://k:5000/v3")
    async with running(["https://ops.example.org"], declared=DECLARED, authenticate=asked) as found:
        yield found


def whose(user: str, project: str, roles: str) -> dict[str, str]:
    """Headers that say who asks, as a client of either kind sends them."""
    return {
        "x-user-id": user,
        "x-project-id": project,
        "x-roles": ",".join(roles.split()),
        "x-auth-token": f"{user}:{project}:{roles}",
    }


READER = whose("rita", "shop", "reader")
MEMBER = whose("mona", "shop", "Member")
ADMIN = whose("anna", "hall", "Admin")
STRANGER = whose("sven", "shop", "load-balancer_observer")

EVERYTHING = ["busy", "busy", "everyones", "ours", "slow", "vault"]


@pytest.mark.parametrize(
    ("headers", "alarms", "groups", "policies"),
    [
        pytest.param(READER, ["busy", "slow"], ["web"], ["out"], id="reader"),
        pytest.param(MEMBER, ["busy", "slow"], ["web"], ["out"], id="member"),
        pytest.param(whose("x", "elsewhere", "member"), [], [], [], id="another-project"),
        pytest.param(ADMIN, EVERYTHING, ["ours", "safe", "web"], ["dig", "grow", "out"], id="admin"),
    ],
)
async def test_each_sees_their_own(
    api: Api, headers: dict[str, str], alarms: list[str], groups: list[str], policies: list[str]
) -> None:
    async def names(path: str) -> list[str]:
        return [found["name"] for found in (await api.client.get(path, headers=headers)).json()]

    assert await names("/v1/alarms") == alarms
    assert await names("/v1/groups") == groups
    assert await names("/v1/policies") == policies


async def test_one_is_found_by_name_in_ones_own_project(api: Api) -> None:
    shops = (await api.client.get("/v1/alarms/busy", headers=READER)).json()
    banks = (await api.client.get("/v1/alarms/busy", headers=whose("b", "bank", "reader"))).json()
    by_id = await api.client.get(f"/v1/alarms/{banks['alarm_id']}", headers=READER)
    ambiguous = await api.client.get("/v1/alarms/busy", headers=ADMIN)

    assert (shops["project_id"], banks["project_id"]) == ("shop", "bank")
    assert (by_id.status_code, ambiguous.status_code) == (404, 404)
    assert "several alarms named busy" in ambiguous.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param("GET", "/v1/alarms/vault", id="alarm"),
        pytest.param("GET", "/v1/alarms/ours", id="the-operators-alarm"),
        pytest.param("GET", "/v1/alarms/everyones", id="an-alarm-over-all-projects"),
        pytest.param("GET", "/v1/alarms/vault/history", id="history"),
        pytest.param("GET", "/v1/groups/safe", id="group"),
        pytest.param("GET", "/v1/groups/ours", id="the-operators-group"),
        pytest.param("GET", "/v1/groups/safe/decisions", id="decisions"),
        pytest.param("POST", "/v1/groups/safe/pause", id="pause"),
        pytest.param("POST", "/v1/groups/safe/resume", id="resume"),
        pytest.param("POST", "/v1/policies/dig/execute", id="policy"),
        pytest.param("POST", "/v1/policies/grow/execute", id="the-operators-policy"),
    ],
)
async def test_what_is_anothers_is_not_there(api: Api, method: str, path: str) -> None:
    theirs = await api.client.request(method, path, headers=MEMBER)
    missing = await api.client.request(method, path.replace(path.split("/")[3], "nix"), headers=MEMBER)
    admins = await api.client.request(method, path, headers=ADMIN)

    assert theirs.status_code == missing.status_code == 404
    shown = theirs.json()["error"]["message"].replace(path.split("/")[3], "nix")
    assert shown == missing.json()["error"]["message"]
    assert admins.is_success


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        pytest.param("GET", "/v1/alarms", "reader", id="alarms"),
        pytest.param("GET", "/v1/alarms/slow/history", "reader", id="history"),
        pytest.param("GET", "/v1/groups", "reader", id="groups"),
        pytest.param("GET", "/v1/groups/web/decisions", "reader", id="decisions"),
        pytest.param("GET", "/v1/policies", "reader", id="policies"),
        pytest.param("POST", "/v1/groups/web/pause", "member", id="pause"),
        pytest.param("POST", "/v1/groups/web/resume", "member", id="resume"),
        pytest.param("POST", "/v1/policies/out/execute", "member", id="execute"),
        pytest.param("POST", "/v1/measures", "member", id="measures"),
        pytest.param("POST", "/v1/freeze", "admin", id="freeze"),
        pytest.param("POST", "/v1/unfreeze", "admin", id="unfreeze"),
        pytest.param("GET", "/v1/dead-letters", "admin", id="dead-letters"),
        pytest.param("POST", "/v1/dead-letters/drop", "admin", id="drop"),
        pytest.param("POST", "/v1/dead-letters/replay", "admin", id="replay"),
        pytest.param("GET", "/v1/status", "admin", id="status"),
    ],
)
async def test_each_path_needs_a_role(api: Api, method: str, path: str, needed: str) -> None:
    body = [] if path == "/v1/measures" else {"ids": ["action-1-1"]} if "dead-letters/" in path else None
    steps = {"": STRANGER, "reader": READER, "member": MEMBER, "admin": whose("anna", "shop", "admin")}
    answers = {
        role: await api.client.request(method, path, headers=headers, json=body) for role, headers in steps.items()
    }

    order = list(steps)
    for role, answer in answers.items():
        if order.index(role) < order.index(needed):
            assert (answer.status_code, answer.json()["error"]) == (
                403,
                {"code": "forbidden", "message": f"this needs the role {needed}"},
            )
        else:
            assert answer.is_success, answer.text


async def test_who_may_not_freeze_freezes_nothing(api: Api) -> None:
    await api.client.post("/v1/freeze", headers=MEMBER)
    held = (await api.service.group("web")).state.freeze
    await api.client.post("/v1/freeze", headers=ADMIN)
    await api.client.post("/v1/unfreeze", headers=MEMBER)
    still = (await api.service.group("web")).state.freeze

    assert held is None
    assert still is not None


async def test_records_name_who_did_it(api: Api) -> None:
    decision = (await api.client.post("/v1/policies/out/execute", headers=MEMBER)).json()

    assert decision["actor"]["name"] == "mona"
    assert decision["actor"]["project_id"] == "shop"


async def test_who_says_nothing_on_this_machine_is_the_operator() -> None:
    async with running(declared=DECLARED) as api:
        listed = (await api.client.get("/v1/alarms")).json()
        by_name = (await api.client.post("/v1/policies/grow/execute", headers={"x-user-id": "ada"})).json()
        anonymous = (await api.client.post("/v1/freeze")).json()

    assert [alarm["name"] for alarm in listed] == EVERYTHING
    assert (by_name["actor"]["name"], anonymous["by"]) == ("ada", "anonymous")


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        pytest.param({"x-project-id": "any", "x-roles": "member"}, "X-Project-Id: expected a project", id="any"),
        pytest.param({"x-project-id": "p" * 256}, "x-project-id: expected at most 255", id="long"),
        pytest.param({"x-user-id": "a\x85b".encode("latin-1").decode("latin-1")}, "x-user-id: expected", id="control"),
    ],
)
async def test_headers_that_name_nobody_are_refused(headers: dict[str, str], message: str) -> None:
    async with running(declared=DECLARED) as api:
        sent = {name: value.encode("latin-1") for name, value in headers.items()}
        answer = await api.client.get("/v1/alarms", headers=sent)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad request")
    assert answer.json()["error"]["message"].startswith(message)


@pytest.mark.parametrize("headers", [{}, {"x-auth-token": ""}, {"x-auth-token": "nonsense"}, {"x-roles": "admin"}])
@pytest.mark.parametrize("path", ["/v1/alarms", "/v1/measures", "/v1/nix", "/nix", "/v2/alarms", "/v2"])
async def test_without_a_token_nothing_is_told(guarded: Api, path: str, headers: dict[str, str]) -> None:
    answer = await guarded.client.get(path, headers=headers)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Keystone uri="http://k:5000/v3"'
    assert answer.headers["x-openstack-request-id"].startswith("req-")
    if path.startswith("/v2"):
        assert answer.json()["error_message"] | {"faultstring": ""} == {
            "faultcode": "Client",
            "faultstring": "",
            "debuginfo": None,
        }
        said = answer.json()["error_message"]["faultstring"]
    else:
        assert answer.json()["error"]["code"] == "unauthorized"
        said = answer.json()["error"]["message"]
    assert said.startswith("expected a token of Keystone in X-Auth-Token")
    assert "nonsense" not in said


@pytest.mark.parametrize("path", sorted(OPEN))
async def test_probes_need_no_token(guarded: Api, tokens: Tokens, path: str) -> None:
    assert (await guarded.client.get(path)).status_code in {200, 404}
    assert tokens.asked == []


async def test_a_token_without_a_project_is_refused(guarded: Api) -> None:
    answer = await guarded.client.get("/v1/alarms", headers={"x-auth-token": "ada::admin"})

    assert (answer.status_code, answer.json()["error"]["message"]) == (
        403,
        "expected a token that is scoped to a project",
    )


@pytest.mark.parametrize("path", ["/v1/alarms", "/v2/alarms"])
async def test_while_keystone_is_away_clients_are_asked_to_come_back(guarded: Api, tokens: Tokens, path: str) -> None:
    tokens.away = True
    answer = await guarded.client.get(path, headers=ADMIN)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert "Keystone cannot be asked" in answer.text
    assert "secret-place" not in answer.text


async def test_a_pages_preflight_bears_no_token(guarded: Api, tokens: Tokens) -> None:
    headers = {"origin": "https://ops.example.org", "access-control-request-method": "GET"}

    assert (await guarded.client.options("/v1/alarms", headers=headers)).status_code == 200
    assert tokens.asked == []


async def test_with_keystone_a_measure_is_its_senders_whatever_it_says(tokens: Tokens) -> None:
    asked = authentication.keystone(tokens, "http://k:5000/v3")
    async with running(declared=DECLARED, authenticate=asked, trusted=True) as api:

        async def states() -> dict[str, str]:
            listed = (await api.client.get("/v1/alarms", headers=ADMIN)).json()
            return {f"{found['project_id']}/{found['name']}": found["state"] for found in listed}

        for project in ("bank", "shop"):
            sent = api.measure(project_id=project)
            assert (await api.client.post("/v1/measures", json=sent, headers=MEMBER)).json()["accepted"] == 1
        of_a_member = await states()
        sent = [api.measure(project_id="bank"), api.measure()]
        assert (await api.client.post("/v1/measures", json=sent, headers=ADMIN)).json()["accepted"] == 2
        of_an_admin = await states()
        of_a_service = await api.client.post("/v1/measures", json=sent, headers=whose("c", "service", "service"))

    silent = "insufficient data"
    assert of_a_member == {
        "shop/busy": "alarm",
        "shop/slow": "alarm",
        "bank/busy": silent,
        "bank/vault": silent,
        "/ours": silent,
        "any/everyones": "alarm",
    }
    assert set(of_an_admin.values()) == {"alarm"}
    assert of_a_service.json()["accepted"] == 2


@pytest.mark.parametrize("trusted", [True, False])
async def test_without_keystone_a_measures_project_counts_where_the_source_is_trusted(trusted: bool) -> None:  # noqa: FBT001
    async with running(declared=DECLARED, trusted=trusted) as api:
        await api.client.post("/v1/measures", json=api.measure(project_id="bank"), headers=MEMBER)
        bank = (await api.client.get("/v1/alarms/vault")).json()["state"]
        ours = (await api.client.get("/v1/alarms/ours")).json()["state"]

    assert (bank, ours) == (("alarm", "insufficient data") if trusted else ("insufficient data", "alarm"))
