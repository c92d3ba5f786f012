"""Checks permissions with the policy simulator, for calls that have no dry run.

https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_testing-policies.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from parallelize_core.aws_errors import translated
from parallelize_core.errors import ParallelizeError
from parallelize_core.layout import RunLayout
from parallelize_core.names import Names

if TYPE_CHECKING:
    from types_boto3_iam import IAMClient


@dataclass(frozen=True)
class Ask:
    """Calls on a resource, and the context keys of the request."""

    actions: tuple[str, ...]
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Where:
    """The parts of ARNs in one account and region."""

    partition: str
    region: str
    account: str

    @property
    def suffix(self) -> str:
        """The suffix of service names in policies that pass roles to EC2."""
        return "amazonaws.com.cn" if self.partition == "aws-cn" else "amazonaws.com"

    def arn(self, service: str, rest: str) -> str:
        """Return the ARN of a resource of a service."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{rest}"


def asks(
    where: Where, layout: RunLayout, names: Names, given: Mapping[str, str], role: str | None
) -> list[Ask]:
    """Return the permissions for submitting and launching a run with the tags `given`.

    `role` is the workers' role, None if not known.
    """
    bucket = f"arn:{where.partition}:s3:::{layout.root.bucket}"
    own = {"aws:ResourceAccount": where.account}
    tagged = {f"aws:RequestTag/{key}": value for key, value in given.items()}
    found = [
        Ask(("s3:ListBucket",), bucket, own),
        Ask(("s3:GetObject", "s3:PutObject"), f"{bucket}/{layout.run_json}", own),
        Ask(
            ("sqs:CreateQueue", "sqs:SendMessage", "sqs:GetQueueAttributes"),
            where.arn("sqs", names.queue),
        ),
        Ask(("ec2:CreateFleet",), where.arn("ec2", "fleet/*"), tagged),
        Ask(("ec2:RunInstances",), where.arn("ec2", "instance/*"), tagged),
        Ask(
            ("autoscaling:CreateAutoScalingGroup",),
            where.arn("autoscaling", f"autoScalingGroup:*:autoScalingGroupName/{names.group}"),
        ),
    ]
    to_ec2 = {"iam:PassedToService": f"ec2.{where.suffix}"}
    return [*found, Ask(("iam:PassRole",), role, to_ec2)] if role else found


def principal(iam: IAMClient, caller: str) -> str | None:
    """Return the ARN whose policies apply to a caller; None if the simulator does not take it.

    It takes users and roles, but not the account's root user, whom no policy limits, nor
    the session of a federated user.
    """
    service, kind = caller.split(":")[2], caller.rpartition(":")[2]
    if service == "iam":
        return caller if kind.startswith(("user/", "role/")) else None
    if not kind.startswith("assumed-role/"):
        return None
    name = kind.split("/")[1]
    try:
        # A session's ARN omits the role's path, which single sign-on roles have.
        with translated("IAM"):
            return iam.get_role(RoleName=name)["Role"]["Arn"]
    except ParallelizeError:
        partition, account = caller.split(":")[1], caller.split(":")[4]
        return f"arn:{partition}:iam::{account}:role/{name}"


@translated("IAM")
def refused(iam: IAMClient, source: str, wanted: Iterable[Ask]) -> list[str]:
    """Return the actions that would be denied; raise RefusedError if asking is not allowed."""
    return [action for ask in wanted for action in _refused(iam, source, ask)]


def _refused(iam: IAMClient, source: str, ask: Ask) -> Iterator[str]:
    context: Any = [
        {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"}
        for key, value in ask.context.items()
    ]
    pages = iam.get_paginator("simulate_principal_policy").paginate(
        PolicySourceArn=source, ActionNames=list(ask.actions), ResourceArns=[ask.resource],
        ContextEntries=context,
    )  # fmt: skip
    for page in pages:
        for result in page["EvaluationResults"]:
            if result["EvalDecision"] != "allowed":
                yield result["EvalActionName"]
