"""What an error means to the user, whichever library it comes from."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence

from parallelize.console import escape
from parallelize.hints import flags_in, repeat_flags
from parallelize_core.errors import AccessError, NoRunError, ParallelizeError, UsageError


def explain(
    error: Exception, tokens: Sequence[str] = (), hint: str = ""
) -> ParallelizeError | None:
    """Say what an error means to the user, or return None if it is a fault of this program.

    `tokens` is the command line that led to it. `hint` is its common flags (see `hints`), which the
    commands in `fix` get.
    """
    told = _told(error, tokens, hint)
    if told and told.fix:
        told.fix = repeat_flags(told.fix, hint)
    if isinstance(told, NoRunError) or type(told) is AccessError:
        told.fix = _with_local(told.fix or "", hint)
    return told


def _told(error: Exception, tokens: Sequence[str], hint: str) -> ParallelizeError | None:
    if isinstance(error, ParallelizeError):
        return _with_profile(error, hint) if type(error) is AccessError else error
    if isinstance(error, OSError) and error.strerror:
        name = error.filename or "the system"
        where = os.fsdecode(name) if isinstance(name, bytes) else str(name)
        return UsageError(f"{escape(where)}: {error.strerror}")
    return _explain_syntax(error, tokens)


OPTION = re.compile(r"--[a-z][a-z-]*(=.*)?|-[a-zA-Z]", re.DOTALL)
"""What an option looks like, but rarely a file whose name begins with a dash."""


def _explain_syntax(error: Exception, tokens: Sequence[str]) -> ParallelizeError | None:
    # The parser takes longer to import than the overview of commands may take.
    from cyclopts import CycloptsError, UnusedCliTokensError  # noqa: PLC0415

    if not isinstance(error, CycloptsError):
        return None
    command = " ".join(["parallelize", *(error.command_chain or ())])
    said = escape(str(error))
    if isinstance(error, UnusedCliTokensError):
        words = ", ".join(map(shlex.quote, error.unused_tokens or ()))
        said = f"{command} does not take: {escape(words)}"
    dashed = [word for word in tokens if word[:1] == "-" and not OPTION.fullmatch(word)]
    if dashed and "--" not in tokens:
        return UsageError(said, "it begins with a dash", f"{command} -- {shlex.quote(dashed[0])}")
    return UsageError(said, fix=f"{command} --help")


def _with_local(fix: str, hint: str) -> str:
    # Not before something has failed: neither is needed for --help.
    from parallelize.context import local_cloud_has_run  # noqa: PLC0415

    found = local_cloud_has_run(flags_in(hint))
    return f"{fix}\n  or add --local: the local cloud has this run" if found else fix


def _with_profile(error: AccessError, hint: str) -> ParallelizeError:
    # A command that calls AWS has already imported these, and --help does not need them.
    from parallelize.context import profile_of  # noqa: PLC0415
    from parallelize_core.aws_errors import with_profile  # noqa: PLC0415

    return with_profile(error, profile_of(flags_in(hint)))
