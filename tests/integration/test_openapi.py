"""Every path of the API asked what its OpenAPI document allows, and what it does not, by schemathesis."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.controller import ControllerProcess
from tests.servers import free_port

PYTHON = Path(os.environ.get("AUTOSCALER_TEST_SCHEMATHESIS_PYTHON", ".venv-schemathesis/bin/python"))
EXAMPLES = os.environ.get("AUTOSCALER_TEST_EXAMPLES", "20")
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
pytestmark = [
    pytest.mark.oracle,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not PYTHON.exists(), reason="schemathesis is not installed: make schemathesis"),
]


@pytest.mark.parametrize("role", ["admin", "member"])
def test_no_request_breaks_the_api_or_its_schema(role: str, tmp_path: Path) -> None:
    port = free_port()
    with ControllerProcess(tmp_path, port=port, settings={"EVALUATION_METRICS": "true"}) as controller:
        controller.until_ready()
        run = subprocess.run(
            [
                str(PYTHON.absolute()), "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{port}/openapi.json",
                "-H", "X-User-Id: alice", "-H", "X-Project-Id: demo", "-H", f"X-Roles: {role}",
                "--checks", CHECKS, "--max-examples", EXAMPLES, "--seed", "1",
            ],
            cwd=tmp_path, capture_output=True, text=True, timeout=1700, check=False,
        )  # fmt: skip

    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-2000:]
