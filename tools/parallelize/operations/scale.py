"""`parallelize scale N`: bring the number of the run's workers to N, up or down.

Machines that hang do no work, so they are not counted: they are ended, and replaced by the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from parallelize.console import say, say_plan
from parallelize.context import Context, open_context
from parallelize.fleet import group as groups
from parallelize.fleet import instances
from parallelize.fleet.clients import ComputeClients
from parallelize.fleet.hung import HUNG_SECONDS, hung
from parallelize.fleet.instances import Machine
from parallelize.fleet.plan import LaunchPlan, plan_launch
from parallelize.fleet.termination import Compute, await_gone, look
from parallelize.operations.launch import carry_out, find_queues, make_request, read_facts, show
from parallelize.options import NOTHING, Common
from parallelize.runs.ownership import check_ours
from parallelize.runs.snapshot import Reader
from parallelize.units import plural
from parallelize_core.errors import ServiceError, UsageError
from parallelize_core.heartbeat import Heartbeat, WorkerState


@dataclass(frozen=True)
class ScalePlan:
    """What brings a run to `wanted` workers: N more, or these fewer; those that hang go."""

    wanted: int
    more: int = 0
    on_demand: int = 0
    """How many workers there are on-demand already."""
    leaving: tuple[Machine, ...] = ()
    hung: tuple[Machine, ...] = ()
    loose: int = 0
    """How many of the workers that are to be there are, or stay, outside the run's group."""

    @property
    def grouped(self) -> int:
        """How many workers are left for the group to have."""
        return self.wanted - self.loose

    @property
    def ended(self) -> tuple[Machine, ...]:
        """The machines that are ended."""
        return (*self.hung, *self.leaving)


def scale(
    count: int, *, dry_run: bool = False, force: bool = False, common: Common = NOTHING
) -> int | None:
    """Start or end workers until the run has COUNT of them."""
    if count < 0:
        raise UsageError("scale takes a number of workers, 0 or more")
    context = open_context(common)
    check_ours(context)
    clients = ComputeClients.make(context.session)
    compute = look(clients, context.names)
    found = Reader(context.store, context.layout).snapshot()
    plan = plan_scale(compute.machines, found.heartbeats, count, found.taken_at)
    if not plan.more:
        _shrink(clients, compute, plan, dry_run=dry_run)
        return None
    launch = _plan_launch(context, plan, force=force)
    _end(clients, plan, dry_run=dry_run)
    if compute.group:
        _grow(clients, compute.group, plan, dry_run=dry_run)
        return None
    if dry_run:
        show(launch, dry_run=True)
        return None
    return carry_out(launch, context)


def plan_scale(
    machines: Sequence[Machine], heartbeats: Sequence[Heartbeat], wanted: int, now: float
) -> ScalePlan:
    """Return how to get from the machines there are at `now` to `wanted` that can work."""
    dead = hung(machines, heartbeats, now)
    there = [one for one in machines if one.state in instances.BILLED and one not in dead]
    if wanted >= len(there):
        on_demand = sum(machine.market == "on-demand" for machine in there)
        return ScalePlan(wanted, wanted - len(there), on_demand, hung=dead, loose=_loose(there))
    order = leaving_order(there, heartbeats)
    leaving, staying = order[: len(there) - wanted], order[len(there) - wanted :]
    return ScalePlan(wanted, leaving=tuple(leaving), hung=dead, loose=_loose(staying))


def _loose(machines: Iterable[Machine]) -> int:
    return sum(not machine.group for machine in machines)


def leaving_order(machines: Sequence[Machine], heartbeats: Iterable[Heartbeat]) -> list[Machine]:
    """Return machines in the order in which they are missed least.

    Those without work first, then those with the fewest files in work, the youngest of equals.
    """
    known = {beat.worker: beat for beat in heartbeats}

    def missed(machine: Machine) -> tuple[int, int, float]:
        beat = known.get(machine.id)
        busy = len(beat.running) if beat else 0
        leaves_anyway = beat is not None and beat.state is WorkerState.DRAINING
        return (0 if leaves_anyway else 1, busy, -machine.launched.timestamp())

    return sorted(machines, key=missed)


def _plan_launch(context: Context, plan: ScalePlan, *, force: bool) -> LaunchPlan:
    """Return the plan for more workers; raises what `launch` would, for a group's, too."""
    queues = find_queues(context)
    request = make_request(context, queues, plan.more, force=force)
    # These come in addition to those there are, and are wanted now, whatever the queue's length.
    on_demand = min(max(0, request.on_demand - plan.on_demand), plan.more)
    request = replace(request, fleet="one-time", autoscale=False, on_demand=on_demand)
    return plan_launch(read_facts(context, queues, request), request)


def _grow(clients: ComputeClients, group: groups.Group, plan: ScalePlan, *, dry_run: bool) -> None:
    if dry_run:
        say_plan(f"would let the group {group.name} grow to {plan.grouped}")
        return
    groups.resize(clients.autoscaling, group.name, plan.grouped)
    say(f"the group {group.name} starts {plural(plan.more, 'worker')}")


def _end(clients: ComputeClients, plan: ScalePlan, *, dry_run: bool) -> None:
    for machine in plan.ended:
        why = "  (silent: it hangs)" if machine in plan.hung else ""
        if dry_run:
            say_plan(f"would end {machine.id} {machine.type} {machine.zone}{why}")
        elif why:
            say(f"{machine.id} was not heard of for {HUNG_SECONDS // 60} minutes, and is ended")
    if dry_run:
        return
    groups.release(clients.autoscaling, [one.id for one in plan.ended if one.group])
    instances.terminate(clients.ec2, [one.id for one in plan.ended if not one.group])


def _shrink(clients: ComputeClients, compute: Compute, plan: ScalePlan, *, dry_run: bool) -> None:
    _end(clients, plan, dry_run=dry_run)
    if dry_run:
        return
    if compute.group:
        # What its alarms or a lost worker may bring back is limited by the new size.
        groups.limit(clients.autoscaling, compute.group.name, plan.grouped)
    say(f"{plural(len(plan.leaving), 'worker')} told to leave, {plan.wanted} to stay")
    await_gone(clients, compute.names, {machine.id for machine in plan.ended})
    left = look(clients, compute.names)
    alive = sum(machine.state in instances.BILLED for machine in left.machines)
    say(f"left: {plural(alive, 'machine')} of run {compute.run} (checked)")
    check_gone(plan, left)


def check_gone(plan: ScalePlan, left: Compute) -> None:
    """Raise ServiceError if machines that were ended are billed after all patience."""
    ended = {machine.id for machine in plan.ended}
    still = [one for one in left.machines if one.id in ended and one.state in instances.BILLED]
    if still:
        verbs = ("was", "is") if len(still) == 1 else ("were", "are")
        raise ServiceError(
            f"{plural(len(still), 'worker')} that {verbs[0]} told to leave {verbs[1]} still there",
            f"for example {still[0].id}: AWS has not ended it yet",
            f"parallelize scale {plan.wanted}   again",
        )
