"""Alarms of a real Aodh moved into a running controller, and back, by the installed commands."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, text

from autoscaler.alarms.imported import IMPORTED
from tests.aodh_server import AodhServer, GnocchiServer
from tests.e2e.controller import ControllerProcess
from tests.mariadb_server import MariaServer
from tests.servers import free_port

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(600)]

MEMBER = {"X-Roles": "member,reader", "X-Project-Id": "shop", "X-User-Id": "ada"}
ADMIN = {"X-Roles": "admin,member,reader", "X-Project-Id": "operators", "X-User-Id": "root"}
THRESHOLD = {
    "threshold": 80.0,
    "comparison_operator": "gt",
    "aggregation_method": "mean",
    "evaluation_periods": 2,
    "granularity": 60,
}
WEB = '{"=": {"server_group": "web"}}'
RESOURCES = {"metric": "memory.usage", "resource_id": "vm-1", "resource_type": "instance", **THRESHOLD}
BY_RESOURCES = {"metric": "memory.usage", "query": WEB, "resource_type": "instance", **THRESHOLD}
CPU = RESOURCES | {"metric": "cpu", "aggregation_method": "rate:mean", "threshold": 2e10}
BY_METRICS = {"metrics": ["2f7ad1f6-3f10-4d9c-a8c3-3f6f9c8f3c0a"], **THRESHOLD}
CONSTRAINT = {"name": "day", "start": "0 8 * * *", "duration": 36_000, "timezone": "Europe/Paris"}
EVERYWHERE = "alarms?q.field=all_projects&q.op=eq&q.value=true"
BODIES: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "one": (
        MEMBER,
        {
            "type": "gnocchi_resources_threshold",
            "gnocchi_resources_threshold_rule": RESOURCES,
            "alarm_actions": ["http://127.0.0.1:9/a?b=c", "https://127.0.0.1:9/"],
            "ok_actions": ["http://127.0.0.1:9/ok"],
            "time_constraints": [CONSTRAINT],
            "severity": "critical",
            "repeat_actions": True,
            "description": "größer",
        },
    ),
    "rate": (MEMBER, {"type": "gnocchi_resources_threshold", "gnocchi_resources_threshold_rule": CPU}),
    "metrics": (
        MEMBER,
        {
            "type": "gnocchi_aggregation_by_metrics_threshold",
            "gnocchi_aggregation_by_metrics_threshold_rule": BY_METRICS,
        },
    ),
    "group": (
        MEMBER,
        {
            "type": "gnocchi_aggregation_by_resources_threshold",
            "gnocchi_aggregation_by_resources_threshold_rule": BY_RESOURCES,
        },
    ),
    "everything": (
        ADMIN,
        {
            "type": "gnocchi_aggregation_by_resources_threshold",
            "gnocchi_aggregation_by_resources_threshold_rule": BY_RESOURCES,
            "alarm_actions": ["log://"],
        },
    ),
    "both": (
        MEMBER,
        {
            "type": "composite",
            "composite_rule": {
                "or": [
                    RESOURCES | {"type": "gnocchi_resources_threshold"},
                    {"and": [BY_METRICS | {"type": "gnocchi_aggregation_by_metrics_threshold"}]},
                ]
            },
        },
    ),
    "event": (
        MEMBER,
        {
            "type": "event",
            "event_rule": {
                "event_type": "compute.instance.*",
                "query": [{"field": "traits.state", "op": "eq", "value": "error", "type": "string"}],
            },
        },
    ),
    "promql": (MEMBER, {"type": "prometheus", "prometheus_rule": {"query": "up", "threshold": 1.0}}),
    "pool": (
        MEMBER,
        {
            "type": "loadbalancer_member_health",
            "loadbalancer_member_health_rule": {"pool_id": "p", "stack_id": "s", "autoscaling_group_id": "g"},
        },
    ),
}


@dataclass
class Cloud:
    """An Aodh, a controller, and what is the same of both."""

    maria: MariaServer
    gnocchi: GnocchiServer
    aodh: AodhServer
    controller: ControllerProcess

    @property
    def ours(self) -> str:
        return f"http://127.0.0.1:{self.controller.port}"

    def ask(self, base: str, method: str, path: str, headers: dict[str, str] = ADMIN, **options: Any) -> Any:
        answer = httpx.request(method, f"{base}/v2/{path}", headers=headers, timeout=60, **options)
        assert answer.is_success, f"{method} {base}/v2/{path}: {answer.status_code} {answer.text[:1000]}"
        return answer.json() if answer.content else None

    def both(self, path: str, headers: dict[str, str] = ADMIN) -> tuple[Any, Any]:
        """What a GET of Aodh's and of ours shows."""
        return self.ask(self.aodh.url, "GET", path, headers), self.ask(self.ours, "GET", path, headers)

    def run(self, command: str, *words: str) -> dict[str, Any]:
        """What a command of ours says, run as a person runs it."""
        found: dict[str, Any] = json.loads(self.controller.command(command, *words, "--format", "json"))
        return found

    def statement(self, sql: str, **values: Any) -> None:
        engine = create_engine(self.maria.database("aodh"))
        with engine.begin() as connection:
            connection.execute(text(sql), values)
        engine.dispose()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("controller")
    with (
        MariaServer("aodh", "gnocchi") as maria,
        GnocchiServer(maria) as gnocchi,
        AodhServer(maria, gnocchi) as aodh,
        ControllerProcess(
            folder,
            port=free_port(),
            settings={"AODH_DATABASE": maria.database("aodh").replace("+pymysql", "")},
        ) as controller,
    ):
        attribute = {"type": "string", "required": False, "min_length": 0, "max_length": 255}
        gnocchi.call("POST", "/v1/resource_type", json={"name": "instance", "attributes": {"server_group": attribute}})
        definition = [{"granularity": "1 minute", "timespan": "1 day"}]
        methods = ["mean", "last", "max", "rate:mean"]
        policy = {"name": "minutes", "definition": definition, "aggregation_methods": methods}
        gnocchi.call("POST", "/v1/archive_policy", json=policy)
        controller.until_ready()
        yield Cloud(maria, gnocchi, aodh, controller)


