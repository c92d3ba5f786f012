"""Ends the run's machines, and no others, and says what is left.

`stop` drains the workers: they finish what they do, take nothing new, and leave. `kill` terminates
the machines now, and `clean` begins with that:

    statement = terminate_run(context)
    statement.clear                       nothing of the run costs money any more
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from parallelize.console import escape
from parallelize.context import Context
from parallelize.fleet import group as groups
from parallelize.fleet.clients import ComputeClients
from parallelize.fleet.termination import Compute, Statement, check, look, terminate
from parallelize.queues import OthersQueueError
from parallelize.runs.record.ownership import (
    OthersRunError,
    check_origin,
    check_ours,
    check_place,
    load_run,
)
from parallelize.units import plural
from parallelize_core.clock import utc_now
from parallelize_core.errors import ParallelizeError, ServiceError
from parallelize_core.pause import pause

POLL_SECONDS = 5.0


def check_owner(context: Context) -> None:
    """Raise UsageError for another's run; if S3 or SQS cannot tell, ending the cost comes first."""
    for check_one in (check_place, check_origin):
        try:
            check_one(context)
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


def find(context: Context) -> Compute:
    """Return the machines and the group of a run that is ours and has started."""
    load_run(context.store, context)
    check_ours(context)
    return look(ComputeClients.make(context.session), context.names)


def planned_drain(context: Context, compute: Compute) -> Iterator[str]:
    """Say what `drain` would do."""
    for group in compute.groups:
        yield f"would hold the Auto Scaling group {group.name}"
    there = plural(len(compute.machines), "worker")
    yield f"would ask {there} of run {context.run} to leave"


def drain(context: Context, compute: Compute) -> None:
    """Ask all workers of the run to leave, and keep others from replacing them."""
    # The group first: a worker that leaves at once must not be replaced.
    clients = ComputeClients.make(context.session)
    for group in compute.groups:
        groups.hold(clients.autoscaling, group.name)
    pause(context.store, context.layout, f"stopped with parallelize stop at {utc_now()[:19]}Z")


def await_all(context: Context, compute: Compute) -> list[str]:
    """Wait until the run has no machines, and return what is left, in words."""
    clients = ComputeClients.make(context.session)
    while (left := look(clients, context.names)).machines:
        context.tell(f"{plural(len(left.machines), 'worker')} still there")
        time.sleep(POLL_SECONDS)
    ids = {machine.id for machine in compute.machines}
    return sentences(check(clients, context.names, ids))
