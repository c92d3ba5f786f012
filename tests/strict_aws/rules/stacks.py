"""CloudFormation and IAM: what cannot be deleted, replaced, or made again at once."""

from __future__ import annotations

import re
from typing import Any

from moto.cloudformation.models import cloudformation_backends
from moto.iam.models import iam_backends
from tests.strict_aws.call import Call, Refusal
from tests.strict_aws.layer import Rule


def stack_of(rule: Rule, call: Call) -> Any:
    """Return moto's stack of a call's name, None if there is none."""
    name = call.get("StackName")
    stacks = cloudformation_backends[rule.world.account][call.region].stacks.values()
    return next((one for one in stacks if name in {one.name, one.stack_id}), None)


def fail(stack: Any, status: str, resource: str, kind: str, why: str, token: str | None) -> None:
    """Let a stack end in a state, with an event that says why."""
    stack.status = status
    stack._add_stack_event(status)
    event = stack.events[-1]
    event.logical_resource_id, event.resource_type = resource, kind
    event.resource_status, event.resource_status_reason = "DELETE_FAILED", why
    event.client_request_token = token


_GROUP_NAME = re.compile(r"^ +GroupName:.*$", re.MULTILINE)


class AttachedPolicy(Rule):
    """A policy that somebody holds cannot be deleted, and so neither can its stack."""

    source = "https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeletePolicy.html"
    found = "setup --delete failed, and did not say who holds the policies"

    def before(self, call: Call) -> dict[str, Any] | None:
        if call.name != "cloudformation.DeleteStack":
            return None
        stack = stack_of(self, call)
        for name, policy in self._held(stack):
            why = f"Cannot delete a policy attached to entities. ({policy.name}, DeleteConflict)"
            fail(stack, "DELETE_FAILED", name, "AWS::IAM::ManagedPolicy", why,
                 call.get("ClientRequestToken"))  # fmt: skip
            return {}
        return None

    def _held(self, stack: Any) -> list[tuple[str, Any]]:
        if stack is None:
            return []
        known = iam_backends[self.world.account]["aws"].managed_policies
        own = {one.name for one in _resources(stack) if hasattr(one, "assume_role_policy_document")}
        return [
            (name, policy)
            for name, one in stack.resource_map._parsed_resources.items()
            if (policy := known.get(getattr(one, "arn", ""))) and _holders(self, policy) - own
        ]


def _resources(stack: Any) -> list[Any]:
    return list(stack.resource_map._parsed_resources.values())


def _holders(rule: Rule, policy: Any) -> set[str]:
    iam = iam_backends[rule.world.account]["aws"]
    everybody: list[Any] = [*iam.users.values(), *iam.groups.values(), *iam.roles.values()]
    return {one.name for one in everybody if policy.arn in one.managed_policies}


class NamedResource(Rule):
    """What has the same name again cannot be replaced, as another VPC or path would ask for."""

    source = (
        "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-properties-name.html"
    )
    found = "setup --set VpcId=… of another VPC rolled the stack back"

    def before(self, call: Call) -> dict[str, Any] | None:
        if call.name != "cloudformation.CreateChangeSet" or call.get("ChangeSetType") != "UPDATE":
            return None
        stack = stack_of(self, call)
        pairs = call.params["Parameters"]
        given = {one["ParameterKey"]: one.get("ParameterValue") for one in pairs}
        before = dict(stack.parameters) if stack else {}
        changed = {name for name, value in given.items() if value and value != before.get(name)}
        named_by_vpc = all(
            "${VpcId}" in one for one in _GROUP_NAME.findall(call.params["TemplateBody"])
        )
        if "RolePath" in changed & before.keys() or (
            "VpcId" in changed & before.keys() and not named_by_vpc
        ):
            raise Refusal(
                "ValidationError",
                "CloudFormation cannot update a stack when a custom-named resource requires "
                "replacing. Rename it and update the stack again.",
            )
        return None


class DeletedStack(Rule):
    """A stack is deleted over minutes, and its name is taken until then."""

    source = (
        "https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DeleteStack.html"
    )

    seconds = 60.0

    def before(self, call: Call) -> dict[str, Any] | None:
        if call.service != "cloudformation" or not self.windows.is_open(call.get("StackName")):
            return None
        if call.operation in {"CreateStack", "CreateChangeSet"}:
            name = call.get("StackName")
            raise Refusal(
                "AlreadyExistsException" if call.operation == "CreateStack" else "ValidationError",
                f"Stack:{name} is in DELETE_IN_PROGRESS state and can not be updated.",
            )
        if call.operation == "DescribeStacks":
            return {"Stacks": [_going(str(call.get("StackName")))]}
        return None

    def watches(self, call: Call) -> bool:
        return call.name == "cloudformation.DeleteStack"

    def after(self, call: Call, result: dict[str, Any]) -> dict[str, Any] | None:
        self.windows.open(call.get("StackName"), self.world.seconds(self.seconds))
        return None


def _going(name: str) -> dict[str, Any]:
    return {"StackName": name, "StackStatus": "DELETE_IN_PROGRESS",
            "CreationTime": "2026-11-01T00:00:00Z"}  # fmt: skip


class RegionalBucket(Rule):
    """Two regions have no bucket names of an account's own."""

    source = "https://docs.aws.amazon.com/AmazonS3/latest/userguide/gpbucketnamespaces.html"
    found = "setup asked for such a name in every region"

    WITHOUT = ("me-central-1", "me-south-1")

    def before(self, call: Call) -> dict[str, Any] | None:
        if call.name != "cloudformation.CreateChangeSet" or call.region not in self.WITHOUT:
            return None
        given = {
            one["ParameterKey"]: one.get("ParameterValue") for one in call.params["Parameters"]
        }
        if given.get("BucketNamespace") == "account-regional":
            raise Refusal(
                "ValidationError", "Account regional namespaces are not supported in this region"
            )
        return None
