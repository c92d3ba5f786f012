"""A job's folder as an archive: whole or not at all, and nothing but what is the job's own."""

from __future__ import annotations

import io
import os
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelize_agent.job import snapshot
from parallelize_agent.job.snapshot import SnapshotError, look, pack, unpack

LIMIT = 10**6
ME = os.geteuid()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "scratch" / ".parallelize" / "checkpoint"
    made.mkdir(parents=True)
    return made


def there_and_back(folder: Path, tmp_path: Path) -> Path:
    """Pack a folder, and return where it was unpacked."""
    made = pack(folder, ME, tmp_path / "archive", LIMIT)
    assert made
    unpack(made.path, made.sha256, tmp_path / "back")
    return tmp_path / "back"


def test_files_folders_and_links_within_come_back_as_they_were(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "deep" / "empty").mkdir(parents=True)
    (folder / "deep" / "state.bin").write_bytes(b"\0" * 3000)
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "latest").symlink_to("deep/state.bin")
    back = there_and_back(folder, tmp_path)
    assert (back / "latest").read_bytes() == b"\0" * 3000
    assert (back / "latest").readlink() == Path("deep/state.bin")
    assert (back / "deep" / "empty").is_dir()
    assert os.access(back / "run.sh", os.X_OK)


def test_an_empty_folder_is_no_checkpoint(folder: Path, tmp_path: Path) -> None:
    (folder / "empty").mkdir()
    assert pack(folder, ME, tmp_path / "archive", LIMIT) is None


def test_links_that_lead_out_and_what_is_no_file_are_left_out(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)  # a socket's name may have 107 bytes
    (folder / "state").write_text("kept")
    (folder / "absolute").symlink_to("/etc/passwd")
    (folder / "above").symlink_to("../../../secret")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    assert [path.name for path in there_and_back(folder, tmp_path).iterdir()] == ["state"]


def test_a_folder_whose_parent_is_a_link_is_not_looked_into(folder: Path, tmp_path: Path) -> None:
    (folder / "state").write_text("another job's")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / ".parallelize").symlink_to(folder.parent)
    with pytest.raises(SnapshotError):
        pack(mine / ".parallelize" / "checkpoint", ME, tmp_path / "archive", LIMIT)


def test_a_file_of_another_user_makes_no_snapshot(folder: Path, tmp_path: Path) -> None:
    (folder / "state").write_text("x")
    with pytest.raises(SnapshotError, match="belongs to another user"):
        pack(folder, ME + 1, tmp_path / "archive", LIMIT)


def test_what_is_too_large_is_refused_with_its_size(folder: Path, tmp_path: Path) -> None:
    (folder / "state").write_bytes(b"x" * (LIMIT + 1))
    with pytest.raises(SnapshotError, match="1,000,001 bytes, and 1,000,000 are allowed"):
        pack(folder, ME, tmp_path / "archive", LIMIT)
    assert not (tmp_path / "archive").exists()


def test_too_many_files_are_refused(folder: Path, tmp_path: Path) -> None:
    for number in range(snapshot.MAX_ENTRIES + 1):
        (folder / str(number)).touch()
    with pytest.raises(SnapshotError, match="more than 10,000 files"):
        pack(folder, ME, tmp_path / "archive", LIMIT)


@pytest.mark.parametrize("change", [lambda f: f.write_text("longer"), Path.unlink])
def test_a_file_that_changes_while_it_is_packed_makes_no_snapshot(
    folder: Path, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    (folder / "a").write_text("x")
    (folder / "b").write_text("x")
    content = look(folder, ME)
    change(folder / "b")
    with pytest.raises(SnapshotError):
        snapshot.write(content, folder, tmp_path / "archive")
    assert not (tmp_path / "archive").exists()


def test_any_change_is_seen_and_a_second_look_is_none(folder: Path) -> None:
    (folder / "a").write_text("x")
    first = look(folder, ME).digest
    assert look(folder, ME).digest == first
    (folder / "fresh").write_text("x")
    (folder / "fresh").rename(folder / "a")
    assert look(folder, ME).digest != first


@given(cut=st.integers(0, 10_000))
def test_an_archive_that_is_not_whole_is_never_unpacked(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    tmp_path = tmp_path_factory.mktemp("cut")
    folder = tmp_path / "scratch" / ".parallelize" / "checkpoint"
    folder.mkdir(parents=True)
    (folder / "state").write_bytes(b"x" * 3000)
    made = pack(folder, ME, tmp_path / "archive", LIMIT)
    assert made
    whole = made.path.read_bytes()
    made.path.write_bytes(whole[: cut % len(whole)])
    with pytest.raises(SnapshotError, match="not the one that was stored"):
        unpack(made.path, made.sha256, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def hostile(**fields: object) -> bytes:
    """Return an archive with a member like this."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo()
        for name, value in fields.items():
            setattr(member, name, value)
        tar.addfile(member)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "archive",
    [
        hostile(name="../out"),
        hostile(name="/tmp/out"),
        hostile(name="a/../../out"),
        hostile(name="a", type=tarfile.SYMTYPE, linkname="/etc"),
        hostile(name="a", type=tarfile.SYMTYPE, linkname=".."),
        hostile(name="a", type=tarfile.LNKTYPE, linkname="../../secret"),
        hostile(name="a", type=tarfile.CHRTYPE),
    ],
)
def test_what_leads_out_of_an_archive_is_refused(archive: bytes, tmp_path: Path) -> None:
    place = tmp_path / "archive"
    place.write_bytes(archive)
    with pytest.raises(SnapshotError):
        unpack(place, snapshot._sha256(place), tmp_path / "back")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["archive"]
