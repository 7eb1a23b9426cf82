"""Who changed what."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from autoscaler.engine.audit import LOOKED_AT, Change
from autoscaler.ports import DeadLetter
from autoscaler.scaling.group import Actor
from autoscaler.scaling.guards import iso
from tests.api.running import NOW, Api, running

pytestmark = pytest.mark.slow  # many small ones, each with an API of its own

MONA = {"x-user-id": "mona", "x-project-id": "shop", "x-roles": "member", "x-openstack-request-id": "req-of-mona"}
ANNA = {"x-user-id": "anna", "x-project-id": "hall", "x-roles": "admin", "x-openstack-request-id": "req-of-anna"}
ALARM: dict[str, Any] = {
    "name": "hot",
    "type": "gnocchi_resources_threshold",
    "gnocchi_resources_threshold_rule": {
        "metric": "cpu",
        "resource_id": "vm-1",
        "resource_type": "instance",
        "aggregation_method": "mean",
        "threshold": 70,
    },
    "alarm_actions": ["https://me:secret@hooks.example.org/a?Signature=abc"],
}


async def audited(api: Api) -> list[dict[str, Any]]:
    """All changes, oldest first."""
    found: list[dict[str, Any]] = (await api.client.get("/v1/audit")).json()
    return found[::-1]


def brief(entry: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(entry[key] for key in ("user", "change", "kind", "target", "before", "after"))


async def test_what_is_done_to_an_alarm_is_kept_with_what_was_there_before(api: Api) -> None:
    made = await api.client.post("/v2/alarms", json=ALARM, headers=MONA)
    alarm_id = made.json()["alarm_id"]
    path = f"/v2/alarms/{alarm_id}"
    rule = ALARM["gnocchi_resources_threshold_rule"] | {"threshold": 80}
    changed = ALARM | {"gnocchi_resources_threshold_rule": rule}
    await api.client.put(path, json=changed, headers=MONA)
    await api.client.put(f"{path}/state", content='"alarm"', headers=ANNA | {"content-type": "application/json"})
    await api.client.delete(path, headers=ANNA)
    created, replaced, state_set, deleted = await audited(api)

    assert made.headers["x-openstack-request-id"] == "req-of-mona"
    assert {key: created[key] for key in ("user", "project_id", "address", "request_id", "change")} == {
        "user": "mona",
        "project_id": "shop",
        "address": "192.0.2.7",
        "request_id": "req-of-mona",
        "change": "created",
    }
    assert (created["kind"], created["target"], created["target_project_id"]) == ("alarm", alarm_id, "shop")
    assert (created["before"], created["after"]["name"]) == (None, "hot")
    assert replaced["before"]["rule"]["threshold"] == 70
    assert replaced["after"]["rule"]["threshold"] == 80
    assert replaced["before"].keys() == replaced["after"].keys() == {"rule"}
    assert brief(state_set) == ("anna", "state set", "alarm", alarm_id, "insufficient data", "alarm")
    assert (deleted["change"], deleted["before"]["name"], deleted["after"]) == ("deleted", "hot", None)
    assert "secret" not in str(await audited(api))
    assert "Signature=***" in str(created["after"])


async def test_what_is_done_to_groups_and_policies_is_kept(api: Api) -> None:
    for path in ("groups/web/pause", "groups/web/resume", "freeze", "unfreeze", "policies/out/execute"):
        body = {"reason": "drill"} if path in {"groups/web/pause", "freeze"} else None
        answer = await api.client.post(f"/v1/{path}", json=body, headers={"x-user-id": "ada"})
        assert answer.is_success, answer.text
    await api.settled()
    await api.client.post("/v1/policies/out/execute", json={"force": True}, headers={"x-user-id": "ada"})
    paused, resumed, frozen, unfrozen, executed, forced = await audited(api)

    assert (paused["change"], paused["target"], paused["before"]) == ("paused", "web", None)
    assert (paused["after"]["reason"], paused["after"]["actor"]["name"]) == ("drill", "ada")
    assert (resumed["before"], resumed["after"]) == (paused["after"], None)
    assert brief(frozen) == ("ada", "frozen", "groups", "all", None, {"reason": "drill"})
    assert brief(unfrozen) == ("ada", "unfrozen", "groups", "all", None, None)
    assert (executed["change"], executed["kind"], executed["target"]) == ("executed", "policy", "out")
    assert (executed["before"]["capacity"], executed["after"]["capacity"]) == (2, 3)
    assert (forced["change"], forced["after"]["decision"]) == ("forced", "scale")


async def test_quotas_and_dead_letters_are_kept(api: Api) -> None:
    quota = {"project_id": "shop", "quotas": [{"resource": "alarms", "limit": 5}]}
    await api.client.post("/v2/quotas", json=quota, headers=ANNA)
    await api.client.delete("/v2/quotas/shop", headers=ANNA)
    letter = DeadLetter(kind="measure", time=1.0, reason="r", detail="d", source="s", payload="p")
    await api.store.bury([letter, letter])
    ids = [found["id"] for found in (await api.client.get("/v1/dead-letters")).json()]
    await api.client.post("/v1/dead-letters/replay", json={"ids": ids}, headers=ANNA)
    await api.client.post("/v1/dead-letters/drop", json={"ids": ids[:1]}, headers=ANNA)
    raised, left, replayed, dropped = await audited(api)

    assert brief(raised) == ("anna", "quota set", "quota", "shop", None, 5)
    assert brief(left) == ("anna", "quota set", "quota", "shop", 5, None)
    assert brief(replayed) == (
        "anna", "replayed", "dead letters", "2 of them", None, dict.fromkeys(ids, "refused"),
    )  # fmt: skip
    assert brief(dropped) == ("anna", "dropped", "dead letters", ids[0], None, {ids[0]: "dropped"})


async def test_what_is_refused_changes_nothing_and_is_not_kept(api: Api) -> None:
    assert (await api.client.post("/v1/freeze", headers=MONA)).status_code == 403
    assert (await api.client.post("/v1/groups/web/pause", headers=MONA)).status_code == 404
    assert (await api.client.post("/v2/alarms", json=ALARM | {"name": 1}, headers=MONA)).status_code == 400

    assert await audited(api) == []


async def test_pages_follow_each_other(api: Api) -> None:
    for _ in range(3):
        await api.client.post("/v1/freeze")
    first = (await api.client.get("/v1/audit?limit=2")).json()
    second = (await api.client.get(f"/v1/audit?limit=2&before={first[-1]['id']}")).json()

    assert (len(first), len(second)) == (2, 1)
    assert len({entry["event_id"] for entry in [*first, *second]}) == 3


async def test_some_are_found_among_many_by_what_who_and_when(api: Api) -> None:
    made = await api.client.post("/v2/alarms", json=ALARM, headers=MONA)
    for _ in range(LOOKED_AT + 1):
        await api.service.audit.record(Actor(kind="user", name="eve"), Change.FROZEN, "groups", "all")
    api.now[0] += 60
    await api.client.delete(f"/v2/alarms/{made.json()['alarm_id']}", headers=ANNA)

    async def found(**asked: Any) -> list[str]:
        answer = await api.client.get("/v1/audit", params=asked)
        assert answer.status_code == 200, answer.text
        return [entry["change"] for entry in answer.json()]

    assert await found(kind="alarm") == ["deleted", "created"]
    assert await found(kind="alarm", limit=1) == ["deleted"]
    assert await found(project="shop") == ["deleted", "created"]
    assert await found(project="hall") == ["deleted"]
    assert await found(user="mona") == ["created"]
    assert await found(since=iso(NOW + 60)) == ["deleted"]
    assert await found(user="mona", since=iso(NOW + 60)) == []
    assert len(await found(user="eve", limit=10_000)) == LOOKED_AT + 1
    for wrong in ("yesterday", "2030-01-31T00:00:00"):
        assert (await api.client.get("/v1/audit", params={"since": wrong})).status_code == 400


@pytest.mark.parametrize(("headers", "status"), [(MONA, 403), (ANNA, 200), ({}, 200)])
async def test_operators_may_look(api: Api, headers: dict[str, str], status: int) -> None:
    assert (await api.client.get("/v1/audit", headers=headers)).status_code == status


async def test_what_is_long_is_cut(api: Api) -> None:
    actions = [f"https://hooks.example.org/{number:0100}" for number in range(90)]
    made = await api.client.post("/v2/alarms", json=ALARM | {"ok_actions": actions}, headers=MONA)
    (created,) = await audited(api)

    assert made.status_code == 201
    assert created["after"].keys() == {"cut"}
    assert len(created["after"]["cut"]) == 4096


async def test_changes_are_told_on_the_bus_where_it_is_wanted() -> None:
    async with running(tell_changes=True) as api:
        await api.client.post("/v1/groups/web/pause", headers={"x-user-id": "ada"})
        (entry,) = await audited(api)
        async with asyncio.timeout(10):
            while not api.action.delivered:
                await asyncio.sleep(0.001)
        (row,) = api.action.delivered

    event = row.body["payload"]
    assert (row.url, row.body["event_type"], row.body["publisher_id"]) == (
        "notification:",
        "audit.http.response",
        "autoscaler",
    )
    assert (event["id"], event["action"], event["outcome"]) == (entry["event_id"], "disable", "success")
    assert event["initiator"]["host"] == {"address": "192.0.2.7"}
    assert event["target"]["id"] == "web"
