"""What the agents of the model share: one queue and one bucket, as values that never change.

Every function returns a new world. The queue promises what SQS promises of a standard queue and
no more: a message may come twice, a lease may run out at any moment, a delete with an old receipt
may work. The bucket's writes are conditional as S3's are; ETags stand for contents.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

from parallelize_core.store import Condition


@dataclass(frozen=True, order=True)
class Message:
    """A message for the one job; `receipt` counts its receives, `holder` is 0 if it is visible."""

    id: int
    body: str
    receipt: int = 0
    holder: int = 0


@dataclass(frozen=True, order=True)
class Stored:
    """An object; `metadata` is sorted pairs."""

    body: bytes
    metadata: tuple[tuple[str, str], ...] = ()

    @cached_property
    def etag(self) -> str:
        """The version, which is the same for the same content."""
        return hashlib.md5(self.body, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class World:
    """The queue's messages and the bucket's objects, sorted, so that equal worlds are equal.

    `clock` moves only to end a claim; `claimant` is the execution that made the last one.
    `at_work` are the executions that have begun to work, `failed_on` the workers on which the
    command has failed, and `dead` those that are gone.
    """

    messages: tuple[Message, ...] = ()
    objects: tuple[tuple[str, Stored], ...] = ()
    sent: int = 0
    clock: float = 0
    claimant: int | None = None
    at_work: frozenset[int] = frozenset()
    failed_on: frozenset[str] = frozenset()
    dead: frozenset[str] = frozenset()
    filed: frozenset[bytes] = frozenset()
    """Lines of segments, as if each were read forever from the moment that it was filed."""

    def find(self, key: str) -> Stored | None:
        """Return an object."""
        return dict(self.objects).get(key)

    def send(self, body: str) -> World:
        """Put a message on the queue."""
        number = self.sent + 1
        return replace(self, messages=(*self.messages, Message(number, body)), sent=number)

    def change(self, message: Message, new: Message | None) -> World:
        """Put a message in another's place, or nothing."""
        rest = [m for m in self.messages if m.id != message.id]
        return replace(self, messages=tuple(sorted([*rest, *([new] if new else [])])))

    def holds(self, receipt: tuple[int, int]) -> bool:
        """Whether a receive, as (message id, receipt), still has its lease."""
        return any((m.id, m.receipt) == receipt and m.holder for m in self.messages)

    def put(self, key: str, stored: Stored, condition: Condition) -> World | None:
        """Write an object, or return None if the condition does not hold."""
        there = self.find(key)
        if condition.absent and there:
            return None
        if condition.etag is not None and (there is None or there.etag != condition.etag):
            return None
        return replace(self, objects=tuple(sorted((dict(self.objects) | {key: stored}).items())))

    def remove(self, keys: tuple[str, ...]) -> World:
        """Delete objects."""
        return replace(self, objects=tuple(pair for pair in self.objects if pair[0] not in keys))
