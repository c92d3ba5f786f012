"""Calls to AWS's library: whatever they raise becomes an error of our tree, with its cause.

    with translated("S3", "s3://bucket/key"):      whatever is raised here leaves as one of ours,
        answer = client.get_object(...)            with what raised it as its cause
    @translated("EC2")                             the same for a function

Only calls and the reading of their answers belong inside: an error of this machine's disk, or of a
callback, would pass for the service's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from parallelize_core.errors import ParallelizeError


@contextmanager
def translated(service: str, place: str = "") -> Iterator[None]:
    """Let whatever is raised inside leave as an error of our tree, with its cause.

    `place` is the object or the queue that is asked for, if it is one: then a refusal that is not
    known otherwise is of that place, and a RefusedError.
    """
    try:
        yield
    except ParallelizeError:
        raise
    except Exception as error:
        from parallelize_core.aws_errors import translate  # noqa: PLC0415 - it imports botocore

        raise translate(error, service, place) from error
