"""Commands that need no controller: help, version, check, and wrong use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from autoscaler import __version__
from autoscaler.cli.policies import sentence
from tests.unit.cli.conftest import Shell

ROOT = Path(__file__).parents[3]
RULES = """
alarms:
  - name: busy
    type: threshold
    rule: {metric: cpu, resource_id: r, aggregation_method: mean, granularity: 60, threshold: 70,
           comparison_operator: gt}
    alarm_actions: ["policy://out"]
"""
POLICIES = """
groups:
  - {name: web, min_size: 1, max_size: 5, target: {type: dry_run}}
policies:
  - {name: out, group: web, adjustment_type: change_in_capacity, scaling_adjustment: 1}
"""


@pytest.fixture
def declared(tmp_path: Path) -> Path:
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "policies.yaml").write_text(POLICIES)
    return tmp_path


def test_the_version_is_said(shell: Shell) -> None:
    assert shell.run("--version").stdout == f"autoscaler {__version__}\n"


def test_the_help_names_every_command(shell: Shell) -> None:
    found = shell.run("--help").stdout

    names = (
        "run",
        "demo",
        "check",
        "replay",
        "simulate",
        "alarms",
        "groups",
        "freeze",
        "policies",
        "dead-letters",
        "shadow",
        "import-aodh",
        "export-aodh",
    )
    assert all(name in found for name in names)


def test_the_command_line_starts_without_heavy_modules() -> None:
    code = (
        "import sys; import autoscaler.__main__; "
        "heavy = ('fastapi', 'aio_pika', 'aiomqtt', 'redis', 'pydantic', 'httpx', 'uvicorn', 'sqlalchemy'); "
        "print([name for name in heavy if name in sys.modules])"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout == "[]\n"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        pytest.param(("nix",), "No such command", id="unknown-command"),
        pytest.param(("groups", "nix"), "No such command", id="unknown-subcommand"),
        pytest.param(("groups", "list", "--nix"), "No such option", id="unknown-option"),
        pytest.param(("groups", "list", "--format", "xml"), "xml", id="unknown-format"),
        pytest.param(("groups", "show"), "Missing argument", id="missing-argument"),
        pytest.param(("replay", "x.csv"), "--rules", id="missing-option"),
        pytest.param(("replay", "x.csv", "--rules", "r", "--metadata", "k"), "expected KEY=VALUE", id="metadata"),
        pytest.param(("simulate", "--rules", "r"), "expected --stdio", id="no-stdio"),
        pytest.param(("demo", "--duration", "soon"), "expected a duration", id="duration"),
        pytest.param(("replay", "x.csv", "--rules", "r", "--until", "soon"), "--until: expected ISO", id="until"),
        pytest.param(("import-aodh",), "--database", id="no-database"),
        pytest.param(("freeze", "--api", "http://"), "expected a URL", id="no-host"),
        pytest.param(("freeze", "--api", "127.0.0.1:99999"), "expected a URL", id="no-port"),
    ],
)
def test_wrong_use_is_said_in_a_sentence(shell: Shell, words: tuple[str, ...], part: str) -> None:
    found = shell.run(*words)

    assert found.exit_code == 2
    assert part in found.stderr
    assert "Traceback" not in found.output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param(("--api", "nowhere"), "AUTOSCALER_API: expected HOST:PORT", id="address"),
        pytest.param(("--redis", "http://h"), "AUTOSCALER_REDIS_URL: expected a URL that begins with", id="redis"),
        pytest.param(("--log-level", "loud"), "AUTOSCALER_LOG_LEVEL", id="level"),
    ],
)
def test_a_controller_with_wrong_settings_does_not_start(shell: Shell, words: tuple[str, ...], sentence: str) -> None:
    found = shell.run("run", *words)

    assert (found.exit_code, sentence in found.stderr) == (1, True)


@pytest.mark.parametrize("command", ["import-aodh", "export-aodh"])
@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        pytest.param("oracle://u:secret@h/d", "oracle:// is no database that Aodh has", id="kind"),
        pytest.param("aodh", "the database's URL cannot be read", id="no-url"),
    ],
)
def test_a_wrong_database_of_aodh_is_said_in_a_sentence(shell: Shell, command: str, url: str, sentence: str) -> None:
    found = shell.run(command, "--database", url, "--redis", "redis://127.0.0.1:1/0")

    assert found.exit_code == 1
    assert sentence in found.stderr
    assert "secret" not in found.stderr
    assert len(found.stderr.splitlines()) == 1


def test_a_missing_library_is_named_with_what_installs_it(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "autoscaler.adapters.aodh", None)
    found = shell.run("import-aodh", "--database", "mysql://h/aodh")

    assert found.exit_code == 1
    assert "pip install 'autoscaler[aodh]'" in found.stderr


def test_declarations_without_fault_are_counted(shell: Shell, declared: Path) -> None:
    found = shell.run("check", str(declared))

    assert (found.exit_code, found.stdout) == (
        0,
        "2 files read: 1 alarm, 1 group, 1 policy, 0 schedules; 0 warnings.\n",
    )


def test_endpoints_are_checked_with_them(
    shell: Shell, declared: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("endpoints") / "endpoints.yaml"
    file.write_text("signing: [{file: /nowhere}]")  # secrets need not be there where it is checked
    good = shell.run("check", "--endpoints", str(file), str(declared))
    file.write_text("signing: [s3cret]")
    bad = shell.run("check", "--endpoints", str(file), str(declared))
    file.unlink()
    missing = shell.run("check", "--endpoints", str(file), str(declared))

    assert (good.exit_code, bad.exit_code, missing.exit_code) == (0, 1, 1)
    assert f"{file}:1:11: signing[0]: expected {{file: PATH}}" in bad.stdout
    assert "s3cret" not in bad.output
    assert "no such file" in missing.stdout


def test_shipped_declarations_have_no_fault(shell: Shell) -> None:
    found = shell.run("check", *(str(ROOT / kind / "web.yaml") for kind in ("rules", "policies")))

    assert found.exit_code == 0, found.output


def test_each_fault_is_one_line_with_its_place(shell: Shell, declared: Path) -> None:
    rules = declared / "rules.yaml"
    rules.write_text(RULES.replace("granularity: 60", "granularity: 0").replace("policy://out", "policy://uot"))

    found = shell.run("check", str(declared))

    assert found.exit_code == 1
    assert found.stdout == f"{rules}:5:80: alarms[0].rule.granularity: expected at least 1, got 0\n"
    assert found.stderr == "1 error; nothing of this would be loaded.\n"


def test_warnings_fail_only_where_that_is_asked_for(shell: Shell, declared: Path) -> None:
    rules = declared / "rules.yaml"
    rules.write_text(RULES.replace('alarm_actions: ["policy://out"]', "enabled: false"))

    warned, strict = shell.run("check", str(declared)), shell.run("check", "--strict", str(declared))

    assert (warned.exit_code, strict.exit_code) == (0, 1)
    assert f'{rules}:3:5: alarms[0]: warning: alarm "busy" can never fire: it is not enabled\n' in warned.stdout


def test_a_check_answers_programs_in_json(shell: Shell, declared: Path) -> None:
    found = json.loads(shell.run("check", "--format", "json", str(declared)).stdout)

    assert (found["errors"], found["warnings"], found["alarms"], found["policies"]) == ([], [], 1, 1)


def test_a_path_with_nothing_in_it_is_a_fault(shell: Shell, tmp_path: Path) -> None:
    empty, missing = shell.run("check", str(tmp_path)), shell.run("check", str(tmp_path / "nix"))

    assert (empty.exit_code, missing.exit_code) == (1, 1)
    assert "nothing was checked" in empty.stderr
    assert "expected a file or folder that can be read" in missing.stdout


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        pytest.param("cpu", "", id="asked-for"),
        pytest.param("cpx", "No alarm looks at any of these measures; alarms look at the metrics: cpu.", id="mistyped"),
    ],
)
def test_a_replay_that_no_alarm_looks_at_says_so(shell: Shell, declared: Path, metric: str, said: str) -> None:
    (declared / "r.csv").write_text("timestamp,value\n0,1\n")

    files = ("--rules", str(declared / "rules.yaml"), "--policies", str(declared / "policies.yaml"))
    found = shell.run("replay", str(declared / "r.csv"), "--metric", metric, "--resource-id", "r", *files)

    assert found.exit_code == 0
    assert found.stderr.startswith(said)
    assert bool(found.stderr) == bool(said)


@pytest.mark.parametrize(
    ("size", "said"),
    [
        pytest.param(3, "web is held at 3 (cooldown, until soon): because.", id="known"),
        pytest.param(None, "web is held (cooldown, until soon): because.", id="unknown"),
    ],
)
def test_a_group_may_be_held_at_a_size_that_nobody_knows(size: int | None, said: str) -> None:
    found = {"group": "web", "decision": "hold", "from": size, "to": size, "reason": "cooldown", "until": "soon"}

    assert sentence({**found, "text": "because"}) == said
