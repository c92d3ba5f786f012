"""Brings the number of the run's workers to N, up or down.

Machines that hang do no work, so they are not counted: they are terminated, and replaced.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from parallelize.context import Context
from parallelize.fleet import group as groups
from parallelize.fleet import instances
from parallelize.fleet.clients import ComputeClients
from parallelize.fleet.execute import LaunchOutcome
from parallelize.fleet.instances import HUNG_SECONDS, Machine, hung
from parallelize.fleet.plan import LaunchPlan, plan_launch
from parallelize.fleet.show import describe_plan
from parallelize.fleet.termination import Compute, await_gone, look
from parallelize.operations.launch import carry_out, find_queues, make_request, read_facts
from parallelize.runs.record.ownership import check_ours
from parallelize.runs.state.snapshot import Reader
from parallelize.units import plural
from parallelize_core.errors import ServiceError
from parallelize_core.heartbeat import Heartbeat, WorkerState


@dataclass(frozen=True)
class ScalePlan:
    """How to reach `wanted` workers: start `more`, or end those `leaving`; end those that hang."""

    wanted: int
    more: int = 0
    on_demand: int = 0
    """How many of the workers are on-demand already."""
    leaving: tuple[Machine, ...] = ()
    hung: tuple[Machine, ...] = ()
    loose: int = 0
    """How many of the workers that will be there are outside the run's group."""

    @property
    def grouped(self) -> int:
        """How many of the workers the group should have."""
        return self.wanted - self.loose

    @property
    def ended(self) -> tuple[Machine, ...]:
        """The machines to terminate."""
        return (*self.hung, *self.leaving)


@dataclass(frozen=True)
class Scaling:
    """A run's machines as they are, what happens to them, and the launch of more."""

    compute: Compute
    plan: ScalePlan
    launch: LaunchPlan | None = None
    """None if no more are needed; a group starts them by itself."""

    @property
    def group(self) -> str:
        """The name of the run's group, empty if it has none."""
        return self.compute.group.name if self.compute.group else ""


def make_plan(context: Context, count: int, *, force: bool = False) -> Scaling:
    """Look at the run's machines, and plan how to have `count` of them; changes nothing."""
    check_ours(context)
    compute = _look(context, ComputeClients.make(context.session))
    found = Reader(context.store, context.layout).snapshot()
    plan = plan_scale(compute.machines, found.heartbeats, count, found.taken_at)
    more = _plan_launch(context, plan, force=force) if plan.more else None
    return Scaling(compute, plan, more)


def _look(context: Context, clients: ComputeClients) -> Compute:
    """Return the machines of the context's lane."""
    found = look(clients, context.names)
    return replace(found, machines=tuple(instances.of_lane(found.machines, context.names)))


def planned(scaling: Scaling) -> list[str]:
    """Say what would be done."""
    plan = scaling.plan
    lines = [f"would end {one.id} {one.type} {one.zone}{_why(one, plan)}" for one in plan.ended]
    if scaling.launch is None:
        return lines
    if scaling.group:
        return [*lines, f"would let the group {scaling.group} grow to {plan.grouped}"]
    return [*lines, *describe_plan(scaling.launch)]


def _why(machine: Machine, plan: ScalePlan) -> str:
    return "  (no heartbeat: it hangs)" if machine in plan.hung else ""


def scale(context: Context, scaling: Scaling) -> LaunchOutcome | None:
    """Start or end workers as planned; return the outcome of a launch, if there was one."""
    clients, plan = ComputeClients.make(context.session), scaling.plan
    _end(context, clients, plan)
    if scaling.launch is None:
        _shrink(context, clients, scaling)
        return None
    if not scaling.group:
        return carry_out(scaling.launch, context)
    groups.resize(clients.autoscaling, scaling.group, plan.grouped)
    context.tell(f"the group {scaling.group} starts {plural(plan.more, 'worker')}")
    return None


def plan_scale(
    machines: Sequence[Machine], heartbeats: Sequence[Heartbeat], wanted: int, now: float
) -> ScalePlan:
    """Plan how to get from the machines at `now` to `wanted` that can work."""
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
    """Return machines in the order in which to end them.

    Idle ones first, then those with the fewest files in progress, the youngest of equals.
    """
    known = {beat.worker: beat for beat in heartbeats}

    def missed(machine: Machine) -> tuple[int, int, float]:
        beat = known.get(machine.id)
        busy = len(beat.running) if beat else 0
        leaves_anyway = beat is not None and beat.state is WorkerState.DRAINING
        return (0 if leaves_anyway else 1, busy, -machine.launched.timestamp())

    return sorted(machines, key=missed)


def _plan_launch(context: Context, plan: ScalePlan, *, force: bool) -> LaunchPlan:
    """Return the plan for more workers; raises what `launch` would, even if a group starts them."""
    queues = find_queues(context)
    request = make_request(context, queues, plan.more, force=force)
    # These are added to the existing ones now, whatever the queue's length.
    on_demand = min(max(0, request.on_demand - plan.on_demand), plan.more)
    request = replace(request, fleet="one-time", autoscale=False, on_demand=on_demand)
    return plan_launch(read_facts(context, queues, request), request)


def _end(context: Context, clients: ComputeClients, plan: ScalePlan) -> None:
    for machine in plan.hung:
        minutes = HUNG_SECONDS // 60
        context.tell(f"terminating {machine.id}, which was silent for {minutes} minutes")
    groups.release(clients.autoscaling, [one.id for one in plan.ended if one.group])
    instances.terminate(clients.ec2, [one.id for one in plan.ended if not one.group])


def _shrink(context: Context, clients: ComputeClients, scaling: Scaling) -> None:
    """Wait until the terminated machines are gone; ServiceError if they stay."""
    plan = scaling.plan
    if scaling.group:
        # The new size limits how many its alarms or a lost worker may bring back.
        groups.limit(clients.autoscaling, scaling.group, plan.grouped)
    context.tell(f"asked {plural(len(plan.leaving), 'worker')} to leave; {plan.wanted} stay")
    await_gone(clients, context.names, {machine.id for machine in plan.ended})
    left = _look(context, clients)
    alive = sum(machine.state in instances.BILLED for machine in left.machines)
    context.tell(f"left: {plural(alive, 'machine')} of run {context.run} (verified)")
    check_gone(plan, left)


def check_gone(plan: ScalePlan, left: Compute) -> None:
    """Raise ServiceError if terminated machines are still billed after the wait."""
    ended = {machine.id for machine in plan.ended}
    still = [one for one in left.machines if one.id in ended and one.state in instances.BILLED]
    if still:
        verbs = ("was", "is") if len(still) == 1 else ("were", "are")
        raise ServiceError(
            f"{plural(len(still), 'worker')} that {verbs[0]} asked to leave {verbs[1]} still there",
            f"for example {still[0].id}: AWS has not ended it yet",
            f"parallelize scale {plan.wanted}   again",
        )
