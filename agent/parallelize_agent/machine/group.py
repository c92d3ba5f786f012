"""Leaving an Auto Scaling group: lower its size by one, so that this worker is not replaced.

Otherwise the group would replace each worker whose work is done, forever. A worker that is
interrupted, or whose time is up, does not do this: its work is not done, and it should be replaced.

A group that follows the queue would also wake up for the files that a paused run leaves there, and
start workers that only leave again. So a worker that leaves such a run suspends the group first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from parallelize_agent.reporting.peers import read_heartbeats
from parallelize_core.errors import ServiceError
from parallelize_core.layout import RunLayout
from parallelize_core.outlast import BUSY_GROUP, outlast
from parallelize_core.pause import HELD_PROCESSES
from parallelize_core.run import Run
from parallelize_core.store import Store
from parallelize_core.translated import translated

if TYPE_CHECKING:
    from types_boto3_autoscaling import AutoScalingClient

log = structlog.get_logger()

LEAVING = BUSY_GROUP._replace(seconds=60)
"""A machine that shuts down has less time than a person."""

HOLDING = BUSY_GROUP._replace(seconds=20)
"""For each of two such calls, because the machine leaves the group after them."""

MAX_REPLACED = 3
"""How many unfit machines of a run may be replaced."""

IN_SERVICE = "InService"
STATE_PATH = "meta-data/autoscaling/target-lifecycle-state"
"""https://docs.aws.amazon.com/autoscaling/ec2/userguide/retrieving-target-lifecycle-state-through-imds.html"""


def is_member(persistent: bool, at_start: str, look: Callable[[], str | None]) -> bool:  # noqa: FBT001
    """Whether this machine has a place in a group that it must give up when it leaves.

    `persistent` says how it was launched, `at_start` is its state in a group according to the
    metadata service when the agent started, empty if none, and `look` returns the current one. The
    service may learn that state only later, or never; a worker that took this for "no group" would
    leave its place, and the group would replace it forever.
    """
    try:
        state = look()
    except ServiceError as error:
        log.warning("group state not read", error=str(error))
        state = None
    state = state or at_start
    return state == IN_SERVICE if state else persistent


def should_rest(store: Store, layout: RunLayout, worker: str, *, failed: bool) -> bool:
    """Whether starting workers is useless: the run is paused, or its last worker has `failed`.

    If that cannot be read, the answer is yes for a worker that has failed.
    """
    try:
        if Run.decode(store.get(layout.run_json)).paused:
            return True
        return failed and not any(
            other.alive(time.time())
            for other in read_heartbeats(store, layout)
            if other.worker != worker
        )
    except Exception as error:
        log.warning("not known whether the run goes on", error=str(error) or repr(error))
        return failed


def may_be_replaced(store: Store, layout: RunLayout, worker: str) -> bool:
    """Whether another machine may replace this one, which is unfit for the work.

    If many were unfit before it, the run is more likely at fault.
    """
    try:
        unfit = [beat for beat in read_heartbeats(store, layout) if beat.unfit]
    except Exception as error:
        log.warning("not known how many were unfit", error=str(error) or repr(error))
        return False
    return sum(beat.worker != worker for beat in unfit) < MAX_REPLACED


def hold(autoscaling: AutoScalingClient, name: str, should_rest: Callable[[], bool]) -> None:
    """Stop the group from starting workers, if it should rest; resuming the run resumes it."""
    if not should_rest():
        return
    try:
        outlast(HOLDING, lambda: _suspend(autoscaling, name))
        # Resuming a run changes run.json first: if that was before we suspended the group, the
        # group may have been resumed before that, too.
        if not should_rest():
            outlast(HOLDING, lambda: _resume(autoscaling, name))
    except Exception as error:
        log.warning("group not held", error=str(error) or repr(error))
    else:
        log.info("held its group")


@translated("Auto Scaling")
def _suspend(autoscaling: AutoScalingClient, name: str) -> None:
    autoscaling.suspend_processes(AutoScalingGroupName=name, ScalingProcesses=list(HELD_PROCESSES))


@translated("Auto Scaling")
def _resume(autoscaling: AutoScalingClient, name: str) -> None:
    autoscaling.resume_processes(AutoScalingGroupName=name, ScalingProcesses=list(HELD_PROCESSES))


def leave(autoscaling: AutoScalingClient, instance: str) -> bool:
    """Leave the group; return False if the instance is in none, or AWS keeps refusing.

    The machine powers off in any case; a group whose size could not be lowered replaces it.
    """
    try:
        outlast(LEAVING, lambda: _leave(autoscaling, instance))
    except Exception as error:
        log.warning("not left its group", error=str(error) or repr(error))
        return False
    log.info("left its group")
    return True


@translated("Auto Scaling")
def _leave(autoscaling: AutoScalingClient, instance: str) -> None:
    autoscaling.terminate_instance_in_auto_scaling_group(
        InstanceId=instance, ShouldDecrementDesiredCapacity=True
    )
