"""The record of downloads in a folder: what may be written over, and what is swept."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from parallelize.runs.files.download_record import (
    RECORD,
    DownloadRecord,
    is_download_folder,
    record_path,
)
from parallelize_core.errors import UsageError

LONG_AGO = time.time() - 3 * 24 * 3600


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def written(folder: Path, name: str, content: bytes) -> None:
    DownloadRecord(folder).note([(name, sha256(content))])
    (folder / name).write_bytes(content)


def an_abandoned_download(folder: Path) -> Path:
    """What a download that was killed leaves behind."""
    with DownloadRecord(folder).partial_folder() as partial:
        name = partial.name
    (folder / name).mkdir()
    (folder / name / "tmp1").write_text("half")
    os.utime(folder / name, (LONG_AGO, LONG_AGO))
    return folder / name


def sweep(folder: Path) -> None:
    with DownloadRecord(folder).partial_folder():
        pass


@pytest.mark.parametrize("name", [".parallelize-notes", ".parallelize-out", ".parallelize-x1y2z3"])
def test_a_folder_that_is_merely_called_like_ours_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.txt").write_text("precious")
    os.utime(tmp_path / name, (LONG_AGO, LONG_AGO))
    sweep(tmp_path)
    assert (tmp_path / name / "thesis.txt").read_text() == "precious"


def test_what_a_killed_download_left_is_swept_after_a_day(tmp_path: Path) -> None:
    left = an_abandoned_download(tmp_path)
    os.utime(left)
    sweep(tmp_path)
    assert left.exists()
    os.utime(left, (LONG_AGO, LONG_AGO))
    sweep(tmp_path)
    assert not left.exists()


def test_a_folder_of_ours_into_which_somebody_has_put_folders_stays(tmp_path: Path) -> None:
    left = an_abandoned_download(tmp_path)
    (left / "mine").mkdir()
    os.utime(left, (LONG_AGO, LONG_AGO))
    sweep(tmp_path)
    assert (left / "mine").is_dir()


@pytest.mark.parametrize("name", ["../outside", "/etc", "inputs", ".parallelize-a/../../outside"])
def test_a_record_cannot_have_other_folders_swept(tmp_path: Path, name: str) -> None:
    folder, outside = tmp_path / "out", tmp_path / "outside"
    (folder / "inputs").mkdir(parents=True)
    outside.mkdir()
    (outside / "file").write_text("kept")
    sweep(folder)
    with record_path(folder).open("a") as file:
        file.write(f'{{"partial": "{name}"}}\n')
    for place in (outside, folder / "inputs"):
        os.utime(place, (LONG_AGO, LONG_AGO))
    sweep(folder)
    assert (outside / "file").exists()
    assert (folder / "inputs").exists()


@pytest.mark.parametrize("content", ["my notes\n", "{}\n", '{"name": "a", "sha256": "0"}\n'])
def test_a_file_that_only_has_the_records_name_is_refused_and_stays(
    tmp_path: Path, content: str
) -> None:
    record_path(tmp_path).write_text(content)
    with pytest.raises(UsageError, match="not a record of downloads"):
        DownloadRecord(tmp_path)
    assert record_path(tmp_path).read_text() == content


def test_a_record_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (tmp_path / "target").write_text("")
    record_path(folder).symlink_to(tmp_path / "target")
    with pytest.raises(UsageError):
        DownloadRecord(folder)
    assert (tmp_path / "target").read_text() == ""


@pytest.mark.parametrize("cut", range(1, 40, 7))
def test_a_line_that_a_crash_cut_off_spoils_no_other(tmp_path: Path, cut: int) -> None:
    written(tmp_path, "a", b"A")
    written(tmp_path, "b", b"B")
    whole = record_path(tmp_path).read_bytes()
    record_path(tmp_path).write_bytes(whole[:-cut])
    written(tmp_path, "c", b"C")
    record = DownloadRecord(tmp_path)
    assert record.refusal("a") is None
    assert record.refusal("c") is None


def test_a_line_of_any_content_spoils_no_other(tmp_path: Path) -> None:
    written(tmp_path, "a", b"A")
    with record_path(tmp_path).open("a") as record:
        record.write(f'[]\n{{"name": {"[" * 50_000}\n"x"\n')
    assert DownloadRecord(tmp_path).refusal("a") is None


def test_a_crash_between_the_note_and_the_file_leaves_the_older_download_replaceable(
    tmp_path: Path,
) -> None:
    written(tmp_path, "a", b"old")
    DownloadRecord(tmp_path).note([("a", sha256(b"new"))])
    assert DownloadRecord(tmp_path).refusal("a") is None


def test_a_folder_of_downloads_is_known_by_its_record(tmp_path: Path) -> None:
    assert not is_download_folder(tmp_path)
    sweep(tmp_path)
    assert is_download_folder(tmp_path)


def test_the_record_lies_beside_the_folder_so_that_only_outputs_are_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    written(folder, "a", b"A")
    assert [path.name for path in folder.iterdir()] == ["a"]
    assert record_path(folder) == tmp_path / f".out{RECORD}"
    (tmp_path / "link").symlink_to(folder)
    assert DownloadRecord(tmp_path / "link").refusal("a") is None


def test_a_folder_whose_name_leaves_no_room_has_its_record_inside(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 250)
    folder.mkdir()
    written(folder, "a", b"A")
    assert (folder / RECORD).is_file()
    assert DownloadRecord(folder).refusal("a") is None
