"""IAM: roles and profiles that other services do not know yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moto.ec2.models import ec2_backends
from tests.strict_aws.call import Call, Refusal
from tests.strict_aws.layer import Rule
from tests.strict_aws.rules.templates import GROUPS, templates_of

EVENTUAL = "https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html"


class NewProfile(Rule):
    """EC2 does not know the instance profile of a new stack at once."""

    source = EVENTUAL
    found = "setup, then launch: EC2 did not accept the launch, and setup was said to be missing"

    seconds = 10.0

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self._made: set[str] = set()

    def before(self, call: Call) -> dict[str, Any] | None:
        for name in self._profiles(call):
            if any(name.startswith(f"{stack}-") for stack in self.windows.any_open()):
                return self._unknown(call, name)
        return None

    def _profiles(self, call: Call) -> Iterator[str]:
        backend = ec2_backends[self.world.account][call.region]
        for id_, version in templates_of(call):
            if template := backend.launch_templates.get(id_):
                data = template.get_version(version).data
                yield (data.get("IamInstanceProfile") or {}).get("Name", "")

    def _unknown(self, call: Call, name: str) -> dict[str, Any]:
        words = (
            f"Value ({name}) for parameter iamInstanceProfile.name is invalid."
            " Invalid IAM Instance Profile name"
        )
        if call.operation in GROUPS:
            prefix = "You must use a valid fully-formed launch template."
            raise Refusal("ValidationError", f"{prefix} {words}")
        return {"Errors": [{"ErrorCode": "InvalidParameterValue", "ErrorMessage": words}]}

    def watches(self, call: Call) -> bool:
        return call.name == "cloudformation.ExecuteChangeSet"

    def after(self, call: Call, result: dict[str, Any]) -> dict[str, Any] | None:
        stack = str(call.get("StackName"))
        if stack not in self._made:
            self.windows.open(stack, self.world.seconds(self.seconds))
        self._made.add(stack)
        return None


class NewServiceRole(Rule):
    """KMS does not know a service's new role at once."""

    source = EVENTUAL
    found = "setup made the role and asked for its grant at once; groups had no machine"

    seconds = 5.0

    def before(self, call: Call) -> dict[str, Any] | None:
        if call.name == "kms.CreateGrant" and self.windows.any_open():
            raise Refusal("InvalidArnException", "An ARN in the request is not valid.")
        return None

    def watches(self, call: Call) -> bool:
        return call.name == "iam.CreateServiceLinkedRole"

    def after(self, call: Call, result: dict[str, Any]) -> dict[str, Any] | None:
        self.windows.open(call.get("AWSServiceName"), self.world.seconds(self.seconds))
        return None
