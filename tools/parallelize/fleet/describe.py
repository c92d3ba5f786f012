"""Reads the facts of a launch from AWS. Nothing here creates anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parallelize.console import escape
from parallelize.fleet import images, instances, prices, quotas, rates
from parallelize.fleet.clients import FactClients
from parallelize.fleet.facts import Facts, InstanceType, Market, Pool, Quota, Work
from parallelize.fleet.machine_table import with_table
from parallelize_core.aws_errors import translated
from parallelize_core.errors import ParallelizeError, UsageError
from parallelize_core.names import Names

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client
    from types_boto3_service_quotas import ServiceQuotasClient


@dataclass(frozen=True)
class Place:
    """Where workers are to run, and on what; empty `subnets` mean the default VPC's."""

    account: str
    region: str
    subnets: tuple[str, ...]
    types: tuple[str, ...]
    ami: str
    security_groups: tuple[str, ...] = ()
    ami_owner: str = images.SELF


def describe_launch(clients: FactClients, place: Place, work: Work, names: Names) -> Facts:
    """Read what `plan_launch` needs; raise UsageError if there is no subnet or type."""
    ec2 = clients.ec2
    subnets = find_subnets(ec2, place.subnets)
    types = find_types(ec2, place.types)
    there = {kind.name for kind in types}
    check_security_groups(ec2, place.security_groups, subnets)
    wanted = tuple(dict.fromkeys(kind.architecture for kind in types))
    owners = images.Owners(place.account, place.ami_owner)
    found = images.find_images(ec2, clients.ssm, place.ami, wanted, owners)
    machines = instances.of_lane(instances.find(ec2, names, instances.BILLED), names)
    return Facts(
        account=place.account,
        region=place.region,
        image=found[0] if found else None,
        others=found[1:],
        pools=find_pools(clients, place.region, subnets, types),
        work=work,
        absent=tuple(name for name in place.types if name not in there),
        security_groups=_groups(ec2, place, subnets, names),
        quotas=tuple(find_quotas(clients, types)),
        prices=rates.unit_prices(clients.pricing, place.region),
        addresses=any(subnet.get("MapPublicIpOnLaunch") for subnet in subnets),
        workers=len(machines),
        loose=sum(not machine.group for machine in machines),
    )


@translated("EC2")
def find_subnets(ec2: EC2Client, wanted: Sequence[str]) -> list[Any]:
    """Return the given subnets, or those of the default VPC; one per zone.

    Two in one zone would be the same pool of machines twice, which CreateFleet refuses. Of two,
    the one with more free addresses is taken.
    """
    if wanted:
        named = ec2.describe_subnets(SubnetIds=list(wanted))["Subnets"]
        roomy = sorted(named, key=lambda subnet: subnet["AvailableIpAddressCount"])
        return list({subnet["AvailabilityZone"]: subnet for subnet in roomy}.values())
    found = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])
    if not found["Subnets"]:
        raise UsageError(
            "there is no default VPC in this region",
            "and aws.subnets is empty",
            'aws.subnets = ["subnet-…"]   or   aws ec2 create-default-vpc',
        )
    return found["Subnets"]


def _groups(ec2: EC2Client, place: Place, subnets: Sequence[Any], names: Names) -> tuple[str, ...]:
    """Find the stack's group; raise UsageError if the VPC's default group is another account's.

    https://docs.aws.amazon.com/vpc/latest/userguide/vpc-share-limitations.html
    """
    found = find_security_groups(ec2, subnets, names)
    owners = {subnet["OwnerId"] for subnet in subnets} - {place.account}
    # Subnets of a default VPC are never shared.
    if place.subnets and owners and not found:
        raise UsageError(
            f"the VPC belongs to account {min(owners)}, and so does its default security group",
            "workers need a group of your own there",
            "parallelize setup   makes it",
        )
    return found


@translated("EC2")
def find_security_groups(ec2: EC2Client, subnets: Sequence[Any], names: Names) -> tuple[str, ...]:
    """Return the group without inbound rules that `setup` made in the subnets' VPC.

    Empty if there is none: then the VPC's default group is used.
    """
    vpcs = sorted({subnet["VpcId"] for subnet in subnets})
    answer = ec2.describe_security_groups(
        Filters=[
            {"Name": "group-name", "Values": [names.security_group(vpc) for vpc in vpcs]},
            {"Name": "vpc-id", "Values": vpcs},
        ]
    )
    return tuple(group["GroupId"] for group in answer["SecurityGroups"])


