"""Files that the guides tell people to copy."""

import re
from pathlib import Path

from autoscaler.declarations.endpoints import parse
from autoscaler.settings import PREFIX, Settings

SYSTEMD = Path(__file__).parents[2] / "docs" / "guides" / "systemd"


def test_every_variable_of_the_example_environment_is_a_setting_and_can_be_loaded() -> None:
    text = (SYSTEMD / "autoscaler.env").read_text()
    found = dict(re.findall(r"^#? ?(AUTOSCALER_[A-Z_]+)=(.*)$", text, re.MULTILINE))

    assert len(found) >= 15
    values = {name.removeprefix(PREFIX).lower(): value or "secret" for name, value in found.items()}
    settings = Settings(**values)
    assert settings.auth == "keystone"


def test_the_unit_starts_the_controller_with_that_environment() -> None:
    lines = (SYSTEMD / "autoscaler.service").read_text().splitlines()

    assert "EnvironmentFile=/etc/autoscaler/autoscaler.env" in lines
    assert "ExecStart=/opt/autoscaler/bin/autoscaler run" in lines
    assert "ExecReload=/bin/kill -HUP $MAINPID" in lines


def test_the_example_of_endpoints_can_be_loaded() -> None:
    text = (SYSTEMD.parent / "webhooks.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)

    found = parse(example, "webhooks.md")
    assert (len(found.endpoints), len(found.endpoints[0].signing), len(found.signing)) == (1, 2, 1)
