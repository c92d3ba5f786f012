"""Subnets that another account shares: what only their owner sees, has and may be asked for."""

from __future__ import annotations

from typing import Any

from moto.ec2.models import ec2_backends
from tests.functional.fleet.iam import allows
from tests.strict_aws.call import Call
from tests.strict_aws.rules.starts import Fault, MachineRule, Pool, Start, first


class SharedSubnet(MachineRule):
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

    def fault(self, start: Start) -> Fault | None:
        return first(self._fault(start, pool) for pool in start.pools)

    def _fault(self, start: Start, pool: Pool) -> Fault | None:
        if not (owner := self.world.shared_subnets.get(pool.subnet)):
            return None
        place = f"arn:aws:ec2:{start.region}:{owner}:subnet/{pool.subnet}"
        policies = self.world.policies.get(start.by)
        if policies is not None and not allows(policies, "ec2:RunInstances", place):
            words = f"not authorized to perform: RunInstances on {place}"
            return Fault("UnauthorizedOperation", words)
        if not pool.data.get("SecurityGroupIds"):
            words = "You may not use the default security group of a shared VPC"
            return Fault("InvalidParameter", words)
        return None
