from __future__ import annotations

import gzip
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from autoscaler.adapters.state_file import Header, checked, read, written
from autoscaler.errors import PermanentError
from autoscaler.ports import STATE_FORM, Saved, SavedDocument, SavedGroup
from autoscaler.scaling.group import GroupRecord

HEADER = Header(version="0.1.0", namespace="autoscaler", shards=16, time=1_700_000_000.25)
ENTRIES: list[Saved] = [
    SavedDocument(kind="quota", key="ü|\n", document=b"\x00\xff"),
    SavedGroup(name="web", record=GroupRecord(version=3, desired_capacity=5)),
]


def saved(path: Path) -> Path:
    with written(path, HEADER) as write:
        for entry in ENTRIES:
            write(entry)
    return path


@pytest.mark.parametrize("name", ["state.jsonl", "state.jsonl.gz"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / name)

    assert list(read(path)) == ENTRIES
    assert checked(path) == HEADER
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")


def test_it_is_its_owners_alone_and_takes_the_place_of_one_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "state.jsonl"
    path.write_text("yesterday's")
    path.chmod(0o644)

    saved(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_one_that_is_broken_off_leaves_what_was_there(tmp_path: Path) -> None:
    path = saved(tmp_path / "state.jsonl")
    before = path.read_bytes()

    def broken_off() -> None:
        with written(path, HEADER) as write:
            write(ENTRIES[0])
            raise RuntimeError("the store is away")

    with pytest.raises(RuntimeError, match="the store is away"):
        broken_off()

    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def cut(at: int) -> Callable[[bytes], bytes]:
    return lambda text: text[:at]


def without_line(number: int) -> Callable[[bytes], bytes]:
    return lambda text: b"".join(line for n, line in enumerate(text.splitlines(keepends=True)) if n != number)


@pytest.mark.parametrize(
    ("change", "line", "says"),
    [
        pytest.param(lambda _: b"", 1, "no export of autoscaler's state", id="empty"),
        pytest.param(lambda _: b"hello\n", 1, "no export of autoscaler's state", id="something-else"),
        pytest.param(lambda text: text.replace(b'"file":1', b'"file":2'), 1, "a file of form 2", id="newer-file"),
        pytest.param(
            lambda text: text.replace(b'"form":%d' % STATE_FORM, b'"form":%d' % (STATE_FORM + 1)),
            1,
            f"the state is in form {STATE_FORM + 1}",
            id="newer-state",
        ),
        pytest.param(without_line(3), 3, "the last line is missing: it was cut off", id="no-end"),
        pytest.param(cut(-20), 4, "", id="half-an-end"),
        pytest.param(without_line(1), 3, "does not match this checksum", id="a-line-is-missing"),
        pytest.param(lambda text: text.replace(b"web", b"wib"), 4, "does not match this checksum", id="changed"),
        pytest.param(
            lambda text: text.replace(b'"desired_capacity":5', b'"desired_capacity":"5"'),
            3,
            "Expected `int | null`, got `str` - at `$.record.desired_capacity`",
            id="wrong-type",
        ),
        pytest.param(lambda text: text.replace(b'"document"', b'"dokument"'), 2, "Invalid value 'dokument'", id="kind"),
        pytest.param(lambda text: text + b"{}\n", 5, "there is more after the last line", id="more"),
        pytest.param(lambda text: text.replace(b"quota", b"qu\xffta"), 2, "", id="no-utf-8"),
    ],
)
def test_a_file_that_is_not_whole_is_refused_with_the_line(
    tmp_path: Path, change: Callable[[bytes], bytes], line: int, says: str
) -> None:
    path = saved(tmp_path / "state.jsonl")
    before = path.read_bytes()
    path.write_bytes(change(before))
    assert path.read_bytes() != before

    with pytest.raises(PermanentError) as found:
        checked(path)

    assert str(found.value).startswith(f"{path}:{line}: ")
    assert says in str(found.value)


@pytest.mark.parametrize("change", [cut(-4), cut(30), lambda packed: packed[:60] + b"\0" + packed[61:]])
def test_a_damaged_gzip_is_refused(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    path = saved(tmp_path / "state.jsonl.gz")
    path.write_bytes(change(path.read_bytes()))

    with pytest.raises(PermanentError, match=r"state.jsonl.gz: cut off or damaged|state.jsonl.gz:\d+: "):
        checked(path)


def test_a_gzip_by_others_is_read_whatever_its_name(tmp_path: Path) -> None:
    path = saved(tmp_path / "state.jsonl")
    path.write_bytes(gzip.compress(path.read_bytes()))

    assert list(read(path)) == ENTRIES


def test_what_is_not_there_or_may_not_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"nothing.jsonl: No such file"):
        checked(tmp_path / "nothing.jsonl")
    with pytest.raises(PermanentError, match=r"state.jsonl: No such file"):
        saved(tmp_path / "no" / "state.jsonl")
    with pytest.raises(PermanentError, match=r"Is a directory"):
        checked(tmp_path)
