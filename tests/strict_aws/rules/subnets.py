"""EC2: subnets that are full."""

from __future__ import annotations

from moto.ec2.models import ec2_backends
from tests.strict_aws.rules.starts import Fault, MachineRule, Start


class FullSubnet(MachineRule):
    """Each machine takes an address of its subnet; without one it does not start."""

    source = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"
    found = "launch called it a lack of capacity, which more types do not help"

    def fault(self, start: Start) -> Fault | None:
        backend = ec2_backends[self.world.account][start.region]
        subnets = {pool.subnet for pool in start.pools} - {""}
        free = sum(int(backend.get_subnet(one).available_ip_address_count) for one in subnets)
        if not subnets or free >= start.count:
            return None
        words = "There are not enough free addresses in the subnet."
        return Fault("InsufficientFreeAddressesInSubnet", words)
