"""Many transfers at once, and how to recognize those that are not needed."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Self, TypeVar

from parallelize_core.parts import PART_BYTES, part_bytes
from parallelize_core.store import ObjectInfo, Store

Item = TypeVar("Item")
Made = TypeVar("Made")

THREADS = 16
"""Enough to hide a bucket's latency. With the interpreter lock, more would not help."""

SHA256 = "sha256"
"""The metadata key that every upload carries."""

_READ_BYTES = 1024 * 1024

GROUP_FILES = 8
GROUP_BYTES = 64 * 1024
"""What a thread reads or writes at a time, unless a single file is larger."""

FAST_DISK = 0.5
"""A disk is fast if what uses it has the processor for at least this share of its time.

Files in memory and in the page cache take nothing but processor time.
"""

SLOW_DISK = 0.1
"""A disk is slow if a thread that uses it has the processor for less than this share of its time.

On a local disk and in memory it had 38 % or more, beside a busy event loop. Where each step takes a
millisecond, as over a network, 2 % are left.
"""

LARGE_AT_ONCE = 8
"""Files that are sent or fetched in parts: a few keep all parts busy, more would all end late."""

BUDGET_BYTES = 24 * 1024 * 1024
"""Limit for the files that are in memory at a time."""

FIRST_BYTES = 256 * 1024
"""On their way before it is known what the line carries; at 0.2 Mbit/s they take ten seconds."""

AHEAD_SECONDS = 2.0
"""What a line carries in this time is on its way: more than any latency, less than S3's patience.

S3 closes a connection on which nothing arrives for some 20 seconds, and so do we.
"""


def in_parallel(
    do: Callable[[Item], Made], items: Iterable[Item], threads: int = THREADS
) -> Iterator[Made]:
    """Do something to each item, several at once; yield the results in the items' order.

    After the first error, or ctrl-C, nothing new is started, and what is running is waited for.
    """
    with ThreadPoolExecutor(threads) as pool:
        yield from in_order(lambda item: pool.submit(do, item), items, threads)


def in_order(
    submit: Callable[[Item], Future[Made]], items: Iterable[Item], threads: int
) -> Iterator[Made]:
    """Yield what becomes of each item in the threads that `submit` gives it to."""
    waiting: deque[Future[Made]] = deque()
    try:
        for item in items:
            waiting.append(submit(item))
            # A window, so that a million items are not a million futures.
            if len(waiting) >= 8 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


class DiskThreads:
    """Reads and writes files: small ones at once, unless the disk keeps a thread waiting for them.

    Small files on a local disk take processor time, and threads that share the interpreter lock
    hinder one another: with one beside the loop, a transfer of many takes a quarter longer, with
    four a half. On a network disk each step waits, and hashing a large file leaves the lock alone,
    so there are many threads for both.
    """

    def __init__(
        self,
        threads: int = THREADS,
        clock: Callable[[], float] = time.monotonic,
        worked: Callable[[], float] = time.thread_time,
    ) -> None:
        self._one = ThreadPoolExecutor(1, "disk")
        self._many = ThreadPoolExecutor(threads, "disks")
        self.stopping = Event()
        """Set after an error or ctrl-C: what takes long, such as hashing, should end at once."""
        self._clock, self._worked = clock, worked
        self._busy_share = 1.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.stopping.set()
        self._one.shutdown()
        self._many.shutdown()

    def submit(self, do: Callable[[], Made], size: int) -> Future[Made]:
        """Do something with `size` bytes of files, at once or in a thread."""
        if size > GROUP_BYTES:
            return self._many.submit(do)
        if not self._is_fast:
            pool = self._many if self._busy_share < SLOW_DISK else self._one
            return pool.submit(self._observed, do)
        done: Future[Made] = Future()
        try:
            done.set_result(self._observed(do))
        except Exception as error:
            done.set_exception(error)
        return done

    async def run(self, do: Callable[[], Made], size: int) -> Made:
        """Return what `do` returns; see `submit`."""
        if size <= GROUP_BYTES and self._is_fast:
            return self._observed(do)
        return await asyncio.wrap_future(self.submit(do, size))

    @property
    def _is_fast(self) -> bool:
        return self._busy_share >= FAST_DISK

    def _observed(self, do: Callable[[], Made]) -> Made:
        began, worked = self._clock(), self._worked()
        try:
            return do()
        finally:
            took = self._clock() - began
            share = (self._worked() - worked) / took if took else 1.0
            self._busy_share += (share - self._busy_share) / 8


