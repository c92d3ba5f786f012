"""Terminates the run's machines now, and no others, and says what is left.

`clean` begins with the same:

    statement = terminate_run(context)
    statement.clear                       nothing of the run costs money any more
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from parallelize.console import escape
from parallelize.context import Context
from parallelize.fleet.clients import ComputeClients
from parallelize.fleet.termination import Statement, look, terminate
from parallelize.queues import OthersQueueError
from parallelize.runs.record.ownership import OthersRunError, check_origin, check_place
from parallelize.units import plural
from parallelize_core.errors import ParallelizeError, ServiceError


def check_owner(context: Context) -> None:
    """Raise UsageError for another's run; if S3 or SQS cannot tell, ending the cost comes first."""
    for check in (check_place, check_origin):
        try:
            check(context)
        except (OthersRunError, OthersQueueError):
            raise
        except ParallelizeError as error:
            context.tell(f"the run's owner could not be read ({escape(str(error))})")


def terminate_run(context: Context) -> Statement:
    """Terminate every machine of the run, then check what is left; may be repeated.

    Takes up to `termination.PATIENCE_SECONDS`; raises what AWS says.
    """
    return terminate(ComputeClients.make(context.session), context.names)


def sentences(statement: Statement) -> list[str]:
    """Return what was terminated and what is left, in words."""
    lines = [f"run {statement.run}: {plural(len(statement.ended), 'worker')} ended"]
    lines += [
        f"left: {machine.id} {machine.type} in {machine.zone}, {machine.state}"
        for machine in statement.left
    ]
    lines += [f"left: volume {volume}" for volume in statement.volumes_left]
    if statement.group_left:
        lines.append("left: the Auto Scaling group, which AWS is deleting")
    if statement.clear:
        lines.append("left: no machine, no group, no volume (verified)")
    return lines


def record(statement: Statement) -> dict[str, Any]:
    """Return a statement as a JSON object."""
    return {
        "schema": 1,
        "run": statement.run,
        "ended": list(statement.ended),
        "left": [machine.id for machine in statement.left],
        "volumes_left": list(statement.volumes_left),
        "group_left": statement.group_left,
    }


def unclear(statement: Statement) -> ServiceError:
    """Return the error for machines that are still there after the wait."""
    return ServiceError(
        f"something of run {statement.run} is still there",
        "AWS was told to end it, and has not finished",
        "parallelize kill   again, until it says that nothing is left",
    )


def planned(context: Context) -> Iterator[str]:
    """Say what `kill` would terminate."""
    compute = look(ComputeClients.make(context.session), context.names)
    for machine in compute.machines:
        yield f"would end {machine.id} {machine.type} {machine.market} {machine.zone}"
    for group in compute.groups:
        yield f"would delete the Auto Scaling group {group.name}"
    if not compute.machines and not compute.groups:
        yield f"run {compute.run} has no machine and no group"
