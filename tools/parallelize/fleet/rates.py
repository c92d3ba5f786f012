"""What a region charges besides machines: from AWS's price list, else from the table.

The table has us-east-1's list prices, without free allowances, for when AWS's price list cannot
be read; other regions charge up to twice as much.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from parallelize.fleet.disk import INCLUDED_IOPS, INCLUDED_MIBPS, Disk
from parallelize_core.charges import Rates
from parallelize_core.errors import ParallelizeError
from parallelize_core.translated import translated

if TYPE_CHECKING:
    from types_boto3_pricing import PricingClient

HOURS_PER_MONTH = 730
METRICS = 6
"""How many metrics a run's workers publish, by name (parallelize_agent.reporting.metrics)."""


@dataclass(frozen=True)
class Listed:
    """A price in US dollars for one `unit`, as the `source` listed it on a day."""

    usd: float
    unit: str
    source: str
    as_of: date


IPV4 = "https://aws.amazon.com/blogs/aws/new-aws-public-ipv4-address-charge-public-ip-insights/"
EBS = "https://aws.amazon.com/ebs/pricing/"
S3 = "https://aws.amazon.com/s3/pricing/"
SQS = "https://aws.amazon.com/sqs/pricing/"
CLOUDWATCH = "https://aws.amazon.com/cloudwatch/pricing/"

# The date of each is that of the last comparison with public copies of AWS's prices.
_JULY, _SEPTEMBER = date(2026, 7, 24), date(2026, 9, 21)
_FEBRUARY = date(2026, 2, 28)
_GP3 = date(2021, 2, 4)

TABLE: dict[str, Listed] = {
    "address_hour": Listed(0.005, "hour of a public IPv4 address", IPV4, _JULY),
    "disk_gib_month": Listed(0.08, "GiB and month of gp3", EBS, _JULY),
    "disk_iops_month": Listed(0.005, "IOPS and month above 3,000", EBS, _GP3),
    "disk_mibps_month": Listed(0.04, "MiB/s and month above 125", EBS, _GP3),
    "s3_write": Listed(0.005 / 1000, "PUT, COPY, POST or LIST request", S3, _SEPTEMBER),
    "s3_read": Listed(0.0004 / 1000, "GET or other request", S3, _SEPTEMBER),
    "sqs": Listed(0.40 / 1_000_000, "request to a standard queue", SQS, _SEPTEMBER),
    "metric_month": Listed(0.30, "custom metric and month", CLOUDWATCH, _SEPTEMBER),
    "metrics_call": Listed(0.01 / 1000, "PutMetricData request", CLOUDWATCH, _FEBRUARY),
    "log_gb": Listed(0.50, "GB of log taken in", CLOUDWATCH, _SEPTEMBER),
}


@dataclass(frozen=True)
class UnitPrices:
    """US dollars for one of each; `source` says where they are from, in words for people."""

    address_hour: float
    disk_gib_month: float
    disk_iops_month: float
    disk_mibps_month: float
    s3_write: float
    s3_read: float
    sqs: float
    metric_month: float
    metrics_call: float
    log_gb: float
    source: str

    def disk_hour(self, disk: Disk) -> float:
        """Return what an hour of a volume costs."""
        iops = max(0, (disk.iops or 0) - INCLUDED_IOPS)
        mibps = max(0, (disk.throughput or 0) - INCLUDED_MIBPS)
        month = (
            disk.gib * self.disk_gib_month
            + iops * self.disk_iops_month
            + mibps * self.disk_mibps_month
        )
        return month / HOURS_PER_MONTH

    def rates(self, disk: Disk, prepared: float = 0.0) -> Rates:
        """Return the rates for a worker with this disk; `prepared` was paid before it started."""
        return Rates(
            address_hour=self.address_hour,
            disk_hour=round(self.disk_hour(disk), 6),
            metrics_hour=round(METRICS * self.metric_month / HOURS_PER_MONTH, 6),
            s3_write=self.s3_write,
            s3_read=self.s3_read,
            sqs=self.sqs,
            metrics_call=self.metrics_call,
            log_gb=self.log_gb,
            prepared=round(prepared, 4),
        )


