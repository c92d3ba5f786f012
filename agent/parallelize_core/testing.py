"""A queue and a store in memory that behave as the real ones promise.

They ship with the package so that everything built on the two protocols can be tested without a
server; the same tests run against them and the real ones.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from parallelize_core.errors import ChangedError, MissingError
from parallelize_core.queue import BATCH, Message, QueueCounts
from parallelize_core.store import (
    ALWAYS,
    IF_ABSENT,
    Condition,
    ObjectInfo,
    Source,
    check_sha256,
    checked_metadata,
)
from parallelize_core.transport.uploads import check_content, read_whole


@dataclass
class _Held:
    id: str
    body: str
    visible_at: float
    receipt: str = ""
    receives: int = 0
    delayed: bool = False


class InMemoryQueue:
    """A standard queue; `clock` gives seconds, so a test can let leases run out at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._numbers = itertools.count(1)
        self._messages: dict[str, _Held] = {}
        self._changed = threading.Condition()

    def send(self, bodies: Sequence[str], delay_seconds: int = 0) -> None:
        """Send messages."""
        with self._changed:
            for body in bodies:
                id_ = f"message-{next(self._numbers)}"
                seen = self._clock() + delay_seconds
                self._messages[id_] = _Held(id_, body, seen, delayed=delay_seconds > 0)
            self._changed.notify_all()

    def receive(self, limit: int, wait_seconds: int, lease_seconds: int) -> list[Message]:
        """Lease up to `limit` messages; wait for the first, by the real clock."""
        until = time.monotonic() + wait_seconds
        with self._changed:
            while True:
                if found := self._visible()[: min(limit, BATCH)]:
                    return [self._lease(held, lease_seconds) for held in found]
                left = until - time.monotonic()
                if left <= 0:
                    return []
                self._changed.wait(min(left, 0.05))

    def extend(self, receipts: Sequence[str], lease_seconds: int) -> list[str]:
        """Renew leases; answer those that are lost."""
        with self._changed:
            lost = []
            for receipt in receipts:
                held = self._leased(receipt)
                if held is None:
                    lost.append(receipt)
                else:
                    held.visible_at = self._clock() + lease_seconds
            self._changed.notify_all()
            return lost

    def delete(self, receipts: Sequence[str]) -> None:
        """Acknowledge messages; a receipt that is not the latest does nothing."""
        with self._changed:
            for receipt in receipts:
                if held := self._current(receipt):
                    del self._messages[held.id]

    def counts(self) -> QueueCounts:
        """Count the messages."""
        with self._changed:
            visible = len(self._visible())
            hidden = [held for held in self._messages.values() if held.visible_at > self._clock()]
            delayed = sum(held.delayed for held in hidden)
            return QueueCounts(visible, len(hidden) - delayed, delayed)

    def bodies(self) -> list[str]:
        """Return the bodies of all messages, for a test to look at."""
        with self._changed:
            return [held.body for held in self._messages.values()]

    def _visible(self) -> list[_Held]:
        now = self._clock()
        return [held for held in self._messages.values() if held.visible_at <= now]

    def _lease(self, held: _Held, lease_seconds: int) -> Message:
        held.receives += 1
        held.delayed = False
        held.visible_at = self._clock() + lease_seconds
        held.receipt = f"{held.id}#{held.receives}"
        return Message(held.id, held.body, held.receipt, held.receives)

    def _current(self, receipt: str) -> _Held | None:
        held = self._messages.get(receipt.partition("#")[0])
        return held if held is not None and held.receipt == receipt else None

    def _leased(self, receipt: str) -> _Held | None:
        held = self._current(receipt)
        return held if held is not None and held.visible_at > self._clock() else None


@dataclass(frozen=True)
class _Stored:
    body: bytes
    etag: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    written: str = ""


