"""Measures from files: CSV and JSON lines, in file order, each fault with its place."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from autoscaler.adapters.sources.recordings import Label, read
from autoscaler.errors import PermanentError, Rejection
from autoscaler.measures.measure import Measure
from autoscaler.ports import Undecoded

LABEL = Label("cpu_util", "web-1", "p1", {"server_group": "web"})
T = 1_392_388_200.0  # 2014-02-14T14:30:00Z


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, name: str, content: str | bytes) -> str:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


def at(seconds: float, value: float) -> Measure:
    return Measure("cpu_util", "web-1", T + seconds, value, "p1", "", {"server_group": "web"})


def native(**changes: object) -> str:
    return json.dumps({"metric": "m", "resource_id": "r", "timestamp": T, "value": 1, **changes})


def faults(items: list[Measure | Undecoded]) -> list[tuple[Rejection, str]]:
    return [(item.rejection, item.detail) for item in items if isinstance(item, Undecoded)]


def test_a_csv_is_read_in_file_order_with_duplicates_and_backward_steps(folder: Path) -> None:
    rows = ["timestamp,value", "2014-02-14 14:30:00,0.5", "2014-02-14 14:35:00,1", "2014-02-14 14:35:00,2"]
    path = write(folder, "cpu.csv", "\n".join([*rows, "2014-02-14 14:25:00,3", ""]))

    assert list(read([path], LABEL)) == [at(0, 0.5), at(300, 1), at(300, 2), at(-300, 3)]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("timestamp,value\r\n2014-02-14 14:30:00,1\r\n", id="windows-line-ends"),
        pytest.param("\ufefftimestamp,value\n2014-02-14 14:30:00,1\n", id="byte-order-mark"),
        pytest.param("\n\ntimestamp,value\n\n2014-02-14 14:30:00,1\n\n", id="blank-lines"),
        pytest.param('"timestamp","value"\n"2014-02-14 14:30:00","1"', id="quotes-and-no-last-line-end"),
        pytest.param("timestamp, value\n2014-02-14T15:30:00+01:00, 1.0\n", id="zone-and-blanks"),
        pytest.param("timestamp,value\n1392388200,1e0\n", id="unix-seconds"),
    ],
)
def test_one_row_in_many_spellings(folder: Path, content: str) -> None:
    assert list(read([write(folder, "cpu.csv", content)], LABEL)) == [at(0, 1)]


@pytest.mark.parametrize(
    ("row", "rejection", "detail"),
    [
        pytest.param("2014-02-14 14:30:00", Rejection.UNDECODABLE, "expected 2 cells, found 1", id="one-cell"),
        pytest.param("2014-02-14 14:30:00,1,2", Rejection.UNDECODABLE, "expected 2 cells, found 3", id="three-cells"),
        pytest.param('"2014-02-14 14:30:00,1', Rejection.UNDECODABLE, "not CSV: ", id="open-quote"),
        pytest.param("yesterday,1", Rejection.BAD_TIMESTAMP, "timestamp: expected ISO 8601", id="timestamp"),
        pytest.param("nan,1", Rejection.NOT_FINITE, "timestamp: expected a finite number", id="nan-timestamp"),
        pytest.param("-5,1", Rejection.BAD_TIMESTAMP, "timestamp: expected Unix seconds", id="negative-timestamp"),
        pytest.param("2014-02-14 14:30:00,", Rejection.WRONG_TYPE, "value: expected a number", id="no-value"),
        pytest.param("2014-02-14 14:30:00,high", Rejection.WRONG_TYPE, "value: expected a number", id="word"),
        pytest.param("2014-02-14 14:30:00,1_0", Rejection.WRONG_TYPE, "value: expected a number", id="underscore"),
        pytest.param("2014-02-14 14:30:00,nan", Rejection.NOT_FINITE, "value: expected a finite number", id="nan"),
        pytest.param("2014-02-14 14:30:00,inf", Rejection.NOT_FINITE, "value: expected a finite number", id="inf"),
        pytest.param("2014-02-14 14:30:00,1e999", Rejection.NOT_FINITE, "value: expected a finite number", id="1e999"),
        pytest.param("2014-02-14 14:30:00,\udcff1", Rejection.WRONG_TYPE, "value: expected a number", id="not-utf-8"),
    ],
)
def test_a_bad_row_is_told_with_its_place_and_stops_nobody(
    folder: Path, row: str, rejection: Rejection, detail: str
) -> None:
    content = f"timestamp,value\n2014-02-14 14:30:00,1\n\n{row}\n2014-02-14 14:35:00,2\n"
    path = write(folder, "cpu.csv", content.encode(errors="surrogateescape"))

    before, fault, after = read([path], LABEL)

    assert (before, after) == (at(0, 1), at(300, 2))
    assert isinstance(fault, Undecoded)
    assert fault.rejection is rejection
    assert fault.detail.startswith(f"cpu.csv:4: {detail}")


def test_a_csv_without_resource_is_called_like_its_file(folder: Path) -> None:
    path = write(folder, "ec2.cpu.csv", "timestamp,value\n2014-02-14 14:30:00,1\n")

    assert list(read([path], Label("cpu_util"))) == [Measure("cpu_util", "ec2.cpu", T, 1.0)]


def test_json_lines_hold_native_measures(folder: Path) -> None:
    lines = [native(), "", f"[{native(value=2)}, {native(value=3)}]", native(timestamp=7e9, project_id="p2")]
    path = write(folder, "measures.jsonl", "\n".join(lines))

    assert list(read([path], LABEL)) == [
        Measure("m", "r", T, 1.0),
        Measure("m", "r", T, 2.0),
        Measure("m", "r", T, 3.0),
        Measure("m", "r", 7e9, 1.0, "p2"),
    ]


def test_a_bad_line_is_told_with_its_place_in_its_place(folder: Path) -> None:
    lines = [native(), "{nope", f"[{native(value=2)}, {native(value='3')}, {native(value=4)}]", native(more=1)]
    path = write(folder, "measures.jsonl", "\n".join(lines))

    items = list(read([path], LABEL))

    assert [item.value if isinstance(item, Measure) else None for item in items] == [1, None, 2, None, 4, None]
    assert [(rejection, detail.split(" ")[0]) for rejection, detail in faults(items)] == [
        (Rejection.UNDECODABLE, "measures.jsonl:2:"),
        (Rejection.WRONG_TYPE, "measures.jsonl:3:"),
        (Rejection.UNKNOWN_KEY, "measures.jsonl:4:"),
    ]


def test_files_follow_one_another(folder: Path) -> None:
    first = write(folder, "a.csv", "timestamp,value\n2014-02-14 14:30:00,1\n")
    second = write(folder, "b.jsonl", native(value=2))

    assert [item.value for item in read([first, second], LABEL) if isinstance(item, Measure)] == [1, 2]


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO(f"{native()}\n\xff\n".encode("latin-1"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(raw, encoding="utf-8"))

    measure, fault = read(["-"], LABEL)

    assert measure == Measure("m", "r", T, 1.0)
    assert isinstance(fault, Undecoded)
    assert fault.detail == "stdin:2: not UTF-8: byte 0: invalid start byte"
    assert not raw.closed


@pytest.mark.parametrize(
    ("content", "label", "message"),
    [
        pytest.param("", LABEL, "x.csv: empty", id="empty"),
        pytest.param(" \n\n", LABEL, "x.csv: empty", id="blank"),
        pytest.param("a,b\n1,2\n", LABEL, "x.csv:1: expected the header timestamp,value", id="other-header"),
        pytest.param("2014-02-14 14:30:00,1\n", LABEL, "x.csv:1: expected the header timestamp,value", id="no-header"),
        pytest.param("timestamp,value\n", Label(), "x.csv: a CSV does not name its metric", id="no-metric"),
    ],
)
def test_a_file_that_is_no_recording_is_refused(folder: Path, content: str, label: Label, message: str) -> None:
    path = write(folder, "x.csv", content)

    with pytest.raises(PermanentError, match=message):
        list(read([path], label))


def test_a_missing_file_is_named(folder: Path) -> None:
    with pytest.raises(PermanentError, match=r"nowhere\.csv: No such file or directory"):
        list(read(["nowhere.csv"], LABEL))
    with pytest.raises(PermanentError, match="Is a directory"):
        list(read([str(folder)], LABEL))
