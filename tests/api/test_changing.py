from __future__ import annotations

import pytest

from tests.api.running import Api

USER = {"x-user-id": "ada", "x-openstack-request-id": "req-1"}


async def test_a_group_shows_how_it_stands(api: Api) -> None:
    (group,) = (await api.client.get("/v1/groups")).json()

    assert group == (await api.client.get("/v1/groups/web")).json()
    keys = ("name", "min_size", "max_size", "desired_capacity", "size", "ready", "cooldown_until", "paused", "frozen")
    assert {key: group[key] for key in keys} == {
        "name": "web",
        "min_size": 1,
        "max_size": 5,
        "desired_capacity": 2,
        "size": 2,
        "ready": 2,
        "cooldown_until": None,
        "paused": None,
        "frozen": None,
    }


async def test_an_executed_policy_moves_its_group_and_names_who_asked(api: Api) -> None:
    answer = await api.client.post("/v1/policies/out/execute", headers=USER)
    await api.settled()

    decision = answer.json()
    assert answer.status_code == 202
    assert (decision["decision"], decision["from"], decision["to"], decision["reason"]) == ("scale", 2, 3, "executed")
    assert decision["actor"] == {"kind": "user", "name": "ada", "request_id": "req-1", "address": "192.0.2.7"}
    group = (await api.client.get("/v1/groups/web")).json()
    assert (group["desired_capacity"], group["size"]) == (3, 3)
    assert group["cooldown_until"].endswith("Z")
    assert (await api.client.get("/v1/groups/web/decisions")).json() == [decision]


async def test_a_refused_execution_is_a_decision_too(api: Api) -> None:
    await api.client.post("/v1/policies/out/execute")
    await api.settled()

    held = (await api.client.post("/v1/policies/out/execute")).json()
    forced = (await api.client.post("/v1/policies/out/execute", json={"force": True})).json()

    assert (held["decision"], held["reason"], held["from"], held["to"]) == ("hold", "cooldown", 3, 3)
    assert held["until"] is not None
    assert (forced["decision"], forced["to"]) == ("scale", 4)
    newest = (await api.client.get("/v1/groups/web/decisions?limit=1")).json()
    assert newest == [forced]


async def test_the_same_key_is_executed_once(api: Api) -> None:
    key = {"idempotency-key": "k"}

    first = await api.client.post("/v1/policies/out/execute", headers=key)
    await api.settled()
    again = await api.client.post("/v1/policies/out/execute", headers=key)
    other = await api.client.post("/v1/policies/in/execute", headers=key, json={"force": True})

    assert (again.status_code, again.json()) == (202, first.json())
    assert other.json()["id"] != first.json()["id"]


async def test_one_request_id_through_several_calls_is_not_one_call(api: Api) -> None:
    first = (await api.client.post("/v1/policies/out/execute", headers=USER)).json()
    await api.settled()
    second = (await api.client.post("/v1/policies/out/execute", headers=USER, json={"force": True})).json()

    assert (first["to"], second["to"]) == (3, 4)


@pytest.mark.parametrize(
    ("body", "until", "direction"),
    [
        pytest.param({"for": "2h"}, 7200, None, id="for"),
        pytest.param({"seconds": 90}, 90, None, id="seconds"),
        pytest.param({"for": "1h30m", "direction": "in"}, 5400, "in", id="one-direction"),
        pytest.param({}, None, None, id="until-resumed"),
        pytest.param(None, None, None, id="no-body"),
    ],
)
async def test_a_paused_group_is_held_until_it_is_resumed(
    api: Api, body: dict[str, object] | None, until: float | None, direction: str | None
) -> None:
    now = api.now[0]
    paused = (await api.client.post("/v1/groups/web/pause", json=body, headers=USER)).json()["paused"]

    assert (paused["direction"], paused["by"]) == (direction, "ada")
    assert (await api.service.group("web")).state.record.paused.until == (None if until is None else now + until)
    held = (await api.client.post("/v1/policies/in/execute")).json()
    assert (held["decision"], held["reason"]) == ("hold", "paused")
    assert (await api.client.post("/v1/groups/web/resume")).json()["paused"] is None
    assert (await api.client.post("/v1/policies/in/execute")).json()["decision"] == "scale"


async def test_a_pause_that_is_over_is_not_shown(api: Api) -> None:
    await api.client.post("/v1/groups/web/pause", json={"seconds": 5})
    api.later(5)

    assert (await api.client.get("/v1/groups/web")).json()["paused"] is None


async def test_a_freeze_holds_every_group(api: Api) -> None:
    frozen = (await api.client.post("/v1/freeze", json={"reason": "moving house"}, headers=USER)).json()

    assert (frozen["reason"], frozen["by"]) == ("moving house", "ada")
    assert (await api.client.get("/v1/groups/web")).json()["frozen"] == frozen
    assert (await api.client.post("/v1/policies/out/execute")).json()["reason"] == "frozen"
    assert (await api.client.post("/v1/unfreeze")).json() == {"frozen": None}
    assert (await api.client.get("/v1/groups/web")).json()["frozen"] is None
    assert (await api.client.post("/v1/policies/out/execute")).json()["decision"] == "scale"


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        pytest.param("groups/web/pause", {"for": "2x"}, "for: expected a duration such as 90s", id="bad-duration"),
        pytest.param("groups/web/pause", {"seconds": 0}, "seconds: ", id="no-time"),
        pytest.param("groups/web/pause", {"seconds": "9"}, "seconds: ", id="text-for-a-number"),
        pytest.param("groups/web/pause", {"seconds": 1, "for": "1s"}, "expected either seconds or for", id="both"),
        pytest.param("groups/web/pause", {"direction": "up"}, "direction: expected 'in' or 'out'", id="direction"),
        pytest.param("groups/web/pause", {"length": 1}, "length: unknown key", id="unknown-key"),
        pytest.param("groups/web/pause", [], "expected a JSON object", id="no-object"),
        pytest.param("freeze", {"why": ""}, "why: unknown key", id="freeze"),
        pytest.param("policies/out/execute", {"force": "yes"}, "force: ", id="force"),
    ],
)
async def test_a_wrong_body_is_refused_and_changes_nothing(api: Api, path: str, body: object, message: str) -> None:
    answer = await api.client.post(f"/v1/{path}", json=body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad request")
    assert answer.json()["error"]["message"].startswith(message)
    group = (await api.client.get("/v1/groups/web")).json()
    assert (group["paused"], group["frozen"], group["desired_capacity"]) == (None, None, 2)


async def test_a_body_that_is_no_json_is_refused(api: Api) -> None:
    answer = await api.client.post("/v1/freeze", content=b"{", headers={"content-type": "application/json"})

    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("the body is not JSON")


@pytest.mark.parametrize("path", ["groups/nix/pause", "groups/nix/resume", "policies/nix/execute"])
async def test_what_is_not_there_cannot_be_changed(api: Api, path: str) -> None:
    assert (await api.client.post(f"/v1/{path}")).status_code == 404


async def test_policies_are_listed_as_declared(api: Api) -> None:
    found = (await api.client.get("/v1/policies")).json()

    assert [(policy["name"], policy["group"], policy["scaling_adjustment"]) for policy in found] == [
        ("in", "web", -1.0),
        ("out", "web", 1.0),
    ]
