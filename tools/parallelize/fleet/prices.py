"""Machine prices: current spot prices, and on-demand prices from the price list."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from parallelize.fleet.machine_table import with_table
from parallelize_core.aws_errors import translated
from parallelize_core.errors import ParallelizeError

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client
    from types_boto3_pricing import PricingClient

CHINA = "cn-"
"""The prefix of its regions; prices there are in yuan."""


def price_list_region(region: str) -> str:
    """Return the region that serves the price list: few do, each for its whole partition.

    https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html
    """
    return "cn-northwest-1" if region.startswith(CHINA) else "us-east-1"


TYPES_AT_ONCE = 50
"""A filter's value has at most 1,024 characters.

https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_pricing_Filter.html
"""

PRODUCTS = ("Linux/UNIX", "Linux/UNIX (Amazon VPC)")


@translated("EC2")
def spot(ec2: EC2Client, types: Sequence[str]) -> dict[tuple[str, str], float]:
    """Return current spot prices in USD an hour, by type and zone."""
    pages = ec2.get_paginator("describe_spot_price_history").paginate(
        InstanceTypes=list(types),  # type: ignore[arg-type]
        ProductDescriptions=list(PRODUCTS),
        # A history that starts now holds exactly the current prices.
        StartTime=datetime.now(UTC),
    )
    return {
        (item["InstanceType"], item["AvailabilityZone"]): float(item["SpotPrice"])
        for page in pages
        for item in page["SpotPriceHistory"]
    }


def on_demand(pricing: PricingClient, region: str, types: Sequence[str]) -> dict[str, float]:
    """Return on-demand prices in USD an hour, by type: AWS's, else the table's, else none."""
    return with_table(region, types, told(pricing, region, types))


def told(pricing: PricingClient, region: str, types: Sequence[str]) -> dict[str, float]:
    """Return the price list's prices in USD an hour, by type, without those that cannot be read.

    Some products of a type have no price of their own, such as capacity that was paid in advance.
    They are listed with 0, which is not what machines cost.
    """
    # An unknown price must not prevent a launch.
    try:
        listed: dict[str, float] = {}
        for start in range(0, len(types), TYPES_AT_ONCE):
            listed |= _listed(pricing, region, types[start : start + TYPES_AT_ONCE])
        return listed
    except ParallelizeError:
        return {}


@translated("the price list")
def _listed(pricing: PricingClient, region: str, types: Sequence[str]) -> dict[str, float]:
    wanted = {
        "regionCode": region, "operatingSystem": "Linux", "tenancy": "Shared",
        "preInstalledSw": "NA", "capacitystatus": "Used",
    }  # fmt: skip
    filters: Any = [
        {"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()
    ]
    filters.append({"Type": "ANY_OF", "Field": "instanceType", "Value": ",".join(types)})
    pages = pricing.get_paginator("get_products").paginate(ServiceCode="AmazonEC2", Filters=filters)
    products = (json.loads(text) for page in pages for text in page["PriceList"])
    listed: dict[str, float] = {}
    for item in products:
        name, price = item["product"]["attributes"]["instanceType"], _usd(item)
        listed[name] = max(price, listed.get(name, 0.0))
    return {name: price for name, price in listed.items() if price}


def _usd(product: Any) -> float:
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            return float(dimension["pricePerUnit"].get("USD", 0))
    return 0.0