@pytest.fixture(scope="module")
def stored(cloud: Cloud) -> dict[str, str]:
    """Two servers that Gnocchi knows: ids of their metrics, by ``RESOURCE METRIC``."""
    found: dict[str, str] = {}
    for name in ("vm-1", "vm-2"):
        metrics = {metric: {"archive_policy_name": "minutes"} for metric in ("memory.usage", "cpu")}
        made = cloud.gnocchi.call(
            "POST",
            "/v1/resource/instance",
            json={"id": name, "project_id": "shop", "user_id": "ada", "server_group": "web", "metrics": metrics},
        )
        found |= {f"{name} {metric}": metric_id for metric, metric_id in made["metrics"].items()}
    return found


@pytest.fixture(scope="module")
def ids(cloud: Cloud, stored: dict[str, str]) -> dict[str, str]:
    """The alarms in Aodh, by name."""
    rule = "gnocchi_aggregation_by_metrics_threshold_rule"
    BODIES["metrics"][1][rule] = BY_METRICS | {"metrics": [stored["vm-1 memory.usage"]]}
    made = {
        name: cloud.ask(cloud.aodh.url, "POST", "alarms", headers, json={"name": name} | body)["alarm_id"]
        for name, (headers, body) in BODIES.items()
    }
    cloud.ask(cloud.aodh.url, "PUT", f"alarms/{made['group']}/state", MEMBER, json="alarm")
    # trusts are made by Keystone, which is not there
    trusted = '["trust+http://4711:delete@127.0.0.1:9/x", "trust+http://4711@127.0.0.1:9/y"]'
    cloud.statement("UPDATE alarm SET ok_actions = :actions WHERE alarm_id = :id", actions=trusted, id=made["metrics"])
    cloud.ask(cloud.aodh.url, "GET", "quotas", MEMBER)
    return made


def seconds(time: str) -> float:
    return datetime.fromisoformat(f"{time}+00:00").timestamp()


