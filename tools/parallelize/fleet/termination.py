"""Ends the machines of one run, then checks what is left and reports it.

Order matters: what would start machines goes first, then the machines. Tidying comes only when none
of them costs anything, so that an error in it leaves nothing running.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from parallelize.fleet import alarms, instances, tags
from parallelize.fleet import autoscaling as scaling
from parallelize.fleet import group as groups
from parallelize.fleet.clients import ComputeClients
from parallelize.fleet.group import Group
from parallelize.fleet.instances import Machine
from parallelize.units import plural
from parallelize_core.aws_errors import translated
from parallelize_core.errors import ParallelizeError
from parallelize_core.names import Names

POLL_SECONDS = 3.0
PATIENCE_SECONDS = 180.0
"""EC2 usually takes well under a minute to terminate a machine."""


@dataclass(frozen=True)
class Statement:
    """What was ended, and what a check afterwards still found; volumes are ids."""

    run: str
    ended: tuple[str, ...]
    left: tuple[Machine, ...] = ()
    group_left: bool = False
    volumes_left: tuple[str, ...] = ()

    @property
    def clear(self) -> bool:
        """Whether nothing of the run costs anything any more, apart from storing its results."""
        return not (self.left or self.group_left or self.volumes_left)


@dataclass(frozen=True)
class Compute:
    """The machines of a run as they are now: what `kill` would end."""

    names: Names
    machines: tuple[Machine, ...]
    groups: tuple[Group, ...]

    @property
    def group(self) -> Group | None:
        """The group of the lane of `names`."""
        return next((one for one in self.groups if one.name == self.names.group), None)

    @property
    def run(self) -> str:
        """The name of the run."""
        return self.names.run


def look(clients: ComputeClients, names: Names) -> Compute:
    """Return the machines that a run has; changes nothing."""
    found = instances.find(clients.ec2, names)
    return Compute(names, tuple(found), tuple(groups.find_of_run(clients.autoscaling, names)))


def terminate(
    clients: ComputeClients,
    names: Names,
    *,
    patience: float = PATIENCE_SECONDS,
    wait: Callable[[float], None] = time.sleep,
) -> Statement:
    """End every machine that carries the run's tag, and nothing else; safe to repeat.

    Returns when none is left, or after `patience` seconds; the statement says which.
    """
    ended: set[str] = set()
    # Delete the groups first, or they would replace the terminated machines.
    try:
        for group in groups.find_of_run(clients.autoscaling, names):
            groups.delete(clients.autoscaling, group.name)
    except ParallelizeError as error:
        raise _without_group(clients, names, error) from error
    deadline = time.monotonic() + patience
    while machines := instances.find(clients.ec2, names):
        if ended and time.monotonic() >= deadline:
            break
        if ended:
            wait(POLL_SECONDS)
        # Repeat at each look: a machine that was just starting may appear only now.
        instances.terminate(clients.ec2, [machine.id for machine in machines])
        ended |= {machine.id for machine in machines}
    statement = check(clients, names, ended)
    if not statement.left:
        tidy(clients, names)
    return statement


def _without_group(
    clients: ComputeClients, names: Names, error: ParallelizeError
) -> ParallelizeError:
    """End the machines even if the group cannot be deleted, and return that error."""
    machines = instances.find(clients.ec2, names)
    instances.terminate(clients.ec2, [machine.id for machine in machines])
    count = f"{plural(len(machines), 'worker')} {'was' if len(machines) == 1 else 'were'}"
    return type(error)(
        f"{error.what}; {count} told to end", error.why,
        "parallelize kill   once more: a group that still exists may start other workers",
    )  # fmt: skip


def await_gone(
    clients: ComputeClients,
    names: Names,
    ids: Collection[str],
    *,
    patience: float = PATIENCE_SECONDS,
    wait: Callable[[float], None] = time.sleep,
) -> bool:
    """Wait until none of these machines is billed any more; return False if time runs out first."""
    deadline = time.monotonic() + patience
    while any(
        machine.id in ids for machine in instances.find(clients.ec2, names, instances.BILLED)
    ):
        if time.monotonic() >= deadline:
            return False
        wait(POLL_SECONDS)
    return True


def check(clients: ComputeClients, names: Names, ended: set[str]) -> Statement:
    """Check what is left of a run's machines."""
    now = look(clients, names)
    return Statement(
        names.run,
        tuple(sorted(ended)),
        now.machines,
        bool(now.groups),
        loose_volumes(clients, names),
    )


@translated("EC2")
def loose_volumes(clients: ComputeClients, names: Names) -> tuple[str, ...]:
    """Return the unattached volumes of a run, or of all runs, which cost money."""
    wanted = [*tags.filters(names), {"Name": "status", "Values": ["available"]}]
    pages = clients.ec2.get_paginator("describe_volumes").paginate(Filters=wanted)
    return tuple(volume["VolumeId"] for page in pages for volume in page["Volumes"])


def tidy(clients: ComputeClients, names: Names) -> None:
    """Delete what costs next to nothing but is no longer needed: alarms and the launch template."""
    alarms.forget_queue(clients.cloudwatch, *names.of_each_lane)
    scaling.forget_queue(clients.cloudwatch, *names.of_each_lane)
    _forget_templates(clients, [each.group for each in names.of_each_lane])


@translated("EC2")
def _forget_templates(clients: ComputeClients, names: Sequence[str]) -> None:
    wanted = [{"Name": "launch-template-name", "Values": list(names)}]
    found = clients.ec2.describe_launch_templates(Filters=wanted)  # type: ignore[arg-type]
    for template in found["LaunchTemplates"]:
        clients.ec2.delete_launch_template(LaunchTemplateId=template["LaunchTemplateId"])
