"""S3 and SQS refuse by policy; S3 hides keys from who may not list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.functional.fleet.calls import REGION, Need, needs
from tests.functional.fleet.calls import Call as PlainCall
from tests.functional.fleet.iam import allows
from tests.strict_aws.call import Call, Refusal
from tests.strict_aws.layer import Rule

LOOKS = {"HeadObject", "GetObject"}


DENIED = {
    "s3": ("AccessDenied", 403),
    "sqs": ("AccessDeniedException", 403),
    "sns": ("AuthorizationError", 403),
    "logs": ("AccessDeniedException", 400),
    "cloudwatch": ("AccessDenied", 403),
}
"""What the services that are judged call it, by their API references."""


class Permission(Rule):
    """Who calls with a key that has policies may do what they allow, and nothing else."""

    source = (
        "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html"
    )

    def before(self, call: Call) -> dict[str, Any] | None:
        rights = self.world.rights(call)
        if rights is None or call.service not in DENIED:
            return None
        refused = [
            need for need in needs_of(call)
            if not allows(rights, need.action, need.resource, dict(need.context))
        ]  # fmt: skip
        if refused and call.operation == "DeleteObjects":
            return {"Errors": [*errors_of(call, {need.resource for need in refused})]}
        if refused:
            code, status = DENIED[call.service]
            raise Refusal(code, denial(refused[0]), status)
        return None


def needs_of(call: Call) -> list[Need]:
    """Return what a call takes, in its own region."""
    found = needs(PlainCall(call.service, call.operation, call.params))
    here = f":{call.region}:"
    return [one._replace(resource=one.resource.replace(f":{REGION}:", here)) for one in found]


def denial(need: Need) -> str:
    """Say what may not be done, in the words of AWS's services."""
    return (
        f"User is not authorized to perform: {need.action} on resource: {need.resource} "
        f"because no identity-based policy allows the {need.action} action"
    )


def errors_of(call: Call, refused: set[str]) -> Iterator[dict[str, str]]:
    """Go through the errors of a call that deletes many keys: each is allowed for itself.

    The emulator cannot be asked for a part of it, so the others meet an error that passes.
    """
    for one in call.params["Delete"]["Objects"]:
        denied = f"arn:aws:s3:::{call.get('Bucket')}/{one['Key']}" in refused
        code = "AccessDenied" if denied else "InternalError"
        yield {"Key": one["Key"], "Code": code, "Message": code}


class UnseenKey(Rule):
    """A key that is not there is 403, not 404, for who may not list the bucket."""

    source = "https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html"

    def failed(self, call: Call, status: int) -> None:
        policies = self.world.rights(call)
        if status != 404 or call.service != "s3" or call.operation not in LOOKS or policies is None:
            return
        bucket = f"arn:aws:s3:::{call.get('Bucket')}"
        own = {"aws:ResourceAccount": self.world.account}
        if not allows(policies, "s3:ListBucket", bucket, own):
            raise Refusal("AccessDenied", "Access Denied", 403)


class BucketOwner(Rule):
    """A bucket of another owner than the one that was expected is refused."""

    source = "https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html"

    def before(self, call: Call) -> dict[str, Any] | None:
        expected = call.headers.get("x-amz-expected-bucket-owner")
        if expected and expected != self.world.account:
            raise Refusal("AccessDenied", "Access Denied", 403)
        return None


class RequesterPays(Rule):
    """Who reads a bucket whose readers pay has to say in each request that they know."""

    source = (
        "https://docs.aws.amazon.com/AmazonS3/latest/userguide/ObjectsinRequesterPaysBuckets.html"
    )
    found = "no request said so, and inputs in such a bucket could not be read"

    def before(self, call: Call) -> dict[str, Any] | None:
        if call.service != "s3" or call.get("Bucket") not in self.world.requester_pays:
            return None
        known = "RequestPayer" in call.model.input_shape.members
        if known and call.headers.get("x-amz-request-payer") != "requester":
            raise Refusal("AccessDenied", "Access Denied", 403)
        return None


class DemandedKey(Rule):
    """A bucket's policy may deny writes that do not name its key in their headers."""

    source = "https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html"
    found = "no write named a key, and outputs could not be stored in such a bucket"

    def before(self, call: Call) -> dict[str, Any] | None:
        key = self.world.demanded_keys.get(str(call.get("Bucket")))
        makes = call.name in {"s3.PutObject", "s3.CreateMultipartUpload"}
        named = call.headers.get("x-amz-server-side-encryption-aws-kms-key-id")
        if key and makes and named != key:
            raise Refusal("AccessDenied", "Access Denied", 403)
        return None


class NewBucket(Rule):
    """A bucket's settings are made everywhere in the end: one that is new may not be there yet."""

    source = "https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html"
    found = "prep --create-bucket stopped, and left a bucket that keeps uploads that were cut off"

    seconds = 2.0

    def before(self, call: Call) -> dict[str, Any] | None:
        setting = call.service == "s3" and call.operation.startswith("Put")
        if setting and "Key" not in call.params and self.windows.is_open(call.get("Bucket")):
            raise Refusal("NoSuchBucket", "The specified bucket does not exist", 404)
        return None

    def watches(self, call: Call) -> bool:
        return call.name == "s3.CreateBucket"

    def after(self, call: Call, result: dict[str, Any]) -> dict[str, Any] | None:
        self.windows.open(call.get("Bucket"), self.world.seconds(self.seconds))
        return None


class ObjectLimits(Rule):
    """What S3 documents of its limits beside its service model: of keys, metadata and parts."""

    source = "https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html"

    KEY_BYTES = 1024
    METADATA_BYTES = 2048
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html"""
    PARTS = 10_000
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""
    DELETED = 1000
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html"""

    def before(self, call: Call) -> dict[str, Any] | None:
        if call.service == "s3" and (refusal := self._refusal(call)):
            raise refusal
        return None

    def _refusal(self, call: Call) -> Refusal | None:
        said = (call.get("Metadata") or {}).items()
        if len(str(call.get("Key") or "").encode()) > self.KEY_BYTES:
            return Refusal("KeyTooLongError", "Your key is too long")
        if sum(len(f"{name}{value}".encode()) for name, value in said) > self.METADATA_BYTES:
            return Refusal("MetadataTooLarge", "Your metadata headers exceed the maximum size")
        if not 1 <= int(call.get("PartNumber") or 1) <= self.PARTS:
            return Refusal("InvalidArgument", "Part number must be an integer from 1 to 10000")
        if len((call.get("Delete") or {}).get("Objects", ())) > self.DELETED:
            return Refusal("MalformedXML", "The XML you provided was not well-formed")
        return None
