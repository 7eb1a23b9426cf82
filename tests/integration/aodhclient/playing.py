"""A session with Aodh's own command line client against a controller, as text."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

THRESHOLD = "--comparison-operator gt --threshold 80 --granularity 60 --evaluation-periods 2 --aggregation-method mean"
RULES: Mapping[str, str] = {
    "gnocchi_resources_threshold": f"--metric cpu_util --resource-id vm-1 --resource-type instance {THRESHOLD}",
    "gnocchi_aggregation_by_metrics_threshold": f"--metric cpu_util --metric cpu_extra {THRESHOLD}",
    "gnocchi_aggregation_by_resources_threshold": (
        f"""--metric cpu_util --resource-type instance --query '{{"=": {{"server_group": "web"}}}}' {THRESHOLD}"""
    ),
    "composite": "--composite-rule '"
    + json.dumps(
        {
            "or": [
                {
                    "type": "gnocchi_resources_threshold",
                    "metric": "cpu_util",
                    "resource_id": "vm-1",
                    "resource_type": "instance",
                    "aggregation_method": "mean",
                    "threshold": 80,
                    "comparison_operator": "gt",
                },
                {"type": "prometheus", "query": "up", "threshold": 1, "comparison_operator": "lt"},
            ]
        }
    )
    + "'",
    "event": "--event-type 'compute.instance.*' --query 'traits.state=string::error'",
    "prometheus": "--query 'avg(up)' --comparison-operator lt --threshold 1",
    "loadbalancer_member_health": "--stack-id s-1 --pool-id p-1 --autoscaling-group-id g-1",
}
"""The options that make a rule of each type of alarm."""


@dataclass
class Session:
    """Commands as somebody types them, and what they say.

    Args:
        client: the ``aodh`` command.
        endpoint: URL of the controller.
    """

    client: Path
    endpoint: str
    text: list[str] = field(default_factory=list)

    def say(self, title: str) -> None:
        """A headline."""
        self.text.append(f"\n## {title}\n")

    def type(self, command: str, *, fails: bool = False) -> str:
        """Run ``aodh COMMAND``; what it wrote."""
        environment = dict(os.environ) | {
            "OS_AUTH_TYPE": "aodh-noauth",
            "AODH_AODH_ENDPOINT": self.endpoint,
            "AODH_USER_ID": "alice",
            "AODH_PROJECT_ID": "demo",
            "AODH_ROLES": "member",
            "COLUMNS": "110",
        }
        run = subprocess.run(
            [str(self.client), *shlex.split(command)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        output = (run.stdout + run.stderr).strip()
        assert (run.returncode != 0) == fails, f"aodh {command}\n{output}"
        self.text.append(f"```\n$ aodh {command}\n{_shortened(output)}\n```\n")
        return output

    def json(self, command: str) -> Any:
        """The same, as values."""
        return json.loads(self.type(f"{command} -f json"))


def play(session: Session) -> dict[str, str]:
    """Everything that the client can do, for every type of alarm; alarm ids by type."""
    ids = {}
    for kind, rule in RULES.items():
        session.say(kind)
        made = session.json(f"alarm create --name {kind} --type {kind} --alarm-action http://127.0.0.1:9/hook {rule}")
        assert (made["type"], made["state"], made["project_id"]) == (kind, "insufficient data", "demo")
        alarm_id = ids[kind] = made["alarm_id"]
        session.type(f"alarm show {alarm_id}")
        # of a load balancer's health the client sends what is not repeated as null
        again = rule if kind == "loadbalancer_member_health" else ""
        changed = session.json(
            f"alarm update {alarm_id} --severity critical --description 'of {kind}' {again}".rstrip()
        )
        assert (changed["severity"], changed["description"]) == ("critical", f"of {kind}")
        assert session.json(f"alarm state set {alarm_id} --state alarm") == {"state": "alarm"}
        assert session.json(f"alarm state get {alarm_id}") == {"state": "alarm"}
        entries = session.json(f"alarm-history show {alarm_id}")
        assert [entry["type"] for entry in entries] == ["state transition", "rule change", "creation"]
    session.say("List and search")
    assert {alarm["alarm_id"] for alarm in session.json("alarm list")} >= set(ids.values())
    session.type("alarm list --filter state=alarm --sort name:asc --limit 3")
    (found,) = session.json("alarm list --query 'name=event and state=alarm'")
    assert found["alarm_id"] == ids["event"]
    entries = session.json(f"""alarm-history search --query 'alarm_id={ids["event"]}'""")
    assert len(entries) == 3
    session.type("capabilities list")
    session.type("alarm metrics", fails=True)
    session.say("Delete")
    for alarm_id in ids.values():
        session.type(f"alarm delete {alarm_id}")
    assert session.json("alarm list") == []
    session.type(f"alarm show {ids['event']}", fails=True)
    return ids


def transcript(texts: Sequence[str]) -> str:
    """A session as a page, without what differs from one to the next."""
    made = "Made by `make aodhclient TRANSCRIPT=docs/reference/aodhclient.md`, without Keystone, in project demo."
    head = f"# A session with Aodh's own client\n\n{made}\n"
    return head + "\n".join(texts)


def _shortened(output: str) -> str:
    return re.sub(r"[ \t]+$", "", output, flags=re.MULTILINE)
