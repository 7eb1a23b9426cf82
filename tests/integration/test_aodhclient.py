"""Aodh's own client, in a virtualenv of its own, against a running controller."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.controller import ControllerProcess
from tests.integration.aodhclient.playing import Session, play, transcript
from tests.servers import free_port

TRANSCRIPT = os.environ.get("AUTOSCALER_TEST_TRANSCRIPT", "")
VENV = Path(os.environ.get("AUTOSCALER_TEST_AODHCLIENT", ".venv-aodhclient"))
pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not (VENV / "bin" / "aodh").exists(), reason="aodhclient is not installed: make aodhclient"),
]

QUOTA = """
import json, sys
from aodhclient.v2 import client
from aodhclient import noauth
from keystoneauth1 import session
auth = noauth.AodhNoAuthPlugin("boss", "demo", "admin", sys.argv[1])
aodh = client.Client(session=session.Session(auth=auth))
said = [aodh.quota.list(), aodh.quota.create("demo", [{"resource": "alarms", "limit": 1}]), aodh.quota.list("demo")]
rule = {"query": "up", "threshold": 1.0}
body = {"type": "prometheus", "name": "one", "prometheus_rule": rule}
first = aodh.alarm.create(body)
try:
    aodh.alarm.create(body)
    said.append("created")
except Exception as error:
    said.append(str(error))
aodh.alarm.delete(first["alarm_id"])
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory):
    port = free_port()
    with ControllerProcess(tmp_path_factory.mktemp("controller"), port=port, settings={}) as controller:
        controller.until_ready()
        yield f"http://127.0.0.1:{port}"


def test_the_command_line_client_does_all_it_can_do_for_every_type_of_alarm(endpoint: str) -> None:
    session = Session((VENV / "bin" / "aodh").absolute(), endpoint)

    play(session)

    page = transcript(session.text)
    assert page.count("$ aodh") > 50
    if TRANSCRIPT:
        Path(TRANSCRIPT).write_text(page)


def test_a_quota_holds_and_asking_for_it_harms_nothing(endpoint: str) -> None:
    run = subprocess.run(
        [str((VENV / "bin" / "python").absolute()), "-c", QUOTA, endpoint],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr

    before, made, after, refusal = json.loads(run.stdout)

    assert before == {"project_id": "demo", "quotas": [{"resource": "alarms", "limit": -1}]}
    assert made == after == {"project_id": "demo", "quotas": [{"resource": "alarms", "limit": 1}]}
    assert "quota exceeded" in refusal
