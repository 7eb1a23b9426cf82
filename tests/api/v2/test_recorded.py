"""Requests that a real Aodh 23.0.0 was sent, in order: the same answers, up to ids, times and what was repaired."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import httpx

from autoscaler.api.v2 import Options
from tests.api.v2.running import ADMIN, MEMBER, OTHER, PROJECT, Api, a_rule, an_alarm, by_resources, of, running
from tests.shared_data import shared_reference

LINE = re.compile(r"(?P<method>[A-Z]+) (?P<path>\S+) -> (?P<status>\d+) (?P<headers>\{.*?\}) (?P<body>.*)")
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}")
ANY_ORDER = re.compile(r"(one of: )([^\"]*)|(\{)('[^}]*')\}")


@dataclass(frozen=True)
class Sent:
    """What was sent for a recorded line.

    Attributes:
        repaired: what is answered instead, a status or parts of the text, and why.
    """

    body: Any = None
    headers: dict[str, str] | None = None
    content: bytes | None = None
    repaired: tuple[int, str] | None = None
    why: str = ""


LEAF = a_rule(type="gnocchi_resources_threshold")
FORM = MEMBER | {"Content-Type": "application/x-www-form-urlencoded"}
ANYBODY: dict[str, str] = {}


def constrained(**changes: Any) -> dict[str, Any]:
    return an_alarm(time_constraints=[{"name": "n", "start": "0 8 * * *", "duration": 60} | changes])


def complex_query(**query: Any) -> dict[str, Any]:
    return {"filter": json.dumps(query)}


def composite(rule: Any) -> dict[str, Any]:
    return an_alarm(name="c", type="composite", gnocchi_resources_threshold_rule=..., composite_rule=rule)


def named(name: str, body: dict[str, Any]) -> dict[str, Any]:
    return body | {"name": name}


SENT = [
    Sent(an_alarm()),
    Sent(),  # the line without a request is what GET answered for the first alarm
    Sent(an_alarm()),
    Sent(an_alarm(name=...)),
    Sent(an_alarm(foo=1)),
    Sent(an_alarm(gnocchi_resources_threshold_rule=a_rule(foo=1))),
    Sent(an_alarm(gnocchi_resources_threshold_rule=a_rule(evaluation_periods=0))),
    Sent(an_alarm(gnocchi_resources_threshold_rule=a_rule(comparison_operator="x"))),
    Sent(an_alarm(gnocchi_resources_threshold_rule=a_rule(aggregation_method="x"))),
    Sent(
        an_alarm(type="threshold"),
        repaired=(400, "threshold_rule must be set for threshold type alarm"),
        why="templates from before Gnocchi work",
    ),
    Sent(an_alarm(severity="x")),
    Sent(an_alarm(ok_actions=["ftp://x"])),
    Sent(an_alarm(ok_actions=["log://"])),
    Sent(an_alarm(project_id="other")),
    Sent(constrained(start="bad")),
    Sent(constrained(timezone="X/Y")),
    Sent(content=b"{bad", headers=FORM),
    Sent(content=b"<x/>", headers=FORM),
    Sent(),
    Sent(headers=OTHER),
    Sent(),
    Sent(),
    Sent(),
    Sent(),
    Sent(repaired=(400, "Marker zz not found."), why="a client's error"),
    Sent(),
    Sent(repaired=(200, "alarm_id"), why="severity sorts by rank on every store"),
    Sent(repaired=(400, "the sort dir should be asc or desc"), why="a client's error"),
    Sent("foo"),
    Sent("alarm"),
    Sent(),
    Sent(),
    Sent(an_alarm(name="b")),
    Sent(an_alarm(type=...)),
    Sent({}, repaired=(405, "The method PATCH is not allowed for this resource."), why="error bodies are objects"),
    Sent(repaired=(200, r"{\"name\": \"b\"}"), why="a PUT without a state leaves the live one as it is"),
    Sent(complex_query(**{"=": {"name": "b"}})),
    Sent(complex_query(AND=[{"=~": {"name": "^b"}}, {"not": {"=": {"enabled": False}}}])),
    Sent(complex_query(**{"in": {"name": ["x", "y"]}})),
    Sent(
        complex_query(**{"=": {"type": "rule change"}}),
        repaired=(200, r"{\"name\": \"b\"}"),
        why="a PUT without a state leaves the live one as it is",
    ),
    Sent(),
    Sent({"project_id": PROJECT, "quotas": [{"resource": "alarms", "limit": 1}]}),
    Sent({"project_id": PROJECT, "quotas": [{"resource": "alarms", "limit": 1}]}, ADMIN),
    Sent(an_alarm()),
    Sent(headers=ADMIN),
    Sent(),
    Sent(repaired=(404, "The resource could not be found."), why="error bodies are objects"),
    Sent(repaired=(404, "The resource could not be found."), why="error bodies are objects"),
    Sent(headers=ANYBODY, repaired=(200, "application/vnd.openstack.telemetry-v2+json"), why="XML is not served"),
    Sent(headers=ANYBODY),
    Sent(),
    Sent(),
    Sent(repaired=(200, "deletion"), why="history outlives its alarm"),
    Sent(
        complex_query(**{"=": {"alarm_id": "edcf9de8-2dba-45aa-9259-58949856fcab"}}),
        repaired=(200, "deletion"),
        why="history outlives its alarm",
    ),
    Sent(headers=ANYBODY),
    Sent(an_alarm(), ANYBODY),
    Sent(composite({"or": [LEAF, {"and": [LEAF, LEAF]}]})),
    Sent(composite(LEAF)),
    Sent(composite({"xor": [LEAF]})),
    Sent(composite({"or": []}), repaired=(400, "Invalid input composite rule"), why="could never be evaluated"),
    Sent(named("e", of("event"))),
    Sent(named("e", of("prometheus", query="up", threshold=1))),
    Sent(named("e", of("loadbalancer_member_health", pool_id="p", stack_id="s", autoscaling_group_id="g"))),
    Sent(named("x", by_resources('{"=": {"server_group": "web"}}')), ADMIN),
    Sent(named("x", by_resources('{"=": {"server_group": "web"}}', aggregation_method="rate:mean")), ADMIN),
    Sent(
        named("x", by_resources(aggregation_method="last")),
        ADMIN,
        repaired=(400, "aggregation_method should be in ["),
        why="says what is possible",
    ),
    Sent(named("x", by_resources(aggregation_method="95pct")), ADMIN, repaired=(201, "95pct"), why="percentiles work"),
    Sent(named("x", by_resources(metric="nothing.has.it")), ADMIN),
    Sent(named("x", by_resources("{bad")), ADMIN),
    Sent(
        named("x", by_resources('{"=": {"no_such_attribute": "x"}}')),
        ADMIN,
        repaired=(201, "no_such_attribute"),
        why="measures may carry any attribute",
    ),
    Sent(named("x", by_resources('{"=": {"server_group": "web"}}'))),
]


def recorded() -> list[str]:
    return shared_reference("aodh-requests.txt").read_text().splitlines()


async def test_every_recorded_request_is_answered_as_aodh_did_but_for_the_repairs() -> None:
    lines = recorded()
    assert len(lines) == len(SENT)
    async with running(Options(evaluation_metrics=True)) as api:
        ids: dict[str, str] = {}
        for number, (line, sent) in enumerate(zip(lines, SENT, strict=True), 1):
            found = LINE.fullmatch(line)
            if found is None:
                first = next(iter(ids.values()))
                answer = await api.ask("GET", f"/v2/alarms/{first}")
                assert _same(line, answer.text), line
                continue
            answer = await _ask(api, found, sent, ids)
            _check(number, found, sent, answer)
            for old in ID.findall(found["headers"]):
                ids[old] = answer.json().get("alarm_id", "")


async def _ask(api: Api, found: re.Match[str], sent: Sent, ids: dict[str, str]) -> httpx.Response:
    def ours(text: str) -> str:
        return ID.sub(lambda old: ids.get(old[0], old[0]), text)

    path, body = ours(found["path"]), None if sent.body is None else json.loads(ours(json.dumps(sent.body)))
    headers = MEMBER if sent.headers is None else sent.headers
    if sent.content is not None:
        return await api.client.request(found["method"], path, headers=headers, content=sent.content)
    return await api.ask(found["method"], path, body, headers)


def _check(number: int, found: re.Match[str], sent: Sent, answer: httpx.Response) -> None:
    where = f"{number}: {found[0]}\n{answer.status_code} {answer.text}"
    if sent.repaired:
        status, part = sent.repaired
        assert answer.status_code == status, where
        assert part in answer.text.replace('\\\\"', '\\"'), where
        if answer.status_code >= 400:
            assert answer.json()["error_message"]["debuginfo"] is None, where
        return
    assert answer.status_code == int(found["status"]), where
    for name, value in json.loads(found["headers"].replace("'", '"')).items():
        if name == "Location":
            assert answer.headers[name] == f"http://api/v2/alarms/{answer.json()['alarm_id']}", where
        else:
            assert answer.headers[name].lower() == value.lower(), where
    assert _same(found["body"], answer.text), where


def _same(recorded: str, answered: str) -> bool:
    """Whether two bodies say the same; what was recorded may be cut off in the middle of a value."""
    ours = _plain(json.dumps(json.loads(answered)) if answered else "")
    try:
        return _plain(json.dumps(json.loads(recorded))) == ours if recorded else not ours
    except ValueError:
        if "aggregation_method should be in" in recorded:
            return "aggregation_method should be in [" in ours
        whole = recorded.rpartition(", ")[0]
        return ours.startswith(_plain(whole))


def _plain(text: str) -> str:
    text = TIME.sub("TIME", ID.sub("ID", text))
    return ANY_ORDER.sub(lambda m: "".join(filter(None, (m[1], m[3]))) + _sorted(m[2] or m[4]), text)


def _sorted(listed: str) -> str:
    return ", ".join(sorted(part.strip(" '") for part in listed.split(",")))
