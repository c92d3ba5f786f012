"""How far a part of the manifest has been sent to the queue: one small object beside each part.

A sender writes, before it sends a chunk, that it is at it until a certain time, and with the next
write that the chunk is sent. Each write is conditional on the one before, so two senders at once
cannot send the same chunk; what a killed one has begun is open again when its time is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from parallelize_core.errors import MissingError, ServiceError
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import Cursor
from parallelize_core.record import Moment
from parallelize_core.store import IF_ABSENT, Condition, Store

HOLD_SECONDS = 60
"""Far longer than a chunk takes to send, and short enough to wait for after a crash."""


class HeldCursor(Cursor):
    """A cursor, and until when (seconds since 1970) somebody is sending what follows it."""

    held_until: Moment = 0.0


def read_held(store: Store, layout: RunLayout, part: int) -> HeldCursor:
    """Return how far a part is sent; raise DecodeError if the cursor is broken."""
    try:
        key = layout.cursor(part)
        return HeldCursor.decode(store.get(key), f"s3://{store.bucket}/{key}")
    except MissingError:
        return HeldCursor()


@dataclass
class CursorHold:
    """The right to send what follows in a part; a context manager that gives it back."""

    store: Store
    key: str
    cursor: HeldCursor
    etag: str
    clock: Callable[[], float] = time.time

    @classmethod
    def take(
        cls, store: Store, layout: RunLayout, part: int, clock: Callable[[], float] = time.time
    ) -> CursorHold:
        """Take the right; raise ServiceError if somebody else has it."""
        key = layout.cursor(part)
        there = store.head(key)
        # If another writes between the two reads, the conditional write below tells.
        cursor = read_held(store, layout, part) if there else HeldCursor()
        if cursor.held_until > clock():
            raise busy(cursor.held_until - clock())
        held = cursor.model_copy(update={"held_until": clock() + HOLD_SECONDS})
        condition = Condition(etag=there.etag) if there else IF_ABSENT
        etag = store.put(key, held.encode(), condition)
        if etag is None:
            raise busy(HOLD_SECONDS)
        return cls(store, key, held, etag, clock)

    def advance(self, sent: int) -> None:
        """Write that the first `sent` entries are on the queue, and hold on."""
        self._write(HeldCursor(sent=sent, held_until=self.clock() + HOLD_SECONDS))

    def __enter__(self) -> CursorHold:
        return self

    def __exit__(self, *_: object) -> None:
        self._write(HeldCursor(sent=self.cursor.sent))

    def _write(self, cursor: HeldCursor) -> None:
        body = cursor.encode()
        etag = self.store.put(self.key, body, Condition(etag=self.etag))
        if etag is None:
            raise busy(HOLD_SECONDS)
        self.cursor, self.etag = cursor, etag


def busy(seconds: float) -> ServiceError:
    """Return the error for a run that somebody else is sending."""
    return ServiceError(
        "another enqueue is sending this run's jobs",
        f"it holds the list for at most {seconds:.0f} s more",
        "wait for it; if it was killed, try again then",
    )
