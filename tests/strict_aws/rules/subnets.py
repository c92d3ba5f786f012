"""EC2: subnets that are full."""

from __future__ import annotations

from typing import Any

from moto.ec2.models import ec2_backends
from tests.strict_aws.call import Call
from tests.strict_aws.layer import Rule
from tests.strict_aws.rules.templates import starts_machines


class FullSubnet(Rule):
    """Each machine takes an address of its subnet; without one it does not start."""

    source = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"
    found = "launch called it a lack of capacity, which more types do not help"

    def before(self, call: Call) -> dict[str, Any] | None:
        if not starts_machines(call):
            return None
        backend = ec2_backends[self.world.account][call.region]
        pools = [one for config in call.get("LaunchTemplateConfigs") or ()
                 for one in config["Overrides"] if "SubnetId" in one]  # fmt: skip
        subnets = {one["SubnetId"] for one in pools}
        free = sum(int(backend.get_subnet(one).available_ip_address_count) for one in subnets)
        if not subnets or free >= int(
            call.params["TargetCapacitySpecification"]["TotalTargetCapacity"]
        ):
            return None
        return {"Errors": [{
            "ErrorCode": "InsufficientFreeAddressesInSubnet",
            "ErrorMessage": "There are not enough free addresses in the subnet.",
            "LaunchTemplateAndOverrides": {"Overrides": pools[0]},
        }]}  # fmt: skip
