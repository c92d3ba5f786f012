"""The message that stands for one job on the queue."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError

from parallelize_core import keys
from parallelize_core.errors import DecodeError
from parallelize_core.files import Checksum, InputFile, Stored
from parallelize_core.record import Contract, first_fault

MAX_MESSAGE_BYTES = 1024 * 1024
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html"""

MAX_SETBACK_CHARACTERS = 200
"""Characters of each reason: ten of them are in every message of an unlucky job."""


PLAIN = {"files", "variables", "number", "merge"}
"""Fields that a plain job's message omits, so that it is as short as in former versions."""

RARE = ("stored", "sha256", "memory_bytes", "resumes", "interrupted")
"""Fields that a message has only if they are set, for the same reason."""

OF_A_FILE = {"stored", "sha256"}
"""What its files do not have if none of them says anything by it."""

ROOM_PER_PEAK = 2
"""A job that ran out of memory is retried with this much room for each byte of its peak."""


class JobMessage(Contract):
    """One attempt at one job of one run.

    `key` names the job. A plain job is a single file, and is named after it. Other jobs have
    `variables` and any number of `files`; then `size` and `etag` stand for all files together.
    `number` counts the run's jobs from 1, if the command uses it. `merge` marks the last job, over
    the results of all others (see `merge`): then `etag` is the SHA-256 of their list.

    `attempt` counts from 1 and grows only with failures that are the job's own; `size` is in
    bytes; `etag` is the input's, as S3 gave it, without quotes (empty: any version will do);
    `stored` is the input's place among those that runs share (empty: the one its key says);
    `sha256` is the SHA-256 of its content, if that is known and not part of `stored`.
    `claimed` says to look for a claim first: another worker may be busy with the job for longer
    than the 12 hours that SQS hides a message. `alone` says that the job ran out of memory before,
    so no other may run beside it; with `memory_bytes`, others may, if it keeps that much (an agent
    that does not know this field runs it alone). `failed_by` names the workers on which its command
    failed; with `second_opinion`, none of them retries it while another worker is alive. `setbacks`
    has the reasons, oldest first, why it returned to the queue without a charged attempt.
    `resumes` says that there is a checkpoint to continue from. `interrupted` counts how often its
    worker left, or was lost, before its end.
    """

    v: Literal[1] = 1
    run: str = Field(min_length=1, max_length=80)
    key: Annotated[str, AfterValidator(keys.checked)]
    size: int = Field(ge=0)
    etag: str = ""
    stored: Stored = ""
    sha256: Checksum = ""
    attempt: int = Field(default=1, ge=1)
    claimed: bool = False
    alone: bool = False
    memory_bytes: int = Field(default=0, ge=0)
    resumes: bool = False
    interrupted: int = Field(default=0, ge=0)
    failed_by: tuple[str, ...] = ()
    second_opinion: bool = False
    setbacks: tuple[str, ...] = ()
    files: tuple[InputFile, ...] | None = None
    variables: dict[str, str] = Field(default_factory=dict)
    number: int | None = None
    merge: bool = False

    def encode(self) -> str:
        """Return the message body."""
        plain = self.files is None and self.number is None
        usual = {name for name in RARE if not getattr(self, name)}
        exclude: dict[str, Any] = dict.fromkeys(usual | (PLAIN if plain else set()), True)
        if self.files:
            said = {name for name in OF_A_FILE if any(getattr(f, name) for f in self.files)}
            exclude["files"] = {"__all__": OF_A_FILE - said}
        return self.model_dump_json(exclude=exclude)

    @classmethod
    def decode(cls, body: str) -> Self:
        """Read a message body; raise DecodeError, which carries the body, if it is not one."""
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            raise DecodeError(
                "a message on the queue is not a job", body, first_fault(error)
            ) from None

    @property
    def needs_all(self) -> bool:
        """Whether it needs all the memory that a worker has."""
        return self.alone and not self.memory_bytes

    def next_attempt(self) -> Self:
        """Return the message for the next attempt, after a failure that counts."""
        return self.model_copy(update={"attempt": self.attempt + 1})

    def with_more_memory(self, peak_bytes: int, *, larger: bool = False) -> Self:
        """Return the message for the next attempt of a job that ran out of memory with this peak.

        It is first retried with twice its peak; then with all of a worker's memory, or with twice
        its peak again if there are `larger` workers. With an unknown peak (0), it gets all at once.
        """
        room = 0 if self.alone and not larger else ROOM_PER_PEAK * peak_bytes
        again = self.next_attempt()
        return again.model_copy(update={"alone": True, "memory_bytes": room})

    def with_failure_on(self, worker: str, *, second_opinion: bool = False) -> Self:
        """Return the message with `worker` among those on which the command failed."""
        workers = tuple(dict.fromkeys((*self.failed_by, worker)))
        return self.model_copy(update={"failed_by": workers, "second_opinion": second_opinion})

    def with_setback(self, reason: str) -> Self:
        """Return the message with one more reason for which it was handed back."""
        shown = reason[:MAX_SETBACK_CHARACTERS]
        return self.model_copy(update={"setbacks": (*self.setbacks, shown)})

    def after_interruptions(self, count: int = 1) -> Self:
        """Return the message of a job whose workers left before its end, this many times more."""
        return self.model_copy(update={"interrupted": self.interrupted + count})

    def resuming(self) -> Self:
        """Return the message that makes its receiver look for a checkpoint."""
        return self.model_copy(update={"resumes": True})

    def parked(self) -> Self:
        """Return the message that makes its receiver look for a claim first."""
        return self.model_copy(update={"claimed": True})
