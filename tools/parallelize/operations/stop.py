"""`parallelize stop`: drain the run. Workers finish what they do, take nothing new, and leave."""

from __future__ import annotations

import time

from parallelize.console import say, say_plan
from parallelize.context import Context, open_context
from parallelize.fleet import group as groups
from parallelize.fleet.clients import ComputeClients
from parallelize.fleet.termination import Compute, check, look
from parallelize.operations.kill import sentences
from parallelize.options import NOTHING, Common
from parallelize.runs.ownership import check_ours
from parallelize.runs.record import load_run
from parallelize.units import plural
from parallelize_core.clock import utc_now
from parallelize_core.pause import pause

POLL_SECONDS = 5.0


def stop(*, wait: bool = False, dry_run: bool = False, common: Common = NOTHING) -> None:
    """Let the run's workers finish what they have begun, and leave; the queue stays as it is."""
    context = open_context(common)
    clients = ComputeClients.make(context.session)
    load_run(context.store, context)
    check_ours(context)
    before = look(clients, context.names)
    there = plural(len(before.machines), "worker")
    if dry_run:
        for group in before.groups:
            say_plan(f"would hold the Auto Scaling group {group.name}")
        say_plan(f"would ask {there} of run {context.run} to leave")
        return
    drain(context, clients, before)
    say(f"run {context.run} is stopped; parallelize enqueue{context.hint} lets it go on")
    if wait:
        _wait(context, clients, {machine.id for machine in before.machines})
    elif before.machines:
        say(f"{there} still there; parallelize status --watch{context.hint}")
    else:
        say("left: no machine (checked)")


def drain(context: Context, clients: ComputeClients, compute: Compute) -> None:
    """Ask all workers of the run to leave, and let nothing take their place."""
    # The group first: a worker that leaves at once must not be replaced.
    for group in compute.groups:
        groups.hold(clients.autoscaling, group.name)
    pause(context.store, context.layout, f"stopped with parallelize stop at {utc_now()[:19]}Z")


def _wait(context: Context, clients: ComputeClients, ids: set[str]) -> None:
    while (left := look(clients, context.names)).machines:
        say(f"{plural(len(left.machines), 'worker')} still there")
        time.sleep(POLL_SECONDS)
    for line in sentences(check(clients, context.names, ids)):
        say(line)
