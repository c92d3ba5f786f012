"""How many threads use a disk: one for small files, many where the disk keeps them waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from parallelize.transfers import GROUP_BYTES, DiskThreads

SECONDS = 30.0


@pytest.fixture
def disk() -> Iterator[DiskThreads]:
    with DiskThreads() as made:
        yield made


def met(disk: DiskThreads, size: int) -> set[int]:
    """Return the threads that have waited for each other; BrokenBarrierError if there is one."""
    barrier = threading.Barrier(2)

    def wait() -> int:
        barrier.wait(SECONDS)
        return threading.get_ident()

    return {future.result() for future in [disk.submit(wait, size) for _ in range(2)]}


def compute() -> int:
    """Keep the processor busy for some milliseconds, and return the thread."""
    sum(range(100_000))
    return threading.get_ident()


def test_one_thread_reads_small_files_from_a_fast_disk(disk: DiskThreads) -> None:
    futures = [disk.submit(compute, 10) for _ in range(20)]
    assert len({future.result() for future in futures}) == 1


def test_many_threads_read_small_files_from_a_slow_disk(disk: DiskThreads) -> None:
    for _ in range(40):
        disk.submit(lambda: time.sleep(0.001), 10).result()  # as a disk does on a network
    assert len(met(disk, 10)) == 2


def test_many_threads_read_large_files_from_any_disk(disk: DiskThreads) -> None:
    assert len(met(disk, GROUP_BYTES + 1)) == 2