@translated("EC2")
def check_security_groups(ec2: EC2Client, wanted: Sequence[str], subnets: Sequence[Any]) -> None:
    """Raise UsageError for a group that does not exist, or is not in the subnets' VPC."""
    if not wanted:
        return
    # A filter, because DescribeSecurityGroups fails for an unknown id.
    answer = ec2.describe_security_groups(Filters=[{"Name": "group-id", "Values": list(wanted)}])
    there = {group["GroupId"]: group["VpcId"] for group in answer["SecurityGroups"]}
    for name in wanted:
        if name not in there:
            raise UsageError(
                f"there is no security group {escape(name)} in this region",
                fix="aws ec2 describe-security-groups   lists them; workers.security_groups"
                " takes their ids",
            )
        if other := {subnet["VpcId"] for subnet in subnets} - {there[name]}:
            raise UsageError(
                f"security group {name} is in {there[name]}, and workers start in {min(other)}",
                "a machine can only be in security groups of its own VPC",
                "set aws.subnets to subnets of that VPC, or name another group",
            )


@translated("EC2")
def find_types(ec2: EC2Client, names: Sequence[str]) -> list[InstanceType]:
    """Describe the machine types that the region has; raise UsageError if it has none of them.

    No region has all types: https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-regions.html
    """
    pages = ec2.get_paginator("describe_instance_types").paginate(
        Filters=[{"Name": "instance-type", "Values": list(names)}]
    )
    described = (_instance_type(item) for page in pages for item in page["InstanceTypes"])
    found = {kind.name: kind for kind in described}
    if not found:
        raise UsageError(
            f"there is no machine type {', '.join(names[:3])} in this region",
            fix="choose others with --type, or in workers.types",
        )
    return [found[name] for name in names if name in found]


def find_pools(
    clients: FactClients, region: str, subnets: Sequence[Any], types: Sequence[InstanceType]
) -> tuple[Pool, ...]:
    """Return each type in each subnet whose zone offers it, with its prices."""
    offered = _offered(clients.ec2, [kind.name for kind in types])
    # In China, AWS's prices are in yuan.
    known = not region.startswith(prices.CHINA)
    spot = prices.spot(clients.ec2, [kind.name for kind in types]) if known else {}
    told = prices.told(clients.pricing, region, [kind.name for kind in types])
    listed = with_table(region, [kind.name for kind in types], told)
    return tuple(
        Pool(
            kind,
            zone,
            subnet["SubnetId"],
            spot.get((kind.name, zone)),
            listed.get(kind.name),
            by_table=kind.name not in told,
        )
        for kind in types
        for subnet in subnets
        if (kind.name, zone := subnet["AvailabilityZone"]) in offered
    )


def find_quotas(clients: FactClients, types: Iterable[InstanceType]) -> list[Quota]:
    """Return the quotas for the types in both markets, without those that cannot be read."""
    markets: tuple[Market, ...] = ("spot", "on-demand")
    kinds = [kind.name for kind in types]
    codes = {quotas.quota_code(market, kind) for kind in kinds for market in markets}
    limits = {code: find_limit(clients.quotas, code) for code in sorted(filter(None, codes))}
    used = (
        instances.vcpus_in_use(clients.ec2)
        if any(limit is not None for limit in limits.values())
        else {}
    )
    return [
        Quota(code, limit, used.get(code, 0)) for code, limit in limits.items() if limit is not None
    ]


def find_limit(client: ServiceQuotasClient, code: str, service: str = "ec2") -> int | None:
    """Return a quota, or None if it cannot be read; those of "ec2" are in vCPUs."""
    # A quota that may not be read must not prevent a launch.
    try:
        return _limit(client, code, service)
    except ParallelizeError:
        return None


@translated("EC2")
def gp3_gib(ec2: EC2Client) -> int:
    """Return the total GiB of gp3 volumes in the region, of all runs and users."""
    pages = ec2.get_paginator("describe_volumes").paginate(
        Filters=[{"Name": "volume-type", "Values": ["gp3"]}]
    )
    return sum(volume["Size"] for page in pages for volume in page["Volumes"])


@translated("Service Quotas")
def _limit(client: ServiceQuotasClient, code: str, service: str) -> int:
    answer = client.get_service_quota(ServiceCode=service, QuotaCode=code)
    return int(answer["Quota"]["Value"])


@translated("EC2")
def _offered(ec2: EC2Client, names: Sequence[str]) -> set[tuple[str, str]]:
    pages = ec2.get_paginator("describe_instance_type_offerings").paginate(
        LocationType="availability-zone",
        Filters=[{"Name": "instance-type", "Values": list(names)}],
    )
    return {
        (item["InstanceType"], item["Location"])
        for page in pages
        for item in page["InstanceTypeOfferings"]
    }


def _instance_type(item: Any) -> InstanceType:
    return InstanceType(
        name=item["InstanceType"],
        vcpus=item["VCpuInfo"]["DefaultVCpus"],
        memory_bytes=item["MemoryInfo"]["SizeInMiB"] * 2**20,
        architectures=tuple(item["ProcessorInfo"]["SupportedArchitectures"]),
        gpus=sum(
            gpu["Count"]
            for gpu in item.get("GpuInfo", {}).get("Gpus", ())
            if gpu.get("Manufacturer") == "NVIDIA"
        ),
    )
