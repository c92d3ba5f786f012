"""Which threads use a disk: none for small files, one if it is slower, many if it is slow."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from parallelize.transfers import FAST_DISK, GROUP_BYTES, SLOW_DISK, DiskThreads

SECONDS = 30.0


class Disk:
    """A disk that leaves the processor this share of the time to what uses it."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.now = self.worked = 0.0
        self.threads = DiskThreads(clock=lambda: self.now, worked=lambda: self.worked)

    def use(self, times: int = 40) -> set[int]:
        """Read small files, one after the other; return the threads that did."""
        return {self.threads.submit(self._read, 10).result() for _ in range(times)}

    def _read(self) -> int:
        self.now += 1.0
        self.worked += self.share
        return threading.get_ident()


@pytest.fixture
def disk() -> Iterator[Disk]:
    made = Disk(1.0)
    with made.threads:
        yield made


def met(disk: DiskThreads, size: int) -> set[int]:
    """Return the threads that have waited for each other; BrokenBarrierError if there is one."""
    barrier = threading.Barrier(2)

    def wait() -> int:
        barrier.wait(SECONDS)
        return threading.get_ident()

    return {future.result() for future in [disk.submit(wait, size) for _ in range(2)]}


def test_small_files_of_a_fast_disk_are_read_at_once(disk: Disk) -> None:
    assert disk.use() == {threading.get_ident()}


def test_one_thread_reads_small_files_from_a_disk_that_keeps_it_waiting(disk: Disk) -> None:
    disk.share = (FAST_DISK + SLOW_DISK) / 2
    disk.use()
    (thread,) = disk.use()
    assert thread != threading.get_ident()


def test_many_threads_read_small_files_from_a_slow_disk(disk: Disk) -> None:
    disk.share = SLOW_DISK / 2
    disk.use()
    assert len(met(disk.threads, 10)) == 2


def test_a_disk_that_becomes_fast_again_is_read_at_once(disk: Disk) -> None:
    disk.share = 0.0
    disk.use()
    disk.share = 1.0
    disk.use()
    assert disk.use() == {threading.get_ident()}


def test_many_threads_read_large_files_from_any_disk(disk: Disk) -> None:
    assert len(met(disk.threads, GROUP_BYTES + 1)) == 2


@pytest.mark.parametrize("share", [1.0, 0.0], ids=["fast", "slow"])
@pytest.mark.parametrize("size", [10, GROUP_BYTES + 1])
def test_an_error_of_the_disk_is_the_callers(disk: Disk, share: float, size: int) -> None:
    def fail() -> None:
        raise OSError("disk full")

    disk.share = share
    disk.use()
    with pytest.raises(OSError, match="disk full"):
        disk.threads.submit(fail, size).result()
    with pytest.raises(OSError, match="disk full"):
        asyncio.run(disk.threads.run(fail, size))


@pytest.mark.parametrize("size", [10, GROUP_BYTES + 1])
def test_what_takes_long_in_a_thread_is_told_that_its_user_has_failed(size: int) -> None:
    disk, began, futures = Disk(0.0), threading.Event(), list[Future[bool]]()
    disk.use()

    def work() -> bool:
        began.set()
        return disk.threads.stopping.wait(SECONDS)

    def fail() -> None:
        with disk.threads:
            futures.append(disk.threads.submit(work, size))
            assert began.wait(SECONDS)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [future.result() for future in futures] == [True]


def test_what_takes_long_is_done_if_nothing_has_failed(disk: Disk) -> None:
    with disk.threads:
        pass
    assert not disk.threads.stopping.is_set()
