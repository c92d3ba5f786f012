"""How many CreateFleet calls EC2 allows an account: quotas, found by their names.

https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from parallelize_core.aws_errors import translated
from parallelize_core.errors import ParallelizeError

if TYPE_CHECKING:
    from types_boto3_service_quotas import ServiceQuotasClient

AT_ONCE = "CreateFleet request bucket maximum capacity"
PER_SECOND = "CreateFleet request bucket refill rate"


@dataclass(frozen=True)
class CallLimits:
    """How many calls EC2 allows in a burst, and how many a second after that."""

    at_once: int
    per_second: float


def find_call_limits(client: ServiceQuotasClient) -> CallLimits | None:
    """Return the limits of CreateFleet; None if they are not listed or cannot be read."""
    # A quota that may not be read must not prevent a launch.
    try:
        found = _values(client)
    except ParallelizeError:
        return None
    if AT_ONCE not in found or PER_SECOND not in found:
        return None
    return CallLimits(int(found[AT_ONCE]), found[PER_SECOND])


@translated("Service Quotas")
def _values(client: ServiceQuotasClient) -> dict[str, float]:
    pages = client.get_paginator("list_service_quotas").paginate(ServiceCode="ec2")
    return {
        quota["QuotaName"]: quota["Value"]
        for page in pages
        for quota in page["Quotas"]
        if quota["QuotaName"] in {AT_ONCE, PER_SECOND}
    }