def same(theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """What an alarm shows but for what is told otherwise here, and on purpose."""
    assert theirs.keys() == ours.keys()
    assert abs(seconds(theirs["state_timestamp"]) - seconds(ours["state_timestamp"])) < 3e-6
    assert ours["state_reason"].startswith(theirs["state_reason"])
    shown = ours | {key: theirs[key] for key in ("state_timestamp", "state_reason", "evaluate_timestamp")}
    assert shown == theirs
    return ours


def test_the_import_says_what_it_takes(cloud: Cloud, ids: dict[str, str]) -> None:
    dry = cloud.run("import-aodh", "--dry-run")
    found = cloud.run("import-aodh")

    assert dry == found | {"dry_run": True}
    assert sum(found["new"].values()) == len(ids)
    assert (found["failed"], found["left"], found["quotas"], found["with_trusts"]) == ([], [], 1, 1)
    assert found["unconfined"] == [ids["everything"]]
    assert found["history"] == len(ids) + 1


@pytest.mark.parametrize("name", list(BODIES))
def test_a_get_shows_what_aodhs_showed(cloud: Cloud, ids: dict[str, str], name: str) -> None:
    theirs, ours = cloud.both(f"alarms/{ids[name]}")

    same(theirs, ours)
    assert (IMPORTED in ours["state_reason"]) is (name != "event")
    theirs, ours = cloud.both(f"alarms/{ids[name]}/history")
    for line in theirs:
        for key in ("user_id", "project_id"):
            line[key] = line[key] or ""
    assert ours == theirs


def test_the_same_are_listed(cloud: Cloud, ids: dict[str, str]) -> None:
    for headers, path in ((MEMBER, "alarms"), (ADMIN, EVERYWHERE)):
        theirs, ours = cloud.both(path, headers)
        assert {each["alarm_id"] for each in ours} == {each["alarm_id"] for each in theirs}


def test_a_look_at_a_quota_of_aodh_limits_nobody(cloud: Cloud, ids: dict[str, str]) -> None:
    assert cloud.ask(cloud.ours, "GET", "quotas", MEMBER)["quotas"] == [{"resource": "alarms", "limit": -1}]
    body = {"name": "new", "type": "event", "event_rule": {}}
    made = cloud.ask(cloud.ours, "POST", "alarms", MEMBER, json=body)
    cloud.ask(cloud.ours, "DELETE", f"alarms/{made['alarm_id']}", MEMBER)


def test_the_second_time_nothing_is_taken(cloud: Cloud, ids: dict[str, str]) -> None:
    found = cloud.run("import-aodh")

    assert (found["unchanged"], found["new"], found["changed"], found["states"]) == (len(ids), {}, {}, {})
    assert (found["history"], found["quotas"]) == (0, 0)


def test_an_alarm_that_is_read_and_sent_back_is_what_it_was(cloud: Cloud, ids: dict[str, str]) -> None:
    """Heat's update of a stack."""
    path = f"alarms/{ids['group']}"
    shown = cloud.ask(cloud.ours, "GET", path, MEMBER)
    rule = "gnocchi_aggregation_by_resources_threshold_rule"
    changed = cloud.ask(cloud.ours, "PUT", path, MEMBER, json=shown | {rule: shown[rule] | {"threshold": 90.0}})

    assert changed[rule] == shown[rule] | {"threshold": 90.0}
    assert (changed["state"], changed["state_timestamp"]) == ("alarm", shown["state_timestamp"])
    assert IMPORTED in changed["state_reason"]


def test_what_is_done_here_goes_back(cloud: Cloud, ids: dict[str, str]) -> None:
    body = {"name": "ours", "type": "event", "event_rule": {"event_type": "image.*"}, "severity": "moderate"}
    made = cloud.ask(cloud.ours, "POST", "alarms", MEMBER, json=body)["alarm_id"]
    cloud.ask(cloud.ours, "PUT", f"alarms/{ids['pool']}/state", MEMBER, json="ok")
    cloud.ask(cloud.ours, "DELETE", f"alarms/{ids['promql']}", MEMBER)
    cloud.ask(
        cloud.ours, "POST", "quotas", ADMIN, json={"project_id": "q", "quotas": [{"resource": "alarms", "limit": 3}]}
    )
    # nobody of the other project may, since its quota was looked at
    late = cloud.ask(cloud.aodh.url, "POST", "alarms", ADMIN, json={"name": "late", "type": "event", "event_rule": {}})
    dry = cloud.run("export-aodh", "--dry-run")
    found = cloud.run("export-aodh")

    assert dry == found | {"dry_run": True}
    assert found["new"] == {"event": 1}
    assert found["changed"] == {"gnocchi_aggregation_by_resources_threshold": 1}
    assert found["states"] == {"loadbalancer_member_health": 1}
    assert (found["removed"], found["history"], found["quotas"]) == (1, 3, 1)
    assert (found["failed"], found["left"]) == ([], [])
    for name in ids.keys() - {"promql"}:
        theirs, ours = cloud.both(f"alarms/{ids[name]}")
        same(theirs, ours)
    theirs, ours = cloud.both(f"alarms/{made}")
    assert same(theirs, ours)["state_reason"] == theirs["state_reason"]
    left = {alarm["alarm_id"] for alarm in cloud.ask(cloud.aodh.url, "GET", EVERYWHERE)}
    assert left == {*ids.values(), made, late["alarm_id"]} - {ids["promql"]}
    lines, _ = cloud.both(f"alarms/{ids['group']}/history")
    assert [line["type"] for line in lines] == ["rule change", "state transition", "creation"]
    assert cloud.ask(cloud.aodh.url, "GET", "quotas?project_id=q")["quotas"] == [{"resource": "alarms", "limit": 3}]


def test_aodh_goes_on_with_what_came_back(cloud: Cloud, ids: dict[str, str]) -> None:
    (made,) = [each for each in cloud.ask(cloud.aodh.url, "GET", "alarms", MEMBER) if each["name"] == "ours"]
    changed = cloud.ask(cloud.aodh.url, "PUT", f"alarms/{made['alarm_id']}", MEMBER, json=made | {"severity": "low"})

    assert changed["severity"] == "low"


def test_after_that_both_are_alike(cloud: Cloud, ids: dict[str, str]) -> None:
    again = cloud.run("export-aodh")
    taken = cloud.run("import-aodh")

    assert (again["new"], again["changed"], again["states"], again["removed"], again["history"]) == ({}, {}, {}, 0, 0)
    assert [each["why"] for each in again["left"]] == ["was changed in Aodh since it was imported"]
    # the alarm that was made in Aodh meanwhile, and the one that was changed there
    assert (taken["new"], taken["changed"], taken["states"]) == ({"event": 1}, {"event": 1}, {})
    assert taken["left"] == []


# --- windows ---------------------------------------------------------------------------------------------------------

# not the one that is looked at by day only
FILLED = {
    "rate": ("alarm", "2 samples outside threshold, most recent: 30000000000.0"),
    "metrics": ("alarm", "2 samples outside threshold, most recent: 92.0"),
    "group": ("ok", "2 samples inside threshold, most recent: 81.0"),
    "everything": ("alarm", "2 samples outside threshold, most recent: 81.0"),
    "both": ("alarm", "due to rules: rule1 outside their threshold."),
}


def measured(cloud: Cloud, stored: dict[str, str]) -> None:
    """Have Gnocchi store what was measured in the last twenty minutes, twice a minute."""
    begun = time.time() - 1200
    values = {"vm-1 memory.usage": 92.0, "vm-2 memory.usage": 70.0}
    batch = {
        metric_id: [{"timestamp": begun + 30 * step, "value": values.get(name, 3e10 * step)} for step in range(41)]
        for name, metric_id in stored.items()
    }
    cloud.gnocchi.call("POST", "/v1/batch/metrics/measures", json=batch)
    for metric_id in stored.values():
        cloud.gnocchi.call("GET", f"/v1/metric/{metric_id}/measures?refresh=true")


def test_windows_are_filled_from_what_gnocchi_has_stored(
    cloud: Cloud, ids: dict[str, str], stored: dict[str, str]
) -> None:
    measured(cloud, stored)
    words = ("--backfill", "--gnocchi", cloud.gnocchi.url, "--gnocchi-user", "admin")
    found = cloud.run("import-aodh", *words)

    # of the composite alarm's second part Gnocchi knows nothing
    assert [each["key"] for each in found["unfilled"]] == [ids["both"]]
    assert found["series"] == 4
    shown: dict[str, Any] = {}
    end = time.monotonic() + 30
    while time.monotonic() < end:
        shown = {name: cloud.ask(cloud.ours, "GET", f"alarms/{ids[name]}") for name in FILLED}
        if not any(IMPORTED in alarm["state_reason"] for alarm in shown.values()):
            break
        time.sleep(0.2)
    assert {name: alarm["state"] for name, alarm in shown.items()} == {
        name: state for name, (state, _) in FILLED.items()
    }
    for name, (_, reason) in FILLED.items():
        assert reason in shown[name]["state_reason"]


def test_filling_again_writes_nothing(cloud: Cloud, ids: dict[str, str]) -> None:
    words = ("--backfill", "--gnocchi", cloud.gnocchi.url, "--gnocchi-user", "admin")

    assert cloud.run("import-aodh", *words)["points"] == 0
