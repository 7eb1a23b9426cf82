from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from autoscaler.api.v2 import Options
from tests.api.v2.running import ADMIN, MEMBER, OTHER, PROJECT, Api, an_alarm, message, of, running

pytestmark = pytest.mark.slow  # many small ones, each with an API of its own

NAMES = {"a": "low", "b": "critical", "c": "moderate"}


@pytest.fixture
async def listed(api: Api) -> Api:
    """Three alarms beside the declared one, and one of another project."""
    for name, severity in NAMES.items():
        made = await api.make(name=name, severity=severity, repeat_actions=name == "b")
        if name == "c":
            await api.ask("PUT", f"/v2/alarms/{made['alarm_id']}/state", "ok")
    await api.make(OTHER, name="z")
    return api


def names(answer: Any) -> str:
    assert answer.status_code == 200, answer.text
    return " ".join(alarm["name"] for alarm in answer.json())


def q(*conditions: tuple[str, ...]) -> str:
    pairs = []
    for condition in conditions:
        pairs += list(zip(("q.field", "q.value", "q.op", "q.type"), condition, strict=False))
    return urlencode(pairs)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("", "c b a declared", id="newest-first"),
        pytest.param("limit=2", "c b", id="limit"),
        pytest.param("limit=0", "c b a declared", id="no-limit"),
        pytest.param("sort=name:asc", "a b c declared", id="by-name"),
        pytest.param("sort=name:desc&limit=2", "declared c", id="by-name-turned"),
        pytest.param("sort=name", "a b c declared", id="ascending-unless-told"),
        pytest.param("sort=severity:desc&sort=name", "b c a declared", id="by-severity"),
        pytest.param("sort=state:desc&sort=name:desc", "c declared b a", id="by-state"),
        pytest.param("sort=state_timestamp", "declared a b c", id="by-state-timestamp"),
        pytest.param("sort=repeat_actions:desc&limit=1", "b", id="by-flag"),
        pytest.param(q(("name", "b")), "b", id="name"),
        pytest.param(q(("name", "b"), ("name", "c")), "c", id="the-last-of-a-field-counts"),
        pytest.param(q(("name", "b", "eq", "string")), "b", id="typed"),
        pytest.param(q(("severity", "critical")), "b", id="severity"),
        pytest.param(q(("severity", "x")), "", id="unknown-severity"),
        pytest.param(q(("repeat_actions", "True")), "b", id="flag"),
        pytest.param(q(("enabled", "0")), "", id="disabled"),
        pytest.param(q(("state", "ok")), "c", id="state"),
        pytest.param(q(("state", "insufficient data"), ("severity", "critical")), "b", id="state-and-severity"),
        pytest.param(q(("type", "gnocchi_resources_threshold")), "c b a declared", id="type"),
        pytest.param(q(("user_id", "u1")), "c b a", id="user"),
        pytest.param(q(("project_id", PROJECT)), "c b a declared", id="own-project"),
        pytest.param(q(("all_projects", "false")), "c b a declared", id="not-all-projects"),
        pytest.param(q(("timestamp", "2027-01-15T08:00:01.250000")), "a", id="timestamp"),
    ],
)
async def test_alarms_are_listed_as_asked(listed: Api, query: str, expected: str) -> None:
    assert names(await listed.ask("GET", f"/v2/alarms?{query}")) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("", "c b a declared", id="own-project"),
        pytest.param(q(("project_id", "other")), "z", id="another-project"),
        pytest.param(q(("all_projects", "true")), "z c b a everywhere declared", id="all-projects"),
        pytest.param(q(("all_projects", "true"), ("project_id", "other")), "z", id="one-of-all"),
    ],
)
async def test_an_admin_lists_what_they_ask_for(listed: Api, query: str, expected: str) -> None:
    found = names(await listed.ask("GET", f"/v2/alarms?{query}", headers=ADMIN))
    assert sorted(found.split()) == sorted(expected.split())


