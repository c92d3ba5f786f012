"""Results are read from segments if a listing names that very version, else from their objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from weakref import WeakSet

import pytest

from parallelize.runs.results import results
from parallelize.runs.results.results import SINGLE_READS, failed_results, list_results, read_listed
from parallelize_core.layout import Location, RunLayout
from parallelize_core.result import Cause, Result
from parallelize_core.segment import encode_line, pack
from parallelize_core.store import ObjectInfo
from parallelize_core.testing import InMemoryStore

LAYOUT = RunLayout(Location("bucket"), "run")
COUNT = SINGLE_READS + 1


class CountingStore(InMemoryStore):
    """A bucket that counts what is read one by one."""

    reads = 0

    def get(self, key: str) -> bytes:
        self.reads += 1
        return super().get(key)


def result(number: int, message: str = "") -> Result:
    return Result(
        run="run", key=f"{number:06}", attempt=1, worker="w", started_at="", finished_at="",
        status="failed", cause=Cause.COMMAND, message=message, log="a log",
    )  # fmt: skip


def put(store: InMemoryStore, made: Result) -> bytes:
    """Store a result; return its line of a segment."""
    etag = store.put(LAYOUT.result(made.key), made.encode())
    assert etag
    return encode_line(made, etag)


@pytest.fixture
def store() -> CountingStore:
    """A bucket with many results, all of them in one segment."""
    made = CountingStore()
    lines = [put(made, result(number)) for number in range(COUNT)]
    made.put(LAYOUT.segment("w", 1, 0), pack(lines))
    return made


def read(store: InMemoryStore) -> dict[str, Result]:
    listed = list_results(store, LAYOUT)
    return {one.key: one for one in read_listed(store, LAYOUT, listed)}


def test_what_a_segment_has_is_not_read_one_by_one(store: CountingStore) -> None:
    found = read(store)
    assert len(found) == COUNT
    assert store.reads == 1
    assert found["000007"] == result(7).model_copy(update={"log": ""})


def test_what_no_segment_has_is_read_one_by_one(store: CountingStore) -> None:
    put(store, result(COUNT, "late"))
    assert read(store)[f"{COUNT:06}"].message == "late"
    assert store.reads == 2


def test_a_result_that_was_replaced_since_is_read_as_it_is_now(store: CountingStore) -> None:
    put(store, result(7, "replaced"))
    assert read(store)["000007"].message == "replaced"


def test_a_result_that_was_taken_away_since_is_not_shown(store: CountingStore) -> None:
    store.delete([LAYOUT.result("000007")])
    put(store, result(COUNT))
    assert read(store).keys() == {f"{number:06}" for number in range(COUNT + 1)} - {"000007"}


def test_a_segment_that_tells_anothers_version_is_not_believed(store: CountingStore) -> None:
    listed = list_results(store, LAYOUT)
    (etag,) = listed.get(LAYOUT.result("000008")) or ("",)
    lie = encode_line(result(7, "a lie"), etag)
    store.put(LAYOUT.segment("a", 1, 0), pack([lie]))
    assert read(store)["000007"].message == ""


def test_a_broken_segment_costs_reads_and_nothing_else(store: CountingStore) -> None:
    whole = store.get(LAYOUT.segment("w", 1, 0))
    for broken in (whole[: len(whole) // 2], b"", b"not gzip"):
        store.put(LAYOUT.segment("w", 1, 0), broken)
        assert len(read(store)) == COUNT


def test_many_failures_are_read_from_segments_in_their_order(store: CountingStore) -> None:
    for number in range(COUNT):
        store.put(LAYOUT.failure(f"{number:06}"), b"")
    store.reads = 0
    failed = failed_results(store, LAYOUT)
    assert [one.key for one in failed] == [f"{number:06}" for number in range(COUNT)]
    assert store.reads == 1


class Key(str):
    """A key that can be counted while it is in memory."""


class ListingStore(CountingStore):
    """A bucket that counts the listed keys that are in memory at the same time."""

    most = 0

    def list(self, prefix: str, *, folder_only: bool = False) -> Iterator[ObjectInfo]:
        kept: WeakSet[Key] = WeakSet()
        for item in super().list(prefix, folder_only=folder_only):
            key = Key(item.key)
            kept.add(key)
            self.most = max(self.most, len(kept))
            yield replace(item, key=key)


def test_the_results_of_no_failures_are_not_kept_while_failures_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(results, "SINGLE_READS", 0)
    store = ListingStore()
    for number in range(1000):
        put(store, result(number))
    store.put(LAYOUT.failure("000007"), b"")
    assert [one.key for one in failed_results(store, LAYOUT)] == ["000007"]
    assert store.most < 10
