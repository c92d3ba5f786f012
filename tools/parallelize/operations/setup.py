"""Sets up the account, once: bucket, roles, policies, alarms.

It is one CloudFormation stack. An administrator deploys it; the people who submit and launch then
need only the two managed policies that it makes. See docs/aws-setup.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from parallelize import stack
from parallelize.bucket import exists
from parallelize.console import escape
from parallelize.context import Context
from parallelize.fleet import volume_key
from parallelize.fleet.describe import find_subnets
from parallelize.operations.usage_check import check_unused
from parallelize.stack.deploy import Stack
from parallelize.stack.state import Standing, standing
from parallelize_core.aws_errors import translated
from parallelize_core.errors import (
    AccessError,
    NothingToDoError,
    ParallelizeError,
    ServiceError,
    UsageError,
    code_of,
)

if TYPE_CHECKING:
    from types_boto3_iam import IAMClient

DELETING = "DELETE_IN_PROGRESS"

Sure = Callable[[str], None]
"""Asks a question, and raises UsageError unless the answer is yes."""

POLICIES = ("SubmitterPolicy", "LauncherPolicy")
"""The stack's policies for people, as its template names them."""

KEY = "VolumeKeyArn"
"""The parameter for the account's own key of volumes."""


def find_stack(context: Context) -> Stack:
    """Return the stack that the settings name, which need not exist."""
    return Stack(context.client("cloudformation"), context.names.stack)


def given_parameters(words: Iterable[str], **named: str | None) -> dict[str, str]:
    """Return the parameters in words like NAME=VALUE, and those that have flags of their own."""
    pairs = [word.partition("=") for word in words]
    for name, sign, _ in pairs:
        if not name or not sign:
            raise UsageError("--set takes NAME=VALUE", fix="parallelize setup --print-template")
    flags = {name: value for name, value in named.items() if value is not None}
    return {**{name: value for name, _, value in pairs}, **flags}


def planned(context: Context, there: Stack, given: Mapping[str, str]) -> Iterator[str]:
    """Say what `deploy` would change."""
    status = there.status()
    if status == DELETING:
        yield f"would wait until the stack {there.name} is gone, and create it again"
        return
    if _has_failed(context, there, status):
        yield f"would delete the stack {there.name}, and create it again"
        return
    parameters = _parameters(context, there, given)
    with there.change_set(stack.template(), parameters, context.settings.aws.tags) as changes:
        yield from changes.lines
    if key := parameters.get(KEY):
        yield from _planned_grant(context, key)
    context.tell("nothing was changed")


def deploy(context: Context, there: Stack, given: Mapping[str, str], sure: Sure) -> bool:
    """Create or change the stack; return whether it was changed."""
    _make_way(context, there, sure)
    parameters = _parameters(context, there, given)
    with there.change_set(stack.template(), parameters, context.settings.aws.tags) as changes:
        for line in changes.lines:
            context.tell(line)
        if changes.lines:
            sure(f"Make these changes in account {context.account}?")
            changes.execute(_teller(context, there))
    if key := parameters.get(KEY):
        ensure_grant(context, key)
    if phone := parameters.get("Phone"):
        tell_sandbox(context, phone)
    return bool(changes.lines)


def _parameters(context: Context, there: Stack, given: Mapping[str, str]) -> dict[str, str]:
    parameters = with_listable({**stack_parameters(context, there), **given}, there.parameters())
    if parameters.get("CreateBucket") == "false":
        context.tell(f"bucket {context.bucket} exists already; setup leaves its policy unchanged")
    return parameters


def _make_way(context: Context, there: Stack, sure: Sure) -> None:
    """Delete a stack that only stands in the way.

    Raises ServiceError for one that has to be waited for or looked at.
    """
    status = there.status()
    if status == DELETING:
        there.delete(_teller(context, there))
    elif _has_failed(context, there, status):
        sure(f"Delete what is left of it in account {context.account}?")
        there.delete(_teller(context, there))


