"""One job on its way through the agent: what is known of it, and what becomes of it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from parallelize_agent.job.scratch import JobFolder
from parallelize_agent.process.command import Execution, Outcome
from parallelize_agent.queue.leases import Lease
from parallelize_core.clock import utc_now
from parallelize_core.job import JobMessage
from parallelize_core.result import Cause
from parallelize_core.run import Run


class Fate(Enum):
    """What becomes of a job here, in a sentence each."""

    SUCCEEDED = "the command succeeded: its outputs and its result are to be stored"
    FAILED = "the attempt failed: another is to be made, or the failure to be recorded"
    FINISHED = "it has a result already: the message is a duplicate"
    PARKED = "somebody works on it under a claim: the message is to wait"
    LOST = "its lease is lost: nothing of this attempt is to be shown"


@dataclass(frozen=True)
class Verdict:
    """A fate and its reasons.

    `final` forbids another attempt; a fresh message is delayed. `blameless` says that a failure
    of the infrastructure is no sign that this machine is broken.
    """

    fate: Fate
    cause: Cause | None = None
    message: str = ""
    final: bool = False
    delay_seconds: int = 0
    blameless: bool = False


SUCCEEDED = Verdict(Fate.SUCCEEDED)
FINISHED = Verdict(Fate.FINISHED)
PARKED = Verdict(Fate.PARKED)
LOST = Verdict(Fate.LOST)


def failed(cause: Cause, message: str, *, final: bool = False) -> Verdict:
    """Return the verdict on a failed attempt."""
    return Verdict(Fate.FAILED, cause, message, final)


def put_off(why: str, delay_seconds: int, *, blameless: bool = False) -> Verdict:
    """Return the verdict on a job that is to be done later, here or elsewhere."""
    return Verdict(
        Fate.FAILED,
        Cause.INFRASTRUCTURE,
        why,
        delay_seconds=delay_seconds,
        blameless=blameless,
    )


class Job:
    """A leased message and the work on it.

    The stages of the job run one after the other, each in some thread; `stop` may be called
    from any. The first verdict stands, except that a lost lease overrules all.
    """

    def __init__(self, message: JobMessage, lease: Lease) -> None:
        self.message = message
        self.lease = lease
        self.started_at = utc_now()
        self.run: Run | None = None
        self.environment: Path | None = None
        self.folder: JobFolder | None = None
        self.outcome: Outcome | None = None
        self._verdict: Verdict | None = None
        self._execution: Execution | None = None
        self._lock = threading.Lock()
        lease.when_lost(lambda: self.stop(LOST))

    @property
    def key(self) -> str:
        """The key of its input."""
        return self.message.key

    @property
    def verdict(self) -> Verdict | None:
        """What becomes of it, as soon as that is known."""
        return self._verdict

    def decide(self, verdict: Verdict) -> None:
        """Say what becomes of it, unless that is known already."""
        with self._lock:
            if self._verdict is None or verdict.fate is Fate.LOST:
                self._verdict = verdict

    def overrule(self, verdict: Verdict) -> None:
        """Change its fate because the former could not be brought about."""
        with self._lock:
            if self._verdict is not LOST:
                self._verdict = verdict

    def stop(self, verdict: Verdict) -> None:
        """Decide its fate from outside, and end its command if that runs."""
        self.decide(verdict)
        with self._lock:
            if self._execution:
                self._execution.stop()

    def execute(self, execution: Execution) -> Outcome:
        """Run its command, unless its fate is decided; see `Execution.run` for errors."""
        with self._lock:
            self._execution = execution
            if self._verdict is not None:
                execution.stop()
        try:
            self.outcome = execution.run()
            return self.outcome
        finally:
            with self._lock:
                self._execution = None
