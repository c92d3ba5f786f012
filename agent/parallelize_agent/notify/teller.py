"""Notifies people once that the run is finished, paused or out of budget.

The worker that notifies creates the record of the end with If-None-Match, sends, and records that
it has. If it dies in between, the record stays unchanged, and another worker takes it over with
If-Match. So people are notified at least once as long as a worker is left, and twice only if the
first one dies after sending.

The leader reports that the run is finished before it tells the other workers: if it dies doing so,
the next leader reports it. All workers leave a paused run, so all of them try, as soon as they
know of it: their last jobs may take hours. All but the first wait until it is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from parallelize_agent.job.run_source import RunSource
from parallelize_agent.notify import standing
from parallelize_agent.notify.means import Means
from parallelize_agent.shutdown import words
from parallelize_core.config import AgentConfig
from parallelize_core.errors import MissingError, ParallelizeError, UnavailableError
from parallelize_core.names import FIRST
from parallelize_core.notify import Delivery, Event, Notification, Notify
from parallelize_core.run import Run
from parallelize_core.store import IF_ABSENT, AsyncStore, Condition, Store

log = structlog.get_logger()

TRIES = 5

Send = Callable[[Notify, Run, Notification], Awaitable[None]]
"""Notifies people; raises UnavailableError if a retry may help."""


@dataclass(frozen=True)
class Teller:
    """Notifies people of the end of a run, if they want that."""

    config: AgentConfig
    worker: str
    records: AsyncStore
    rare: Store
    run: RunSource
    send: Send
    means: Means

    @property
    def flags(self) -> str:
        """What is appended to proposed commands so that they mean this run."""
        config = self.config
        stack = "" if config.stack == FIRST else f" --stack {config.stack}"
        return f" --run {config.run}{stack}{' --local' * self.means.is_local}"

    async def tell_finished(self) -> None:
        """Report that every job that was sent has its result; see `_tell`."""
        await self._tell(Event.FINISHED)

    async def tell_paused(self) -> None:
        """Report that the run is paused, and why; see `_tell`."""
        await self._tell(standing.event_of_pause(self.run.current))

    async def _tell(self, event: Event) -> None:
        """Notify people, unless they do not want that, or were notified before.

        Errors are logged, and delay the end of the worker by minutes at most.
        """
        try:
            if notify := await self._read():
                await self._tell_once(notify, event)
        except Exception as error:
            log.warning("notification not sent", error=_harmless(error))

    async def _read(self) -> Notify | None:
        try:
            return Notify.decode(await self.records.get(self.config.layout.notify))
        except MissingError:
            return None

    async def _tell_once(self, notify: Notify, event: Event) -> None:
        run, layout = self.run.current, self.config.layout
        end = await asyncio.to_thread(standing.identify, self.rare, layout, run, event)
        place = layout.delivery(f"{event}-{end}")
        if (etag := await self._take(place)) is None:
            return
        look = standing.Look(self.rare, self.config, self.flags)
        told = await asyncio.to_thread(look.describe, run, event, end)
        failed = await self._try(notify, run, told)
        made = Delivery(worker=self.worker, sent=not failed, failed=failed)
        await self.records.put(place, made.encode(), Condition(etag=etag))
        log.info("people told", end=told.id, failed=failed or None)

    async def _take(self, place: str) -> str | None:
        """Return the record's ETag if it is our turn, None once another worker has notified."""
        loop = asyncio.get_running_loop()
        mine, condition = Delivery(worker=self.worker).encode(), IF_ABSENT
        seen, since = "", loop.time()
        while True:
            if etag := await self.records.put(place, mine, condition):
                return etag
            head, record = await self._look(place)
            if record is None or record.is_over:
                return None
            if record.worker == self.worker:
                return head  # our own write, whose answer was lost
            if head != seen:
                seen, since = head, loop.time()
            # By how long it is unchanged, not by the clock of another machine.
            if loop.time() - since < self.means.patience.silence:
                await asyncio.sleep(self.means.patience.look)
            else:
                condition = Condition(etag=seen)

    async def _look(self, place: str) -> tuple[str, Delivery | None]:
        head = await self.records.head(place)
        if head is None:
            return "", None
        return head.etag, Delivery.decode(await self.records.get(place))

    async def _try(self, notify: Notify, run: Run, told: Notification) -> str:
        """Send it, with retries; return why it failed, empty if it did not."""
        pause = self.means.patience.first_pause
        failed = ""
        try:
            async with asyncio.timeout(self.means.patience.send):
                for _ in range(TRIES):
                    try:
                        await self.send(notify, run, told)
                    except UnavailableError as error:
                        failed = words(error)
                    except ParallelizeError as error:
                        return words(error)
                    else:
                        return ""
                    await asyncio.sleep(pause)
                    pause *= 2
        except TimeoutError:
            return failed or "it took too long"
        return failed


def _harmless(error: Exception) -> str:
    """Return what may be logged of an error: no content of notify.json, which holds a secret."""
    return error.what if isinstance(error, ParallelizeError) else type(error).__name__
