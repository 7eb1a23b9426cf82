from pathlib import Path

import pytest

from autoscaler.adapters.files import texts
from autoscaler.declarations import load
from autoscaler.declarations.documents import MAX_BYTES, MAX_DEPTH
from autoscaler.errors import DeclarationError

DATA = Path(__file__).parents[2] / "data"
EMPTY = "expected alarms, groups, policies, schedules or derived_metrics, but the file is empty"
INVALID = sorted(DATA.glob("invalid_*.yaml"))


def problems(**files: str) -> list[str]:
    with pytest.raises(DeclarationError) as refused:
        load({f"{name}.yaml": text for name, text in files.items()})
    return str(refused.value).splitlines()


def test_there_are_invalid_files() -> None:
    assert len(INVALID) >= 15


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_every_problem_of_a_file_is_named_with_its_place(path: Path) -> None:
    (text,) = texts([path]).values()

    with pytest.raises(DeclarationError) as refused:
        load({path.name: text})

    assert str(refused.value).splitlines() == path.with_suffix(".txt").read_text().splitlines()


def test_the_problems_of_all_files_are_named() -> None:
    found = problems(a="alarms: 1\n", b="alarms: []\n", c="grups: []\n")

    assert found == [
        "a.yaml:1:9: alarms: expected a list, got 1",
        'c.yaml:1:1: grups: unknown key; did you mean "groups"?',
    ]


def test_one_bad_file_refuses_the_good_ones_too() -> None:
    good = "groups: [{name: web, min_size: 1, max_size: 2, target: {type: dry_run}}]"

    assert load({"good.yaml": good}).groups
    assert problems(good=good, bad="alarms: 1") == ["bad.yaml:1:9: alarms: expected a list, got 1"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", f"1:1: file: {EMPTY}", id="empty"),
        pytest.param("~", f"1:1: file: {EMPTY}", id="null"),
        pytest.param(
            "web",
            "1:1: file: expected a mapping with alarms, groups, policies, schedules, derived_metrics, got 'web'",
            id="text",
        ),
        pytest.param("#" * (MAX_BYTES + 1), f"1:1: file: expected at most {MAX_BYTES} bytes, got more", id="huge"),
        pytest.param("ä" * (MAX_BYTES // 2 + 1), f"1:1: file: expected at most {MAX_BYTES} bytes, got more", id="wide"),
        pytest.param("[" * 100_000, f"1:34: file: expected at most {MAX_DEPTH} levels of nesting", id="deep"),
        pytest.param(
            "alarms: [" + "0," * 100_000 + "]",
            "1:9: file: expected at most 100000 values, aliases written out",
            id="many",
        ),
        pytest.param(
            "alarms: []\n\x00",
            "2:1: syntax: expected no character that YAML does not allow: control characters are not allowed",
            id="control",
        ),
        pytest.param(
            "alarms:\n\t- x",
            "2:1: syntax: expected YAML: while scanning for the next token, "
            "found character that cannot start any token",
            id="tab",
        ),
    ],
)
def test_what_is_no_document_is_refused(text: str, expected: str) -> None:
    assert problems(f=text) == [f"f.yaml:{expected}"]


def test_an_alias_stands_for_its_anchor() -> None:
    declared = load(
        {
            "f.yaml": "groups:\n"
            "  - {name: a, min_size: 1, max_size: 2, target: &target {type: dry_run}}\n"
            "  - {name: b, min_size: 1, max_size: 2, target: *target}\n"
        }
    )

    assert [group.target_type for group in declared.groups.values()] == ["dry_run", "dry_run"]


def test_a_problem_within_an_alias_is_shown_at_the_anchor() -> None:
    found = problems(
        f="groups:\n"
        "  - {name: a, min_size: 1, max_size: 2, target: &target {type: dry_run, sise: 2}}\n"
        "  - {name: b, min_size: 1, max_size: 2, target: *target}\n"
    )

    assert found == [
        'f.yaml:2:73: groups[0].target.sise: unknown key; did you mean "size"?',
        'f.yaml:2:73: groups[1].target.sise: unknown key; did you mean "size"?',
    ]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        pytest.param("yes", "'yes'", id="yes-is-text"),
        pytest.param("08:30", "'08:30'", id="times-are-text"),
        pytest.param("2026-11-20", "'2026-11-20'", id="dates-are-text"),
        pytest.param("1_000", "'1_000'", id="grouped-digits-are-text"),
        pytest.param("true", "true", id="true"),
        pytest.param("0o17", "15", id="octal"),
        pytest.param("0x1F", "31", id="hexadecimal"),
        pytest.param("010", "10", id="a-leading-zero-is-decimal"),
        pytest.param("-1e3", "-1000.0", id="exponent"),
        pytest.param("-.inf", "-inf", id="infinity"),
        pytest.param("'1'", "'1'", id="quoted-is-text"),
        pytest.param("{}", "a mapping", id="mapping"),
    ],
)
def test_plain_values_are_read_by_the_core_schema(written: str, value: str) -> None:
    assert problems(f=f"alarms: {written}") == [f"f.yaml:1:9: alarms: expected a list, got {value}"]


def test_long_values_are_shortened_in_messages() -> None:
    (line,) = problems(f=f"alarms: {'x' * 500}")

    assert line == f"f.yaml:1:9: alarms: expected a list, got '{'x' * 56}..."


def test_a_byte_order_mark_is_let_be() -> None:
    assert load({"f.yaml": "\ufeffalarms: []"}).alarms == {}


def test_what_stands_under_a_key_twice_lends_its_places_to_nothing_else() -> None:
    found = problems(f="alarms:\n- {name: a, name: {type: x}}\n- {}\n")

    assert [each.partition("; expected one of")[0] for each in found] == [
        "f.yaml:2:3: alarms[0].type: missing",
        "f.yaml:2:13: alarms[0].name: expected each key once, it stands in line 2 already",
        "f.yaml:3:3: alarms[1].type: missing",
    ]
