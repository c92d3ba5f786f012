"""How far a part of the manifest has been sent to the queue: one small object beside each part.

A sender writes, before it sends a chunk, that it is at it until a certain time, and with the next
write that the chunk is sent. Each write is conditional on the one before, so two senders at once
cannot send the same chunk; what a killed one has begun is open again when its time is over.
"""

from __future__ import annotations

import secrets
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
    holder: str = ""
    """Tells this write from any other, so that its writer knows it again."""


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
        held = HeldCursor(
            sent=cursor.sent, held_until=clock() + HOLD_SECONDS, holder=secrets.token_hex(8)
        )
        etag = _put(store, key, held, Condition(etag=there.etag) if there else IF_ABSENT)
        return cls(store, key, held, etag, clock)

    def advance(self, sent: int) -> None:
        """Write that the first `sent` entries are on the queue, and hold on."""
        until = self.clock() + HOLD_SECONDS
        self._write(self.cursor.model_copy(update={"sent": sent, "held_until": until}))

    def __enter__(self) -> CursorHold:
        return self

    def __exit__(self, *_: object) -> None:
        self._write(self.cursor.model_copy(update={"held_until": 0.0}))

    def _write(self, cursor: HeldCursor) -> None:
        self.etag = _put(self.store, self.key, cursor, Condition(etag=self.etag))
        self.cursor = cursor


def _put(store: Store, key: str, cursor: HeldCursor, condition: Condition) -> str:
    """Write a cursor and return its ETag; raise ServiceError if somebody else has the right."""
    body = cursor.encode()
    if etag := store.put(key, body, condition):
        return etag
    # The answer to our own write may have been lost, and the write sent again in vain.
    there = store.head(key)
    if there and store.get(key) == body:
        return there.etag
    raise busy(HOLD_SECONDS)


def busy(seconds: float) -> ServiceError:
    """Return the error for a run that somebody else is sending."""
    return ServiceError(
        "another enqueue is sending this run's jobs",
        f"it holds the list for at most {seconds:.0f} s more",
        "wait for it; if it was killed, try again then",
    )
