"""Queues and stores in memory for an event loop, and a clock that a test can let pass."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from parallelize_core.clock import boot_seconds
from parallelize_core.queue import Message, Queue, QueueCounts
from parallelize_core.store import ALWAYS, Condition, ObjectInfo, Store, check_sha256
from parallelize_core.testing import InMemoryQueue


class Clock:
    """Seconds since boot, which a test can let pass at once."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return boot_seconds() + self.ahead


class PromptQueue(InMemoryQueue):
    """A queue whose long polls are short."""

    def receive(self, limit: int, wait_seconds: int, lease_seconds: int) -> list[Message]:
        waited = super().receive(limit, 0, lease_seconds)
        if not waited and wait_seconds:
            time.sleep(0.05)
            waited = super().receive(limit, 0, lease_seconds)
        return waited


class ThreadedQueue:
    """`queue`, for an event loop, whose calls may block as long as a test likes."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    async def send(self, bodies: Sequence[str], delay_seconds: int = 0) -> None:
        await asyncio.to_thread(self.queue.send, bodies, delay_seconds)

    async def receive(self, limit: int, wait_seconds: int, lease_seconds: int) -> list[Message]:
        return await asyncio.to_thread(self.queue.receive, limit, wait_seconds, lease_seconds)

    async def extend(self, receipts: Sequence[str], lease_seconds: int) -> list[str]:
        return await asyncio.to_thread(self.queue.extend, receipts, lease_seconds)

    async def delete(self, receipts: Sequence[str]) -> None:
        await asyncio.to_thread(self.queue.delete, receipts)

    async def counts(self) -> QueueCounts:
        return await asyncio.to_thread(self.queue.counts)


class ThreadedStore:
    """`store`, for an event loop, whose calls may block as long as a test likes."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.bucket = store.bucket

    async def get(self, key: str) -> bytes:
        return await asyncio.to_thread(self.store.get, key)

    async def get_within(self, key: str, limit: int, etag: str = "") -> bytes | None:
        with NamedTemporaryFile() as file:
            path = Path(file.name)
            size = await asyncio.to_thread(self.store.get_file, key, path, etag)
            return path.read_bytes() if size <= limit else None

    async def get_file(
        self, key: str, path: Path, etag: str = "", size: int = 0, sha256: str = ""
    ) -> int:
        written = await asyncio.to_thread(self.store.get_file, key, path, etag)
        check_sha256(hashlib.sha256(path.read_bytes()).hexdigest(), sha256, key)
        return written

    async def head(self, key: str) -> ObjectInfo | None:
        return await asyncio.to_thread(self.store.head, key)

    async def put(
        self,
        key: str,
        body: bytes,
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
        sha256: str = "",
    ) -> str | None:
        assert sha256 in {"", hashlib.sha256(body).hexdigest()}
        return await asyncio.to_thread(self.store.put, key, body, condition, metadata)

    async def put_file(
        self,
        key: str,
        file: IO[bytes],
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
        sha256: str = "",
    ) -> str | None:
        assert not sha256, "workers send no file by its checksum"
        return await asyncio.to_thread(self.store.put_file, key, file, condition, metadata)

    async def list(self, prefix: str, *, folder_only: bool = False) -> AsyncIterator[ObjectInfo]:
        found = await asyncio.to_thread(
            lambda: list(self.store.list(prefix, folder_only=folder_only))
        )
        for item in found:
            yield item

    async def delete(self, keys: Iterable[str]) -> None:
        await asyncio.to_thread(self.store.delete, keys)
