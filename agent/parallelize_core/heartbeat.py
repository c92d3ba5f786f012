"""What each agent reports of itself in S3, for `status` and for the choice of the leader."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from parallelize_core.charges import Charges
from parallelize_core.lane import Lane
from parallelize_core.record import Contract, Moment, Record
from parallelize_core.store import ObjectInfo


class WorkerState(StrEnum):
    """What a worker does now."""

    STARTING = "starting"
    BUSY = "busy"
    IDLE = "idle"
    DRAINING = "draining"
    LEFT = "left"
    FAILED = "failed"


class Peaks(Contract):
    """The peak use of its machine, by all processes together.

    `cpu` is a share of all `cpus` between 0 and 1, over some seconds each; None if the worker did
    not live that long. Memory, and disk of the file system that jobs work on, are in bytes.
    `stall_seconds` is the longest stall of the agent's own event loop.
    """

    cpus: int
    cpu: float | None = None
    memory_bytes: int
    memory_total_bytes: int
    disk_bytes: int
    disk_total_bytes: int
    stall_seconds: float = 0.0


SPOT_NOTICE = "spot notice"
"""How a worker's reason begins when AWS takes its machine back."""

SizeClass = Annotated[int, Field(ge=0, le=64)]
PeakBin = Annotated[int, Field(ge=0, le=512)]
TimeBin = Annotated[int, Field(ge=-16, le=128)]
Count = Annotated[int, Field(gt=0, le=2**40)]


class MemoryPeaks(Contract):
    """How many of a worker's jobs reached which peak of memory; other workers learn from it.

    `by_size` counts them by the size class of the input (the bits of its size) and a bin of 9 %
    of the peak; `settled` by bins of the time that they took to reach it, `ended` of their whole
    time.
    """

    by_size: dict[SizeClass, dict[PeakBin, Count]] = Field(default={})
    settled: dict[TimeBin, Count] = Field(default={})
    ended: dict[TimeBin, Count] = Field(default={})


class MemoryUse(Contract):
    """A worker's use of its memory, in bytes: `total` is what all its jobs may have.

    `promised` is `run.memory_per_job`, 0 if that is not set; otherwise `expected` is the 95th
    percentile of its jobs' peaks, 0 before a few have ended. `slots` can be used at once.
    """

    total: int
    promised: int = 0
    expected: int = 0
    slots: int = 0
    peaks: MemoryPeaks = Field(default_factory=MemoryPeaks)


class GpuUse(Contract):
    """A worker's figures of one of its GPUs since it started.

    `memory_bytes` is the peak, `busy` the average share of the time in use, None if the GPU does
    not report it. `lost` says why the GPU cannot be reached.
    """

    uuid: str = ""
    name: str = ""
    memory_bytes: int = 0
    memory_total_bytes: int = 0
    busy: float | None = None
    lost: str = ""


class Heartbeat(Record):
    """What a worker reports about itself.

    `seen` and `started` are seconds since 1970, by its clock.
    `interval_seconds` says when the next heartbeat is due, so readers can tell who is overdue.
    `ready` is when its set-up had ended and it began to receive (as `seen`).
    `reason` says why it drains, left or failed, `fix` what a person may do about it, and `leaving`
    since when (as `seen`). `hourly_usd` is the machine's price at launch, `max_cost_usd` the cost
    limit of the whole run, `charges` what the worker has cost besides its machine. `market` is
    "spot" or "on-demand", empty if unknown. `failed_in_row` counts the commands that failed before
    the first success on this worker; `unfit` says that it left because the worker, not the work, is
    at fault. `memory` says what its jobs need; workers of former versions do not report it.
    `gpus` are those that the driver reports. `lane` is the worker's own.
    `heard` is when S3 got the heartbeat, by the reader's clock; it is never stored.
    """

    worker: str
    state: WorkerState
    started: Moment
    seen: Moment
    interval_seconds: float
    slots: int = 0
    type: str = ""
    zone: str = ""
    market: str = ""
    running: tuple[str, ...] = ()
    done: int = 0
    failed: int = 0
    handed_back: int = 0
    busy_seconds: float = 0.0
    reason: str = ""
    fix: str = ""
    last_failure: str = ""
    agent_version: str = ""
    hourly_usd: float | None = None
    max_cost_usd: float | None = None
    charges: Charges | None = None
    ready: Moment | None = None
    leaving: Moment | None = None
    peaks: Peaks | None = None
    memory: MemoryUse | None = None
    gpus: tuple[GpuUse, ...] = ()
    failed_in_row: int = 0
    unfit: bool = False
    lane: Lane = Lane.MAIN
    heard: Moment | None = Field(default=None, exclude=True)

    @property
    def last_seen(self) -> float:
        """When the worker was last seen: by the reader's clock if S3 says, else by its own."""
        return self.seen if self.heard is None else self.heard

    @property
    def interrupted(self) -> bool:
        """Whether the worker leaves, or has left, because AWS takes its machine back."""
        return self.reason.startswith(SPOT_NOTICE)

    def alive(self, now: float) -> bool:
        """Whether the worker can still be counted on: it has not left, and is not overdue."""
        ended = self.state in {WorkerState.LEFT, WorkerState.FAILED}
        return not ended and now - self.last_seen <= 3 * self.interval_seconds

    def as_listed(self, item: ObjectInfo, now: float) -> Heartbeat:
        """Return it with `heard`, computed from a listing that the reader got at `now`.

        Clocks of workers and readers differ; by S3's clock, all readers find the same age.
        """
        age = item.age_seconds
        return self.model_copy(update={"heard": None if age is None else max(0.0, now - age)})
