"""The Dockerfile and compose.yaml, as far as they can be judged without a container."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose

from autoscaler.declarations import load
from autoscaler.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = (ROOT / "compose.yaml").read_text()
HADOLINT = Path(sys.executable).with_name("hadolint")


def linted(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HADOLINT, "-"], input=text, capture_output=True, text=True, check=False)


def test_hadolint_finds_nothing_to_blame() -> None:
    found = linted(DOCKERFILE)

    assert (found.returncode, found.stdout) == (0, "")


def test_hadolint_would_find_a_mistake() -> None:
    assert "DL3002" in linted(DOCKERFILE.replace("USER 10001:10001", "USER root")).stdout


def test_the_image_is_no_roots_and_needs_no_shell() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2].splitlines()

    assert "USER 10001:10001" in last
    assert 'ENTRYPOINT ["autoscaler"]' in last
    assert 'CMD ["run"]' in last
    assert not [line for line in last if line.startswith("COPY") and "--from=build" not in line]


def test_what_is_copied_is_not_ignored() -> None:
    kept = {
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    copied = {
        word
        for line in DOCKERFILE.splitlines()
        if line.startswith("COPY") and "--from" not in line
        for word in line.split()[1:-1]
    }

    assert copied == kept


def test_compose_understands_the_file() -> None:
    assert PyCompose.from_yaml(COMPOSE).service_names() == ["controller", "valkey", "rabbitmq", "mosquitto"]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        pytest.param("read_only:", "read_onli:", id="key"),
        pytest.param("init: true", "init: 5", id="type"),
        pytest.param("condition: service_healthy", "condition: healthy", id="choice"),
    ],
)
def test_compose_would_find_a_mistake(right: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=r"^services\.controller"):
        PyCompose.from_yaml(COMPOSE.replace(right, wrong, 1))


def test_the_laptops_controller_is_told_what_it_understands(monkeypatch: pytest.MonkeyPatch) -> None:
    service = yaml.safe_load(COMPOSE)["services"]["controller"]
    for name, value in service["environment"].items():
        assert name.removeprefix(PREFIX).lower() in Settings.model_fields
        monkeypatch.setenv(name, value)
    read = Settings()
    mounted = dict(volume.split(":")[1::-1] for volume in service["volumes"])
    files = [mounted[str(path.parent)] + f"/{path.name}" for path in (read.rules, read.policies) if path is not None]

    assert load({file: (ROOT / file).read_text() for file in files}).groups
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_laptops_servers_are_where_the_controller_looks() -> None:
    services = yaml.safe_load(COMPOSE)["services"]
    urls = [value for name, value in services["controller"]["environment"].items() if name.endswith("_URL")]

    assert {url.rpartition("@")[2].rpartition("://")[2].partition(":")[0] for url in urls} == set(services) - {
        "controller"
    }
