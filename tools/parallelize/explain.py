"""What an error means to the person, whichever library it comes from."""

from __future__ import annotations

from collections.abc import Sequence

from parallelize.hints import given_flags
from parallelize_core.errors import ParallelizeError, ServiceError, UsageError


def explain(error: Exception, tokens: Sequence[str] = ()) -> ParallelizeError | None:
    """Say what an error means to the person, or None if it is a fault of this program.

    `tokens` is the command line that led to it.
    """
    if isinstance(error, ParallelizeError):
        return error
    if isinstance(error, OSError) and error.strerror:
        return UsageError(f"{error.filename or 'the system'}: {error.strerror}")
    return _explain_syntax(error) or _explain_aws(error, tokens)


def _explain_syntax(error: Exception) -> ParallelizeError | None:
    from cyclopts import CycloptsError  # noqa: PLC0415 - see overview

    return (
        UsageError(str(error), fix="parallelize --help")
        if isinstance(error, CycloptsError)
        else None
    )


def _explain_aws(error: Exception, tokens: Sequence[str]) -> ParallelizeError | None:
    if not type(error).__module__.startswith("botocore"):
        return None
    # boto3 takes longer to import than --help may take; here it is there already.
    from botocore.exceptions import ClientError  # noqa: PLC0415

    from parallelize.context import profile_of  # noqa: PLC0415
    from parallelize_core import aws_errors  # noqa: PLC0415

    if told := aws_errors.explain(error, profile_of(given_flags(tokens))):
        return told
    if isinstance(error, ClientError):
        return ServiceError(f"AWS refused {error.operation_name}", str(error))
    return None
