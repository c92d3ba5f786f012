"""Queues and stores of a loop behind the faces of the others, so that one body tests both."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import pytest

from parallelize_core.queue import AsyncQueue, Message, QueueCounts
from parallelize_core.store import ALWAYS, AsyncStore, Condition, ObjectInfo, Source

T = TypeVar("T")


class LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, task: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(task, self.loop).result()

    def call(self, make: Callable[[], T]) -> T:
        async def called() -> T:
            return make()

        return self.run(called())

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class LoopQueue:
    """A queue that lives on a loop."""

    def __init__(self, queue: AsyncQueue, thread: LoopThread) -> None:
        self._queue = queue
        self._run = thread.run

    def send(self, bodies: Sequence[str], delay_seconds: int = 0) -> None:
        self._run(self._queue.send(bodies, delay_seconds))

    def receive(self, limit: int, wait_seconds: int, lease_seconds: int) -> list[Message]:
        return self._run(self._queue.receive(limit, wait_seconds, lease_seconds))

    def extend(self, receipts: Sequence[str], lease_seconds: int) -> list[str]:
        return self._run(self._queue.extend(receipts, lease_seconds))

    def delete(self, receipts: Sequence[str]) -> None:
        self._run(self._queue.delete(receipts))

    def counts(self) -> QueueCounts:
        return self._run(self._queue.counts())


class LoopStore:
    """A store that lives on a loop; `folders` is what the loop's stores do not have."""

    def __init__(
        self,
        store: AsyncStore,
        thread: LoopThread,
        folders: Callable[[str], Iterator[str]],
    ) -> None:
        self.store = store
        self.bucket = store.bucket
        self.folders = folders
        self._run = thread.run

    def get(self, key: str) -> bytes:
        return self._run(self.store.get(key))

    def delete_version(self, key: str, etag: str) -> bool:
        pytest.skip("only the client deletes a version, and it has no loop")

    def copy_from(
        self, source: Source, key: str, metadata: Mapping[str, str] | None = None
    ) -> str | None:
        pytest.skip("only the client copies, and it does so without a loop")

    def get_file(self, key: str, path: Path, etag: str = "") -> int:
        return self._run(self.store.get_file(key, path, etag))

    def head(self, key: str) -> ObjectInfo | None:
        return self._run(self.store.head(key))

    def put(
        self,
        key: str,
        body: bytes,
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        return self._run(self.store.put(key, body, condition, metadata))

    def put_file(
        self,
        key: str,
        file: IO[bytes],
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        return self._run(self.store.put_file(key, file, condition, metadata))

    def list(self, prefix: str, *, folder_only: bool = False) -> Iterator[ObjectInfo]:
        async def listed() -> tuple[ObjectInfo, ...]:
            return tuple([info async for info in self.store.list(prefix, folder_only=folder_only)])

        return iter(self._run(listed()))

    def delete(self, keys: Iterable[str]) -> None:
        self._run(self.store.delete(keys))
