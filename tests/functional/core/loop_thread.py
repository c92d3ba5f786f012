"""Queues and stores of a loop behind the faces of the others, so that one body tests both."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from parallelize_core.queue import AsyncQueue, Message, QueueCounts

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
