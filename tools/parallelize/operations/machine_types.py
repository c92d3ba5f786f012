"""Which machine types the settings mean: those that they name, or all that have what they ask."""

from __future__ import annotations

from parallelize.context import Context
from parallelize.fleet.requirements import ANY, NONE, Requirements, matching_types
from parallelize.settings import ARCHITECTURES
from parallelize.units import parse_counts, parse_sizes


def requirements(context: Context) -> Requirements | None:
    """Return what machines must have by the settings, None if those name types only."""
    workers = context.settings.workers
    asked = (workers.vcpus, workers.memory, workers.accelerators)
    # The local cloud has one kind of machine, whatever it is called.
    if not any(asked) or context.is_free:
        return None
    # The list that nobody has written limits nothing.
    named = context.resolved.source("workers.types") != "default"
    return Requirements(
        vcpus=parse_counts(workers.vcpus) if workers.vcpus else ANY,
        memory=parse_sizes(workers.memory) if workers.memory else ANY,
        accelerators=parse_counts(workers.accelerators) if workers.accelerators else NONE,
        architectures=ARCHITECTURES[workers.architecture],
        allowed=workers.types if named else (),
    )


def machine_types(context: Context) -> tuple[str, ...]:
    """Return the names of the types that workers may be of."""
    wanted = requirements(context)
    if wanted is None:
        return context.settings.workers.types
    return matching_types(context.client("ec2"), wanted)
