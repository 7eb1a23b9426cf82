import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from autoscaler.adapters.files import changes, texts
from autoscaler.declarations import load
from autoscaler.declarations.documents import MAX_BYTES
from autoscaler.errors import DeclarationError


def test_a_folder_is_its_yaml_files_in_order(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "c.txt", ".hidden.yaml", "a.test.yaml"):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder.yaml").mkdir()

    assert texts([tmp_path]) == {str(tmp_path / "a.yml"): "a.yml", str(tmp_path / "b.yaml"): "b.yaml"}


def test_a_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "rules").write_text("alarms: []")

    assert texts([tmp_path / "rules", tmp_path / "rules"]) == {str(tmp_path / "rules"): "alarms: []"}


def test_every_path_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError) as refused:
        texts([tmp_path / "a", tmp_path, tmp_path / "b.yaml"])

    assert str(refused.value).splitlines() == [
        f"{tmp_path / 'a'}:1:1: file: expected a file or folder that can be read: no such file or directory",
        f"{tmp_path / 'b.yaml'}:1:1: file: expected a file or folder that can be read: no such file or directory",
    ]


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "huge.yaml"
    file.write_bytes(b"#" * (2 * MAX_BYTES))

    with pytest.raises(DeclarationError) as refused:
        load(texts([file]))
    assert str(refused.value) == f"{file}:1:1: file: expected at most {MAX_BYTES} bytes, got more"


def test_bytes_that_are_no_text_are_shown_where_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "latin1.yaml"
    file.write_bytes("alarms:\n  - name: café\n".encode("latin1"))

    with pytest.raises(DeclarationError) as refused:
        load(texts([file]))
    assert str(refused.value) == f"{file}:2:14: file: expected UTF-8, got the byte 0xe9"


async def first_change(path: Path, make: Callable[[], object]) -> None:
    """Return once a change was seen; it is made again until then, for the watch takes a moment to stand."""
    watch = changes([path])

    async def make_until_seen() -> None:
        while True:
            make()
            await asyncio.sleep(0.3)

    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        making = tasks.create_task(make_until_seen())
        await anext(watch)
        making.cancel()
    await watch.aclose()


@pytest.mark.parametrize(
    "what",
    [
        pytest.param("folder", id="a-folder"),
        pytest.param("folder/a.yaml", id="a-file"),
    ],
)
async def test_a_written_file_is_a_change(tmp_path: Path, what: str) -> None:
    file = tmp_path / "folder" / "a.yaml"
    file.parent.mkdir()
    file.write_text("alarms: []")

    await first_change(tmp_path / what, lambda: file.write_text("alarms: []\n"))


async def test_a_replaced_file_is_a_change(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("alarms: []")

    def replace() -> None:
        (tmp_path / "a.new").write_text("alarms: []")
        (tmp_path / "a.new").rename(file)

    await first_change(file, replace)


async def test_a_swapped_mount_is_a_change(tmp_path: Path) -> None:
    for version in ("..1", "..2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "a.yaml").write_text(version)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")

    def swap() -> None:
        (tmp_path / "..tmp").symlink_to("..2")
        (tmp_path / "..tmp").rename(tmp_path / "..data")

    await first_change(tmp_path, swap)

    assert texts([tmp_path]) == {str(tmp_path / "a.yaml"): "..2"}


async def test_watching_ends_when_told(tmp_path: Path) -> None:
    stop = asyncio.Event()
    stop.set()

    assert [change async for change in changes([tmp_path], stop=stop)] == []