async def test_pages_follow_one_another(listed: Api) -> None:
    seen, marker = [], ""
    while True:
        page = (await listed.ask("GET", f"/v2/alarms?sort=severity&limit=1{marker}")).json()
        if not page:
            break
        seen.append(page[0]["name"])
        marker = f"&marker={page[0]['alarm_id']}"
    assert sorted(seen[:2]) == ["a", "declared"]
    assert seen[2:] == ["c", "b"]


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        pytest.param("foo=1", 400, 'Unknown argument: "foo"', id="argument"),
        pytest.param("limit=x", 400, "limit. Value: 'x'", id="limit"),
        pytest.param("marker=x", 400, "Marker x not found.", id="marker"),
        pytest.param("sort=rule", 400, "the supported sort keys are", id="sort-key"),
        pytest.param("q.field=name", 400, 'Missing argument: "q.value"', id="no-value"),
        pytest.param("q.value=a", 400, 'Missing argument: "q.field"', id="no-field"),
        pytest.param(q(("enabled", "maybe")), 400, "Unable to convert the value maybe", id="flag"),
        pytest.param(q(("timestamp", "soon")), 400, "invalid timestamp format", id="timestamp"),
        pytest.param(q(("name", "a", "eq", "list")), 400, "The data type list is not supported", id="type"),
        pytest.param(q(("name", "a", "eq", "integer")), 400, "to the expected data type integer", id="typed"),
        pytest.param(q(("name", "a", "eq", "datetime")), 400, "invalid timestamp format", id="typed-time"),
        pytest.param(q(("all_projects", "perhaps")), 400, "expected data type boolean", id="all-projects-text"),
        pytest.param(q(("all_projects", "true")), 403, "RBAC Authorization Failed", id="all-projects"),
        pytest.param(q(("project_id", "other")), 401, "Not Authorized to access project other", id="another-project"),
        pytest.param(q(("project_id", PROJECT), ("project_id", "other")), 401, "project other", id="hidden-project"),
    ],
)
async def test_what_cannot_be_listed_is_refused(listed: Api, query: str, status: int, words: str) -> None:
    answer = await listed.ask("GET", f"/v2/alarms?{query}")
    assert answer.status_code == status
    assert words in message(answer)


async def test_a_marker_of_another_project_is_not_there(listed: Api) -> None:
    (other,) = (await listed.ask("GET", "/v2/alarms", headers=OTHER)).json()
    answer = await listed.ask("GET", f"/v2/alarms?marker={other['alarm_id']}")
    assert message(answer) == f"Marker {other['alarm_id']} not found."


def complex_query(query: Any = None, orderby: Any = None, limit: int | None = None) -> dict[str, Any]:
    encoded = {"filter": query and json.dumps(query), "orderby": orderby and json.dumps(orderby), "limit": limit}
    return {key: value for key, value in encoded.items() if value is not None}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param({}, "c b a declared", id="all"),
        pytest.param({"filter": None, "orderby": None, "limit": None}, "c b a declared", id="nulls"),
        pytest.param(complex_query({"=": {"state": "ok"}}), "c", id="state"),
        pytest.param(complex_query({"=~": {"state_reason": "^Manually"}}), "c", id="reason"),
        pytest.param(complex_query({"or": [{"=": {"state": "ok"}}, {"=": {"name": "a"}}]}), "c a", id="state-or-name"),
        pytest.param(complex_query({"not": {"=": {"state": "ok"}}}), "b a declared", id="not-state"),
        pytest.param(complex_query({"=~": {"rule": '"resource_id": "r"'}}), "c b a", id="rule"),
        pytest.param(complex_query({">": {"timestamp": "2027-01-15T08:00:01.25"}}), "c b", id="timestamp"),
        pytest.param(complex_query(orderby=[{"severity": "DESC"}, {"name": "asc"}]), "b c a declared", id="order"),
        pytest.param(complex_query(orderby=[{"state": "desc"}, {"name": "asc"}], limit=2), "c a", id="order-by-state"),
        pytest.param(complex_query(limit=1), "c", id="limit"),
        pytest.param(complex_query({"=": {"project": PROJECT}}, limit=1), "c", id="own-project"),
    ],
)
async def test_alarms_are_found_by_complex_queries(listed: Api, body: dict[str, Any], expected: str) -> None:
    assert names(await listed.ask("POST", "/v2/query/alarms", body)) == expected


