"""Leases on messages, and the one keeper that renews all of them.

A lease is the visibility timeout of a message. It is short, so that the work of a dead machine
is taken up soon, and it is renewed every third of its length from the receive to the delete.
Whoever works under a lease asks `Lease.check` before each step that others can see; the keeper
calls `Lease.lose` as soon as it knows, or can no longer be sure, that the message is not ours.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from parallelize_agent.queue.claims import Claim, Claims
from parallelize_core.clock import boot_seconds
from parallelize_core.config import MAX_VISIBILITY_TIMEOUT_SECONDS
from parallelize_core.errors import BOUNDARY_ERRORS
from parallelize_core.job import JobMessage
from parallelize_core.queue import MAX_DELAY_SECONDS, Message, Queue, batches

log = structlog.get_logger()
T = TypeVar("T")

RENEWALS_PER_LEASE = 3
MARGIN_PER_LEASE = 1 / 12
"""A lease counts as lost this much before its end: a step that was begun just before must still
end inside it."""


class LeaseLostError(Exception):
    """The message is, or may be, somebody else's by now: stop, and show nothing."""


@dataclass(frozen=True)
class LeaseTerms:
    """How long leases are, and at what age a claim takes the message's place; in seconds."""

    seconds: float
    claim_after_seconds: float = MAX_VISIBILITY_TIMEOUT_SECONDS

    @property
    def renew_after(self) -> float:
        """A renewal is due this long after the last."""
        return self.seconds / RENEWALS_PER_LEASE

    @property
    def safe_for(self) -> float:
        """A lease can be relied on for this long after the last renewal."""
        return self.seconds * (1 - MARGIN_PER_LEASE)


class Lease:
    """The right to work on one message, for as long as it is renewed in time.

    It counts from `begun`, in seconds of the clock. `claim` takes the message's place once that
    cannot be renewed.
    """

    def __init__(
        self,
        message: Message,
        terms: LeaseTerms,
        begun: float,
        clock: Callable[[], float] = boot_seconds,
    ) -> None:
        self.message = message
        self.received = begun
        self.claim: Claim | None = None
        self._terms = terms
        self._clock = clock
        self._renewed = begun
        self._lost = threading.Event()
        self._lock = threading.Lock()
        self._on_lost: Callable[[], None] | None = None

    @property
    def valid(self) -> bool:
        """Whether the message is certainly still ours."""
        return not self._lost.is_set() and self._clock() < self._renewed + self._terms.safe_for

    @property
    def age(self) -> float:
        """Seconds since the receive."""
        return self._clock() - self.received

    def due(self) -> bool:
        """Whether it is time to renew."""
        return self._clock() >= self._renewed + self._terms.renew_after

    def check(self) -> None:
        """Raise LeaseLostError unless the message is certainly still ours."""
        if not self.valid:
            raise LeaseLostError(self.message.id)

    def renew(self, asked: float) -> None:
        """Count the lease anew from `asked`, the time before the renewal was sent."""
        self._renewed = max(self._renewed, asked)

    def lose(self) -> None:
        """Mark the lease as lost and stop the work under it; a second call does nothing."""
        with self._lock:
            if self._lost.is_set():
                return
            self._lost.set()
            stop = self._on_lost
        if stop:
            stop()

    def when_lost(self, stop: Callable[[], None]) -> None:
        """Call `stop` once the lease is lost; at once if it is lost already."""
        with self._lock:
            self._on_lost = stop
            lost = self._lost.is_set()
        if lost:
            stop()


class LeaseKeeper:
    """Renews every lease that it holds, in one thread; `alive` is fed after each round."""

    def __init__(
        self,
        queue: Queue,
        terms: LeaseTerms,
        claims: Claims,
        *,
        clock: Callable[[], float] = boot_seconds,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._queue = queue
        self._claims = claims
        self._terms = terms
        self.clock = clock
        self._alive = alive
        self._leases: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; leases still held run out by themselves."""
        self._stop.set()
        self._thread.join()

    @property
    def running(self) -> bool:
        """Whether leases are being renewed."""
        return self._thread.is_alive()

    @property
    def held(self) -> int:
        """How many leases are held."""
        with self._lock:
            return len(self._leases)

    def hold(self, message: Message, asked: float) -> Lease:
        """Keep the lease of a message that was just received, by a call made at `asked`.

        The lease has begun at some time since then, and a process that was stopped meanwhile
        cannot know when: if that may be long ago, the queue is asked by a renewal at once.
        """
        begun = max(asked, self.clock() - self._terms.renew_after)
        lease = Lease(message, self._terms, begun, self.clock)
        with self._lock:
            self._leases[message.receipt] = lease
        return lease

    def release(self, lease: Lease) -> None:
        """Renew the lease no more: its message is deleted, handed back or lost."""
        with self._lock:
            self._leases.pop(lease.message.receipt, None)

    def renew_due(self) -> None:
        """Renew what is due, and give up what could not be renewed in time."""
        with self._lock:
            leases = list(self._leases.values())
        due = [lease for lease in leases if lease.due()]
        for batch in batches([lease for lease in due if lease.claim is None]):
            self._attempt(self._renew, batch)
            # After each call: one that hangs must not let the others run out unnoticed.
            self._give_up_expired(leases)
        for lease in due:
            if lease.claim:
                self._attempt(self._renew_claim, lease)
            elif lease.valid and lease.age >= self._terms.claim_after_seconds:
                self._attempt(self._make_claim, lease)
        self._give_up_expired(leases)

    def _give_up_expired(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            if not lease.valid:
                self._lose(lease, "it could not be renewed in time")

    def _attempt(self, renew: Callable[[T], None], what: T) -> None:
        try:
            renew(what)
        except (BotoCoreError, ClientError, *BOUNDARY_ERRORS) as error:
            # Not lost yet: the next round tries again, until the lease can no longer be trusted.
            log.warning("lease not renewed", error=str(error))

    def _renew(self, batch: Sequence[Lease]) -> None:
        asked = self.clock()
        receipts = {lease.message.receipt: lease for lease in batch}
        lost = self._queue.extend(list(receipts), round(self._terms.seconds))
        for receipt, lease in receipts.items():
            if receipt in lost:
                self._lose(lease, "the queue says it is no longer ours")
            else:
                lease.renew(asked)

    def _make_claim(self, lease: Lease) -> None:
        """Put a claim in the place of a message that SQS will soon show to others."""
        job = JobMessage.decode(lease.message.body)
        claim = self._claims.make(job.key)
        # The fresh message first: a job must never be without one.
        self._queue.send([job.parked().encode()], MAX_DELAY_SECONDS)
        self._queue.delete([lease.message.receipt])
        lease.claim = claim
        log.info("job claimed beyond its message", key=job.key)

    def _renew_claim(self, lease: Lease) -> None:
        asked = self.clock()
        if lease.claim and self._claims.renew(lease.claim):
            lease.renew(asked)
        else:
            self._lose(lease, "its claim was taken over")

    def _lose(self, lease: Lease, why: str) -> None:
        self.release(lease)
        log.warning("lease lost", message=lease.message.id, why=why)
        lease.lose()

    def _run(self) -> None:
        pause = min(5.0, self._terms.seconds * MARGIN_PER_LEASE)
        while not self._stop.wait(pause):
            self.renew_due()
            self._alive()
