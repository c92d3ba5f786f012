"""Recording every call to AWS, and what permission each of them takes.

Names of calls and of permissions differ in places; the differences are from the service
authorization reference: https://docs.aws.amazon.com/service-authorization/latest/reference/
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import botocore.handlers
import pytest

ACCOUNT, REGION = "123456789012", "eu-west-1"

S3_ACTIONS = {
    "HeadObject": ["GetObject"],
    "HeadBucket": ["ListBucket"],
    "ListObjectsV2": ["ListBucket"],
    "CreateMultipartUpload": ["PutObject"],
    "UploadPart": ["PutObject"],
    "CompleteMultipartUpload": ["PutObject"],
    "DeleteObjects": ["DeleteObject"],
}
SQS_ACTIONS = {
    "SendMessageBatch": ["SendMessage"],
    "DeleteMessageBatch": ["DeleteMessage"],
    "ChangeMessageVisibilityBatch": ["ChangeMessageVisibility"],
}
WITHOUT_PERMISSION = {"sts:GetCallerIdentity"}


class Need(NamedTuple):
    """One permission that a call takes."""

    action: str
    resource: str
    context: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Call:
    """A call as it was made."""

    service: str
    operation: str
    params: dict[str, Any]


@contextlib.contextmanager
def recorded() -> Iterator[list[Call]]:
    """Record the calls of all sessions that are made inside the block."""
    calls: list[Call] = []

    def note(params: dict[str, Any], model: Any, **_: object) -> None:
        calls.append(Call(model.service_model.service_name, model.name, dict(params)))

    with pytest.MonkeyPatch.context() as patch:
        handlers = [*botocore.handlers.BUILTIN_HANDLERS, ("provide-client-params", note)]
        patch.setattr(botocore.handlers, "BUILTIN_HANDLERS", handlers)
        yield calls


def needs(call: Call) -> list[Need]:
    """Return the permissions that a call takes, with the resources that it names."""
    if call.service == "s3":
        return s3_needs(call)
    if call.service == "sqs":
        return [Need(f"sqs:{name}", queue_arn(call.params)) for name in sqs_actions(call)]
    if call.service == "logs":
        return [Need(f"logs:{call.operation}", stream_arn(call.params))]
    action = f"{call.service.replace('-', '')}:{call.operation}"
    if action in WITHOUT_PERMISSION:
        return []
    named = "Namespace" in call.params and call.service == "cloudwatch"
    context = (("cloudwatch:namespace", call.params["Namespace"]),) if named else ()
    return [Need(action, "*", context)]


def s3_needs(call: Call) -> list[Need]:
    bucket = f"arn:aws:s3:::{call.params['Bucket']}"
    keys = [call.params["Key"]] if "Key" in call.params else []
    keys += [item["Key"] for item in call.params.get("Delete", {}).get("Objects", ())]
    actions = [f"s3:{name}" for name in S3_ACTIONS.get(call.operation, [call.operation])]
    if keys:
        return [Need(action, f"{bucket}/{key}") for action in actions for key in keys]
    prefix = (("s3:prefix", call.params["Prefix"]),) if "Prefix" in call.params else ()
    return [Need(action, bucket, prefix) for action in actions]


def stream_arn(params: dict[str, Any]) -> str:
    group, stream = params["logGroupName"], params["logStreamName"]
    return f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}:log-stream:{stream}"


def sqs_actions(call: Call) -> list[str]:
    return SQS_ACTIONS.get(call.operation, [call.operation])


def queue_arn(params: dict[str, Any]) -> str:
    name = params.get("QueueName") or params["QueueUrl"].rpartition("/")[2]
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
