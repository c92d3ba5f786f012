"""What this worker knows about its jobs' memory, asks other workers, and reports to them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from parallelize_agent.memory.admission import Memory
from parallelize_agent.process.command import Ending, Outcome
from parallelize_core.heartbeat import MemoryPeaks, MemoryUse

log = structlog.get_logger()

ENOUGH = 50
"""With this many results of its own, a worker asks no others."""

LOOK_SECONDS = 10.0
"""How long reading what others know may take."""


@dataclass
class Knowledge:
    """Learns from results; `promised` returns the run's memory_per_job in bytes, 0 for none.

    `ask` returns what others report, which is read every `interval_seconds`.
    """

    memory: Memory
    promised: Callable[[], int]
    ask: Callable[[], Awaitable[Sequence[MemoryPeaks]]]
    interval_seconds: float

    async def run(self) -> None:
        """Ask others now and then, until this worker knows enough itself."""
        while self.memory.model.own < ENOUGH:
            await asyncio.sleep(self.interval_seconds)
            await self.look()

    async def look(self) -> None:
        """Ask others once, if there is anything to learn; failing to reach them is harmless."""
        if self.promised():
            return
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                self.memory.model.learn_from(await self.ask())
        except Exception as error:
            log.warning("peaks of others not read", error=str(error) or repr(error))

    def note(self, size_bytes: int, outcome: Outcome) -> None:
        """Learn from a command that has ended; one that was stopped or failed shows too little."""
        done = outcome.ending is Ending.EXITED and outcome.exit_code == 0
        if done or outcome.ending is Ending.MEMORY:
            usage = outcome.usage
            self.memory.model.add(
                size_bytes, usage.peak_memory_bytes, usage.peak_after_seconds,
                usage.seconds if done else None,
            )  # fmt: skip

    def tell(self, usable_slots: int) -> MemoryUse:
        """Return the heartbeat's entry on memory."""
        return MemoryUse(
            total=self.memory.total,
            promised=self.promised(),
            expected=round(self.memory.model.p95),
            slots=usable_slots,
            peaks=self.memory.model.told,
        )