class ByteBudget:
    """Limits the bytes on their way: to what the line carries in a short time, and what fits.

    On a thin line nothing is gained by more, and each answer would be so late that it is given up.
    """

    def __init__(
        self, most: int = BUDGET_BYTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._total = most, min(most, FIRST_BYTES)
        self._used = 0
        self._clock = clock
        self._since, self._moved = clock(), 0.0
        self._changed = asyncio.Condition()

    async def take(self, size: int) -> None:
        """Wait for room for `size` bytes; a larger item than all of it goes alone."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._used or self._used + size <= self._total)
            self._used += size
            self._changed.notify()  # there may be room for another, too

    async def give_back(self, size: int) -> None:
        """Give back the bytes of an item that was moved."""
        async with self._changed:
            self._used -= size
            self._total = self._carried(size)
            self._changed.notify()

    def _carried(self, size: int) -> int:
        """Return how many bytes the line carries in a short time, as it did of late."""
        self._moved += size
        seconds = self._clock() - self._since
        if seconds > AHEAD_SECONDS:
            # Forget the older half, so that the rate is that of the last seconds.
            self._since += seconds / 2
            self._moved /= 2
            seconds /= 2
        ahead = int(AHEAD_SECONDS * self._moved / seconds) if seconds else self._most
        return min(self._most, max(FIRST_BYTES, ahead))


def groups(items: Iterable[Item], size_of: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Group neighbours that are quick to read or write; a large item is alone."""
    group: list[Item] = []
    total = 0
    for item in items:
        size = size_of(item)
        if group and (len(group) == GROUP_FILES or total + size > GROUP_BYTES):
            yield group
            group, total = [], 0
        group.append(item)
        total += size
    if group:
        yield group


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What S3 would record of a file's content, and its SHA-256.

    `etag` is empty if nobody has asked for it.
    """

    size: int
    etag: str
    sha256: str
    modified_ns: int = field(default=0, compare=False)
    """When the file was last written before it was read."""


def fingerprint(
    path: Path | str, *, etag: bool = True, stopping: Event | None = None
) -> Fingerprint:
    """Read a file once, and describe its content as `S3Store.put_file` would store it.

    Raises CancelledError once `stopping` is set. The ETag takes twice as long as all the rest, so
    leave it out where nothing is compared with it.

    Without KMS, S3's ETag is the MD5 of a small object, and for one that was sent in parts the MD5
    of the parts' MD5s; we choose the parts' size. So a listing alone tells what is there.
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html
    """
    whole = hashlib.sha256()
    parts: list[bytes] = []
    size = 0
    # Opening a million files as Path would take longer than reading small ones.
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        found = os.fstat(file.fileno())
        length = part_bytes(found.st_size)
        # A longer read would take the memory for it.
        most = min(_READ_BYTES, found.st_size + 1)

        def read_some(size: int) -> bytes:
            if stopping and stopping.is_set():
                raise CancelledError
            return file.read(min(size, most))

        while content := _part(read_some, length, whole, etag=etag):
            md5, read = content
            parts.append(md5)
            size += read
    known = _etag(parts, size) if etag else ""
    return Fingerprint(size, known, whole.hexdigest(), found.st_mtime_ns)


def _etag(parts: Sequence[bytes], size: int) -> str:
    if size < PART_BYTES:
        return (parts[0] if parts else _md5(b"")).hex()
    return f"{_md5(b''.join(parts)).hex()}-{len(parts)}"


def _part(
    read: Callable[[int], bytes], length: int, whole: hashlib._Hash, *, etag: bool
) -> tuple[bytes, int] | None:
    md5 = hashlib.md5(usedforsecurity=False)
    size = 0
    while size < length and (chunk := read(length - size)):
        if etag:
            md5.update(chunk)
        whole.update(chunk)
        size += len(chunk)
    return (md5.digest(), size) if size else None


def _md5(content: bytes) -> bytes:
    return hashlib.md5(content, usedforsecurity=False).digest()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def holds(store: Store, there: ObjectInfo, content: Fingerprint) -> bool:
    """Whether an object has this content.

    In a bucket without KMS the ETag tells; elsewhere only the metadata of our own uploads does.
    """
    if there.size != content.size:
        return False
    if there.etag == content.etag:
        return True
    described = store.head(there.key)
    return described is not None and described.metadata.get(SHA256) == content.sha256
