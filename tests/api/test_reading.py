from __future__ import annotations

import msgspec
import pytest

from autoscaler.ports import DeadLetter, OutboxRow
from tests.api.running import DECLARED, Api


async def test_alarms_are_listed_with_aodhs_fields(api: Api) -> None:
    found = (await api.client.get("/v1/alarms")).json()

    assert [alarm["name"] for alarm in found] == ["busy", "shop/slow"]
    alarm = found[0]
    assert {key: alarm[key] for key in ("type", "description", "enabled", "severity", "repeat_actions")} == {
        "type": "threshold",
        "description": "too busy",
        "enabled": True,
        "severity": "critical",
        "repeat_actions": False,
    }
    assert alarm["time_constraints"][0]["start"] == "* * * * *"
    assert alarm["state_timestamp"] is None
    assert alarm["rule"] == {
        "metric": "cpu",
        "resource_id": "vm-1",
        "aggregation_method": "mean",
        "granularity": 60.0,
        "evaluation_periods": 1,
        "comparison_operator": "gt",
        "threshold": 70.0,
        "window": "aligned",
        "evaluate": "measure",
    }


async def test_secrets_of_action_urls_are_hidden(api: Api) -> None:
    text = (await api.client.get("/v1/alarms")).text

    assert "https://***@hooks.example.org/a?Signature=***&token=***" in text
    assert all(secret not in text for secret in ("secret", "abc", "def"))
    assert "secret" in DECLARED


@pytest.mark.parametrize(
    ("query", "names"),
    [
        pytest.param("name=busy", ["busy"], id="by-name"),
        pytest.param("name=nobody", [], id="by-unknown-name"),
        pytest.param("state=alarm", ["busy"], id="by-state"),
        pytest.param("state=insufficient%20data", ["shop/slow"], id="by-state-with-a-space"),
        pytest.param("state=alarm&name=shop/slow", [], id="by-both"),
    ],
)
async def test_alarms_are_filtered(api: Api, query: str, names: list[str]) -> None:
    await api.client.post("/v1/measures", json=api.measure())

    found = (await api.client.get(f"/v1/alarms?{query}")).json()

    assert [alarm["name"] for alarm in found] == names


async def test_an_alarm_is_found_by_id_and_by_a_name_with_a_slash(api: Api) -> None:
    by_name = (await api.client.get("/v1/alarms/shop%2Fslow")).json()

    assert by_name["rule"]["match"] == {"service": "shop"}
    assert by_name["rule"]["for"] == 30
    assert (await api.client.get(f"/v1/alarms/{by_name['alarm_id']}")).json() == by_name


async def test_history_is_newest_first_and_limited(api: Api) -> None:
    await api.client.post("/v1/measures", json=api.measure())

    entries = (await api.client.get("/v1/alarms/busy/history")).json()
    newest = (await api.client.get("/v1/alarms/busy/history?limit=1")).json()

    assert [entry["type"] for entry in entries] == ["state transition", "creation"]
    assert newest == entries[:1]
    assert entries[0]["timestamp"].endswith("Z")


async def test_undelivered_actions_are_shown_without_their_secrets(api: Api) -> None:
    row = OutboxRow(id="a:1:0", alarm_id="a", url="https://h/x?Signature=abc", body={}, created=1.0)
    payload = msgspec.json.encode(row).decode()
    for text in (payload, payload[:40]):
        await api.store.bury(
            [DeadLetter(kind="action", time=2.0, reason="given up", detail="no", source="a", payload=text)]
        )

    found = (await api.client.get("/v1/dead-letters?kind=action")).json()

    assert len(found) == 2
    assert all("abc" not in letter["payload"] for letter in found)
    assert any("https://h/x?Signature=***" in letter["payload"] for letter in found)


async def test_dead_letters_of_both_kinds_are_newest_first(api: Api) -> None:
    for kind, time in (("action", 1.0), ("measure", 3.0), ("action", 2.0)):
        await api.store.bury([DeadLetter(kind=kind, time=time, reason="r", detail="d", source="s", payload="{}")])

    found = (await api.client.get("/v1/dead-letters?limit=2")).json()

    assert [(letter["kind"], letter["time"]) for letter in found] == [
        ("measure", "1970-01-01T00:00:03Z"),
        ("action", "1970-01-01T00:00:02Z"),
    ]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        pytest.param("/v1/alarms/nix", "no alarm named nix", id="alarm"),
        pytest.param("/v1/alarms/nix/history", "no alarm named nix", id="history"),
        pytest.param("/v1/groups/nix", "no group named nix", id="group"),
        pytest.param("/v1/groups/nix/decisions", "no group named nix", id="decisions"),
        pytest.param("/nix", "nothing is at /nix", id="path"),
    ],
)
async def test_what_is_not_there_is_said_to_be_not_there(api: Api, path: str, message: str) -> None:
    answer = await api.client.get(path)

    assert (answer.status_code, answer.json()) == (404, {"error": {"code": "not found", "message": message}})


@pytest.mark.parametrize(
    ("path", "message"),
    [
        pytest.param("/v1/alarms?colour=red", "colour: unknown parameter", id="unknown-filter"),
        pytest.param("/v1/alarms?state=red", "state: expected 'ok', 'alarm' or 'insufficient data'", id="state"),
        pytest.param("/v1/alarms/busy?x=1", "x: unknown parameter", id="unknown-where-there-are-none"),
        pytest.param("/v1/groups?x=1", "x: unknown parameter", id="groups"),
        pytest.param("/healthz?x=1", "x: unknown parameter", id="health"),
        pytest.param("/v1/groups/web/decisions?limit=0", "limit: ", id="limit-too-low"),
        pytest.param("/v1/groups/web/decisions?limit=many", "limit: ", id="limit-no-number"),
        pytest.param(
            "/v1/dead-letters?kind=letter", "kind: expected 'measure', 'event', 'notice' or 'action'", id="kind"
        ),
    ],
)
async def test_a_wrong_question_is_refused(api: Api, path: str, message: str) -> None:
    answer = await api.client.get(path)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad request")
    assert answer.json()["error"]["message"].startswith(message)


async def test_a_wrong_method_is_refused(api: Api) -> None:
    answer = await api.client.put("/v1/groups")

    assert (answer.status_code, answer.json()["error"]["message"]) == (405, "PUT is not possible here")


async def test_openapi_describes_every_path(api: Api) -> None:
    schema = (await api.client.get("/openapi.json")).json()

    assert {"/v1/measures", "/v1/alarms", "/v1/groups/{name}/pause", "/v1/status", "/metrics"} <= schema["paths"].keys()
    assert "from" in schema["components"]["schemas"]["DecisionAnswer"]["properties"]
