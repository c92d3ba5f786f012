"""What workers can reach from a subnet: everything, or only what their VPC has endpoints for.

Only routes and endpoints are checked, not network ACLs or the endpoints' policies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parallelize_core.aws_errors import translated

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client


@dataclass(frozen=True)
class Network:
    """What EC2 describes of the VPCs."""

    subnets: Sequence[Any]
    tables: Sequence[Any]
    endpoints: Sequence[Any] = ()
    region: str = ""

    def reached(self, subnet: Any) -> frozenset[str] | None:
        """Return the services that a subnet has endpoints for; None if everything is reachable."""
        tables = _tables_of(subnet, self.tables)
        if any(_leads_out(route, subnet) for table in tables for route in table.get("Routes", ())):
            return None
        ids = {table.get("RouteTableId") for table in tables}
        return frozenset(_service(one) for one in self.endpoints if _serves(one, subnet, ids))

    def table_ids(self, subnet: Any) -> list[str]:
        """Return the ids of the route tables that apply to a subnet."""
        return [str(table["RouteTableId"]) for table in _tables_of(subnet, self.tables)]

    def is_hidden(self, subnet: Any) -> bool:
        """Whether its routes cannot be seen, as in a shared subnet, whose owner has them.

        https://docs.aws.amazon.com/vpc/latest/userguide/vpc-share-limitations.html
        """
        # Every VPC has a main table; if none is described, it belongs to another account.
        return not _tables_of(subnet, self.tables)

    def pays_for_s3(self, subnet: Any) -> bool:
        """Whether traffic from S3 is charged by the GB: a NAT gateway and no endpoint.

        https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-pricing.html
        """
        tables = _tables_of(subnet, self.tables)
        nat = any(route.get("NatGatewayId") and _leads_out(route, subnet)
                  for table in tables for route in table.get("Routes", ()))  # fmt: skip
        ids = {table.get("RouteTableId") for table in tables}
        return nat and not any(
            _service(one) == "s3" and _serves(one, subnet, ids) for one in self.endpoints
        )


@translated("EC2")
def look(ec2: EC2Client, subnets: Sequence[Any]) -> Network:
    """Read the routes and endpoints of the subnets' VPCs."""
    wanted: Any = [{"Name": "vpc-id", "Values": sorted({one["VpcId"] for one in subnets})}]
    tables = _pages(ec2, "describe_route_tables", "RouteTables", wanted)
    endpoints = _pages(ec2, "describe_vpc_endpoints", "VpcEndpoints", wanted)
    return Network(subnets, list(tables), list(endpoints), ec2.meta.region_name)


def _pages(ec2: Any, operation: str, name: str, filters: Any) -> Iterable[Any]:
    for page in ec2.get_paginator(operation).paginate(Filters=filters):
        yield from page.get(name) or ()


def _tables_of(subnet: Any, tables: Sequence[Any]) -> list[Any]:
    own = [table for table in tables if any(
        link.get("SubnetId") == subnet["SubnetId"] for link in _links(table))]  # fmt: skip
    main = [table for table in tables if table["VpcId"] == subnet["VpcId"] and any(
        link.get("Main") for link in _links(table))]  # fmt: skip
    return own or main


def _links(table: Any) -> Sequence[Any]:
    return table.get("Associations") or ()


def _leads_out(route: Any, subnet: Any) -> bool:
    # A route remains when its target is deleted.
    if route.get("DestinationCidrBlock") != "0.0.0.0/0" or route.get("State") == "blackhole":
        return False
    if route.get("GatewayId", "").startswith("igw-"):
        # An internet gateway serves only machines that have a public address.
        return bool(subnet.get("MapPublicIpOnLaunch"))
    return any(
        route.get(kind) for kind in ("NatGatewayId", "TransitGatewayId", "NetworkInterfaceId")
    )


def _serves(endpoint: Any, subnet: Any, tables: set[str | None]) -> bool:
    if endpoint.get("State", "").lower() != "available" or endpoint["VpcId"] != subnet["VpcId"]:
        return False
    if endpoint["VpcEndpointType"] == "Gateway":
        return bool(tables & set(endpoint.get("RouteTableIds", ())))
    # Without private DNS, the service's own name still points outside.
    return bool(endpoint.get("PrivateDnsEnabled"))


def _service(endpoint: Any) -> str:
    """Return "s3" for "com.amazonaws.eu-west-1.s3"."""
    return str(endpoint["ServiceName"]).rpartition(".")[2]
