"""run.json, read again every few seconds: it may change or be paused while agents work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from parallelize_core.config import AgentConfig
from parallelize_core.errors import MissingError
from parallelize_core.layout import RunLayout
from parallelize_core.run import Run
from parallelize_core.store import AsyncStore

FIRST_PAUSE_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 1.0
PAUSE_GROWTH = 1.1


class RunSource:
    """The run as last read; `max_age_seconds` limits its age."""

    def __init__(
        self,
        store: AsyncStore,
        layout: RunLayout,
        max_age_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._layout = layout
        self._max_age = max_age_seconds
        self._clock = clock
        self._run: Run | None = None
        self._read_at = 0.0

    @property
    def current(self) -> Run:
        """The run, however old; `refresh` must have read it once."""
        assert self._run  # noqa: S101 - a worker begins by reading it
        return self._run

    @property
    def is_stale(self) -> bool:
        """Whether it is time to read it again."""
        return self._clock() - self._read_at >= self._max_age

    async def first(self, config: AgentConfig) -> Run:
        """Read the run once it exists; raise MissingError after `run_within_seconds` without it."""
        deadline = self._clock() + config.run_within_seconds
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self.refresh()
            except MissingError:
                if self._clock() >= deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE_SECONDS, PAUSE_GROWTH * pause)

    async def fresh(self) -> Run:
        """Return the run, read again if it is stale; raises what `refresh` raises."""
        return await self.refresh() if self.is_stale else self.current

    async def refresh(self) -> Run:
        """Read the run again; on DecodeError or the store's errors, raise and keep the last one."""
        asked = self._clock()
        self._run = Run.decode(await self._store.get(self._layout.run_json))
        self._read_at = asked
        return self._run
