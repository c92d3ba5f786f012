"""Reports this worker's state to S3, for `status` and to choose the leader.

It contains the counts of what the worker has done so far.
"""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from parallelize_agent.job.job import Decision, DecisionKind
from parallelize_agent.process.command import Outcome
from parallelize_core.heartbeat import Heartbeat
from parallelize_core.layout import RunLayout
from parallelize_core.store import AsyncStore

log = structlog.get_logger()

WRITE_SECONDS = 10.0
"""How long one try to write may take."""


@dataclass
class HeartbeatWriter:
    """Writes what `describe` returns, every `interval_seconds` and whenever `beat` is called.

    `after` is called with each heartbeat; the last one is tried for at most `last_seconds`.
    """

    store: AsyncStore
    layout: RunLayout
    describe: Callable[[], Heartbeat]
    interval_seconds: float
    after: Callable[[Heartbeat], Awaitable[None]]
    last_seconds: float

    def __post_init__(self) -> None:
        self._wake = asyncio.Event()
        self._sent: asyncio.Task[bool] | None = None

    def beat(self) -> None:
        """Write soon: something has changed."""
        self._wake.set()

    async def run(self) -> None:
        """Write until cancelled, the first one at once."""
        while True:
            self._wake.clear()
            heartbeat = self.describe()
            await self._write(heartbeat)
            await self.after(heartbeat)
            try:
                async with asyncio.timeout(self.interval_seconds):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def write_last(self) -> None:
        """Write the last one.

        It is retried for a while if the store does not take it: otherwise `status` would show a
        worker that has left as active until it is overdue.
        """
        # It takes some milliseconds to load, which the start need not wait for.
        from tenacity import (  # noqa: PLC0415
            AsyncRetrying,
            retry_if_result,
            wait_random_exponential,
        )

        patiently = AsyncRetrying(
            retry=retry_if_result(operator.not_),
            wait=wait_random_exponential(multiplier=0.2, max=2),
        )
        try:
            async with asyncio.timeout(self.last_seconds):
                if self._sent:
                    await asyncio.wait({self._sent}, timeout=self.last_seconds / 2)
                await patiently(self._write_now)
                await self.after(self.describe())
        except TimeoutError:
            log.warning("the last heartbeat was not written")

    async def _write_now(self) -> bool:
        return await self._write(self.describe())

    async def _write(self, heartbeat: Heartbeat) -> bool:
        # A request that is cut off may still arrive, and then replaces what was written later. So
        # it goes on when the worker leaves, and the last one waits for it.
        self._sent = asyncio.create_task(self._put(heartbeat))
        return await asyncio.shield(self._sent)

    async def _put(self, heartbeat: Heartbeat) -> bool:
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                key = self.layout.heartbeat(heartbeat.worker)
                await self.store.put(key, heartbeat.encode())
        except Exception as error:
            log.warning("heartbeat not written", error=str(error) or repr(error))
            return False
        return True


@dataclass
class Counts:
    """Jobs by outcome.

    `failed` counts those that have failed for good.
    """

    done: int = 0
    failed: int = 0
    handed_back: int = 0
    lost: int = 0
    busy_seconds: float = 0.0
    last_failure: str = ""

    def add(self, key: str, outcome: Outcome | None, decision: Decision) -> None:
        """Count one more job, whose command ended with `outcome` if it began."""
        if outcome:
            self.busy_seconds = round(self.busy_seconds + outcome.usage.seconds, 3)
        match decision.kind:
            case DecisionKind.SUCCEEDED:
                self.done += 1
            case DecisionKind.FAILED if decision.charged or decision.final:
                self.failed += decision.final
                self.last_failure = f"{key}: {decision.message}"
            case DecisionKind.FAILED:
                self.handed_back += 1
            case DecisionKind.LOST:
                self.lost += 1
