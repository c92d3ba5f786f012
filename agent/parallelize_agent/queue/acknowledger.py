"""Deletes in batches: a message is acknowledged soon, and ten cost one call."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from parallelize_agent.queue.leases import Lease
from parallelize_core.errors import BOUNDARY_ERRORS
from parallelize_core.queue import BATCH, Queue

log = structlog.get_logger()

LINGER_SECONDS = 0.1
"""How long the first message of a batch waits for company."""


class Acknowledger:
    """Deletes messages in a thread of its own; leases are kept until then."""

    def __init__(self, messages: Queue, release: Callable[[Lease], None]) -> None:
        self._messages = messages
        self._release = release
        self._pending: queue.SimpleQueue[Lease | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="acknowledger", daemon=True)

    def start(self) -> None:
        """Begin to delete."""
        self._thread.start()

    def acknowledge(self, lease: Lease) -> None:
        """Delete a message soon, and let go of its lease."""
        self._pending.put(lease)

    def stop(self) -> None:
        """Delete what is still pending, then end."""
        self._pending.put(None)
        self._thread.join()

    def _run(self) -> None:
        going = True
        while going:
            batch, going = self._next_batch()
            if batch:
                self._delete(batch)

    def _next_batch(self) -> tuple[list[Lease], bool]:
        """Return up to ten leases, and whether there may be more."""
        batch: list[Lease] = []
        timeout: float | None = None
        while len(batch) < BATCH:
            try:
                lease = self._pending.get(timeout=timeout)
            except queue.Empty:
                break
            if lease is None:
                return batch, False
            batch.append(lease)
            timeout = LINGER_SECONDS
        return batch, True

    def _delete(self, batch: list[Lease]) -> None:
        try:
            self._messages.delete([lease.message.receipt for lease in batch])
        except (BotoCoreError, ClientError, *BOUNDARY_ERRORS) as error:
            # Harmless: the job has its result, so whoever gets the message next deletes it.
            log.warning("messages not deleted", messages=len(batch), error=str(error))
        for lease in batch:
            self._release(lease)
