"""Jobs that outlive their message: SQS keeps one invisible for 12 hours at most.

Before that, the agent writes a claim on the job to S3, parks a fresh message that says
`claimed`, and deletes the old one. From then on it renews the claim instead of the message.
A worker that receives a `claimed` message checks the claim: while it is renewed, the message is
parked again; once it is stale, the worker takes the job over by a conditional write, which
makes the former owner's next renewal fail.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from parallelize_core.errors import DecodeError, MissingError
from parallelize_core.layout import RunLayout
from parallelize_core.record import Record
from parallelize_core.store import ALWAYS, AsyncStore, Condition

SKEW_SECONDS = 30
"""How far two workers' clocks may differ; EC2's are kept within milliseconds."""


class ClaimRecord(Record):
    """Who works on a job, and until when (seconds since 1970) the claim holds."""

    worker: str
    until: float


@dataclass
class Claim:
    """Our own claim, as it was last written."""

    key: str
    etag: str


class Claims:
    """The claims of one worker; `seconds` is how long one holds without renewal."""

    def __init__(
        self,
        store: AsyncStore,
        layout: RunLayout,
        worker: str,
        seconds: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._layout = layout
        self._worker = worker
        self._seconds = seconds
        self._now = now
        self._at_work: set[str] = set()

    async def make(self, key: str) -> Claim:
        """Claim the job with the input `key`, whose message is ours now."""
        place = self._layout.claim(key)
        etag = await self._store.put(place, self._record(), ALWAYS)
        self._at_work.add(place)
        return Claim(place, etag or "")

    async def renew(self, claim: Claim) -> bool:
        """Extend a claim; return whether it was still ours."""
        etag = await self._store.put(claim.key, self._record(), Condition(etag=claim.etag))
        claim.etag = etag or claim.etag
        if etag is None:
            self._at_work.discard(claim.key)
        return etag is not None

    async def take_over(self, key: str) -> bool:
        """Take a job over from the worker that has claimed it, unless that renews its claim.

        Returns False while somebody does. This agent may receive its own parked message. But a
        claim by an earlier agent of this worker, which is gone, can be taken at once.
        """
        place = self._layout.claim(key)
        head = await self._store.head(place)
        if head is None:
            return True
        try:
            record = ClaimRecord.decode(await self._store.get(place))
        except MissingError:
            return True
        except DecodeError:
            record = ClaimRecord(worker="", until=0)  # it cannot be read, so it is nobody's
        if self._now() < record.until + SKEW_SECONDS:
            return record.worker == self._worker and place not in self._at_work
        # Not ours to delete: if the owner has come back meanwhile, this write fails.
        return await self._store.put(place, self._record(), Condition(etag=head.etag)) is not None

    async def drop(self, claim: Claim) -> None:
        """Give up a claim: the job is finished or handed back."""
        self._at_work.discard(claim.key)
        await self._store.delete([claim.key])

    def _record(self) -> bytes:
        until = self._now() + self._seconds
        return ClaimRecord(worker=self._worker, until=until).encode()
