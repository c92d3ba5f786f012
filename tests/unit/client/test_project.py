"""The small file that says which project a folder is."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from parallelize.project import PROJECT_FILE, Project
from parallelize_core.errors import UsageError


def test_reading_whose_a_run_is_writes_nothing(tmp_path: Path) -> None:
    assert not Project(tmp_path).owns("r", "x")
    assert list(tmp_path.iterdir()) == []


def test_commands_that_begin_at_once_agree_on_the_id(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: Project(tmp_path).origin(), range(32)))
    assert len(found) == 1
    assert [path.name for path in tmp_path.iterdir()] == [PROJECT_FILE]


def test_a_folder_whose_name_is_not_utf_8_is_a_project_and_its_copy_is_another(
    tmp_path: Path,
) -> None:
    original, copy = (tmp_path / os.fsdecode(name) for name in (b"a\xff", b"b\xff"))
    original.mkdir()
    made = Project(original).origin()
    shutil.copytree(original, copy)
    assert Project(copy).copied_from() == original
    assert not Project(copy).owns("r", made)
    moved = Project(original.rename(tmp_path / os.fsdecode(b"c\xff")))
    moved.settle()
    assert moved.owns("r", made)


def test_two_folders_of_one_name_are_two_projects(tmp_path: Path) -> None:
    folders = [tmp_path / "ann" / "scan", tmp_path / "ben" / "scan"]
    for folder in folders:
        folder.mkdir(parents=True)
    ann, ben = (Project(folder) for folder in folders)
    assert ann.origin() != ben.origin()
    assert not ben.owns("scan", ann.origin())


def test_a_folder_that_cannot_be_written_to_is_known_by_its_place(tmp_path: Path) -> None:
    folder = tmp_path / "unwritable"  # it does not exist, which no permission makes up for
    assert Project(folder).owns("r", Project(folder).origin())
    assert not Project(tmp_path / "other").owns("r", Project(folder).origin())


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"id": 1}', b"\xff"])
def test_a_broken_file_is_named_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    (tmp_path / PROJECT_FILE).write_bytes(content)
    with pytest.raises(UsageError, match="cannot be read") as caught:
        Project(tmp_path).origin()
    assert "--join" in (caught.value.fix or "")


def test_a_copy_gets_an_id_of_its_own_and_joins_nothing_by_itself(tmp_path: Path) -> None:
    original, copy = tmp_path / "a", tmp_path / "b"
    original.mkdir()
    copy.mkdir()
    first = Project(original)
    first.join("theirs", "another")
    (copy / PROJECT_FILE).write_bytes((original / PROJECT_FILE).read_bytes())
    second = Project(copy)
    assert not second.owns("r", first.origin())
    assert not second.owns("theirs", "another")
    assert second.origin() != first.origin()
    assert second.owns("r", second.origin())


def test_a_copy_of_a_folder_that_was_moved_is_a_copy(tmp_path: Path) -> None:
    first, moved, copy = (tmp_path / name for name in ("first", "moved", "copy"))
    first.mkdir()
    origin = Project(first).origin()
    first.rename(moved)
    Project(moved).settle()
    shutil.copytree(moved, copy)
    assert Project(moved).owns("r", origin)
    assert not Project(copy).owns("r", origin)
    assert Project(copy).copied_from() == moved


def test_settling_makes_no_project_of_a_folder_and_takes_none_over(tmp_path: Path) -> None:
    first, copy = tmp_path / "first", tmp_path / "copy"
    first.mkdir()
    Project(first).settle()
    assert list(first.iterdir()) == []
    origin = Project(first).origin()
    shutil.copytree(first, copy)
    Project(copy).settle()
    assert not Project(copy).owns("r", origin)


def test_a_copy_of_hard_links_is_a_copy(tmp_path: Path) -> None:
    original, copy = tmp_path / "a", tmp_path / "b"
    original.mkdir()
    copy.mkdir()
    first = Project(original).origin()
    (copy / PROJECT_FILE).hardlink_to(original / PROJECT_FILE)
    assert not Project(copy).owns("r", first)
    assert Project(copy).origin() != first
    assert Project(original).origin() == first


def test_the_same_folder_by_another_path_is_no_copy(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    origin = Project(folder).origin()
    (tmp_path / "link").symlink_to(folder)
    assert Project(tmp_path / "link").owns("r", origin)
