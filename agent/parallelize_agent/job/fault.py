"""Whose fault a failure is: the file's, the command's, this worker's, or a service's.

A failure of the file or the command is charged: it counts towards the file's attempts.
A failure of a machine, a network or a service never is. docs/reliability.md has the table.
"""

from __future__ import annotations

import errno
import os

from parallelize_agent.job.job import SUCCEEDED, Decision, DecisionKind
from parallelize_agent.process.command import Ending, Outcome
from parallelize_core.errors import (
    ChangedError,
    MissingError,
    ParallelizeError,
    RefusedError,
)
from parallelize_core.result import Cause
from parallelize_core.run import Limits

MAX_INPUT_TRIES = 2
"""An input that S3 refuses twice fails: asking again costs money and changes nothing."""

MAX_SETBACKS = 10
"""A job that was returned to the queue this often, for any uncharged reasons, fails."""

OF_THE_FILE = (MissingError, ChangedError, RefusedError)
"""S3's errors about one object, the same on any worker."""

_COMMAND_ERRNOS = {
    errno.E2BIG, errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT,
    errno.ENOEXEC, errno.ENOTDIR, errno.EPERM, errno.EINVAL,
}  # fmt: skip
"""Start errors that would occur anywhere; with any other, the host is at fault."""


def failed(cause: Cause, message: str, *, final: bool = False) -> Decision:
    """Return the decision on a failed attempt."""
    return Decision(DecisionKind.FAILED, cause, message, final)


def handed_back(why: str, delay_seconds: int = 0, *, blameless: bool = False) -> Decision:
    """Return the decision on a job that this worker could not do, but another may."""
    return Decision(
        DecisionKind.FAILED,
        Cause.INFRASTRUCTURE,
        why,
        delay_seconds=delay_seconds,
        blameless=blameless,
    )


def open_to_doubt(why: str, *, final: bool = False) -> Decision:
    """Return the decision on a failed command: the command may be at fault, or this machine."""
    return Decision(DecisionKind.FAILED, Cause.COMMAND, why, final, open=True)


def interrupted(why: str) -> Decision:
    """Return the decision on a job that was stopped because its worker has to leave."""
    return failed(Cause.INTERRUPTED, why)


def of_input(error: ParallelizeError, attempt: int) -> Decision:
    """Return the decision on an input that S3 does not return, in S3's words."""
    why = ": ".join(part for part in (error.what, error.why) if part)
    advice = "" if isinstance(error, RefusedError) else "; parallelize prep lists it again"
    return failed(Cause.INPUT, why + advice, final=attempt >= MAX_INPUT_TRIES)


def without_checkpoint(code: int) -> Decision:
    """Return the decision on a command that asked to go on but left no new checkpoint."""
    return handed_back(f"exit {code}, but PARALLELIZE_CHECKPOINT has nothing new to continue from")


def gpu_lost(why: str) -> Decision:
    """Return the decision on a command that failed while one of its GPUs was unreachable."""
    return handed_back(f"a GPU was lost: {why}", blameless=True)


def of_unknown(error: BaseException, delay_seconds: int = 0) -> Decision:
    """Return the decision on a job with an unexpected error: it may work elsewhere."""
    return handed_back(_told(error), delay_seconds)


def of_outcome(outcome: Outcome, limits: Limits, later_seconds: int) -> Decision:
    """Return the decision on how a command ended."""
    match outcome.ending, outcome.exit_code:
        case Ending.TIMEOUT, _:
            return failed(
                Cause.TIMEOUT, f"it ran longer than {limits.timeout_seconds:g} s (run.timeout)"
            )
        case Ending.MEMORY, _:
            return out_of_memory()
        case Ending.STOPPED, _:
            return handed_back("it was stopped")
        case Ending.UNANSWERED, _:
            return open_to_doubt("the command gave no answer to this job (run.serve)")
        case _, code:
            return of_exit(code, later_seconds)


def out_of_memory() -> Decision:
    """Return the decision on a job that was killed for its memory, by its limit or the kernel."""
    return failed(Cause.MEMORY, "it ran out of memory")


def of_exit(code: int, later_seconds: int) -> Decision:
    """Return the decision on an exit code, which is negative for a signal."""
    match code:
        case os.EX_OK:
            return SUCCEEDED
        case os.EX_TEMPFAIL:
            why = f"the command asked to be retried later (exit {code})"
            return handed_back(why, later_seconds, blameless=True)
        case os.EX_PROTOCOL:
            why = f"the command stored a checkpoint, to continue from it later (exit {code})"
            return Decision(DecisionKind.FAILED, Cause.INTERRUPTED, why, goes_on=True)
        case os.EX_DATAERR:
            why = f"the command says that its input is bad (exit {code})"
            return failed(Cause.COMMAND, why, final=True)
        case _:
            return open_to_doubt(f"signal {-code}" if code < 0 else f"exit {code}")


def of_start(error: Exception, program: str) -> Decision:
    """Return the decision on a command that could not be started."""
    if isinstance(error, ValueError):  # a NUL in a word of the command
        return failed(Cause.COMMAND, f"{program!a} cannot be started: {error}", final=True)
    if isinstance(error, OSError) and error.errno in _COMMAND_ERRNOS:
        lacks = error.errno == errno.ENOENT
        why = "it, or the program in its #! line, was not found" if lacks else error.strerror
        why = f"{program} cannot be started: {why}"
        return open_to_doubt(why, final=True)
    return of_unknown(error)


def given_up(setbacks: tuple[str, ...]) -> Decision:
    """Return the decision on a job that was handed back too often."""
    reasons = "; ".join(dict.fromkeys(setbacks))
    why = f"it failed {len(setbacks)} times because of the machine or the network: {reasons}"
    return failed(Cause.INFRASTRUCTURE, why, final=True)


def _told(error: BaseException) -> str:
    text = ": ".join(str(error).splitlines())
    known = isinstance(error, ParallelizeError | OSError)
    return text if known and text else f"{type(error).__name__}: {text}".removesuffix(": ")
