"""Machine types by what they have, and not by name: vCPUs, memory, accelerators.

EC2 says which types of the region meet the requirements, so that a launch knows them: their prices,
for the cost limit, and their quotas. So a group takes the types that there were when it was made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parallelize.units import Span
from parallelize_core.aws_errors import translated
from parallelize_core.errors import UsageError

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client

MOST_TYPES = 200
"""What a filter of DescribeInstanceTypes takes.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
"""


ANY = Span(0)
NONE = Span(0, 0)


@dataclass(frozen=True)
class Requirements:
    """What a machine must have; memory in bytes.

    Without a word on accelerators it has none. `allowed` are types, or patterns such as "c7*.*",
    to choose among; empty for all.
    """

    vcpus: Span = ANY
    memory: Span = ANY
    accelerators: Span = NONE
    architectures: tuple[str, ...] = ("x86_64",)
    allowed: tuple[str, ...] = ()

    def request(self) -> dict[str, Any]:
        """Return an InstanceRequirementsRequest.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceRequirementsRequest.html
        """
        body: dict[str, Any] = {
            "VCpuCount": _range(self.vcpus),
            "MemoryMiB": _range(self.memory, 2**20),
            "AcceleratorCount": _range(self.accelerators),
            # Their credits run out in mid-job, and nobody sees why it is slow.
            "BurstablePerformance": "excluded",
            "BareMetal": "excluded",
        }
        return {**body, "AllowedInstanceTypes": list(self.allowed)} if self.allowed else body


def _range(span: Span, unit: int = 1) -> dict[str, int]:
    """Return a span as EC2 takes it, in whole units."""
    top = {} if span.most is None else {"Max": span.most // unit}
    return {"Min": -(-span.least // unit), **top}


@translated("EC2")
def matching_types(ec2: EC2Client, wanted: Requirements) -> tuple[str, ...]:
    """Return the region's types that meet the requirements; raise UsageError for none, or many."""
    pages = ec2.get_paginator("get_instance_types_from_instance_requirements").paginate(
        ArchitectureTypes=list(wanted.architectures),  # type: ignore[arg-type]
        VirtualizationTypes=["hvm"],
        InstanceRequirements=wanted.request(),  # type: ignore[arg-type]
    )
    found = tuple(one["InstanceType"] for page in pages for one in page["InstanceTypes"])
    if not found:
        raise UsageError(
            "no machine type of this region meets the requirements",
            "workers.vcpus, workers.memory, workers.accelerators and workers.types apply together",
            "ask for less, or widen the ranges",
        )
    if len(found) > MOST_TYPES:
        raise UsageError(
            f"{len(found)} machine types meet the requirements, and a launch takes {MOST_TYPES}",
            fix='narrower ranges, as in workers.vcpus = "4-8", or workers.types = ["c*", "m*"]',
        )
    return found
