"""What an organization asks for on top of a user's own permissions: tags on all that is made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from moto.ec2.models import ec2_backends
from tests.strict_aws.call import Call, Refusal
from tests.strict_aws.layer import Rule
from tests.strict_aws.rules.stacks import fail, stack_of

MAKING = {
    "sqs.CreateQueue": "AccessDenied",
    "ec2.CreateLaunchTemplate": "UnauthorizedOperation",
    "ec2.CreateFleet": "UnauthorizedOperation",
    "ec2.RunInstances": "UnauthorizedOperation",
    "autoscaling.CreateAutoScalingGroup": "AccessDenied",
    "cloudwatch.PutMetricAlarm": "AccessDenied",
    "cloudformation.CreateChangeSet": "AccessDenied",
    "ec2.CreateImage": "UnauthorizedOperation",
    "logs.CreateLogGroup": "AccessDeniedException",
    "s3.CreateBucket": "AccessDenied",
}
"""The calls that make a thing that has tags, and how each service says no."""


class DemandedTags(Rule):
    """A service control policy denies making what lacks the organization's tags in the request."""

    source = (
        "https://docs.aws.amazon.com/organizations/latest/userguide/"
        "orgs_manage_policies_scps_examples_tagging.html"
    )
    found = "queues were tagged after they were made, and the alarms of runs not at all"

    def before(self, call: Call) -> dict[str, Any] | None:
        if not self.world.demanded_tags or call.name not in MAKING:
            return None
        for kind, keys in self._given(call):
            if missing := self.world.demanded_tags - keys:
                raise Refusal(
                    MAKING[call.name],
                    f"not authorized to perform {call.name} on {kind} without the tag"
                    f" {min(missing)}, with an explicit deny in a service control policy",
                    403,
                )
        return None

    def _given(self, call: Call) -> Iterator[tuple[str, set[str]]]:
        """Go through what a call makes, and the tags that it gives to each."""
        if call.service != "ec2":
            of_bucket = call.get("CreateBucketConfiguration") or {}
            tags = call.get("Tags") or call.get("tags") or of_bucket.get("Tags") or ()
            yield call.service, set(tags) if isinstance(tags, Mapping) else _keys(tags)
            return
        specified = {one["ResourceType"]: _keys(one["Tags"]) for one in self._specified(call)}
        made = {
            "CreateLaunchTemplate": ("launch-template",),
            "CreateImage": ("image", "snapshot"),
            "CreateFleet": ("fleet", "instance", "volume", "network-interface"),
            "RunInstances": ("instance", "volume", "network-interface"),
        }[call.operation]
        yield from ((kind, specified.get(kind, set())) for kind in made)

    def _specified(self, call: Call) -> list[Any]:
        """Return the tags of a request, with those of the template that it starts from."""
        own = list(call.get("TagSpecifications") or ())
        backend = ec2_backends[self.world.account][call.region]
        for config in call.get("LaunchTemplateConfigs") or ():
            named = config["LaunchTemplateSpecification"]
            template = backend.get_launch_template(named["LaunchTemplateId"])
            own += template.get_version(named["Version"]).data.get("TagSpecifications") or []
        return own


class SmsSandbox(Rule):
    """A new account's SMS reaches verified numbers only; moto does not know the question."""

    source = "https://docs.aws.amazon.com/sns/latest/dg/sns-sms-sandbox.html"
    found = "setup --phone said nothing of it, and no alarm would have come"

    def before(self, call: Call) -> dict[str, Any] | None:
        if call.name == "sns.GetSMSSandboxAccountStatus":
            return {"IsInSandbox": self.world.sms_sandbox}
        return None


class DemandedRole(Rule):
    """A policy denies making roles without the organization's boundary, or at another path."""

    source = "https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html"
    found = "no parameter of the stack named a boundary or a path, so setup failed"

    def watches(self, call: Call) -> bool:
        asked = self.world.boundary or self.world.role_path != "/"
        return bool(asked) and call.name == "cloudformation.ExecuteChangeSet"

    def after(self, call: Call, result: dict[str, Any]) -> dict[str, Any] | None:
        stack = stack_of(self, call)
        for one in stack.resource_map._parsed_resources.values():
            if why := self._fault(one):
                self.acted = True
                fail(stack, "ROLLBACK_COMPLETE", "AgentRole", "AWS::IAM::Role", why,
                     call.get("ClientRequestToken"))  # fmt: skip
        return None

    def _fault(self, one: Any) -> str:
        is_role = hasattr(one, "assume_role_policy_document")
        if is_role and one.permissions_boundary_arn != self.world.boundary:
            return "not authorized to perform: iam:CreateRole because no permissions boundary"
        has_path = is_role or type(one).__name__ in {"ManagedPolicy", "InstanceProfile"}
        if has_path and one.path != self.world.role_path:
            return f"not authorized to perform: iam:Create* on resource: {one.arn}"
        return ""


def _keys(tags: Iterable[Mapping[str, str]]) -> set[str]:
    return {tag["Key"] for tag in tags}
