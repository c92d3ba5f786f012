import asyncio
import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelize.transfers import (
    BUDGET_BYTES,
    FIRST_BYTES,
    GROUP_BYTES,
    GROUP_FILES,
    SHA256,
    ByteBudget,
    Fingerprint,
    fingerprint,
    groups,
    holds,
    in_parallel,
)
from parallelize_core.parts import PART_BYTES
from parallelize_core.store import ObjectInfo
from parallelize_core.testing import InMemoryStore


@given(st.lists(st.integers(), max_size=300), st.integers(min_value=1, max_value=8))
def test_what_comes_of_the_items_has_their_order(items: list[int], threads: int) -> None:
    assert list(in_parallel(lambda item: item * 2, items, threads)) == [i * 2 for i in items]


def test_after_an_error_nothing_new_is_begun() -> None:
    begun = []
    failed = threading.Event()

    def do(item: int) -> None:
        begun.append(item)
        if item == 0:
            failed.set()
            raise OSError("disk full")
        failed.wait()

    with pytest.raises(OSError, match="disk full"):
        list(in_parallel(do, range(1000), threads=2))
    assert len(begun) < 1000


def test_no_more_than_a_window_is_taken_ahead() -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    results = in_parallel(lambda item: item, items(), threads=2)
    assert next(iter(results)) == 0
    assert len(taken) <= 16


def test_a_small_file_has_its_md5_for_etag(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"hello")
    found = fingerprint(tmp_path / "f")
    assert found.etag == hashlib.md5(b"hello").hexdigest()
    assert found.sha256 == hashlib.sha256(b"hello").hexdigest()


def test_an_empty_file_has_a_fingerprint_too(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    assert fingerprint(tmp_path / "f").etag == hashlib.md5(b"").hexdigest()


def test_a_file_is_not_read_any_further_once_its_reader_has_been_stopped(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"hello")
    stopping = threading.Event()
    assert fingerprint(tmp_path / "f", stopping=stopping).size == 5
    stopping.set()
    with pytest.raises(CancelledError):
        fingerprint(tmp_path / "f", stopping=stopping)


def test_the_sizes_next_to_a_part_are_told_apart_as_they_are_sent(tmp_path: Path) -> None:
    etags = {}
    for size in (PART_BYTES - 1, PART_BYTES, PART_BYTES + 1):
        with (tmp_path / "f").open("wb") as file:
            file.truncate(size)
        etags[size] = fingerprint(tmp_path / "f").etag
    assert "-" not in etags[PART_BYTES - 1]
    assert etags[PART_BYTES].endswith("-1")
    assert etags[PART_BYTES + 1].endswith("-2")


CONTENT = Fingerprint(5, "etag", "sha")


@pytest.mark.parametrize(
    ("there", "same"),
    [
        (ObjectInfo("k", 5, "etag"), True),
        (ObjectInfo("k", 6, "etag"), False),
        (ObjectInfo("gone", 5, "other"), False),
    ],
)
def test_an_object_is_judged_by_size_and_etag(there: ObjectInfo, same: bool) -> None:
    assert holds(InMemoryStore(), there, CONTENT) is same


def test_where_etags_say_nothing_our_own_metadata_does() -> None:
    store = InMemoryStore()
    for key, sha256 in (("ours", "sha"), ("changed", "another")):
        store.put(key, b"hello", metadata={SHA256: sha256})
    assert holds(store, ObjectInfo("ours", 5, "encrypted-by-kms"), CONTENT)
    assert not holds(store, ObjectInfo("changed", 5, "encrypted-by-kms"), CONTENT)


@given(st.lists(st.integers(min_value=0, max_value=2 * GROUP_BYTES), max_size=40))
def test_files_are_put_together_in_their_order_and_only_small_ones(sizes: list[int]) -> None:
    found = list(groups(enumerate(sizes), lambda item: item[1]))
    assert [item for group in found for item in group] == list(enumerate(sizes))
    for group in found:
        assert 1 <= len(group) <= GROUP_FILES
        assert len(group) == 1 or sum(size for _, size in group) <= GROUP_BYTES


def test_no_more_is_in_memory_than_the_budget_has() -> None:
    budget = ByteBudget(10)
    held: list[int] = []
    seen: list[list[int]] = []

    async def use(size: int) -> None:
        await budget.take(size)
        held.append(size)
        seen.append([*held])
        await asyncio.sleep(0)
        held.remove(size)
        await budget.give_back(size)

    async def all_at_once() -> None:
        await asyncio.gather(*(use(size) for size in (3, 4, 5, 6, 20, 1, 10, 2)))

    asyncio.run(all_at_once())
    assert all(sum(together) <= 10 or together == [20] for together in seen)
    assert [20] in seen


def fits(budget: ByteBudget, size: int) -> int:
    """Return how many items of `size` bytes are on their way before one has to wait."""

    async def count() -> int:
        tasks = [asyncio.create_task(budget.take(size)) for _ in range(1000)]
        for _ in range(3000):
            await asyncio.sleep(0)
        done = [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        return len(done)

    return asyncio.run(count())


@pytest.mark.parametrize(
    ("bytes_per_second", "room"),
    [(25_000, FIRST_BYTES), (1_000_000, 2_000_000), (10**9, BUDGET_BYTES)],
    ids=["thin line", "broad line", "local server"],
)
def test_as_much_is_on_its_way_as_the_line_carries_in_two_seconds(
    bytes_per_second: int, room: int
) -> None:
    now = 100.0
    budget = ByteBudget(clock=lambda: now)
    size = 64 * 1024

    async def move() -> None:
        nonlocal now
        for _ in range(200):
            await budget.take(size)
            now += size / bytes_per_second
            await budget.give_back(size)

    asyncio.run(move())
    assert fits(budget, size) == min(1000, room // size)


def test_little_is_on_its_way_before_it_is_known_what_the_line_carries() -> None:
    assert fits(ByteBudget(), 64 * 1024) == FIRST_BYTES // (64 * 1024)


def test_a_line_that_becomes_thin_has_less_on_its_way() -> None:
    now = 100.0
    budget = ByteBudget(clock=lambda: now)
    size = 64 * 1024

    async def move(bytes_per_second: int) -> None:
        nonlocal now
        for _ in range(200):
            await budget.take(size)
            now += size / bytes_per_second
            await budget.give_back(size)

    asyncio.run(move(10**9))
    asyncio.run(move(25_000))
    assert fits(budget, size) == FIRST_BYTES // size