def _has_failed(context: Context, there: Stack, status: str | None) -> bool:
    """Whether the stack has to be created again; says why. ServiceError if nothing can be done."""
    check_free(there.name, status)
    if standing(status) is not Standing.FAILED:
        return False
    context.tell(f"the stack {there.name} has failed: {status}")
    if why := there.reason():
        context.tell(escape(why))
    return True


def check_free(name: str, status: str | None) -> None:
    """Raise ServiceError if nothing can be done with a stack of this status."""
    if standing(status) is Standing.BUSY:
        raise ServiceError(
            f"the stack is being changed ({status})",
            "by someone else, or by a setup that was interrupted",
            "parallelize setup   again, in a few minutes",
        )
    if standing(status) is Standing.STUCK:
        raise ServiceError(
            f"the stack is stuck ({status})",
            "a change failed, and so did its rollback",
            f"aws cloudformation continue-update-rollback --stack-name {name}",
        )


def _teller(context: Context, there: Stack) -> Callable[[str], None]:
    return lambda state: context.tell(f"stack {there.name}: {state}")


def stack_parameters(context: Context, there: Stack) -> dict[str, str]:
    """Return the parameters that follow from the settings and the account."""
    told = there.parameters()
    mine = told.get("CreateBucket") == "true" and told.get("BucketName") == context.bucket
    made_before = not mine and exists(context.clients.s3, context.bucket)
    regional = context.bucket.endswith("-an")
    return {
        **_network(context, told),
        "BucketName": context.bucket,
        "BucketNamespace": "account-regional" if regional else "global",
        "CreateBucket": "false" if made_before else "true",
        **_volume_key(context),
        "Prefix": context.base.prefix,
    }


def _network(context: Context, told: Mapping[str, str]) -> dict[str, str]:
    # A VPC that was given by --set stays until the settings name subnets.
    if "VpcId" in told and not context.settings.aws.subnets:
        return {}
    subnets = find_subnets(context.client("ec2"), context.settings.aws.subnets)
    return {"VpcId": subnets[0]["VpcId"]}


def _volume_key(context: Context) -> dict[str, str]:
    # If it cannot be read now, it keeps its previous value.
    key = find_volume_key(context)
    return {} if key is None else {KEY: key}


ELSEWHERE = ("ReadableObjects", "WritableObjects")
"""The parameters with objects in other buckets."""


def with_listable(given: dict[str, str], told: Mapping[str, str]) -> dict[str, str]:
    """Add the buckets of the objects elsewhere, unless they are given; `told` is from before."""
    if not given.keys() & set(ELSEWHERE):
        return given
    objects = ",".join(given.get(name, told.get(name, "")) for name in ELSEWHERE)
    buckets = {arn.strip().partition("/")[0] for arn in objects.split(",") if arn.strip()}
    return {"ListableBuckets": ",".join(sorted(buckets)), **given}


def tell_sandbox(context: Context, phone: str) -> None:
    """Say if SMS cannot be delivered yet: a new account's reach only numbers that it has verified.

    https://docs.aws.amazon.com/sns/latest/dg/sns-sms-sandbox.html
    """
    try:
        with translated("SNS"):
            answer = context.client("sns").get_sms_sandbox_account_status()
    except ParallelizeError as error:
        context.tell(f"cannot tell whether SMS reaches {escape(phone)} ({escape(error.what)})")
        return
    if answer["IsInSandbox"]:
        context.tell(
            "this account can send SMS only to verified numbers; to verify this one:\n"
            f"  aws sns create-sms-sandbox-phone-number --phone-number {escape(phone)}\n"
            "  aws sns verify-sms-sandbox-phone-number --one-time-password CODE"
            f" --phone-number {escape(phone)}"
        )


def find_outputs(there: Stack) -> dict[str, str]:
    """Return what the stack made; NothingToDoError if there is none."""
    found = there.outputs()
    if found is None:
        status = there.status()
        raise NothingToDoError(
            f"there is no stack {there.name} in this region",
            f"its status is {status}" if status else None,
            "parallelize setup",
        )
    return found


