"""Launch templates that are not known everywhere at once; AWS says so, and not for how long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.strict_aws.call import Call, Refusal
from tests.strict_aws.layer import Rule
from tests.strict_aws.rules.starts import starts_machines

CONSISTENCY = "https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html"

UNKNOWN = "InvalidLaunchTemplateName.NotFoundException"
MAKES = {"CreateLaunchTemplate", "CreateLaunchTemplateVersion"}
BY_NAME = {"CreateLaunchTemplateVersion", "DescribeLaunchTemplateVersions"}
GROUPS = {"CreateAutoScalingGroup", "UpdateAutoScalingGroup"}


class NewTemplate(Rule):
    """A launch template, or a version of one, is not known at once: to fleets, groups, by name."""

    source = CONSISTENCY
    found = "a launch of both architectures made its template twice; a group's was not waited for"

    seconds = 2.0

    def before(self, call: Call) -> dict[str, Any] | None:
        name = call.get("LaunchTemplateName")
        if call.operation in BY_NAME and name and self.windows.is_open(name):
            words = f"The specified launch template, with template name {name}, does not exist."
            raise Refusal(UNKNOWN, words)
        for key in templates_of(call):
            if self.windows.is_open(key):
                return _unknown(call, key[0])
        return None

    def watches(self, call: Call) -> bool:
        return call.operation in {*MAKES, "DescribeLaunchTemplateVersions"}

    def after(self, call: Call, result: dict[str, Any]) -> dict[str, Any] | None:
        if call.operation not in MAKES:
            known = [
                one
                for one in result["LaunchTemplateVersions"]
                if not self.windows.is_open((one["LaunchTemplateId"], str(one["VersionNumber"])))
            ]
            return {**result, "LaunchTemplateVersions": known}
        made = result.get("LaunchTemplate") or result["LaunchTemplateVersion"]
        version = str(made.get("VersionNumber", made.get("LatestVersionNumber")))
        seconds = self.world.seconds(self.seconds)
        self.windows.open((made["LaunchTemplateId"], version), seconds)
        if call.operation == "CreateLaunchTemplate":
            self.windows.open(call.get("LaunchTemplateName"), seconds)
        return None


def templates_of(call: Call) -> Iterator[tuple[str, str]]:
    """Go through the templates, by id and version, that a fleet or a group is to start from."""
    if starts_machines(call) and call.operation == "CreateFleet":
        places = list(call.get("LaunchTemplateConfigs") or ())
    elif call.operation in GROUPS and (policy := call.get("MixedInstancesPolicy")):
        places = [policy["LaunchTemplate"], *(policy["LaunchTemplate"].get("Overrides") or ())]
    else:
        places = []
    for place in places:
        if named := place.get("LaunchTemplateSpecification"):
            yield named["LaunchTemplateId"], str(named["Version"])


def _unknown(call: Call, template: str) -> dict[str, Any]:
    """Say it as a fleet does, among its errors; raise Refusal as Auto Scaling does."""
    words = f"The specified launch template, with template ID {template}, does not exist."
    if call.operation in GROUPS:
        prefix = "You must use a valid fully-formed launch template."
        raise Refusal("ValidationError", f"{prefix} {words}")
    return {"Errors": [{
        "ErrorCode": "InvalidLaunchTemplateId.NotFound", "ErrorMessage": words,
    }]}  # fmt: skip
