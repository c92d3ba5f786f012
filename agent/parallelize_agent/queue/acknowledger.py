"""Deletes in batches: a message is acknowledged soon, and ten cost one call.

One that comes alone, as where jobs take long, is deleted at once: nothing would join it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from parallelize_agent.queue.leases import Lease
from parallelize_core.queue import BATCH, AsyncQueue

log = structlog.get_logger()

LINGER_SECONDS = 0.1
"""How long the first message of a batch waits for others, if others came just before it."""


class Acknowledger:
    """Deletes messages; leases are kept until then."""

    def __init__(self, messages: AsyncQueue, release: Callable[[Lease], None]) -> None:
        self._messages = messages
        self._release = release
        self._pending: list[Lease] = []
        self._timer: asyncio.TimerHandle | None = None
        self._deleting: set[asyncio.Task[None]] = set()
        self._latest = -LINGER_SECONDS
        """When the last message came, by the loop's clock."""

    def acknowledge(self, lease: Lease) -> None:
        """Delete a message soon, and release its lease."""
        loop = asyncio.get_running_loop()
        alone = loop.time() - self._latest >= LINGER_SECONDS
        self._latest = loop.time()
        self._pending.append(lease)
        if alone or len(self._pending) >= BATCH:
            self._flush()
        elif self._timer is None:
            self._timer = loop.call_later(LINGER_SECONDS, self._flush)

    async def finish(self) -> None:
        """Delete what is pending, and return when that is done or has failed."""
        self._flush()
        await asyncio.gather(*self._deleting)

    def _flush(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._pending:
            batch, self._pending = self._pending, []
            task = asyncio.create_task(self._delete(batch))
            self._deleting.add(task)
            task.add_done_callback(self._deleting.discard)

    async def _delete(self, batch: list[Lease]) -> None:
        try:
            await self._messages.delete([lease.message.receipt for lease in batch])
        except Exception as error:
            # Harmless: the job has its result, and the next to get the message deletes it.
            log.warning("messages not deleted", messages=len(batch), error=str(error))
        finally:
            for lease in batch:
                self._release(lease)