def check_deletable(context: Context, there: Stack, *, force: bool) -> None:
    """Raise if there is no stack, in any state, or if it is in use; see `check_unused`."""
    if there.status() is None:
        raise NothingToDoError(f"there is no stack {there.name} in this region")
    check_unused(context, force=force)
    _check_policies_free(context, there)


def _check_policies_free(context: Context, there: Stack) -> None:
    """Raise UsageError if somebody holds a policy of the stack; a user who may not look goes on."""
    made = there.resources()
    policies = [made[name] for name in POLICIES if name in made]
    try:
        check_policies_free(context.client("iam"), policies)
    except AccessError as error:
        context.tell(f"cannot tell who uses the stack's policies ({error.what})")


def planned_deletion(there: Stack) -> list[str]:
    """Say what `delete` would do."""
    return [f"would delete the stack {there.name}; the bucket and its objects stay"]


def delete(context: Context, there: Stack, sure: Sure) -> None:
    """Delete the stack, and the grant that was made outside of it."""
    sure(f"Delete the stack {there.name} of account {context.account}?")
    key = there.parameters().get(KEY)
    there.delete(_teller(context, there))
    if key:
        take_grant_back(context, key)
    context.tell(f"deleted the stack; bucket {context.bucket} stays, with your results")


def find_volume_key(context: Context) -> str | None:
    """Return the account's own default key of volumes, "" for AWS's; None if it cannot be read."""
    try:
        return volume_key.find_key(context.client("ec2"), context.client("kms"))
    except ParallelizeError as error:
        context.tell(f"cannot tell which key encrypts volumes ({escape(error.what)})")
        return None


def grant_name(context: Context) -> str:
    """Return the name of the stack's grant on the key."""
    return f"{context.names.stack}-autoscaling"


def ensure_grant(context: Context, key: str) -> None:
    """Let Auto Scaling use the key, unless it may already; if refused, say how else to do it."""
    kms, role = context.client("kms"), volume_key.scaling_role(key, context.account)
    try:
        if volume_key.grants(kms, key, role):
            return
        volume_key.ensure_role(context.client("iam"))
        volume_key.grant(kms, key, role, grant_name(context))
    except ParallelizeError as error:
        context.tell(_not_granted(key, error))
        return
    context.tell(f"Auto Scaling may use the key {key}")


def _planned_grant(context: Context, key: str) -> Iterator[str]:
    role = volume_key.scaling_role(key, context.account)
    try:
        if volume_key.grants(context.client("kms"), key, role):
            return
    except ParallelizeError as error:
        context.tell(_not_granted(key, error))
        return
    yield f"would let Auto Scaling use the key {key}"


def _not_granted(key: str, error: ParallelizeError) -> str:
    return (
        f"Auto Scaling may not use the key {key} ({escape(error.what)});\n"
        "  --fleet persistent needs it: docs/aws-setup.md#a-key-of-your-own-for-volumes"
    )


def take_grant_back(context: Context, key: str) -> None:
    """Revoke the stack's grant; say what cannot be revoked."""
    try:
        volume_key.revoke(context.client("kms"), key, grant_name(context))
    except ParallelizeError as error:
        context.tell(f"the grant {grant_name(context)} on {key} stays ({escape(error.what)})")


def check_policies_free(iam: IAMClient, policies: Collection[str]) -> None:
    """Raise UsageError if a user, group or role holds one of the policies, given by ARN.

    IAM does not delete a policy that is attached to somebody.
    https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeletePolicy.html
    """
    found = [(policy, kind, name) for policy in policies for kind, name in holders(iam, policy)]
    if not found:
        return
    who = ", ".join(f"{kind} {name}" for kind, name in dict.fromkeys(one[1:] for one in found))
    raise UsageError(
        f"the stack's policies are attached to: {who}",
        "IAM does not delete an attached policy, so deleting the stack would fail",
        "\n  ".join(
            f"aws iam detach-{kind}-policy --{kind}-name {name} --policy-arn {policy}"
            for policy, kind, name in found
        ),
    )


def holders(iam: IAMClient, policy: str) -> list[tuple[str, str]]:
    """Return who holds a policy: user, group or role, and the name; nobody if it does not exist."""
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
