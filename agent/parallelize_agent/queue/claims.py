"""Jobs that outlive their message: SQS keeps one invisible for 12 hours and no longer.

Before that, the agent writes a claim on the job in S3, parks a fresh message that says
`claimed`, and deletes the old one. From then on it renews the claim instead of the message.
Whoever receives a message that says `claimed` looks at the claim: while it is kept fresh, the
message is parked again; once it is stale, the job is taken over by a conditional write, which
makes the former owner's next renewal fail.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from parallelize_core.errors import DecodeError, MissingError
from parallelize_core.layout import RunLayout
from parallelize_core.record import Record
from parallelize_core.store import ALWAYS, Condition, Store

SKEW_SECONDS = 30
"""How far the clocks of two workers may be apart; EC2's are kept within milliseconds."""


class ClaimRecord(Record):
    """Who works on a job, and until when (seconds since 1970) that is to be believed."""

    worker: str
    until: float


NOBODYS = ClaimRecord(worker="", until=0)
"""What a claim that cannot be read is taken for."""


@dataclass
class Claim:
    """A claim of our own, as it was last written."""

    key: str
    etag: str


class Claims:
    """The claims of one worker; `seconds` is how long one holds without renewal."""

    def __init__(
        self,
        store: Store,
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

    def make(self, key: str) -> Claim:
        """Claim the job at input `key`, whose message is ours now."""
        place = self._layout.claim(key)
        etag = self._store.put(place, self._record(), ALWAYS)
        self._at_work.add(place)
        return Claim(place, etag or "")

    def renew(self, claim: Claim) -> bool:
        """Hold a claim for longer; answer whether it was still ours."""
        etag = self._store.put(claim.key, self._record(), Condition(etag=claim.etag))
        claim.etag = etag or claim.etag
        if etag is None:
            self._at_work.discard(claim.key)
        return etag is not None

    def held(self, key: str) -> bool:
        """Whether somebody keeps a claim on the job fresh; if not, it is taken from them.

        This agent may get its own parked message. What an agent of this worker has claimed that
        is no more, though, can be taken at once.
        """
        place = self._layout.claim(key)
        head = self._store.head(place)
        if head is None:
            return False
        try:
            record = ClaimRecord.decode(self._store.get(place))
        except MissingError:
            return False
        except DecodeError:
            record = NOBODYS
        if self._now() < record.until + SKEW_SECONDS:
            return record.worker != self._worker or place in self._at_work
        # Not ours to delete: if the owner has come back meanwhile, this write fails.
        return self._store.put(place, self._record(), Condition(etag=head.etag)) is None

    def drop(self, claim: Claim) -> None:
        """Give a claim up: the job is finished or handed back."""
        self._at_work.discard(claim.key)
        self._store.delete([claim.key])

    def _record(self) -> bytes:
        until = self._now() + self._seconds
        return ClaimRecord(worker=self._worker, until=until).encode()
