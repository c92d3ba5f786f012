"""Workers at work in threads of this process, and what a test may do with them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from parallelize_agent.assembly import Assembly
from parallelize_agent.shutdown import ShutdownReason
from parallelize_agent.worker import Worker
from parallelize_core.heartbeat import Heartbeat


class LiveWorker:
    """A worker on an event loop of its own, and what a test in another thread may do with it."""

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._loop: asyncio.AbstractEventLoop | None = None
        self._made = threading.Event()
        self.worker: Worker | None = None

    def run(self) -> ShutdownReason:
        """Run it to its end."""
        return asyncio.run(self._run())

    async def _run(self) -> ShutdownReason:
        self._loop = asyncio.get_running_loop()
        try:
            self.worker = await self._assembly.worker()
        finally:
            self._made.set()
        return await self.worker.run()

    def describe(self) -> Heartbeat:
        """Return its account of itself."""
        return self._there().describe()

    @property
    def decided(self) -> ShutdownReason | None:
        """Its decision to shut down, if there is one."""
        return self._there().shutdown.decided

    def shut_down(
        self, reason: str, seconds: float | None = None, *, imposed: bool = False
    ) -> None:
        """Have it shut down."""
        decide = partial(self._there().shutdown.decide, reason, seconds, imposed=imposed)
        assert self._loop
        # It may have ended by itself.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(decide)

    def _there(self) -> Worker:
        assert self._made.wait(20)
        assert self.worker
        return self.worker


class Background:
    """A worker in a thread."""

    def __init__(self, worker: LiveWorker) -> None:
        self.worker = worker
        self.departure: ShutdownReason | None = None
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def leave(self, seconds: float | None = 0, reason: str = "the test says so") -> ShutdownReason:
        """Have it leave, and wait until it has."""
        self.worker.shut_down(reason, seconds)
        return self.join()

    def join(self, seconds: float = 30) -> ShutdownReason:
        self._thread.join(seconds)
        assert self.departure, "it has not left in time"
        return self.departure

    def _run(self) -> None:
        self.departure = self.worker.run()


@contextmanager
def at_work(*workers: LiveWorker) -> Iterator[Sequence[Background]]:
    """Let workers run in the background, and make sure that they have left in the end."""
    backgrounds = [Background(worker) for worker in workers]
    for background in backgrounds:
        background.start()
    try:
        yield backgrounds
    finally:
        for background in backgrounds:
            background.leave()