def shipped() -> UnitPrices:
    """Return the prices of the table in this package."""
    latest = max(listed.as_of for listed in TABLE.values())
    prices = {name: listed.usd for name, listed in TABLE.items()}
    return UnitPrices(**prices, source=f"the built-in prices of {latest:%Y-%m} for us-east-1")


@dataclass(frozen=True)
class _Lookup:
    """A query to the price list: which products, and what a product's `usagetype` stands for.

    A region code precedes the usage type, except for most services in us-east-1.
    """

    service: str
    filter: tuple[str, str, str]
    usage: Mapping[str, str]


LOOKUPS = (
    _Lookup("AmazonVPC", ("CONTAINS", "usagetype", "PublicIPv4:InUseAddress"),
            {"PublicIPv4:InUseAddress": "address_hour"}),
    _Lookup("AmazonEC2", ("TERM_MATCH", "volumeApiName", "gp3"),
            {"EBS:VolumeUsage.gp3": "disk_gib_month", "EBS:VolumeP-IOPS.gp3": "disk_iops_month",
             "EBS:VolumeP-Throughput.gp3": "disk_mibps_month"}),
    _Lookup("AmazonS3", ("ANY_OF", "group", "S3-API-Tier1,S3-API-Tier2"),
            {"Requests-Tier1": "s3_write", "Requests-Tier2": "s3_read"}),
    _Lookup("AWSQueueService", ("TERM_MATCH", "queueType", "Standard"),
            {"Requests-Tier1": "sqs"}),
    _Lookup("AmazonCloudWatch", ("CONTAINS", "usagetype", "CW:"),
            {"CW:MetricMonitorUsage": "metric_month", "CW:Requests": "metrics_call"}),
    _Lookup("AmazonCloudWatch", ("CONTAINS", "usagetype", "DataProcessing-Bytes"),
            {"DataProcessing-Bytes": "log_gb"}),
)  # fmt: skip
"""https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_pricing_GetProducts.html"""

_REGION_CODE = re.compile(r"^[A-Z]{2,4}\d?-")


def unit_prices(pricing: PricingClient, region: str) -> UnitPrices:
    """Return a region's prices, from the table where the price list has none or cannot be read.

    After the first refusal to read the price list, nothing more is asked.
    """
    found: dict[str, float] = {}
    try:
        for lookup in LOOKUPS:
            found |= _listed(pricing, region, lookup)
    except ParallelizeError:
        pass
    table = shipped()
    if not found:
        return table
    missing = len(TABLE) - len(found)
    rest = f", and {missing} of {table.source}" if missing else ""
    return replace(table, **found, source=f"AWS's price list{rest}")


@translated("the price list")
def _listed(pricing: PricingClient, region: str, lookup: _Lookup) -> dict[str, float]:
    kind, name, value = lookup.filter
    filters: Any = [
        {"Type": "TERM_MATCH", "Field": "regionCode", "Value": region},
        {"Type": kind, "Field": name, "Value": value},
    ]
    pages = pricing.get_paginator("get_products").paginate(
        ServiceCode=lookup.service, Filters=filters
    )
    listed: dict[str, float] = {}
    for product in (json.loads(text) for page in pages for text in page["PriceList"]):
        usage = _REGION_CODE.sub("", product["product"]["attributes"].get("usagetype", ""))
        price = max(_prices(product), default=0.0)
        if (name := lookup.usage.get(usage, "")) and price:
            listed[name] = max(price, listed.get(name, 0.0))
    return listed


def _prices(product: Any) -> Iterator[float]:
    """Yield the prices of a product's tiers; the first may be free, so the dearest is taken."""
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            # Throughput is listed per GiB/s, but charged per MiB/s.
            per = 1024 if dimension.get("unit", "").lower().startswith("gibps") else 1
            yield float(dimension["pricePerUnit"].get("USD", 0)) / per
