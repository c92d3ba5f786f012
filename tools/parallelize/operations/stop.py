"""Drains a run: workers finish what they do, take nothing new, and leave."""

from __future__ import annotations

import time
from collections.abc import Iterator

from parallelize.context import Context
from parallelize.fleet import group as groups
from parallelize.fleet.clients import ComputeClients
from parallelize.fleet.termination import Compute, check, look
from parallelize.operations.kill import sentences
from parallelize.runs.record.ownership import check_ours, load_run
from parallelize.units import plural
from parallelize_core.clock import utc_now
from parallelize_core.pause import pause

POLL_SECONDS = 5.0


def find(context: Context) -> Compute:
    """Return the machines and the group of a run that is ours and has started."""
    load_run(context.store, context)
    check_ours(context)
    return look(ComputeClients.make(context.session), context.names)


def planned(context: Context, compute: Compute) -> Iterator[str]:
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
