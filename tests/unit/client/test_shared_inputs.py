"""Shared inputs: how they are found in few calls, how a sweep treats them, what a list may be."""

from __future__ import annotations

import gzip
import hashlib
import random
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from threading import Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelize.runs.files.known_contents import KnownContents
from parallelize.runs.inputs.local_inputs import LocalInput
from parallelize.runs.inputs.shared_inputs import (
    FEW,
    MAX_LIST_BYTES,
    SharedInputs,
    read_contents,
    read_names,
    shared_files,
)
from parallelize.runs.inputs.sweep_inputs import read_named, sweep_inputs
from parallelize.spool import Table
from parallelize.transfers import GROUP_BYTES, Fingerprint
from parallelize_core.errors import DecodeError
from parallelize_core.layout import Location, RunLayout
from parallelize_core.store import ObjectInfo
from parallelize_core.testing import InMemoryStore

BASE = Location("bucket", "p/")
SECONDS = 30.0


def checksum(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


class Listing(InMemoryStore):
    """A bucket that counts the pages that are listed."""

    pages = 0

    def list(self, prefix: str, *, folder_only: bool = False) -> Iterator[ObjectInfo]:
        for number, item in enumerate(super().list(prefix, folder_only=folder_only)):
            self.pages += number % 1000 == 0
            yield item


def filled(count: int) -> SharedInputs:
    shared = SharedInputs(Listing(), BASE)
    for number in range(count):
        shared.store.put(shared.place.key(checksum(number), "mark"), b"")
    return shared


@pytest.mark.parametrize(
    ("there", "wanted", "most"),
    [(500, 400, 1), (4000, FEW, FEW), (4000, 200, 1 + 16), (4000, 4000, 1 + 16)],
)
def test_it_takes_few_pages_to_find_inputs_among_many(there: int, wanted: int, most: int) -> None:
    shared = filled(there)
    names = [checksum(number) for number in range(wanted)]
    found = shared.find(Table([*names, checksum(-1)][-wanted:]))
    assert set(found) == set(names[-wanted + 1 :])
    store = shared.store
    assert isinstance(store, Listing)
    assert store.pages <= most


@pytest.mark.parametrize("count", [1, 1000])
def test_what_is_not_an_upload_is_not_found(count: int) -> None:
    shared = filled(2)
    wanted = [checksum(number) for number in range(FEW + 1)]
    for number in range(count):
        shared.store.put(shared.place.key(f"!{number}"), b"")
        shared.store.put(shared.place.key(wanted[0], "output", f"{number}"), b"")
    found = shared.find(Table(wanted))
    assert {sha256: len(items) for sha256, items in found.items()} == dict.fromkeys(wanted[:2], 1)


def test_each_upload_has_a_key_of_its_own() -> None:
    shared = SharedInputs(InMemoryStore(), BASE)
    assert len({shared.new_key(checksum(0)) for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "body",
    [
        b"", b"not packed", gzip.compress(b"0" * 63 + b"\n"), gzip.compress(b"\xff" * 64),
        gzip.compress(b"0" * (MAX_LIST_BYTES + 1)), gzip.compress(b"0" * 64)[:-9],
    ],
    ids=["empty", "text", "short", "bytes", "long", "broken off"],
)  # fmt: skip
def test_a_list_that_cannot_be_read_may_name_anything_so_all_stays(body: bytes) -> None:
    shared = filled(3)
    shared.store.put(RunLayout(BASE, "later").named.key("x.gz"), body)
    with pytest.raises(DecodeError):
        read_names(body)
    with pytest.raises(DecodeError):
        sweep_inputs(shared.store, BASE)
    assert len([*shared.store.list(shared.place.prefix)]) == 3


RUNS = st.dictionaries(
    st.sampled_from(["a", "b", "c"]), st.sets(st.integers(0, 9), min_size=1), max_size=3
)


@settings(deadline=None)
@given(st.sets(st.integers(0, 9)), RUNS, st.sets(st.integers(0, 9)), st.randoms())
def test_a_sweep_leaves_exactly_what_the_lists_of_all_runs_name(
    there: set[int], runs: dict[str, set[int]], marked: set[int], order: random.Random
) -> None:
    shared = SharedInputs(InMemoryStore(), BASE)
    for name, numbers in runs.items():
        shared.hold(RunLayout(BASE, name), Table(map(checksum, numbers)), Table())
    for number in there:
        shared.store.put(shared.place.key(checksum(number), order.choice("mn")), b"")
    for number in marked:  # as sweeps that were cut off have left them
        shared.store.put(shared.doomed.key(checksum(number), "m"), b"")
    named = {checksum(number) for numbers in runs.values() for number in numbers}
    assert {*read_named(shared.store, BASE)} == named
    gone = {checksum(number) for number in there} - named
    assert sweep_inputs(shared.store, BASE) == len(gone)
    left = [shared.place.relative(i.key)[:64] for i in shared.store.list(shared.place.prefix)]
    assert set(left) == {checksum(number) for number in there} & named
    doomed = [shared.doomed.relative(i.key) for i in shared.store.list(shared.doomed.prefix)]
    assert all(shared.store.head(shared.place.key(mark)) for mark in doomed)


class Rewriting(InMemoryStore):
    """A bucket during whose listing somebody writes a file."""

    path: Path | None = None

    def list(self, prefix: str, *, folder_only: bool = False) -> Iterator[ObjectInfo]:
        if self.path:
            self.path.write_text("after")
        return super().list(prefix, folder_only=folder_only)


def test_a_file_that_is_written_while_uploads_are_looked_up_is_sent_as_it_is_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "a"
    path.write_text("before")
    before, after = (hashlib.sha256(text).hexdigest() for text in (b"before", b"after"))
    store = Rewriting()
    shared = SharedInputs(store, BASE)
    store.put(shared.new_key(before), b"before")
    store.path = path
    found = shared_files(shared, [LocalInput("a", str(path), 6)], lambda _: None)
    assert [(one.size, one.sha256) for one in found.uploads] == [(5, after)]
    assert [one.sha256 for one in found.versions] == [after]


class Interrupted(KnownContents):
    """Memory in which ctrl-C comes while another file is read, which takes long."""

    def __init__(self) -> None:
        super().__init__(None)
        self.began = Event()
        self.stopped: list[bool] = []

    def learn(
        self, path: Path | str, *, etag: bool = False, stopping: Event | None = None
    ) -> Fingerprint:
        assert stopping
        if Path(path).name == "a":
            assert self.began.wait(SECONDS)
            raise KeyboardInterrupt
        self.began.set()
        self.stopped.append(stopping.wait(SECONDS))
        raise CancelledError


def test_ctrl_c_does_not_wait_for_large_files_to_be_read(tmp_path: Path) -> None:
    found = [LocalInput(name, str(tmp_path / name), GROUP_BYTES + 1) for name in "ab"]
    for item in found:
        Path(item.path).touch()
    memory = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        read_contents(memory, found)
    assert memory.stopped == [True]
