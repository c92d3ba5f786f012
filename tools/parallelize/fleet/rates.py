"""What is charged besides machines, in a region: from AWS's price list, else from the table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from parallelize.fleet.disk import INCLUDED_IOPS, INCLUDED_MIBPS, Disk
from parallelize.fleet.rate_table import TABLE
from parallelize_core.aws_errors import translated
from parallelize_core.charges import Rates
from parallelize_core.errors import ParallelizeError

if TYPE_CHECKING:
    from types_boto3_pricing import PricingClient

HOURS_PER_MONTH = 730
METRICS = 6
"""The names that the workers of a run publish (parallelize_agent.reporting.metrics)."""


@dataclass(frozen=True)
class UnitPrices:
    """US dollars for one of each; `source` is where they are from, in words for people."""

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
        """Return what a worker with this disk counts with; `prepared` was paid before it."""
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
    """Return the prices of the table that comes with this package."""
    latest = max(listed.as_of for listed in TABLE.values())
    prices = {name: listed.usd for name, listed in TABLE.items()}
    return UnitPrices(**prices, source=f"the table of {latest:%Y-%m}, for us-east-1")


@dataclass(frozen=True)
class _Lookup:
    """A question to the price list: which products, and what a product's `usagetype` stands for.

    Before the usage type there is a code of the region, but for us-east-1 in most services.
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
    """Return a region's prices; those of the table where the price list has none, or none is told.

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
    """Go through a product's tiers, the first of which may be free: the dearest is taken."""
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            # Throughput is listed by the GiB/s, and paid for by the MiB/s.
            per = 1024 if dimension.get("unit", "").lower().startswith("gibps") else 1
            yield float(dimension["pricePerUnit"].get("USD", 0)) / per
