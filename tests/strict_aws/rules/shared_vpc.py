"""Subnets that another account shares: what only their owner sees, has and may be asked for."""

from __future__ import annotations

from typing import Any

from moto.ec2.models import ec2_backends
from tests.functional.fleet.iam import allows
from tests.strict_aws.call import Call
from tests.strict_aws.layer import Rule


class SharedSubnet(Rule):
    """A shared VPC's routes and default group are its owner's; so are its subnets in policies."""

    source = "https://docs.aws.amazon.com/vpc/latest/userguide/vpc-share-limitations.html"
    found = (
        "the launcher policy allowed the account's own subnets only, and a launch without the "
        "stack's group fell back to the owner's default group"
    )

    def watches(self, call: Call) -> bool:
        seen = {"ec2.DescribeSubnets", "ec2.DescribeRouteTables"}
        return bool(self.world.shared_subnets) and call.name in seen

    def after(self, call: Call, result: dict[str, Any]) -> dict[str, Any] | None:
        shared = self.world.shared_subnets
        if call.operation == "DescribeSubnets":
            owned = [{**one, "OwnerId": shared.get(one["SubnetId"], one["OwnerId"])}
                     for one in result["Subnets"]]  # fmt: skip
            return {**result, "Subnets": owned}
        backend = ec2_backends[self.world.account][call.region]
        theirs = {backend.get_subnet(one).vpc_id for one in shared}
        tables = [one for one in result["RouteTables"] if one["VpcId"] not in theirs]
        return {**result, "RouteTables": tables}

    def before(self, call: Call) -> dict[str, Any] | None:
        if call.name != "ec2.CreateFleet" or not self.world.shared_subnets:
            return None
        for config in call.get("LaunchTemplateConfigs") or ():
            used = {one["SubnetId"] for one in config["Overrides"]} & set(self.world.shared_subnets)
            if fault := next(filter(None, (self._fault(call, config, one) for one in used)), None):
                return {"Errors": [{"ErrorCode": fault[0], "ErrorMessage": fault[1]}]}
        return None

    def _fault(self, call: Call, config: Any, subnet: str) -> tuple[str, str] | None:
        owner = self.world.shared_subnets[subnet]
        place = f"arn:aws:ec2:{call.region}:{owner}:subnet/{subnet}"
        policies = self.world.policies.get(call.access_key)
        if policies is not None and not allows(policies, "ec2:RunInstances", place):
            return "UnauthorizedOperation", f"not authorized to perform: RunInstances on {place}"
        named = config["LaunchTemplateSpecification"]
        backend = ec2_backends[self.world.account][call.region]
        template = backend.get_launch_template(named["LaunchTemplateId"])
        if not template.get_version(named["Version"]).data.get("SecurityGroupIds"):
            return "InvalidParameter", "You may not use the default security group of a shared VPC"
        return None
