"""Refuses unknown regions, and buckets in another region, before anything is done there."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from parallelize.console import escape
from parallelize_core.aws_errors import translated
from parallelize_core.errors import UsageError

if TYPE_CHECKING:
    from parallelize_core.clients import Session

ENDPOINT_PREFIX = "AWS_ENDPOINT_URL"


def check_name(session: Session, source: str, environ: Mapping[str, str] = os.environ) -> None:
    """Raise UsageError if the session's region is not one of AWS's, as botocore knows them.

    AWS is not called. With a custom endpoint, a region may have any name.
    """
    name = session.region_name
    if name is None or any(environ.get(key) for key in environ if key.startswith(ENDPOINT_PREFIX)):
        return
    known = known_regions(session)
    if name not in known:
        # Swapped letters are the most likely slip: "esat" is "east", not "west".
        same_letters = [one for one in known if sorted(one) == sorted(name)]
        near = same_letters or difflib.get_close_matches(name, known, n=1)
        meant = f"did you mean {near[0]}?" if near else None
        raise UsageError(
            f'region "{escape(name)}" is not an AWS region (from {source})',
            meant,
            "check the name; if the region is new: pip install --upgrade boto3",
        )


@translated("AWS")
def known_regions(session: Session) -> list[str]:
    """Return the regions of all of AWS's partitions."""
    partitions = session.get_available_partitions()
    return [name for one in partitions for name in session.get_available_regions("ec2", one)]


def check_bucket(bucket: str, there: str, here: str, source: str) -> None:
    """Raise UsageError if a bucket is not in the run's region.

    S3 would serve it anyway, and bill each byte that leaves its region.
    """
    if there and there != here:
        raise UsageError(
            f"bucket {bucket} is in {there}, but this run uses {here}",
            f"(region set in {source})",
            f"--region {there}, or a bucket in {here}",
        )
