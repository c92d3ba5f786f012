"""One queue: what waits in a deque, what is leased or delayed in a heap by time.

Every call takes the same time however long the queue is.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections import deque
from dataclasses import dataclass, field

_numbers = itertools.count(1)


@dataclass(slots=True)
class Message:
    """A message; `receives` counts how often it was handed out."""

    id: str
    body: str
    receives: int = 0


@dataclass(slots=True)
class Lease:
    """Who holds a message: until when, and since when without a renewal (monotonic seconds)."""

    receipt: str
    message: Message
    renewed_at: float
    until: float


@dataclass(frozen=True)
class Counts:
    """How many messages wait, are leased, and are delayed."""

    visible: int
    leased: int
    delayed: int


@dataclass
class Observed:
    """What an observer wants to know of a queue; times are monotonic seconds, 0 for never."""

    received: int = 0
    deleted: int = 0
    expired: int = 0
    first_received_at: float = 0.0
    last_deleted_at: float = 0.0
    unrenewed_seconds: list[float] = field(default_factory=list)
    """For each renewal, how long the lease had gone without one."""


class MessageQueue:
    """A standard queue. Not safe between threads: all that wait do so on one event loop."""

    def __init__(self) -> None:
        self.attributes: dict[str, str] = {}
        self.observed = Observed()
        self.purge()

    def purge(self) -> None:
        """Forget all messages."""
        self._visible: deque[Message] = deque()
        self._leases: dict[str, Lease] = {}
        self._leased: list[tuple[float, int, str]] = []
        self._delayed: list[tuple[float, int, Message]] = []
        self._waiters: deque[asyncio.Future[None]] = deque()

    def send(self, body: str, delay_seconds: float = 0) -> Message:
        """Add a message."""
        number = next(_numbers)
        message = Message(f"{number:032x}", body)
        if delay_seconds:
            due = time.monotonic() + delay_seconds
            heapq.heappush(self._delayed, (due, number, message))
        else:
            self._show(message)
        return message

    def receive(self, limit: int, lease_seconds: float) -> list[Lease]:
        """Lease up to `limit` messages."""
        self._pass_time()
        now = time.monotonic()
        leases: list[Lease] = []
        while self._visible and len(leases) < limit:
            leases.append(self._lease(self._visible.popleft(), now, now + lease_seconds))
        if leases:
            self.observed.received += len(leases)
            self.observed.first_received_at = self.observed.first_received_at or now
        return leases

    def change(self, receipt: str, lease_seconds: float) -> bool:
        """Set what is left of a lease, 0 to end it; say whether there was one."""
        self._pass_time()
        lease = self._leases.get(receipt)
        if lease is None:
            return False
        if lease_seconds <= 0:
            del self._leases[receipt]
            self._show(lease.message)
            return True
        now = time.monotonic()
        self.observed.unrenewed_seconds.append(now - lease.renewed_at)
        lease.renewed_at, lease.until = now, now + lease_seconds
        heapq.heappush(self._leased, (lease.until, next(_numbers), receipt))
        return True

    def delete(self, receipt: str) -> None:
        """Remove a message, if its lease still stands."""
        if self._leases.pop(receipt, None):
            self.observed.deleted += 1
            self.observed.last_deleted_at = time.monotonic()

    def counts(self) -> Counts:
        """Count the messages."""
        self._pass_time()
        return Counts(len(self._visible), len(self._leases), len(self._delayed))

    async def wait(self, seconds: float) -> None:
        """Return when there may be a message to receive, or the time is over."""
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._waiters.append(waiter)
        timer = loop.call_later(min(seconds, self._until_next_due()), _wake, waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            # Its client has gone; what woke it is for the next one.
            if not waiter.cancelled():
                self._wake_one()
            raise
        finally:
            timer.cancel()

    def _lease(self, message: Message, now: float, until: float) -> Lease:
        number = next(_numbers)
        message.receives += 1
        lease = Lease(f"{number:x}-{message.id}", message, now, until)
        self._leases[lease.receipt] = lease
        heapq.heappush(self._leased, (until, number, lease.receipt))
        return lease

    def _show(self, message: Message) -> None:
        self._visible.append(message)
        self._wake_one()

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _pass_time(self) -> None:
        """Show again what was leased or delayed until now."""
        now = time.monotonic()
        while self._delayed and self._delayed[0][0] <= now:
            self._show(heapq.heappop(self._delayed)[2])
        while self._leased and self._leased[0][0] <= now:
            receipt = heapq.heappop(self._leased)[2]
            lease = self._leases.get(receipt)
            # A renewed lease is in the heap once more, a deleted message still is.
            if lease and lease.until <= now:
                del self._leases[receipt]
                self.observed.expired += 1
                self._show(lease.message)

    def _until_next_due(self) -> float:
        due = [heap[0][0] for heap in (self._leased, self._delayed) if heap]
        return max(0.001, min(due) - time.monotonic()) if due else float("inf")


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
