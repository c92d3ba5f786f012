"""Every error that a person can meet, as one tree.

    ParallelizeError               what happened, why, and what to do next
    ├── UsageError            2    the command line, the configuration or an input is wrong
    │   ├── DecodeError       2    a record that came from outside cannot be read
    │   ├── SetupError        2    a worker cannot be made ready: the run's set-up fails on it
    │   ├── FileChangedError  2    a file on this machine changed while it was sent
    │   └── NoRunError        2    no run where it was looked for, or nothing says where that is
    ├── NothingToDoError      3    there is no work, and doing it would only cost money
    ├── AccessError           4    credentials or permission
    │   └── RefusedError      4    a service refuses this object or this queue, and will again
    │       └── ArchivedError 4    the object is in an archive, and has to be restored first
    ├── CapacityError         5    a quota, or no capacity
    ├── ServiceError          6    a service cannot do what was asked of it
    │   ├── UnavailableError  6    it cannot be reached, fails or breaks off: this may pass
    │   │   └── ThrottledError 6   it asks for fewer calls
    │   ├── MissingError      6    an object or a queue that should be there is not
    │   └── ChangedError      6    an object is no longer the one that was promised
    └── LimitError            7    a budget or a time limit is reached

Callers branch on the class; the command line prints the three sentences and exits with the code.
`store` and `queue` raise one of these for every fault between this machine and S3 or SQS, with the
original error as its cause.
"""

from __future__ import annotations

from typing import ClassVar


class ParallelizeError(Exception):
    """What happened, why, and what to do next, in words for the person who has to act."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, why: str | None = None, fix: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        parts = [self.what, self.why, f"fix: {self.fix}" if self.fix else None]
        return "\n".join(part for part in parts if part)


class UsageError(ParallelizeError):
    """The command line, the configuration or an input is wrong."""

    exit_code = 2


class DecodeError(UsageError):
    """A record from outside cannot be read; `raw` holds what came, for a person to look at."""

    def __init__(self, what: str, raw: str, why: str | None = None) -> None:
        super().__init__(what, why)
        self.raw = raw


class NoRunError(UsageError):
    """No such run is where it was looked for, or nothing says where to look."""


class SetupError(UsageError):
    """A worker cannot be made ready for the run's jobs: a set-up has failed, or takes too long.

    No job is at fault, and restarting the worker would only repeat it.
    """


class FileChangedError(UsageError):
    """A file on this machine changed while it was sent, or does not have the checksum it should."""

    def __init__(self, what: str, why: str | None = None) -> None:
        super().__init__(what, why, "send it again")


class NothingToDoError(ParallelizeError):
    """There is no work."""

    exit_code = 3


class AccessError(ParallelizeError):
    """There are no credentials, they have expired, or they do not allow this."""

    exit_code = 4


class RefusedError(AccessError):
    """A service refuses this object or this queue, and would do so again."""


class ArchivedError(RefusedError):
    """The object is in an archive, and has to be restored before it can be read."""


class CapacityError(ParallelizeError):
    """A quota is used up, or the vendor has no machines to give."""

    exit_code = 5


class ServiceError(ParallelizeError):
    """A service cannot do what was asked of it."""

    exit_code = 6


class UnavailableError(ServiceError):
    """A service cannot be reached, fails, or breaks off in mid-answer: this may pass."""


class ThrottledError(UnavailableError):
    """A service asks for fewer calls."""


class MissingError(ServiceError):
    """An object or a queue that should be there is not."""


class ChangedError(ServiceError):
    """An object is no longer the one that the manifest promised."""


class LimitError(ParallelizeError):
    """A budget or a time limit is reached."""

    exit_code = 7


BOUNDARY_ERRORS = (ServiceError, AccessError, UsageError)
"""What a call of a store or a queue raises: `UsageError` for a bucket that does not exist."""


def code_of(error: BaseException) -> str:
    """Return the code that AWS gave for an error, of ours or its library's; empty if none."""
    cause = error.__cause__ if isinstance(error, ParallelizeError) else error
    response = getattr(cause, "response", None)
    said = response.get("Error") if isinstance(response, dict) else None
    return str(said.get("Code", "")) if isinstance(said, dict) else ""
