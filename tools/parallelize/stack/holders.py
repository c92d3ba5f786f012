"""Who holds the stack's policies: IAM deletes none that is attached to somebody.

https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeletePolicy.html
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from parallelize_core.aws_errors import translated
from parallelize_core.errors import ParallelizeError, UsageError, code_of

if TYPE_CHECKING:
    from types_boto3_iam import IAMClient


def check_free(iam: IAMClient, policies: Collection[str]) -> None:
    """Raise UsageError if a user, group or role holds one of the policies, given by ARN."""
    found = [(policy, kind, name) for policy in policies for kind, name in holders(iam, policy)]
    if not found:
        return
    who = ", ".join(f"{kind} {name}" for kind, name in dict.fromkeys(one[1:] for one in found))
    raise UsageError(
        f"the stack's policies are attached to: {who}",
        "IAM deletes no policy that somebody holds, so the stack's deletion would fail",
        "\n  ".join(
            f"aws iam detach-{kind}-policy --{kind}-name {name} --policy-arn {policy}"
            for policy, kind, name in found
        ),
    )


def holders(iam: IAMClient, policy: str) -> list[tuple[str, str]]:
    """Return who holds a policy: user, group or role, and the name; nobody if it is not there."""
    try:
        with translated("IAM"):
            return list(_holders(iam, policy))
    except ParallelizeError as error:
        if code_of(error) == "NoSuchEntity":
            return []
        raise


def _holders(iam: IAMClient, policy: str) -> Iterator[tuple[str, str]]:
    for page in iam.get_paginator("list_entities_for_policy").paginate(PolicyArn=policy):
        yield from (("user", one["UserName"]) for one in page["PolicyUsers"])
        yield from (("group", one["GroupName"]) for one in page["PolicyGroups"])
        yield from (("role", one["RoleName"]) for one in page["PolicyRoles"])
