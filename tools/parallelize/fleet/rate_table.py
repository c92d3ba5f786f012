"""AWS's prices of everything but machines: list prices of us-east-1, without free allowances.

They hold where AWS's price list is not to be read; other regions ask up to twice as much.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class Listed:
    """A price in US dollars, for one `unit`, as the `source` had it on a day."""

    usd: float
    unit: str
    source: str
    as_of: date


IPV4 = "https://aws.amazon.com/blogs/aws/new-aws-public-ipv4-address-charge-public-ip-insights/"
EBS = "https://aws.amazon.com/ebs/pricing/"
S3 = "https://aws.amazon.com/s3/pricing/"
SQS = "https://aws.amazon.com/sqs/pricing/"
CLOUDWATCH = "https://aws.amazon.com/cloudwatch/pricing/"

# When each was last compared with public copies of AWS's price list and of what it announced.
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
