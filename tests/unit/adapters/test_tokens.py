from __future__ import annotations

from pathlib import Path

import pytest

from autoscaler.adapters.tokens import LOOK, MAX_BYTES, TokenFile
from autoscaler.declarations.tokens import line, new_token
from autoscaler.errors import DeclarationError


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_token_that_is_added_or_taken_away_counts_within_a_second(tmp_path: Path) -> None:
    path, clock, first, second = tmp_path / "tokens", Clock(), new_token(), new_token()
    path.write_text(line(first, "first", project="p", roles=["reader"]) + "\n")
    file = TokenFile(path, clock=clock)

    path.write_text(line(second, "second", project="p", roles=["reader"]) + "\n\n")
    early = file.find(second)
    clock.now += LOOK
    found = file.find(second)

    assert early is None
    assert found is not None
    assert found.name == "second"
    assert file.find(first) is None


@pytest.mark.parametrize("broken", ["{", None])
def test_a_broken_file_leaves_in_force_what_was_until_it_is_mended(tmp_path: Path, broken: str | None) -> None:
    path, clock, token = tmp_path / "tokens", Clock(), new_token()
    good = line(token, "ci", project="p", roles=["reader"]) + "\n"
    path.write_text(good)
    file = TokenFile(path, clock=clock)

    path.unlink() if broken is None else path.write_text(broken)
    clock.now += LOOK
    while_broken, problem = file.find(token), file.problem
    path.write_text(f"# mended\n{good}")
    clock.now += LOOK

    assert while_broken is not None
    assert str(path) in problem
    assert file.find(token) is not None
    assert file.problem == ""


def test_a_file_put_back_as_it_was_is_no_problem_any_more(tmp_path: Path) -> None:
    path, clock, token = tmp_path / "tokens", Clock(), new_token()
    path.write_text(line(token, "ci", project="p", roles=["reader"]))
    file = TokenFile(path, clock=clock)
    aside = path.rename(tmp_path / "aside")
    clock.now += LOOK
    assert file.find(token) is not None
    assert file.problem

    aside.rename(path)
    clock.now += LOOK

    assert file.find(token) is not None
    assert file.problem == ""


def test_a_clock_that_is_set_back_stops_no_look(tmp_path: Path) -> None:
    path, clock, token = tmp_path / "tokens", Clock(), new_token()
    path.write_text("")
    file = TokenFile(path, clock=clock)

    clock.now -= 3600
    path.write_text(line(token, "ci", project="p", roles=["reader"]))

    assert file.find(token) is not None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(None, "expected a file that can be read: no such file or directory", id="missing"),
        pytest.param("#" * (MAX_BYTES + 1), f"expected at most {MAX_BYTES} bytes", id="too-long"),
        pytest.param("\xff", "expected an object in JSON", id="not-text"),
    ],
)
def test_a_controller_does_not_begin_with_a_file_that_is_none(
    tmp_path: Path, content: str | None, problem: str
) -> None:
    path = tmp_path / "tokens"
    if content is not None:
        path.write_text(content, encoding="latin-1")

    with pytest.raises(DeclarationError, match=problem):
        TokenFile(path, clock=Clock())
