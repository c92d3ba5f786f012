"""The machine types that the settings mean: named ones, or all that meet requirements."""

from __future__ import annotations

from parallelize.context import Context
from parallelize.fleet.requirements import ANY, NONE, Requirements, matching_types
from parallelize.setting_tables import ARCHITECTURES
from parallelize.units import Span, parse_counts, parse_sizes


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
