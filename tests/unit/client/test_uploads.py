"""Sending files, with the shipped store: all of them, whole, and no more at a time than fits."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parallelize.runs.files.uploads import Outgoing, Stored, Uploads
from parallelize.transfers import GROUP_BYTES, LARGE_AT_ONCE, SHA256
from parallelize_core.errors import UnavailableError, UsageError
from parallelize_core.parts import PART_BYTES
from parallelize_core.testing import AsyncInMemoryStore, InMemoryStore


def outgoing(path: Path) -> Outgoing:
    return Outgoing(path.name, str(path), f"in/{path.name}", path.stat().st_size)


def send(store: AsyncInMemoryStore, *files: Outgoing) -> list[Stored]:
    stored: list[Stored] = []
    asyncio.run(Uploads(store, stored.append).send(files))
    return stored


@pytest.mark.parametrize("size", [0, 1, GROUP_BYTES + 1, PART_BYTES])
def test_a_file_of_any_size_arrives_with_its_checksum(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(os.urandom(size))
    store = InMemoryStore()
    (stored,) = send(AsyncInMemoryStore(store), outgoing(path))
    there = store.head("in/a")
    assert there is not None
    assert (stored.name, stored.size, stored.etag) == ("a", size, there.etag)
    assert there.metadata[SHA256] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert store.get("in/a") == path.read_bytes()


def test_each_of_many_files_arrives_and_is_told_of_once(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / f"{number}").write_bytes(b"x" * number)
    store = InMemoryStore()
    stored = send(AsyncInMemoryStore(store), *map(outgoing, tmp_path.iterdir()))
    assert sorted(int(one.name) for one in stored) == list(range(200))
    assert {one.name: one.size for one in stored} == {str(n): n for n in range(200)}


class CountingStore(AsyncInMemoryStore):
    """A bucket that counts the large files that are on their way at a time."""

    running = most = 0

    async def put_file(self, *words: Any, **more: Any) -> str | None:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        return await super().put_file(*words, **more)


def test_only_a_few_large_files_are_on_their_way_at_a_time(tmp_path: Path) -> None:
    for number in range(2 * LARGE_AT_ONCE):
        with (tmp_path / f"{number}").open("wb") as file:
            file.truncate(PART_BYTES)
    store = CountingStore()
    stored = send(store, *map(outgoing, tmp_path.iterdir()))
    assert len(stored) == 2 * LARGE_AT_ONCE
    assert 1 < store.most <= LARGE_AT_ONCE


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b", and further")


def put_another_in_its_place(path: Path) -> None:
    (path.parent / "newer").write_text("so near")
    (path.parent / "newer").replace(path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "grows": append,
    "shrinks": lambda path: os.truncate(path, 2),
    "as long as before": lambda path: path.write_text("so near"),
    "another": put_another_in_its_place,
}


class WritingStore(AsyncInMemoryStore):
    """A bucket during whose writes somebody goes on writing the file."""

    path = Path()

    def __init__(self, change: Callable[[Path], object]) -> None:
        super().__init__()
        self.change = change

    async def put(self, *words: Any, **more: Any) -> str | None:
        self.change(self.path)
        return await super().put(*words, **more)

    async def put_file(self, *words: Any, **more: Any) -> str | None:
        self.change(self.path)
        return await super().put_file(*words, **more)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_file_that_changes_while_it_is_sent_is_named(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    store = WritingStore(change)
    store.path = tmp_path / "working.txt"
    store.path.write_text("so far,")
    with pytest.raises(UsageError, match=r"working\.txt changed while it was read"):
        send(store, outgoing(store.path))


def test_a_file_that_is_gone_is_the_disks_error(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    files = [outgoing(tmp_path / "a")]
    (tmp_path / "a").unlink()
    with pytest.raises(FileNotFoundError):
        send(AsyncInMemoryStore(), *files)


@pytest.mark.parametrize("size", [10, PART_BYTES])
def test_a_file_is_not_stored_by_the_checksum_of_what_it_was_before(
    tmp_path: Path, size: int
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * size)
    before = hashlib.sha256(b"y" * size).hexdigest()
    file = Outgoing("a", str(path), "shared/a", size, before, path.stat().st_mtime_ns)
    store = InMemoryStore()
    with pytest.raises(UsageError, match="changed while it was read"):
        send(AsyncInMemoryStore(store), file)
    assert store.head("shared/a") is None


class BlindStore(AsyncInMemoryStore):
    """A bucket of a service that compares no checksums."""

    async def put(self, key: str, body: bytes, *words: Any, **more: Any) -> str | None:
        return await super().put(key, body, *words, **{**more, "sha256": ""})


def test_a_file_that_was_written_since_it_was_hashed_is_not_sent(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"so far")
    modified, before = path.stat().st_mtime_ns, hashlib.sha256(b"before").hexdigest()
    store = InMemoryStore()
    with pytest.raises(UsageError, match="changed while it was read"):
        send(BlindStore(store), Outgoing("a", str(path), "shared/a", 6, before, modified - 1))
    assert store.head("shared/a") is None


def replace_a_byte(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(3)
        file.write(b"!")


LARGE_CHANGES = {**CHANGES, "one byte": replace_a_byte}


@pytest.mark.parametrize("size", [7, PART_BYTES])
@pytest.mark.parametrize("change", LARGE_CHANGES.values(), ids=LARGE_CHANGES)
def test_a_file_that_changes_is_never_stored_under_its_old_checksum(
    tmp_path: Path, change: Callable[[Path], None], size: int
) -> None:
    store = WritingStore(change)
    store.path = tmp_path / "working.txt"
    store.path.write_bytes(b"x" * size)
    sha256 = hashlib.sha256(b"x" * size).hexdigest()
    modified = store.path.stat().st_mtime_ns
    with pytest.raises(UsageError, match=r"working\.txt changed while it was read and sent"):
        send(store, Outgoing("working.txt", str(store.path), "shared/a", size, sha256, modified))
    there = [hashlib.sha256(store.store.get(item.key)).hexdigest() for item in store.store.list("")]
    assert there in ([], [sha256])


class RefusingStore(WritingStore):
    """A bucket that refuses every upload, as S3 does for bytes with another checksum."""

    async def put_file(self, key: str, *_: Any, **__: Any) -> str | None:
        self.change(self.path)
        raise UnavailableError(f"{key} is not available", "BadDigest: not what was received")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [(replace_a_byte, UsageError, "changed"), (lambda _: None, UnavailableError, "not available")],
)
def test_a_part_that_s3_refuses_is_the_files_fault_only_if_it_has_changed(
    tmp_path: Path, change: Callable[[Path], object], error: type[Exception], words: str
) -> None:
    store = RefusingStore(change)
    store.path = tmp_path / "working.txt"
    store.path.write_bytes(bytes(PART_BYTES))
    with pytest.raises(error, match=words):
        send(store, outgoing(store.path))
