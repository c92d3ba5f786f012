"""The key that encrypts workers' volumes: AWS's own, or a customer key that is the default.

With a customer key, anyone who starts machines needs rights on it: launchers by the stack's
policy, and Auto Scaling's service-linked role by a grant on the key.

https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption-requirements.html
https://docs.aws.amazon.com/autoscaling/ec2/userguide/key-policy-requirements-EBS-encryption.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from parallelize.console import say
from parallelize_core.aws_errors import translated
from parallelize_core.errors import ParallelizeError, code_of
from parallelize_core.outlast import NEW_ROLE, outlast

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client
    from types_boto3_iam import IAMClient

AWS_OWN = "alias/aws/ebs"

SERVICE = "autoscaling.amazonaws.com"

OPERATIONS = ("Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo", "GenerateDataKey",
              "GenerateDataKeyWithoutPlaintext", "DescribeKey", "CreateGrant")  # fmt: skip
"""What Auto Scaling's role needs, according to the page above."""


def find_key(ec2: EC2Client, kms: Any) -> str:
    """Return the ARN of the customer key that is the default for volumes; empty if none is."""
    key = _default_key(ec2)
    return "" if key.endswith(AWS_OWN) or _is_aws_own(kms, key) else key


@translated("EC2")
def _default_key(ec2: EC2Client) -> str:
    return ec2.get_ebs_default_kms_key_id()["KmsKeyId"]


def _is_aws_own(kms: Any, key: str) -> bool:
    # Without permission to describe it, assume that its permissions matter.
    try:
        with translated("KMS"):
            metadata = kms.describe_key(KeyId=key)["KeyMetadata"]
    except ParallelizeError:
        return False
    return bool(metadata["KeyManager"] == "AWS")


def scaling_role(key: str, account: str) -> str:
    """Return the ARN of the role by which Auto Scaling starts machines in the key's partition."""
    partition = key.split(":")[1]
    name = f"aws-service-role/{SERVICE}/AWSServiceRoleForAutoScaling"
    return f"arn:{partition}:iam::{account}:role/{name}"


@translated("KMS")
def grants(kms: Any, key: str, role: str) -> list[Any]:
    """Return a role's grants on a key that include everything that Auto Scaling needs."""
    held = [one for one in _grants(kms, key) if one["GranteePrincipal"] == role]
    return [one for one in held if set(OPERATIONS) <= set(one["Operations"])]


def _grants(kms: Any, key: str) -> Iterator[Any]:
    for page in kms.get_paginator("list_grants").paginate(KeyId=key):
        yield from page["Grants"]


def grant(kms: Any, key: str, role: str, name: str) -> None:
    """Let Auto Scaling's role use the key, once KMS knows the role."""
    outlast(NEW_ROLE, lambda: _grant(kms, key, role, name), say)


@translated("KMS")
def _grant(kms: Any, key: str, role: str, name: str) -> None:
    kms.create_grant(KeyId=key, GranteePrincipal=role, Operations=list(OPERATIONS), Name=name)


@translated("KMS")
def revoke(kms: Any, key: str, name: str) -> int:
    """Revoke the grants of this name; return how many there were."""
    found = [one for one in _grants(kms, key) if one.get("Name") == name]
    for one in found:
        kms.revoke_grant(KeyId=key, GrantId=one["GrantId"])
    return len(found)


def ensure_role(iam: IAMClient) -> None:
    """Create Auto Scaling's role, which AWS creates only with the first group; a grant names it."""
    try:
        with translated("IAM"):
            iam.create_service_linked_role(AWSServiceName=SERVICE)
    except ParallelizeError as error:
        if code_of(error) not in {"InvalidInput", "EntityAlreadyExists"}:
            raise
