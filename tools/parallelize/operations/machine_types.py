"""The machine types that the settings mean: named ones, or all that meet requirements.

Requirements say what a machine must have: vCPUs, memory, accelerators. A launch has EC2 list the
region's types that meet them, because it needs their quotas, and their prices for the cost limit.
So a group keeps the types that existed when it was created.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from parallelize.context import Context
from parallelize.setting_tables import ARCHITECTURES
from parallelize.units import Span, parse_counts, parse_sizes
from parallelize_core.errors import UsageError
from parallelize_core.translated import translated

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client

MOST_TYPES = 200
"""How many values a filter of DescribeInstanceTypes takes.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
"""

ANY = Span(0)
NONE = Span(0, 0)


class Requirements(NamedTuple):
    """What a machine must have; memory in bytes.

    Unless accelerators are required, it has none. `allowed` are the types, or patterns such as
    "c7*.*", to choose from; empty for all.
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
            # Their credits run out in mid-job, and nobody sees why the job is slow.
            "BurstablePerformance": "excluded",
            "BareMetal": "excluded",
        }
        return {**body, "AllowedInstanceTypes": list(self.allowed)} if self.allowed else body


def _range(span: Span, unit: int = 1) -> dict[str, int]:
    """Return a span in EC2's form, in whole units."""
    top = {} if span.most is None else {"Max": span.most // unit}
    return {"Min": -(-span.least // unit), **top}


@translated("EC2")
def matching_types(ec2: EC2Client, wanted: Requirements) -> tuple[str, ...]:
    """Return the region's matching types; raise UsageError if there are none, or too many."""
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
            "lower them, or widen the ranges",
        )
    if len(found) > MOST_TYPES:
        raise UsageError(
            f"{len(found)} machine types meet the requirements, but a launch takes {MOST_TYPES}",
            fix='narrower ranges, as in workers.vcpus = "4-8", or workers.types = ["c*", "m*"]',
        )
    return found


def requirements(context: Context) -> Requirements | None:
    """Return the settings' requirements for machines, None if they only name types."""
    workers = context.settings.workers
    asked = (workers.vcpus, workers.memory, workers.accelerators)
    # The local cloud has only one kind of machine, under any name.
    if not any(asked) or context.is_free:
        return None
    # The default list does not limit the choice.
    named = context.resolved.source("workers.types") != "default"
    return Requirements(
        vcpus=parse_counts(workers.vcpus) if workers.vcpus else ANY,
        memory=parse_sizes(workers.memory) if workers.memory else ANY,
        accelerators=_accelerators(context),
        architectures=ARCHITECTURES[workers.architecture],
        allowed=workers.types if named else (),
    )


def _accelerators(context: Context) -> Span:
    """Return how many a machine has: the number in the settings, or as many as a job needs."""
    said, gpus = context.settings.workers.accelerators, context.settings.run.gpus_per_job
    if said:
        return parse_counts(said)
    return Span(gpus) if gpus else NONE


def machine_types(context: Context) -> tuple[str, ...]:
    """Return the names of the machine types that workers may have."""
    wanted = requirements(context)
    if wanted is None:
        return context.settings.workers.types
    return matching_types(context.client("ec2"), wanted)
