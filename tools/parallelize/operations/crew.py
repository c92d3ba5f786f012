"""The workers of a run in progress: how many it has, lacks, and will keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from parallelize.context import Context
from parallelize.fleet import instances
from parallelize.fleet.facts import Work
from parallelize.fleet.instances import Machine, hung
from parallelize.fleet.plan import plan_launch
from parallelize.fleet.show import describe_placement
from parallelize.operations.launch import (
    facts_without_run,
    find_queues,
    make_request,
    read_facts,
    scored,
    start,
)
from parallelize.runs.record.ownership import load_run
from parallelize.runs.state.status import LaneStatus, RunState, RunStatus
from parallelize.units import plural
from parallelize_core.errors import ParallelizeError
from parallelize_core.heartbeat import WorkerState
from parallelize_core.lane import Lane

AHEAD_SECONDS = 120.0
"""How long workers wait for the record of a run whose inputs are still being sent."""

LOOKS_ALONE = 3
"""The run stands still after this many looks in a row without heartbeat or machine."""


class Stillness:
    """Says whether a run stands still: no worker lives or will come, at several looks in a row.

    `at_work` counts the machines that work for the run, or will.
    """

    def __init__(self, at_work: Callable[[RunStatus], int]) -> None:
        self._at_work = at_work
        self._looks_alone = 0

    def __call__(self, status: RunStatus) -> bool:
        """Take another look into account; whether the run stands still."""
        if status.state is not RunState.IDLE or self._at_work(status):
            self._looks_alone = 0
            return False
        self._looks_alone += 1
        return self._looks_alone >= LOOKS_ALONE


class Judge:
    """Decides when to stop waiting: the end, a pause, or no workers left.

    With `relied`, the run relies on workers that were already there. They may have decided to leave
    before they could see the new jobs: if all have left, others are launched, once.
    """

    def __init__(self, context: Context, *, relied: bool = False) -> None:
        self._context = context
        self._lanes = LaneStarter(context)
        self._relied = relied
        self._still = self._new_stillness()

    def __call__(self, status: RunStatus) -> bool:
        """Whether there is nothing left to wait for."""
        if status.finished:
            return True
        self._lanes.look(status)
        return self._still(status) and not self._launched_others(status)

    def _new_stillness(self) -> Stillness:
        return Stillness(lambda status: at_work(self._context, status))

    def _launched_others(self, status: RunStatus) -> bool:
        if not self._relied or load_run(self._context.store, self._context).paused:
            return False
        self._relied, self._still = False, self._new_stillness()
        self._context.tell("the earlier workers have left")
        launch_missing(self._context, status)
        return True


class LaneStarter:
    """Starts workers for lanes in which jobs wait, if the settings have these lanes.

    If a lane's workers cannot be started, that is reported, and not tried again: the rest goes on.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._given_up: set[Lane] = set()

    def look(self, status: RunStatus) -> None:
        """Start the workers that are missing."""
        for one in status.lanes:
            if one.is_stuck and one.lane in {*self._context.lanes} - self._given_up:
                self._start(status, one)

    def _start(self, status: RunStatus, one: LaneStatus) -> None:
        try:
            launch_missing(self._context.beside(one.lane), status)
        except ParallelizeError as error:
            self._given_up.add(one.lane)
            self._context.tell(f"no workers for the {one.lane} lane: {error}")


def billed(context: Context) -> list[Machine]:
    """Return the run's machines that EC2 reports as starting or running."""
    return instances.find(context.client("ec2"), context.names, instances.BILLED)


def at_work(context: Context, status: RunStatus) -> int:
    """Count the machines that work for the run, or will; not those that hang."""
    machines = billed(context)
    beats = [worker.beat for worker in status.workers]
    return len(machines) - len(hung(machines, beats, status.taken_at))


def staying(context: Context, status: RunStatus) -> int:
    """Count the workers that will do what is left; not those that leave or hang.

    Counts only the context's lane.
    """
    machines = instances.of_lane(billed(context), context.names)
    hanging = hung(machines, [worker.beat for worker in status.workers], status.taken_at)
    alive = (one for one in status.workers if one.alive and one.beat.lane is context.lane)
    there = {one.id for one in machines} | {one.id for one in alive}
    leaving = {
        one.id for one in status.workers if one.ended or one.beat.state is WorkerState.DRAINING
    }
    return len(there - leaving - {one.id for one in hanging})


def members(context: Context) -> int:
    """Count the machines of the lane's group, if it has one."""
    return sum(bool(one.group) for one in instances.of_lane(billed(context), context.names))


def left_in(lane: Lane, status: RunStatus) -> int:
    """Return how many files are left for the workers of a lane, those to be sent to it included."""
    lanes = {one.lane: one.waiting + one.at_work for one in status.lanes}
    if lane is not Lane.MAIN:
        return lanes.get(lane, 0)
    return status.left - sum(count for other, count in lanes.items() if other is not lane)


def launch_ahead(context: Context, jobs: int) -> None:
    """Start workers for a run that has no record yet: they wait for it.

    Only in the local cloud, where a machine that waits costs nothing.
    """
    queues = context.make_queues()
    asked = make_request(context, queues, min(context.settings.workers.count, jobs), watched=True)
    agent = asked.agent.model_copy(update={"run_within_seconds": AHEAD_SECONDS})
    request = replace(asked, agent=agent)
    plan = plan_launch(facts_without_run(context, request, Work(jobs)), request)
    if started := start(plan, context).started:
        context.tell(f"{plural(len(started), 'worker')} launched")


def launch_missing(context: Context, status: RunStatus) -> bool:
    """Start workers of a lane up to the number wanted, or the number of files left if that is less.

    Returns whether existing workers count among them.
    """
    wanted = min(context.settings.workers.count, left_in(context.lane, status))
    missing = wanted - staying(context, status)
    if missing <= 0:
        return True
    queues = find_queues(context)
    # A group gets its total size, which includes its current workers.
    there = members(context) if context.settings.workers.fleet == "persistent" else 0
    request = make_request(context, queues, there + missing, watched=True)
    plan = plan_launch(scored(context, read_facts(context, queues, request), request), request)
    for line in describe_placement(plan):
        context.tell(line.strip())
    outcome = start(plan, context)
    error = outcome.error()
    if error and not (outcome.started or outcome.staffing.in_service):
        raise error
    lane = "" if context.lane is Lane.MAIN else f" for the {context.lane} lane"
    context.tell(f"{plural(len(outcome.started) or missing, 'worker')} launched{lane}")
    if error:
        context.tell(f"some workers did not start: {error}")
    return missing < wanted
