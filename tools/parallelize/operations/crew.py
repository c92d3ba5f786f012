"""The workers of a run that is carried through: how many there are, are missing, and will stay."""

from __future__ import annotations

from parallelize.context import Context
from parallelize.fleet import instances
from parallelize.fleet.hung import hung
from parallelize.fleet.instances import Machine
from parallelize.fleet.plan import plan_launch
from parallelize.operations.launch import find_queues, make_request, read_facts, start
from parallelize.runs.record import load_run
from parallelize.runs.status import RunState, RunStatus
from parallelize.units import plural
from parallelize_core.heartbeat import WorkerState

LOOKS_ALONE = 3
"""How often in a row there must be neither heartbeat nor machine before a run stands still."""


class Judge:
    """Says when there is nothing more to wait for: the end, a pause, or nobody left to work.

    With `relied`, workers that were there before count among those wanted. They may have decided
    to leave before they could see the new jobs: if all have left, others are launched, once.
    """

    def __init__(self, context: Context, *, relied: bool = False) -> None:
        self._context = context
        self._relied = relied
        self._looks_alone = 0

    def __call__(self, status: RunStatus) -> bool:
        """Whether that is so."""
        if status.finished:
            return True
        if status.state is not RunState.IDLE or at_work(self._context, status):
            self._looks_alone = 0
            return False
        self._looks_alone += 1
        return self._looks_alone >= LOOKS_ALONE and not self._launched_others(status)

    def _launched_others(self, status: RunStatus) -> bool:
        if not self._relied or load_run(self._context.store, self._context).paused:
            return False
        self._relied, self._looks_alone = False, 0
        self._context.tell("the workers that were there have left")
        launch_missing(self._context, status)
        return True


def billed(context: Context) -> list[Machine]:
    """Return the run's machines that EC2 knows as starting or running."""
    return instances.find(context.client("ec2"), context.names, instances.BILLED)


def at_work(context: Context, status: RunStatus) -> int:
    """Count the machines that work for the run, or will: those that hang do not."""
    machines = billed(context)
    beats = [worker.beat for worker in status.workers]
    return len(machines) - len(hung(machines, beats, status.taken_at))


def staying(context: Context, status: RunStatus) -> int:
    """Count the workers that can be counted on for what is left: not those that leave or hang."""
    machines = billed(context)
    hanging = hung(machines, [worker.beat for worker in status.workers], status.taken_at)
    there = {one.id for one in machines} | {one.id for one in status.workers if one.alive}
    leaving = {
        one.id for one in status.workers if one.ended or one.beat.state is WorkerState.DRAINING
    }
    return len(there - leaving - {one.id for one in hanging})


def members(context: Context) -> int:
    """Count the machines of the run's group, if it has one."""
    return sum(bool(machine.group) for machine in billed(context))


def launch_missing(context: Context, status: RunStatus) -> bool:
    """Bring the workers to the number that is wanted, or that there are files for.

    Returns whether workers that were there before count among them.
    """
    wanted = min(context.settings.workers.count, status.left)
    missing = wanted - staying(context, status)
    if missing <= 0:
        return True
    queues = find_queues(context)
    # A group is told its size, of which it has some already.
    there = members(context) if context.settings.workers.fleet == "persistent" else 0
    request = make_request(context, queues, there + missing)
    plan = plan_launch(read_facts(context, queues, request), request)
    outcome = start(plan, context)
    error = outcome.error()
    if error and not outcome.started:
        raise error
    context.tell(f"{plural(len(outcome.started) or missing, 'worker')} launched")
    if error:
        context.tell(f"not all of them: {error}")
    return missing < wanted
