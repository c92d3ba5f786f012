"""`parallelize setup`: the account's side of things, once: bucket, roles, policies, alarms.

It is one CloudFormation stack. An administrator deploys it; the people who submit and launch then
need only the two managed policies that it makes. See docs/aws-setup.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from parallelize import stack
from parallelize.bucket import exists
from parallelize.console import answer, answer_json, escape, say, say_plan
from parallelize.context import Context, open_context
from parallelize.fleet.gather import find_subnets
from parallelize.operations.clean import confirm
from parallelize.operations.in_use import check_unused
from parallelize.operations.volume_grant import ensure_grant, find_volume_key, take_grant_back
from parallelize.options import NOTHING, Common
from parallelize.stack.deploy import Stack
from parallelize.stack.holders import check_free as check_free_policies
from parallelize.stack.state import Standing, standing
from parallelize_core.aws_errors import translated
from parallelize_core.errors import (
    AccessError,
    NothingToDoError,
    ParallelizeError,
    ServiceError,
    UsageError,
)

POLICIES = ("SubmitterPolicy", "LauncherPolicy")
"""The stack's policies for people, as its template calls them."""

KEY = "VolumeKeyArn"
"""The parameter with the account's own key of volumes."""


def setup(  # noqa: PLR0913 - each is a flag of its own
    *,
    email: str | None = None,
    phone: str | None = None,
    set_: tuple[str, ...] = (),
    print_template: bool = False,
    outputs: bool = False,
    delete: bool = False,
    force: bool = False,
    dry_run: bool = False,
    yes: bool = False,
    json: bool = False,
    common: Common = NOTHING,
) -> None:
    """Make or change what parallelize needs in the AWS account, as one CloudFormation stack."""
    if print_template:
        answer(stack.template().rstrip())
        return
    if common.local:
        raise UsageError("the local cloud needs no stack", None, "parallelize run --local")
    context = open_context(common)
    there = Stack(context.client("cloudformation"), context.names.stack)
    if outputs:
        _show_outputs(there, json=json)
    elif delete:
        _check_there(there)
        check_unused(context, force=force)
        _check_policies_free(context, there)
        _delete(context, there, dry_run=dry_run, yes=yes)
    else:
        given = {**_pairs(set_), **_alarms(email, phone)}
        _deploy(context, there, given, dry_run=dry_run, yes=yes)


def _deploy(
    context: Context, there: Stack, given: Mapping[str, str], *, dry_run: bool, yes: bool
) -> None:
    if not _make_way(context, there, dry_run=dry_run, yes=yes):
        return
    parameters = with_listable({**stack_parameters(context, there), **given}, there.parameters())
    if parameters.get("CreateBucket") == "false":
        say(f"bucket {context.bucket} is there already; its policy is its owner's matter")
    with there.change_set(stack.template(), parameters, context.settings.aws.tags) as changes:
        for line in changes.lines:
            say_plan(line) if dry_run else say(line)
        if changes.lines and not dry_run:
            confirm(f"Make these changes in account {context.account}?", yes=yes)
            changes.execute(_teller(there))
    _outside_the_stack(context, parameters, dry_run=dry_run)
    if dry_run:
        say("nothing was changed")
    elif changes.lines:
        _show_outputs(there, json=False)
    else:
        say("the stack is as it should be; nothing to change")


def _outside_the_stack(context: Context, parameters: Mapping[str, str], *, dry_run: bool) -> None:
    """See to what the stack's parameters need, and no stack can make."""
    if key := parameters.get(KEY):
        ensure_grant(context, key, dry_run=dry_run)
    if (phone := parameters.get("Phone")) and not dry_run:
        say_sandbox(context, phone)


def _make_way(context: Context, there: Stack, *, dry_run: bool, yes: bool) -> bool:
    """Take a stack away that only stands in the way; answer whether one can be planned now.

    Raises ServiceError for one that has to be waited for or looked at.
    """
    status = there.status()
    if status == "DELETE_IN_PROGRESS":
        if dry_run:
            say_plan(f"would wait until the stack {there.name} is gone, and make it again")
            return False
        there.delete(_teller(there))
        return True
    check_free(there.name, status)
    if standing(status) is not Standing.FAILED:
        return True
    say(f"the stack {there.name} has failed: {status}")
    if why := there.reason():
        say(escape(why))
    if dry_run:
        say_plan(f"would delete the stack {there.name}, and make it again")
        return False
    confirm(f"Delete what is left of it in account {context.account}?", yes=yes)
    there.delete(_teller(there))
    return True


