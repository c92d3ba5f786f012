"""What is recorded of a job: the result, and the record of each attempt."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from parallelize_core.record import Contract, IsoTime, Record

INLINE_LOG_BYTES = 64 * 1024
"""A smaller log is stored in its record, which saves one request per job."""


class Cause(StrEnum):
    """Why an attempt failed."""

    COMMAND = "command"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    INPUT = "input"
    OUTPUT = "output"
    INTERRUPTED = "interrupted"
    INFRASTRUCTURE = "infrastructure"

    @property
    def charged(self) -> bool:
        """Whether it counts as an attempt; faults of machines and networks never do."""
        return self not in {Cause.INTERRUPTED, Cause.INFRASTRUCTURE}


class Output(Contract):
    """One object that a job left behind; `key` is below the run's output location."""

    key: str
    size: int
    sha256: str
    etag: str


class Usage(Contract):
    """What an attempt used, with its processes' children.

    `peak_memory_bytes` is 0 if it is not known: without its own cgroup, a job that needs less than
    the agent itself cannot be measured. `peak_after_seconds` is when the attempt reached nine
    tenths of it. `gpu_memory_bytes` is the peak on the attempt's GPUs, `gpu_busy` the share of its
    time for which they were busy; jobs that share a GPU count as one there. 0 and None if it is not
    known.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0
    peak_after_seconds: float = 0.0
    gpu_memory_bytes: int = 0
    gpu_busy: float | None = None


class Attempt(Record):
    """One execution of a job on one worker.

    `log` is the end of stdout and stderr if it is small; `log_key` names the object that holds
    more. `exit_code` is negative for a signal, as in subprocess, and None if nothing ran.
    Times are in UTC.
    """

    run: str
    key: str
    attempt: int
    worker: str
    started_at: IsoTime
    finished_at: IsoTime
    cause: Cause | None = None
    message: str = ""
    exit_code: int | None = None
    usage: Usage = Field(default_factory=Usage)
    stderr_tail: str = ""
    log: str = ""
    log_key: str | None = None
    environment: str = ""
    """`Run.environment_identity`: the zip's, and the digest of the image if there is one."""
    image: str = ""
    """The digest of the image that the command ran in; empty without one."""
    hourly_usd: float | None = None
    """The worker's hourly price at its launch, None if that is not known."""


class Result(Attempt):
    """The last attempt of a job, with what it left. A job is finished when it has one.

    `leads_nowhere` has a few lines of stdout that look like paths but name nothing;
    `left_behind` a few of the `left_behind_count` files that the command made and did not name.
    `content` is the content key of what was executed (see `content_key`), `recipe` the run's part
    of it. Both are empty if they are not known, as in results of former versions. `copied_from`
    names the run whose outputs these are copies of; empty if the job was executed.
    """

    status: Literal["succeeded", "failed"]
    outputs: tuple[Output, ...] = Field(default=())
    input_size: int = 0
    input_etag: str = ""
    leads_nowhere: tuple[str, ...] = ()
    left_behind: tuple[str, ...] = ()
    left_behind_count: int = 0
    recipe: str = ""
    content: str = ""
    copied_from: str = ""
