"""Machines that EC2 starts and then ends before they report.

Only after CreateFleet has answered does EC2 notice a volume quota, a key that it may not use for
encryption, or lost capacity: the machine goes from pending to terminated, with a reason that EC2
keeps for about an hour.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshooting-launch.html
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from parallelize.fleet import instances, shortfall
from parallelize.fleet.group import Staffing
from parallelize.fleet.instances import Machine
from parallelize.fleet.shortfall import MORE_VOLUMES
from parallelize_core.errors import AccessError, CapacityError, ParallelizeError, ServiceError
from parallelize_core.names import Names
from parallelize_core.outlast import pauses

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client

PATIENCE_SECONDS = 30.0
"""A machine is pending for about ten seconds; one that EC2 ends by then was never usable."""


def watch(ec2: EC2Client, names: Names, ids: Collection[str]) -> tuple[Machine, ...]:
    """Poll new machines until none is pending; return those that EC2 itself has ended.

    Polls for at most `PATIENCE_SECONDS`. A failed look says nothing about the machines.
    """
    if not ids:
        return ()
    new = frozenset(ids)
    begun = time.monotonic()
    found: list[Machine] = []
    for pause in pauses():
        try:
            known = instances.find(ec2, names, instances.KNOWN)
        except ParallelizeError:
            break
        found = [machine for machine in known if machine.id in new]
        starting = len(found) < len(new) or any(one.state == "pending" for one in found)
        if not starting or time.monotonic() - begun >= PATIENCE_SECONDS:
            break
        time.sleep(pause)
    return tuple(machine for machine in found if machine.ended_by_ec2)


def explain(region: str, asked: int, ended: Sequence[Machine]) -> ParallelizeError:
    """Return the error that says why EC2 ended some of `asked` machines, and what to do."""
    what = f"EC2 ended {len(ended)} of {asked} workers as they started"
    return _of_reason(region, what, ended[0].reason)


def explain_group(region: str, size: int, staffing: Staffing) -> ParallelizeError:
    """Return the error that says why a group lacks machines, from its last activity's message.

    https://docs.aws.amazon.com/autoscaling/ec2/userguide/ts-as-instancelaunchfailure.html
    """
    count = f"the group has {staffing.in_service} of {size} workers, and keeps trying"
    _, ended, reason = staffing.refusal.partition("Termination Reason: ")
    error = (
        _of_reason(region, "EC2 ended workers as they started", reason)
        if ended
        else shortfall.explain_words(region, staffing.refusal)
    )
    fix = f"{error.fix}\n  parallelize kill   ends the group"
    return type(error)(f"{error.what}; {count}", staffing.refusal, fix)


def _of_reason(region: str, what: str, reason: str) -> ParallelizeError:
    """Return the error for machines that EC2 ended, from its state reason."""
    if reason.startswith("Client.VolumeLimitExceeded"):
        return CapacityError(
            f"{what}: the quota of volumes in {region} is used up", reason, MORE_VOLUMES
        )
    if reason.startswith("Client.InternalError"):
        return AccessError(
            f"{what}: they probably may not use the key of their volumes", reason,
            "let launchers, and Auto Scaling for a persistent fleet, use the key:\n"
            "  docs/aws-setup.md#a-key-of-your-own-for-volumes",
        )  # fmt: skip
    if reason.startswith(("Server.InsufficientInstanceCapacity", "Server.Spot")):
        return CapacityError(
            f"{what}: AWS took them back", reason, "add types, wait, or --market on-demand"
        )
    return ServiceError(what, reason, "parallelize doctor   looks for the cause")