def check_free(name: str, status: str | None) -> None:
    """Raise ServiceError unless something can be done with a stack of this status."""
    if standing(status) is Standing.BUSY:
        raise ServiceError(
            f"the stack is just being changed ({status})",
            "by somebody else, or by a setup that was cut off",
            "parallelize setup   again, in some minutes",
        )
    if standing(status) is Standing.STUCK:
        raise ServiceError(
            f"the stack is stuck ({status})",
            "a change failed, and so did taking it back",
            f"aws cloudformation continue-update-rollback --stack-name {name}",
        )


def _teller(there: Stack) -> Callable[[str], None]:
    return lambda state: say(f"stack {there.name}: {state}")


def stack_parameters(context: Context, there: Stack) -> dict[str, str]:
    """Return the parameters that the settings and the account determine."""
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
    # A VPC that was given by --set holds, until the settings name subnets.
    if "VpcId" in told and not context.settings.aws.subnets:
        return {}
    subnets = find_subnets(context.client("ec2"), context.settings.aws.subnets)
    return {"VpcId": subnets[0]["VpcId"]}


def _volume_key(context: Context) -> dict[str, str]:
    # One that could not be read now stays as it was said before.
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


def say_sandbox(context: Context, phone: str) -> None:
    """Say if SMS reaches nobody yet: a new account's goes to numbers that it has verified only.

    https://docs.aws.amazon.com/sns/latest/dg/sns-sms-sandbox.html
    """
    try:
        with translated("SNS"):
            answer = context.client("sns").get_sms_sandbox_account_status()
    except ParallelizeError as error:
        say(f"whether SMS reaches {escape(phone)} could not be read ({escape(error.what)})")
        return
    if answer["IsInSandbox"]:
        say(
            "this account's SMS reaches verified numbers only; for this one:\n"
            f"  aws sns create-sms-sandbox-phone-number --phone-number {escape(phone)}\n"
            "  aws sns verify-sms-sandbox-phone-number --one-time-password CODE"
            f" --phone-number {escape(phone)}"
        )


def _alarms(email: str | None, phone: str | None) -> dict[str, str]:
    return {
        name: value for name, value in (("Email", email), ("Phone", phone)) if value is not None
    }


def _pairs(words: tuple[str, ...]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    for name, sign, _ in pairs:
        if not name or not sign:
            raise UsageError("--set takes NAME=VALUE", fix="parallelize setup --print-template")
    return {name: value for name, _, value in pairs}


def _show_outputs(there: Stack, *, json: bool) -> None:
    found = there.outputs()
    if found is None:
        status = there.status()
        raise NothingToDoError(
            f"there is no stack {there.name} in this region",
            f"there is one that was not made: {status}" if status else None,
            "parallelize setup",
        )
    if json or not sys.stdout.isatty():
        answer_json(found)
        return
    for name, value in found.items():
        answer(f"{name:<16} {value}")


def _check_there(there: Stack) -> None:
    """Raise NothingToDoError if there is no stack, in whatever state."""
    if there.status() is None:
        raise NothingToDoError(f"there is no stack {there.name} in this region")


def _check_policies_free(context: Context, there: Stack) -> None:
    """Raise UsageError if somebody holds a policy of the stack; who may not look is not stopped."""
    made = there.resources()
    policies = [made[name] for name in POLICIES if name in made]
    try:
        check_free_policies(context.client("iam"), policies)
    except AccessError as error:
        say(f"who holds the stack's policies could not be read ({error.what})")


def _delete(context: Context, there: Stack, *, dry_run: bool, yes: bool) -> None:
    if dry_run:
        say_plan(f"would delete the stack {there.name}; the bucket and its objects stay")
        return
    confirm(f"Delete the stack {there.name} of account {context.account}?", yes=yes)
    key = there.parameters().get(KEY)
    there.delete(_teller(there))
    if key:
        take_grant_back(context, key)
    say(f"the stack is gone; bucket {context.bucket} stays, it holds your results")
