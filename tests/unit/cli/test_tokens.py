from __future__ import annotations

from pathlib import Path

import pytest

from autoscaler.declarations.tokens import Sends, parse
from tests.unit.cli.conftest import Shell


def test_a_token_is_shown_once_with_its_line(shell: Shell) -> None:
    found = shell.run(
        "token", "make", "agent", "--project", "shop", "--sends", "measures=cpu, mem*", "--sends", "events",
        "--expires", "2030-01-31",
    )  # fmt: skip
    token, line = found.stdout.splitlines()
    known = parse(line, "tokens").find(token, 0)

    assert (found.exit_code, found.stderr) == (0, "")
    assert known is not None
    assert (known.name, known.project_id, known.expires) == ("agent", "shop", 1_896_048_000)
    assert known.scope is not None
    assert [known.scope.allows(Sends.MEASURES, name) for name in ("cpu", "mem.free", "disk")] == [True, True, False]
    assert known.scope.allows(Sends.EVENTS, "anything")


def test_the_line_is_written_behind_a_file(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    tokens = [
        shell.run("token", "make", name, "--role", "admin", "--file", str(file)).stdout.strip() for name in ("a", "b")
    ]
    file.write_text(file.read_text().rstrip("\n"))  # as some editors leave it
    tokens.append(
        shell.run("token", "make", "c", "--role", "reader", "--project", "p", "--file", str(file)).stdout[:-1]
    )
    again = shell.run("token", "make", "a", "--role", "admin", "--file", str(file))
    known = parse(file.read_text(), str(file))

    assert [found.name for token in tokens if (found := known.find(token, 0))] == ["a", "b", "c"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert (again.exit_code, again.stdout) == (1, "")
    assert "there is another token named a" in again.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["a b", "--role", "admin"], "name: expected 1 to 100 letters", id="name"),
        pytest.param(["a"], "roles: expected either roles, of one who asks, or sends", id="neither"),
        pytest.param(["a", "--role", "member"], "project: expected a project", id="no-project"),
        pytest.param(["a", "--project", "p", "--sends", "metrics"], "--sends: expected one of measures", id="kind"),
        pytest.param(["a", "--role", "admin", "--expires", "soon"], "--expires: expected a time such as", id="expires"),
        pytest.param(["a", "--project", "p", "--sends", "events=,"], "sends.events: expected a list", id="no-names"),
    ],
)
def test_a_token_that_cannot_be_is_not_made(shell: Shell, words: list[str], said: str) -> None:
    found = shell.run("token", "make", *words)

    assert (found.exit_code, found.stdout) == (2, "")
    assert found.stderr.startswith(said)
