"""Buckets that are not the run's own: how to get permission to read them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from parallelize.console import escape
from parallelize.context import Context
from parallelize_core.errors import ArchivedError, RefusedError


@contextmanager
def reading(context: Context, bucket: str) -> Iterator[None]:
    """When S3 refuses to read another bucket, say how to allow it; public buckets need it, too."""
    try:
        yield
    except ArchivedError:
        raise
    except RefusedError as error:
        if bucket == context.bucket:
            raise
        partition = context.session.get_partition_for_region(context.region)
        raise RefusedError(
            error.what,
            error.why,
            f"parallelize setup --set 'ReadableObjects=arn:{partition}:s3:::{escape(bucket)}/*'\n"
            "lets workers and submitters read it (a public bucket, too). Its owner has to\n"
            "allow your account. If its readers pay: aws.requester_pays (docs/aws-setup.md)",
        ) from error.__cause__
