"""The bucket "auto": its name, and how to create it without `setup`.

The name ends in `-an` and is requested in the account's own namespace, where nobody else can take
it: https://docs.aws.amazon.com/AmazonS3/latest/userguide/gpbucketnamespaces.html
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from parallelize.console import say
from parallelize_core.errors import MissingError, ParallelizeError, code_of
from parallelize_core.names import Names
from parallelize_core.outlast import NEW_BUCKET, outlast
from parallelize_core.translated import translated

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


NOT_REGIONAL = {"me-central-1", "me-south-1"}
"""The regions without account-regional namespaces, according to that page.

There anybody can have the name: `aws:ResourceAccount` and the expected owner protect against using
another account's bucket.
"""


def auto_name(names: Names, account: str, region: str) -> str:
    """Return the name of the stack's bucket; the CloudFormation stack uses the same."""
    own = "" if region in NOT_REGIONAL else "-an"
    return f"{names.stack}-{account}-{region}{own}"


def exists(s3: S3Client, name: str) -> bool:
    """Whether a bucket of this name exists that we may use."""
    return region_of(s3, name) is not None


def region_of(s3: S3Client, name: str) -> str | None:
    """Return the region of a bucket, None if it does not exist, "" if the service does not say."""
    try:
        with translated("S3", f"s3://{name}"):
            return s3.head_bucket(Bucket=name).get("BucketRegion") or ""
    except MissingError:
        return None


def create(s3: S3Client, name: str, region: str, tags: Mapping[str, str]) -> None:
    """Create a private, encrypted bucket that only its owner's policies govern."""
    request: dict[str, Any] = {"Bucket": name, "ObjectOwnership": "BucketOwnerEnforced"}
    if name.endswith("-an"):
        request["BucketNamespace"] = "account-regional"
    configuration: dict[str, Any] = {}
    if region != "us-east-1":  # the one region that must not be named here
        configuration["LocationConstraint"] = region
    if tags:
        configuration["Tags"] = [{"Key": key, "Value": tags[key]} for key in sorted(tags)]
    if configuration:
        request["CreateBucketConfiguration"] = configuration
    try:
        _make(s3, request)
    except ParallelizeError as error:
        # Made by another `prep` just now, or by this call, whose answer was lost.
        if code_of(error) != "BucketAlreadyOwnedByYou":
            raise
    for setting in (_close, _encrypt, _forget_cut_off):
        outlast(NEW_BUCKET, partial(setting, s3, name), say)


@translated("S3")
def _make(s3: S3Client, request: dict[str, Any]) -> None:
    s3.create_bucket(**request)


@translated("S3")
def _close(s3: S3Client, name: str) -> None:
    closed: Any = dict.fromkeys(
        ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
    )
    s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=closed)


@translated("S3")
def _encrypt(s3: S3Client, name: str) -> None:
    s3.put_bucket_encryption(
        Bucket=name,
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        },
    )


@translated("S3")
def _forget_cut_off(s3: S3Client, name: str) -> None:
    s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration=_LIFECYCLE)


_LIFECYCLE: Any = {
    "Rules": [
        {
            # Parts of an incomplete upload are invisible, and cost money forever.
            "ID": "abort-incomplete-uploads",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
        }
    ]
}