async def test_an_admin_searches_every_project(listed: Api) -> None:
    body = complex_query({"in": {"name": ["z", "everywhere"]}}, [{"name": "asc"}])
    assert names(await listed.ask("POST", "/v2/query/alarms", body, ADMIN)) == "everywhere z"


@pytest.mark.parametrize("path", ["/v2/query/alarms", "/v2/query/alarms/history"])
@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        pytest.param([], 400, "Expected an object", id="list"),
        pytest.param({"foo": 1}, 400, "Unknown attribute for argument body: foo", id="unknown"),
        pytest.param({"filter": {"=": {}}}, 400, "Wrong type", id="filter-object"),
        pytest.param({"filter": "{bad"}, 400, "Filter expression not valid: ", id="filter"),
        pytest.param({"orderby": "{bad"}, 400, "Order-by expression not valid: ", id="orderby"),
        pytest.param({"limit": 0}, 400, "Limit should be positive", id="limit"),
        pytest.param({"limit": "x"}, 400, "finite number", id="limit-text"),
    ],
)
async def test_what_is_no_complex_query_is_refused(api: Api, path: str, body: Any, status: int, words: str) -> None:
    answer = await api.ask("POST", path, body)
    assert answer.status_code == status
    assert words in message(answer)


@pytest.mark.parametrize(
    ("path", "field"), [("/v2/query/alarms", "project"), ("/v2/query/alarms/history", "on_behalf_of")]
)
async def test_no_query_names_another_project(listed: Api, path: str, field: str) -> None:
    for query in ({"=": {field: "other"}}, {"not": {"in": {field: [PROJECT, "other"]}}}):
        answer = await listed.ask("POST", path, complex_query(query))
        assert answer.status_code == 401
        assert message(answer) == "Not Authorized to access project other"


# --- history ---------------------------------------------------------------------------------------------------------


async def a_life(api: Api) -> str:
    """An alarm that is made, set, changed and removed."""
    made = await api.make(severity="low")
    path = f"/v2/alarms/{made['alarm_id']}"
    await api.ask("PUT", f"{path}/state", "ok")
    await api.ask("PUT", path, an_alarm(name="b", severity="critical"))
    await api.ask("DELETE", path)
    return path


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("", "deletion, rule change, state transition, creation", id="newest-first"),
        pytest.param("sort=timestamp:asc&limit=2", "creation, state transition", id="oldest-first"),
        pytest.param("sort=severity:asc&sort=type&limit=2", "creation, state transition", id="by-severity"),
        pytest.param(q(("type", "rule change")), "rule change", id="type"),
        pytest.param(q(("severity", "critical")), "deletion, rule change", id="severity"),
        pytest.param(q(("user_id", "u1")), "deletion, rule change, state transition, creation", id="user"),
        pytest.param(q(("user", "u2")), "", id="another-user"),
        pytest.param(q(("project", PROJECT), ("type", "creation")), "creation", id="project"),
        pytest.param(q(("timestamp", "2027-01-15T08:00:02.5", "le")), "state transition, creation", id="until"),
        pytest.param(q(("timestamp", "2027-01-15T08:00:02.5", "lt")), "creation", id="before"),
        pytest.param(q(("timestamp", "2027-01-15T08:00:02.5", "gt")), "deletion, rule change", id="after"),
        pytest.param(
            q(("timestamp", "2027-01-15T08:00:02.5", "ge")), "deletion, rule change, state transition", id="since"
        ),
        pytest.param(
            q(("timestamp", "2027-01-15T08:01:02.5", "ge"), ("search_offset", "1", "eq")),
            "deletion, rule change, state transition",
            id="offset",
        ),
    ],
)
async def test_a_history_is_listed_as_asked_also_of_an_alarm_that_is_gone(api: Api, query: str, expected: str) -> None:
    path = await a_life(api)
    answer = await api.ask("GET", f"{path}/history?{query}")
    assert answer.status_code == 200, answer.text
    assert ", ".join(entry["type"] for entry in answer.json()) == expected


