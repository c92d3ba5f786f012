"""What owners of buckets require in requests: that the reader pays, or which key encrypts.

Terms(("theirs",)).reading("theirs")      [("x-amz-request-payer", "requester")]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Headers = list[tuple[str, str]]


@dataclass(frozen=True)
class Terms:
    """`requester_pays` are buckets whose readers pay, `kms_keys` the keys that writers must name.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/ObjectsinRequesterPaysBuckets.html
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/specifying-kms-encryption.html
    """

    requester_pays: tuple[str, ...] = ()
    kms_keys: Mapping[str, str] = field(default_factory=dict)

    def reading(self, bucket: str) -> Headers:
        """Return the headers of every request to a bucket."""
        return [("x-amz-request-payer", "requester")] if bucket in self.requester_pays else []

    def writing(self, bucket: str) -> Headers:
        """Return the headers of requests that make an object, besides those."""
        key = self.kms_keys.get(bucket)
        if key is None:
            return []
        name = "x-amz-server-side-encryption"
        return [(name, "aws:kms"), (f"{name}-aws-kms-key-id", key)]

    def install(self, events: Any) -> None:
        """Make the clients of a botocore session send the same, through its events."""
        events.register("before-parameter-build.s3", self._add)

    def _add(self, params: dict[str, Any], model: Any, **_: object) -> None:
        bucket, known = str(params.get("Bucket")), model.input_shape.members
        if bucket in self.requester_pays and "RequestPayer" in known:
            params.setdefault("RequestPayer", "requester")
        if bucket in self.kms_keys and "SSEKMSKeyId" in known:
            params.setdefault("ServerSideEncryption", "aws:kms")
            params.setdefault("SSEKMSKeyId", self.kms_keys[bucket])


NO_TERMS = Terms()