class InMemoryStore:
    """A bucket with conditional writes.

    With a `clock`, which returns seconds since 1970, its listings say how old objects are.
    """

    def __init__(self, bucket: str = "bucket", clock: Callable[[], float] | None = None) -> None:
        self.bucket = bucket
        self._clock = clock
        self._objects: dict[str, _Stored] = {}
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes:
        """Return an object's content."""
        return self._existing(key).body

    def get_file(self, key: str, path: Path, etag: str = "") -> int:
        """Write an object to `path`."""
        return path.write_bytes(self._version(key, etag).body)

    def get_within(self, key: str, limit: int, etag: str = "") -> bytes | None:
        """Return an object's content, or None if it has more than `limit` bytes."""
        found = self._version(key, etag)
        return found.body if len(found.body) <= limit else None

    def head(self, key: str) -> ObjectInfo | None:
        """Describe an object."""
        with self._lock:
            found = self._objects.get(key)
        return ObjectInfo(key, len(found.body), found.etag, found.metadata) if found else None

    def put(
        self,
        key: str,
        body: bytes,
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        """Write an object."""
        with self._lock:
            there = self._objects.get(key)
            if condition.absent and there is not None:
                return None
            if condition.etag is not None and (there is None or there.etag != condition.etag):
                return None
            etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
            written = datetime.fromtimestamp(self._clock(), UTC).isoformat() if self._clock else ""
            self._objects[key] = _Stored(body, etag, checked_metadata(metadata), written)
            return etag

    def put_file(
        self,
        key: str,
        file: IO[bytes],
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        """Write an object from an open file, from its start."""
        file.seek(0)
        return self.put(key, file.read(), condition, metadata)

    def list(self, prefix: str, *, folder_only: bool = False) -> Iterator[ObjectInfo]:
        """List the keys that start with `prefix`, in the order of their bytes."""
        with self._lock:
            found = sorted(self._objects.items(), key=lambda item: item[0].encode())
            listed = self._clock() if self._clock else 0.0
        for key, stored in found:
            rest = key.removeprefix(prefix)
            if key.startswith(prefix) and not (folder_only and "/" in rest):
                yield ObjectInfo(
                    key, len(stored.body), stored.etag, written=stored.written, listed=listed
                )

    def folders(self, prefix: str) -> Iterator[str]:
        """List what follows `prefix` up to the next /, each once."""
        below = (item.key.removeprefix(prefix).partition("/") for item in self.list(prefix))
        yield from dict.fromkeys(name for name, slash, _ in below if slash)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects."""
        with self._lock:
            for key in keys:
                self._objects.pop(key, None)

    def _version(self, key: str, etag: str) -> _Stored:
        found = self._existing(key)
        if etag and found.etag != etag:
            raise ChangedError(f"s3://{self.bucket}/{key} has changed since it was listed")
        return found

    def delete_version(self, key: str, etag: str) -> bool:
        """Delete an object if it is still this version."""
        with self._lock:
            there = self._objects.get(key)
            if there and there.etag == etag:
                del self._objects[key]
            return key not in self._objects

    def copy_from(
        self, source: Source, key: str, metadata: Mapping[str, str] | None = None
    ) -> str | None:
        """Copy a version of an object of this bucket to a key at which there is none."""
        with self._lock:
            there = self._objects.get(source.key)
        if there is None or (source.bucket, source.etag) != (self.bucket, there.etag):
            return None
        return self.put(key, there.body, IF_ABSENT, metadata)

    def _existing(self, key: str) -> _Stored:
        with self._lock:
            found = self._objects.get(key)
        if found is None:
            raise MissingError(f"s3://{self.bucket}/{key} does not exist")
        return found


_LOOK_SECONDS = 0.005
"""How often a waiting receive looks for messages; short enough that a test does not notice."""


class AsyncInMemoryQueue:
    """`queue`, for an event loop: both have the same messages.

    Each call lets other tasks run before it acts, as a call over a network does.
    """

    def __init__(self, queue: InMemoryQueue | None = None) -> None:
        self.queue = queue or InMemoryQueue()

    async def send(self, bodies: Sequence[str], delay_seconds: int = 0) -> None:
        """Send messages."""
        await asyncio.sleep(0)
        self.queue.send(bodies, delay_seconds)

    async def receive(self, limit: int, wait_seconds: int, lease_seconds: int) -> list[Message]:
        """Lease up to `limit` messages; wait for the first, by the real clock."""
        until = time.monotonic() + wait_seconds
        await asyncio.sleep(0)
        while not (found := self.queue.receive(limit, 0, lease_seconds)):
            left = until - time.monotonic()
            if left <= 0:
                break
            await asyncio.sleep(min(left, _LOOK_SECONDS))
        return found

    async def extend(self, receipts: Sequence[str], lease_seconds: int) -> list[str]:
        """Renew leases; answer those that are lost."""
        await asyncio.sleep(0)
        return self.queue.extend(receipts, lease_seconds)

    async def delete(self, receipts: Sequence[str]) -> None:
        """Acknowledge messages; a receipt that is not the latest does nothing."""
        await asyncio.sleep(0)
        self.queue.delete(receipts)

    async def counts(self) -> QueueCounts:
        """Count the messages."""
        await asyncio.sleep(0)
        return self.queue.counts()


class AsyncInMemoryStore:
    """`store`, for an event loop: both have the same objects.

    Each call lets other tasks run before it acts, as a call over a network does.
    """

    def __init__(self, store: InMemoryStore | None = None) -> None:
        self.store = store or InMemoryStore()
        self.bucket = self.store.bucket

    async def get(self, key: str) -> bytes:
        """Return an object's content."""
        await asyncio.sleep(0)
        return self.store.get(key)

    async def get_file(
        self, key: str, path: Path, etag: str = "", size: int = 0, sha256: str = ""
    ) -> int:
        """Write an object to `path`."""
        await asyncio.sleep(0)
        written = self.store.get_file(key, path, etag)
        if size not in {0, written}:
            raise AssertionError(f"{key} has {written} bytes, not {size}")
        try:
            check_sha256(hashlib.sha256(path.read_bytes()).hexdigest(), sha256, f"s3://{key}")
        except ChangedError:
            path.unlink()
            raise
        return written

    async def get_within(self, key: str, limit: int, etag: str = "") -> bytes | None:
        """Return an object's content, or None if it has more than `limit` bytes."""
        await asyncio.sleep(0)
        return self.store.get_within(key, limit, etag)

    async def head(self, key: str) -> ObjectInfo | None:
        """Describe an object."""
        await asyncio.sleep(0)
        return self.store.head(key)

    async def put(
        self,
        key: str,
        body: bytes,
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
        sha256: str = "",
    ) -> str | None:
        """Write an object."""
        await asyncio.sleep(0)
        check_content(body, sha256)  # as S3 does
        return self.store.put(key, body, condition, metadata)

    async def put_file(
        self,
        key: str,
        file: IO[bytes],
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
        sha256: str = "",
    ) -> str | None:
        """Write an object from an open file, from its start."""
        await asyncio.sleep(0)
        file.seek(0)
        return self.store.put(key, read_whole(file, sha256), condition, metadata)

    async def list(self, prefix: str, *, folder_only: bool = False) -> AsyncIterator[ObjectInfo]:
        """List the keys that start with `prefix`, in the order of their bytes."""
        await asyncio.sleep(0)
        for info in self.store.list(prefix, folder_only=folder_only):
            yield info

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete objects."""
        await asyncio.sleep(0)
        self.store.delete(keys)
