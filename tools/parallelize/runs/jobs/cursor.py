"""How far a part of the manifest has been sent to the queue: one small object beside each part.

Before it sends a chunk, a sender writes that the chunk is sent, and that it holds the part until a
certain time. Each write is conditional on the one before, so two senders cannot send the same
chunk, and after a crash nobody sends a chunk twice: jobs of it that were not sent have neither
message nor result, and are found when the queue is empty. When the hold expires, others may send
the rest of the part.
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
from parallelize_core.store import IF_ABSENT, AsyncStore, Condition

HOLD_SECONDS = 60
"""Far longer than sending a chunk takes, and short enough to wait for after a crash."""


class HeldCursor(Cursor):
    """A cursor, and until when (seconds since 1970) somebody holds the part to send the rest."""

    held_until: Moment = 0.0
    holder: str = ""
    """Marks this write, so that its writer recognizes it."""


async def read_held(store: AsyncStore, layout: RunLayout, part: int) -> HeldCursor:
    """Return how much of a part has been sent; raise DecodeError if the cursor is broken."""
    try:
        key = layout.cursor(part)
        return HeldCursor.decode(await store.get(key), f"s3://{store.bucket}/{key}")
    except MissingError:
        return HeldCursor()


@dataclass
class CursorHold:
    """The right to send the rest of a part; an async context manager that gives it back."""

    store: AsyncStore
    key: str
    cursor: HeldCursor
    etag: str
    clock: Callable[[], float] = time.time

    @classmethod
    async def take(
        cls, store: AsyncStore, layout: RunLayout, part: int, clock: Callable[[], float] = time.time
    ) -> CursorHold:
        """Take the right; raise ServiceError if another sender has it."""
        key = layout.cursor(part)
        there = await store.head(key)
        # If another writes between the two reads, the conditional write below fails.
        cursor = await read_held(store, layout, part) if there else HeldCursor()
        if cursor.held_until > clock():
            raise busy(cursor.held_until - clock())
        held = HeldCursor(
            sent=cursor.sent, held_until=clock() + HOLD_SECONDS, holder=secrets.token_hex(8)
        )
        etag = await _put(store, key, held, Condition(etag=there.etag) if there else IF_ABSENT)
        return cls(store, key, held, etag, clock)

    async def advance(self, sent: int) -> None:
        """Claim the first `sent` entries for this holder alone, and extend the hold."""
        until = self.clock() + HOLD_SECONDS
        await self._write(self.cursor.model_copy(update={"sent": sent, "held_until": until}))

    async def __aenter__(self) -> CursorHold:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._write(self.cursor.model_copy(update={"held_until": 0.0}))

    async def _write(self, cursor: HeldCursor) -> None:
        self.etag = await _put(self.store, self.key, cursor, Condition(etag=self.etag))
        self.cursor = cursor


async def _put(store: AsyncStore, key: str, cursor: HeldCursor, condition: Condition) -> str:
    """Write a cursor and return its ETag; raise ServiceError if another sender has the right."""
    body = cursor.encode()
    if etag := await store.put(key, body, condition):
        return etag
    # The answer to our own write may have been lost, and its repetition refused.
    there = await store.head(key)
    if there and await store.get(key) == body:
        return there.etag
    raise busy(HOLD_SECONDS)


def busy(seconds: float) -> ServiceError:
    """Return the error for a run that somebody else is sending."""
    return ServiceError(
        "another enqueue is sending this run's jobs",
        f"it holds the list for at most {seconds:.0f} s more",
        "wait for it; if it was killed, try again after that",
    )
