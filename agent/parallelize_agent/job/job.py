"""One job on its way through the agent: what is known of it at each stage, and what follows.

    Received ── stage in ──> Staged ── a slot ──> Ran ── decide ──> Decision ── stage out

Each stage needs the complete value of the one before it, so no command runs on an incomplete
input. A stage that cannot produce its value returns a Decision instead.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from pathlib import Path

from parallelize_agent.job.checkpoints import Kept
from parallelize_agent.job.output_files import OutputError
from parallelize_agent.job.outputs import Outputs
from parallelize_agent.job.scratch import JobFolder
from parallelize_agent.job.snapshot import Snapshot
from parallelize_agent.process.command import Execution, Outcome
from parallelize_agent.process.isolation import Container
from parallelize_agent.queue.leases import Lease
from parallelize_core.job import JobMessage
from parallelize_core.lane import Lane
from parallelize_core.merge import ListedOutput
from parallelize_core.result import Cause
from parallelize_core.run import Run


@dataclass(frozen=True)
class Received:
    """A job whose message is ours; `started_at` is ISO 8601 in UTC."""

    message: JobMessage
    lease: Lease
    started_at: str

    @property
    def key(self) -> str:
        """The key of its input."""
        return self.message.key

    @property
    def first(self) -> bool:
        """Whether nobody has received the job before, according to its message."""
        message = self.message
        sent_again = message.claimed or message.setbacks or message.resumes or message.interrupted
        fresh = message.attempt == 1 and not sent_again
        return fresh and self.lease.message.receives == 1


@dataclass(frozen=True)
class Staged:
    """A job with everything that its command needs; its input is complete.

    A small input is `content`; a large one is already a file in `folder`. `outputs` are those
    in the list that a merge receives.
    """

    received: Received
    run: Run
    environment: Path | None
    folder: JobFolder
    content: bytes | None
    outputs: tuple[ListedOutput, ...] = ()
    container: Container | None = None
    kept: Kept | None = None
    """Its checkpoint, if it can have one."""


def memory_limit(staged: Staged) -> int | None:
    """Return a job's memory limit in bytes; None for no limit.

    A job that runs alone may use all memory: neither its share nor twice that was enough.
    """
    message, promised = staged.received.message, staged.run.limits.memory_bytes
    if promised is None or message.needs_all:
        return None
    return max(promised, message.memory_bytes)


@dataclass(frozen=True)
class Ran:
    """A job whose command has ended, in whatever way.

    `outputs` is what it left, or what is wrong with it; empty unless it exited with 0.
    `log` is what it printed if that is small, else the file that holds it. `folder` is set
    while there are files in it to send.
    """

    staged: Staged
    outcome: Outcome
    outputs: Outputs | OutputError
    log: bytes | Path
    folder: JobFolder | None
    snapshot: Snapshot | None = None
    """What it has left to go on from, if it is to go on."""
    gpu_lost: str = ""
    """Which of its GPUs was unreachable when it failed, and why."""


class DecisionKind(Enum):
    """What happens to a job here, in one sentence each."""

    SUCCEEDED = "the command succeeded: its outputs and its result are to be stored"
    FAILED = "the attempt failed: another is to be made, or the failure to be recorded"
    FINISHED = "it has a result already: the message is a duplicate"
    PARKED = "somebody works on it under a claim: the message is to wait"
    PASSED_ON = "it failed here for the last time that it may: another worker is to try it"
    MOVED = "it waits on the wrong queue: the workers of another lane are to do it"
    LOST = "its lease is lost: nothing of this attempt is to be shown"


@dataclass(frozen=True)
class Decision:
    """What happens to a job, and why.

    `final` forbids another attempt. `open` says that this machine may be at fault, and
    `second_opinion` that another worker has the last word for that reason. A fresh message
    is delayed by `delay_seconds`. `blameless` says that an infrastructure failure does not
    suggest that this machine is broken, `goes_on` that the command wants to go on from a
    checkpoint. `lane` is where a moved job goes.
    """

    kind: DecisionKind
    cause: Cause | None = None
    message: str = ""
    final: bool = False
    open: bool = False
    second_opinion: bool = False
    delay_seconds: int = 0
    blameless: bool = False
    goes_on: bool = False
    lane: Lane = Lane.MAIN

    @property
    def charged(self) -> bool:
        """Whether the failure is the job's own, and counts towards its attempts."""
        return self.cause is not None and self.cause.charged

    @property
    def interruption(self) -> bool:
        """Whether its worker has to leave, though the job would have gone on."""
        return self.cause is Cause.INTERRUPTED and not self.goes_on

    @property
    def setback(self) -> bool:
        """Whether it is one of the uncharged failures, whose number per job is limited."""
        return self.cause is Cause.INFRASTRUCTURE and not self.blameless

    def as_final(self) -> Decision:
        """Return the same without another attempt."""
        return replace(self, final=True)


SUCCEEDED = Decision(DecisionKind.SUCCEEDED)
FINISHED = Decision(DecisionKind.FINISHED)
PARKED = Decision(DecisionKind.PARKED)
LOST = Decision(DecisionKind.LOST)


class Stage(StrEnum):
    """The stage of a job, in one sentence each."""

    WAITING = "its input is being fetched, or it waits for a slot"
    RUNNING = "it has a slot"
    LEAVING = "its outputs and its result are being stored"


class Job:
    """A received job in the pipeline, and the way to stop it."""

    def __init__(self, received: Received) -> None:
        self.received = received
        self.stage = Stage.WAITING
        self.stopped: Decision | None = None
        """What was decided from outside; a lost lease overrides everything else."""
        self.task: asyncio.Task[None] | None = None
        self.staged: Staged | None = None
        self.ran: Ran | None = None
        self.slots: tuple[int, ...] = ()
        self.alone = received.message.needs_all
        """Whether no other job may run at the same time."""
        self._execution: Execution | None = None
        received.lease.when_lost(lambda: self.stop(LOST))

    @property
    def key(self) -> str:
        """The key of its input."""
        return self.received.key

    def used_bytes(self) -> int:
        """Return the most memory that its command was seen to use at once so far."""
        return self._execution.peak_bytes if self._execution else 0

    def stop(self, decision: Decision) -> None:
        """Decide from outside what happens to it, and stop it; the first decision stands."""
        if self.stopped is None or decision is LOST:
            self.stopped = decision
        if self.stage is Stage.WAITING and self.task:
            self.task.cancel()
        elif self._execution:
            self._execution.stop()

    def attach(self, execution: Execution) -> None:
        """Let `stop` end a command; called in the slot's thread, before the command starts."""
        self._execution = execution
        # After the assignment: `stop` may have been called before it, and must not be missed.
        if self.stopped:
            execution.stop()