async def test_a_history_is_paged(api: Api) -> None:
    path = await a_life(api)
    first, second = (await api.ask("GET", f"{path}/history?limit=2")).json()
    rest = await api.ask("GET", f"{path}/history?marker={second['event_id']}")
    assert [entry["type"] for entry in (first, second, *rest.json())] == [
        "deletion",
        "rule change",
        "state transition",
        "creation",
    ]


async def test_a_history_tells_what_was_changed_as_aodh_does(api: Api) -> None:
    path = await a_life(api)
    _, change, transition, creation = (await api.ask("GET", f"{path}/history")).json()
    assert json.loads(change["detail"]) == {"name": "b", "severity": "critical"}
    assert json.loads(transition["detail"]) == {"state": "ok", "state_reason": "Manually set via API"}
    assert json.loads(creation["detail"])["rule"]["metric"] == "m"
    assert (change["user_id"], change["project_id"], change["on_behalf_of"]) == ("u1", PROJECT, PROJECT)
    assert "severity" not in change


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        pytest.param(q(("alarm_id", "x")), 400, 'Unknown argument: "alarm_id"', id="alarm-id"),
        pytest.param(q(("type", "creation", "ne")), 400, "unimplemented operator for type", id="operator"),
        pytest.param(q(("timestamp", "2027-01-15", "eq")), 400, "unimplemented operator for timestamp", id="time-eq"),
        pytest.param(q(("timestamp", "soon", "lt")), 400, "invalid timestamp format", id="time"),
        pytest.param(q(("search_offset", "1")), 400, "cannot be used without timestamp", id="offset-alone"),
        pytest.param(
            q(("timestamp", "2027-01-15", "lt"), ("search_offset", "x", "eq")), 400, "convert to int", id="offset"
        ),
        pytest.param(q(("project_id", "other")), 401, "Not Authorized to access project other", id="another-project"),
        pytest.param("marker=x", 400, "Marker x not found.", id="marker"),
        pytest.param("sort=detail", 400, "the supported sort keys are", id="sort"),
        pytest.param("foo=1", 400, 'Unknown argument: "foo"', id="argument"),
    ],
)
async def test_what_cannot_be_asked_of_a_history_is_refused(api: Api, query: str, status: int, words: str) -> None:
    path = await a_life(api)
    answer = await api.ask("GET", f"{path}/history?{query}")
    assert answer.status_code == status
    assert words in message(answer)


async def test_what_is_gone_is_remembered_for_its_project_only(api: Api) -> None:
    path = await a_life(api)
    assert (await api.ask("GET", f"{path}/history", headers=OTHER)).status_code == 404
    assert len((await api.ask("GET", f"{path}/history", headers=ADMIN)).json()) == 4
    assert (await api.ask("GET", "/v2/alarms/nope/history")).status_code == 404


async def test_histories_are_searched(api: Api) -> None:
    path = await a_life(api)
    await api.make(OTHER)
    alarm_id = path.rpartition("/")[2]
    for query, expected in (
        ({"=": {"alarm_id": alarm_id}}, 4),
        ({"and": [{"=": {"alarm_id": alarm_id}}, {"=": {"type": "creation"}}]}, 1),
        ({"=": {"type": "creation"}}, 1),
        ({"=": {"severity": "critical"}}, 2),
        ({"=~": {"detail": '"state": "ok"'}}, 2),
        ({"<": {"timestamp": "2027-01-15T08:00:02"}}, 1),
    ):
        found = await api.ask("POST", "/v2/query/alarms/history", complex_query(query))
        assert len(found.json()) == expected, query
    everybodys = await api.ask("POST", "/v2/query/alarms/history", complex_query({"=": {"type": "creation"}}), ADMIN)
    assert len(everybodys.json()) == 2
    oldest = complex_query(orderby=[{"timestamp": "asc"}], limit=1)
    assert (await api.ask("POST", "/v2/query/alarms/history", oldest)).json()[0]["type"] == "creation"


