"""The one boundary to SQS: what the rest of the system may ask of a queue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

T = TypeVar("T")

BATCH = 10
"""Entries in one batch call, and messages in one receive.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-batch-api-actions.html
"""

MAX_DELAY_SECONDS = 15 * 60
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-delay-queues.html"""


class Message(NamedTuple):
    """A message as received; `receives` counts how often it was received."""

    id: str
    body: str
    receipt: str
    receives: int


@dataclass(frozen=True)
class QueueCounts:
    """About how many messages wait, are leased, and are delayed."""

    visible: int
    in_flight: int
    delayed: int

    @property
    def total(self) -> int:
        """About how many messages there are."""
        return self.visible + self.in_flight + self.delayed


class Counted(Protocol):
    """Something whose messages can be counted: a queue, or several."""

    def counts(self) -> QueueCounts:
        """Count the messages, approximately."""


class Queue(Counted, Protocol):
    """One queue.

    Every call may raise ServiceError, AccessError, or UsageError for a setting of this machine,
    whatever fails on the way.
    """

    def send(self, bodies: Sequence[str], delay_seconds: int = 0) -> None:
        """Send messages, any number of them; returns when all are on the queue."""

    def receive(self, limit: int, wait_seconds: int, lease_seconds: int) -> list[Message]:
        """Lease up to `limit` (1 to 10) messages; wait up to 20 s for the first."""

    def extend(self, receipts: Sequence[str], lease_seconds: int) -> list[str]:
        """Renew leases from now on; answer the receipts whose lease is lost."""

    def delete(self, receipts: Sequence[str]) -> None:
        """Acknowledge messages."""


class AsyncQueue(Protocol):
    """One queue, for an event loop: what `Queue` says holds here, too.

    A receive that is cancelled may lease messages to nobody; all other calls may be cancelled.
    """

    async def send(self, bodies: Sequence[str], delay_seconds: int = 0) -> None:
        """Send messages, any number of them; returns when all are on the queue."""

    async def receive(self, limit: int, wait_seconds: int, lease_seconds: int) -> list[Message]:
        """Lease up to `limit` (1 to 10) messages; wait up to 20 s for the first."""

    async def extend(self, receipts: Sequence[str], lease_seconds: int) -> list[str]:
        """Renew leases from now on; answer the receipts whose lease is lost."""

    async def delete(self, receipts: Sequence[str]) -> None:
        """Acknowledge messages."""

    async def counts(self) -> QueueCounts:
        """Count the messages, approximately."""


def batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut `items` into pieces that one batch call takes."""
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
