"""What is written down about a job: the result, and the record of each attempt."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from parallelize_core.record import Contract, IsoTime, Record

INLINE_LOG_BYTES = 64 * 1024
"""A smaller log travels inside its record, which saves one request per job."""


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
        """Whether it counts towards the attempts; what machines and networks do never does."""
        return self not in {Cause.INTERRUPTED, Cause.INFRASTRUCTURE}


class Output(Contract):
    """One object that a job left behind; `key` is below the run's output location."""

    key: str
    size: int
    sha256: str
    etag: str


class Usage(Contract):
    """What an attempt used, with its processes' children.

    `peak_memory_bytes` is 0 if it is not known: without a cgroup of its own, a job that needs
    less than the agent itself cannot be measured. `peak_after_seconds` is when the attempt had come
    to nine tenths of it. `gpu_memory_bytes` is the most that was in use at once of the GPUs that
    the attempt had, `gpu_busy` for which share of its time they were busy; jobs that share a GPU
    count as one there. 0 and None if it is not known.
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
    more. `exit_code` is negative for a signal, as in subprocess, and None if nothing was run.
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
    usage: Usage = Usage()
    stderr_tail: str = ""
    log: str = ""
    log_key: str | None = None
    environment: str = ""
    """`Run.environment_identity`: that of the zip, and the digest of the image if there is one."""
    image: str = ""
    """The digest of the image that the command ran in; empty if it ran in none."""
    hourly_usd: float | None = None
    """What the worker cost an hour at its launch, None if that is not known."""


class Result(Attempt):
    """The last attempt of a job, with what it left. A job is finished when it has one.

    `leads_nowhere` has a few lines of stdout that look like paths, and name nothing;
    `left_behind` a few of the `left_behind_count` files that the command made and did not name.
    `content` is the content key of what was executed (see `content_key`), `recipe` that part of it
    which is the run's. Both are empty if it is not known, as in results of former versions.
    `copied_from` names the run whose outputs these are copies of; empty if the job was executed.
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
