"""Older versions of a run's objects, in a bucket that keeps them: they cost as much as the newest.

`setup`'s own bucket keeps none. In another bucket, what `clean` deletes leaves its versions behind,
and a marker on top, unless each is deleted by its id.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/Versioning.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from parallelize.console import escape
from parallelize_core.aws_errors import translated
from parallelize_core.errors import ServiceError
from parallelize_core.layout import Location

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

DELETE_BATCH = 1000
"""https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html"""


@dataclass(frozen=True)
class Version:
    """A version of an object, or a marker that says the object was deleted; size in bytes."""

    key: str
    id: str
    size: int = 0
    latest: bool = False
    marker: bool = False

    @property
    def is_old(self) -> bool:
        """Whether listings of the bucket hide it."""
        return self.marker or not self.latest


@translated("S3")
def keeps_versions(s3: S3Client, bucket: str) -> bool:
    """Whether the bucket has kept versions; if that was suspended, older ones are still there."""
    return "Status" in s3.get_bucket_versioning(Bucket=bucket)


def find(s3: S3Client, below: Location) -> Iterator[Version]:
    """Go through all versions below a place, in no particular order."""
    pages = s3.get_paginator("list_object_versions").paginate(
        Bucket=below.bucket, Prefix=below.prefix
    )
    with translated("S3", below.uri):
        for page in pages:
            yield from _versions(page)


def _versions(page: Any) -> Iterator[Version]:
    for one in page.get("Versions", ()):
        yield Version(one["Key"], one["VersionId"], one["Size"], one["IsLatest"])
    for mark in page.get("DeleteMarkers", ()):
        yield Version(mark["Key"], mark["VersionId"], 0, mark["IsLatest"], marker=True)


def delete(s3: S3Client, bucket: str, versions: Iterable[Version]) -> int:
    """Delete versions permanently, and return how many; raise ServiceError if S3 keeps one."""
    count, left = 0, iter(versions)
    while some := list(islice(left, DELETE_BATCH)):
        _delete(s3, bucket, some)
        count += len(some)
    return count


@translated("S3")
def _delete(s3: S3Client, bucket: str, versions: Sequence[Version]) -> None:
    wanted: Any = [{"Key": one.key, "VersionId": one.id} for one in versions]
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": wanted, "Quiet": True})
    for fault in answer.get("Errors", ()):
        raise ServiceError(
            f"S3 does not delete a version of {escape(fault.get('Key', ''))}",
            f"{fault.get('Code')}: {escape(fault.get('Message', ''))}",
            "an object lock or MFA delete keeps it; otherwise: parallelize clean   again",
        )
