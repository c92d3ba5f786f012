"""What is written down about a job: the result, and the record of each attempt."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, Field, ValidationError

from parallelize_core.errors import DecodeError
from parallelize_core.run import CONTRACT

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


class Output(BaseModel):
    """One object that a job left behind; `key` is below the run's output location."""

    model_config = CONTRACT

    key: str
    size: int
    sha256: str
    etag: str


class Usage(BaseModel):
    """What an attempt used, with its processes' children.

    `peak_memory_bytes` is 0 if it is not known: without a cgroup of its own, a job that needs
    less than the agent itself cannot be measured.
    """

    model_config = CONTRACT

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0


class Attempt(BaseModel):
    """One execution of a job on one worker.

    `log` is the end of stdout and stderr if it is small; `log_key` names the object that holds
    more. `exit_code` is negative for a signal, as in subprocess, and None if nothing was run.
    Times are ISO 8601 in UTC.
    """

    model_config = CONTRACT

    v: Literal[1] = 1
    run: str
    key: str
    attempt: int
    worker: str
    started_at: str
    finished_at: str
    cause: Cause | None = None
    message: str = ""
    exit_code: int | None = None
    usage: Usage = Usage()
    stderr_tail: str = ""
    log: str = ""
    log_key: str | None = None
    environment: str = ""

    def encode(self) -> bytes:
        """Return the record as stored."""
        return self.model_dump_json().encode()

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a record; raise DecodeError if it is not one."""
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            raise DecodeError(
                f"not a record of kind {cls.__name__}", repr(body[:200]), str(error)
            ) from None


class Result(Attempt):
    """The last attempt of a job, with what it left. A job is finished when it has one."""

    status: Literal["succeeded", "failed"]
    outputs: tuple[Output, ...] = Field(default=())
    input_size: int = 0
    input_etag: str = ""