# --- the rest --------------------------------------------------------------------------------------------------------


async def test_evaluations_are_counted_for_who_may_see_them() -> None:
    async with running(Options(evaluation_metrics=True)) as api:
        own = (await api.make())["alarm_id"]
        other = (await api.make(OTHER))["alarm_id"]
        await api.store.tally({own: {"ok": 2, "insufficient data": 1}, other: {"alarm": 1}})
        (result,) = (await api.ask("GET", "/v2/metrics")).json()["evaluation_results"]
        assert result == {
            "alarm_id": own,
            "project_id": PROJECT,
            "state_counters": {"ok": 2, "alarm": 0, "insufficient data": 1},
        }
        assert (await api.ask("GET", "/v2/metrics?all_projects=true")).status_code == 403
        everywhere = (await api.ask("GET", "/v2/metrics?all_projects=True", headers=ADMIN)).json()
        assert {each["alarm_id"] for each in everywhere["evaluation_results"]} == {own, other}


async def test_evaluations_are_not_counted_unless_asked_for(api: Api) -> None:
    answer = await api.ask("GET", "/v2/metrics")
    assert answer.status_code == 403
    assert message(answer) == "metrics endpoint is disabled"


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/v2/alarms", "GET, POST"),
        ("/v2/alarms/x", "DELETE, GET, PUT"),
        ("/v2/alarms/x/", "DELETE, GET, PUT"),
        ("/v2/alarms/x/state", "GET, PUT"),
        ("/v2/alarms/x/history", "GET"),
        ("/v2/query/alarms", "POST"),
        ("/v2/quotas/x", "DELETE"),
        ("/v2/capabilities", "GET"),
    ],
)
async def test_a_path_says_what_it_can_do(api: Api, path: str, allow: str) -> None:
    answer = await api.ask("PATCH", path)
    assert (answer.status_code, answer.headers["Allow"]) == (405, allow)
    assert message(answer)
    answer = await api.ask("OPTIONS", path)
    assert (answer.status_code, answer.headers["Allow"]) == (204, allow)


@pytest.mark.parametrize("path", ["/v2", "/v2/", "/v2/x", "/v2/alarms/x/y", "/v2/query", "/v2/alarms//x"])
async def test_what_is_not_there_is_said_as_aodh_would_but_as_an_object(api: Api, path: str) -> None:
    answer = await api.ask("GET", path)
    assert answer.status_code == 404
    assert message(answer) == "The resource could not be found."


async def test_head_answers_as_get(api: Api) -> None:
    made = await api.make()
    for path in ("/", "/healthcheck", "/v2/alarms", f"/v2/alarms/{made['alarm_id']}"):
        assert (await api.ask("HEAD", path)).status_code == 200


async def test_every_answer_bears_the_id_of_its_request(api: Api) -> None:
    for path in ("/v2/alarms", "/v2/alarms/nope", "/v2/nope"):
        assert (await api.ask("GET", path)).headers["x-openstack-request-id"].startswith("req-")


async def test_every_path_is_described(api: Api) -> None:
    paths = api.app.openapi()["paths"]
    described = {(path, method) for path, methods in paths.items() for method in methods}
    assert len(described) == 17
    for path, method in described - {("/healthcheck", "get")}:
        operation = paths[path][method]
        assert {"400", "403", "503"} <= operation["responses"].keys(), path
        if method in {"post", "put"}:
            assert operation["requestBody"]["content"]["application/json"]["schema"]
        if method != "delete":
            answer = operation["responses"].get("200") or operation["responses"]["201"]
            assert answer["content"]["application/json"]["schema"], path


async def test_an_event_alarm_is_listed_with_its_kind(api: Api) -> None:
    await api.ask("POST", "/v2/alarms", of("event") | {"name": "e"}, MEMBER)
    assert names(await api.ask("GET", f"/v2/alarms?{q(('type', 'event'))}")) == "e"
