"""A command that is given a name writes over nothing but what a command has written there."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from parallelize.runs.files.written import WRITTEN, Written
from parallelize_core.errors import UsageError


def written(path: Path) -> Written:
    return Written(path, "the list", "give another name")


def put(path: Path, text: str) -> None:
    written(path).put(lambda partial: partial.write_text(text))


@pytest.mark.parametrize("mine", [b"notes\n", b"key,state\n", b"\x89PNG\r\n\x1a\n", b"\n"])
def test_a_file_that_no_command_wrote_stays(tmp_path: Path, mine: bytes) -> None:
    file = tmp_path / "list"
    file.write_bytes(mine)
    with pytest.raises(UsageError, match="stays as it is") as caught:
        put(file, "new")
    assert caught.value.fix == "move it away, or give another name"
    assert file.read_bytes() == mine
    assert [*tmp_path.iterdir()] == [file]


def test_a_file_that_looks_like_a_written_one_stays(tmp_path: Path) -> None:
    put(tmp_path / "list", "1 done")
    copy = tmp_path / "copy"
    copy.write_text("1 done")
    with pytest.raises(UsageError, match="stays as it is"):
        put(copy, "2 done")
    assert copy.read_text() == "1 done"


def test_a_written_file_that_was_edited_stays(tmp_path: Path) -> None:
    file = tmp_path / "list"
    put(file, "1 done")
    file.write_text("1 done, looks odd")
    with pytest.raises(UsageError, match="stays as it is") as caught:
        put(file, "2 done")
    assert caught.value.why == "it was changed after it was written"
    assert file.read_text() == "1 done, looks odd"


def test_what_was_written_is_replaced_as_often_as_one_likes(tmp_path: Path) -> None:
    for text in ("1", "2", "2", "3"):
        put(tmp_path / "list", text)
        assert (tmp_path / "list").read_text() == text


def test_an_empty_file_is_nobodys_work(tmp_path: Path) -> None:
    (tmp_path / "list").touch()
    put(tmp_path / "list", "1")
    assert (tmp_path / "list").read_text() == "1"


def test_a_write_that_was_cut_off_before_the_file_had_its_name_is_no_obstacle(
    tmp_path: Path,
) -> None:
    file, record = tmp_path / "list", tmp_path / f".list{WRITTEN}"
    put(file, "1")
    put(file, "2")
    said = record.read_bytes()
    put(tmp_path / "before", "1")
    (tmp_path / "before").replace(file)  # as it was when the record of "2" was there already
    record.write_bytes(said)
    put(file, "3")
    assert file.read_text() == "3"


def test_a_failed_write_leaves_the_older_file_and_nothing_else(tmp_path: Path) -> None:
    put(tmp_path / "list", "1")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(partial: Path) -> None:
        partial.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(UsageError, match="the list cannot be written"):
        written(tmp_path / "list").put(fail)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_link_stays_one_and_what_it_leads_to_is_asked_for(tmp_path: Path) -> None:
    mine, link = tmp_path / "thesis", tmp_path / "list"
    mine.write_text("chapter 1")
    link.symlink_to(mine)
    with pytest.raises(UsageError, match="stays as it is"):
        put(link, "1")
    mine.unlink()
    for text in ("1", "2"):
        put(link, text)
    assert link.is_symlink()
    assert mine.read_text() == "2"


def test_a_pipe_is_written_into_and_stays_one(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    put(pipe, "1")
    reader.join()
    assert read == ["1"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_folder_of_that_name_is_told(tmp_path: Path) -> None:
    (tmp_path / "list").mkdir()
    with pytest.raises(UsageError, match="cannot be written") as caught:
        put(tmp_path / "list", "1")
    assert caught.value.why == "Is a directory"


@pytest.mark.parametrize("mine", [b"", b"my notes", b'{"written": 5}', b'{"a": 1}'])
def test_a_file_in_the_place_of_the_record_stays_too(tmp_path: Path, mine: bytes) -> None:
    record = tmp_path / f".list{WRITTEN}"
    record.write_bytes(mine)
    with pytest.raises(UsageError, match="not a record"):
        put(tmp_path / "list", "1")
    assert record.read_bytes() == mine
    assert not (tmp_path / "list").exists()


def test_what_may_not_be_written_is_told_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("mine")
    with pytest.raises(UsageError, match="stays as it is"):
        written(tmp_path / "list").check()
    with pytest.raises(UsageError, match="cannot be written"):
        written(tmp_path / "list" / "in" / "it").check()
    written(tmp_path / "new" / "other").check()
    assert [path.name for path in tmp_path.iterdir()] == ["list"]
