"""A file that was read once is read again only if it may have changed since."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from parallelize.runs.files.known_contents import TICK_NS, KnownContents, known_contents
from parallelize.transfers import fingerprint

LATER_NS = 10 * TICK_NS


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "a.txt"
    made.write_bytes(b"content")
    return made


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def read(cache: Path, file: Path, after_ns: int = LATER_NS) -> None:
    """Read a file as a command would so long after now."""
    with known_contents(cache) as known:
        KnownContents(known._database, lambda: time.time_ns() + after_ns).read(file)


def is_known(cache: Path, file: Path) -> bool:
    with known_contents(cache) as known:
        found = known.find(file)
    assert found in {None, fingerprint(file, etag=False)}
    assert found is None or found.modified_ns == file.stat().st_mtime_ns
    return found is not None


def test_what_nobody_has_touched_is_known_to_the_next_command(cache: Path, file: Path) -> None:
    read(cache, file)
    assert is_known(cache, file)


def rewrite(file: Path) -> None:
    file.write_bytes(b"CONTENT")


def rewrite_and_hide_it(file: Path) -> None:
    """Write as many bytes in place, and put the time of the last write back."""
    found = file.stat()
    with file.open("r+b") as opened:
        opened.write(b"CONTENT")
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))


def exchange(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(b"CONTENT")
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    other.replace(file)


def link_elsewhere(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(b"CONTENT")
    file.unlink()
    file.symlink_to(other)


@pytest.mark.parametrize("change", [rewrite, rewrite_and_hide_it, exchange, link_elsewhere])
def test_what_was_changed_is_not_known_however_it_was_done(
    cache: Path, file: Path, change: Callable[[Path], None]
) -> None:
    read(cache, file)
    change(file)
    assert not is_known(cache, file)


def test_what_was_written_just_before_it_was_read_is_not_remembered(
    cache: Path, file: Path
) -> None:
    read(cache, file, after_ns=TICK_NS // 2)
    assert not is_known(cache, file)


@pytest.mark.parametrize("broken", [b"no database", b"SQLite format 3\0" + bytes(2000)])
def test_without_what_was_remembered_all_is_read_again(
    cache: Path, file: Path, broken: bytes
) -> None:
    cache.mkdir()
    (cache / "contents.sqlite").write_bytes(broken)
    with known_contents(cache) as known:
        assert known.read(file) == fingerprint(file, etag=False)


def test_a_cache_that_cannot_be_made_keeps_nobody_from_reading(tmp_path: Path, file: Path) -> None:
    with known_contents(file / "no folder") as known:
        assert known.read(file) == fingerprint(file, etag=False)


def test_a_file_that_is_gone_is_an_error_although_it_is_remembered(cache: Path, file: Path) -> None:
    read(cache, file)
    file.unlink()
    with known_contents(cache) as known, pytest.raises(FileNotFoundError):
        known.find(file)


def test_an_etag_is_known_only_after_somebody_asked_for_it(cache: Path, file: Path) -> None:
    read(cache, file)
    with known_contents(cache) as known:
        assert known.find(file, etag=True) is None
        later = KnownContents(known._database, lambda: time.time_ns() + LATER_NS)
        assert later.learn(file, etag=True) == fingerprint(file)
    with known_contents(cache) as known:
        assert known.find(file, etag=True) == fingerprint(file)
