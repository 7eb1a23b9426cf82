"""Drawn requests, sent to an Aodh that runs elsewhere and to us: the same answers, up to ids and times.

``AUTOSCALER_TEST_AODH_URL`` names an Aodh 23 without Keystone (``auth_mode = noauth``) that may be written to. Only
what is no repair (0017) is drawn, so that every difference counts.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.v2.running import running

URL = os.environ.get("AUTOSCALER_TEST_AODH_URL", "")
pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not URL, reason="AUTOSCALER_TEST_AODH_URL names no Aodh to compare with"),
]

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?")
STATES = ("ok", "alarm", "insufficient data")
FIELDS = ("name", "description", "type", "user_id", "project_id", "state", "state_reason")
RULES: dict[str, dict[str, Any]] = {
    "event": {
        "event_type": "compute.*",
        "query": [{"field": "traits.state", "value": "error", "op": "", "type": "string"}],
    },
    "prometheus": {"query": "up", "threshold": "1", "comparison_operator": "lt"},
    "loadbalancer_member_health": {"pool_id": "p", "stack_id": "s", "autoscaling_group_id": "g"},
}
CONSTRAINT = {"name": "day", "start": "0 8 * * *", "duration": "60", "timezone": "Europe/Paris"}
WRONG = {"name": 1, "severity": "x", "ok_actions": ["ftp://x"], "state": "x", "unknown": 1, "type": "threshold"}


def body(draw: random.Random, name: str) -> dict[str, Any]:
    kind = draw.choice(list(RULES))
    more = {
        "description": draw.choice(["", "text", "ä☃"]),
        "enabled": draw.choice([True, False, "no"]),
        "repeat_actions": draw.choice([True, "true"]),
        "severity": draw.choice(["low", "moderate", "critical"]),
        "alarm_actions": ["http://a/", "http://a/"],
        "time_constraints": [CONSTRAINT],
    }
    chosen = {key: value for key, value in more.items() if draw.random() < 0.5}
    wrong = dict([draw.choice(list(WRONG.items()))]) if draw.random() < 0.15 else {}
    return {"name": name, "type": kind, f"{kind}_rule": RULES[kind], "state": draw.choice(STATES)} | chosen | wrong


def leaf(draw: random.Random) -> dict[str, Any]:
    return {draw.choice(["=", "!="]): {draw.choice(FIELDS): draw.choice(["a1", "text", "event", "ok", "alarm", "u1"])}}


def step(draw: random.Random, names: list[str]) -> tuple[str, str, Any]:
    """A request; ``@NAME@`` stands for the id that an alarm has there."""
    name = draw.choice(names)
    joined = {draw.choice(["and", "OR"]): [leaf(draw), {"not": leaf(draw)}]}
    order = json.dumps([{"timestamp": draw.choice(["asc", "desc"])}])
    page = f"sort=timestamp:{draw.choice(['asc', 'desc'])}&limit={draw.choice(['1', '2', '-1', 'x'])}"
    requests: list[tuple[str, str, Any]] = [
        ("PUT", f"/v2/alarms/@{name}@", body(draw, name)),
        ("GET", f"/v2/alarms/@{name}@", None),
        ("GET", f"/v2/alarms/@{name}@/state", None),
        ("GET", f"/v2/alarms/@{name}@/history?{page}", None),
        ("GET", f"/v2/alarms?{page}", None),
        (
            "GET",
            f"/v2/alarms?q.field=state&q.value={draw.choice(['ok', 'alarm'])}&q.op={draw.choice(['eq', 'ne'])}",
            None,
        ),
        ("POST", "/v2/query/alarms", {"filter": json.dumps(joined), "orderby": order}),
    ]
    return draw.choice(requests)


def unfolded(document: dict[str, Any]) -> dict[str, Any]:
    """A line of a history, its detail no longer a text; the order of keys is free there, too."""
    return document | {key: json.loads(value) for key, value in document.items() if key == "detail"}


def plain(answer: httpx.Response) -> str:
    shown = json.dumps(answer.json(object_hook=unfolded) if answer.content else None, sort_keys=True)
    # null in the answer to a PUT that does not name it
    shown = shown.replace('"evaluate_timestamp": null', '"evaluate_timestamp": "TIME"')
    return TIME.sub("TIME", ID.sub("ID", shown))


def at(path: str, ids: Mapping[str, str]) -> str:
    """A path with the ids that alarms have on one side."""
    for name, alarm_id in ids.items():
        path = path.replace(f"@{name}@", alarm_id)
    return path


@pytest.mark.parametrize("seed", range(20))
async def test_drawn_requests_are_answered_alike(seed: int) -> None:
    draw = random.Random(seed)
    project = uuid4().hex
    headers = {"X-User-Id": "u1", "X-Project-Id": project, "X-Roles": "member,reader"}
    ids: tuple[dict[str, str], dict[str, str]] = {}, {}
    # an Aodh behind uWSGI closes connections without saying so
    unkept = httpx.Limits(max_keepalive_connections=0)
    async with running() as api, httpx.AsyncClient(base_url=URL, limits=unkept) as aodh:

        async def both(method: str, path: str, sent: Any) -> tuple[httpx.Response, httpx.Response]:
            paths = [at(path, known) for known in ids]
            content = {} if sent is None else {"json": sent}
            theirs = await aodh.request(method, paths[0], headers=headers, **content)
            ours = await api.ask(method, paths[1], sent, headers)
            told = f"{method} {path} {sent}\n{theirs.status_code} {theirs.text}\n{ours.status_code} {ours.text}"
            assert ours.status_code == theirs.status_code, told
            if theirs.is_success:
                assert plain(ours) == plain(theirs), told
            return theirs, ours

        for number in range(4):
            answers = await both("POST", "/v2/alarms", body(draw, f"a{number}"))
            for known, answer in zip(ids, answers, strict=True):
                if answer.status_code == 201:
                    known[f"a{number}"] = answer.json()["alarm_id"]
        for _ in range(40 if ids[0] else 0):
            await both(*step(draw, list(ids[0])))
        for name in list(ids[0]):
            await both("DELETE", f"/v2/alarms/@{name}@", None)
