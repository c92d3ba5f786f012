"""Leaving an Auto Scaling group: lower it by one, so that nothing takes this worker's place.

Otherwise the group would replace each worker whose work is over, forever. A worker that is
interrupted, or whose time is up, does not do this: its work is not over, and it should be replaced.

A group that follows the queue would also wake up for the files that a paused run leaves there, and
start workers that only leave again. So a worker that leaves such a run holds the group first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
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

LEAVING = replace(BUSY_GROUP, seconds=60)
"""A machine that shuts down has less time than a person."""

HOLDING = replace(BUSY_GROUP, seconds=20)
"""Of two such calls, as the machine goes on to leave after them."""

MAX_REPLACED = 3
"""How many unfit machines of a run may be replaced by others."""

IN_SERVICE = "InService"
STATE_PATH = "meta-data/autoscaling/target-lifecycle-state"
"""https://docs.aws.amazon.com/autoscaling/ec2/userguide/retrieving-target-lifecycle-state-through-imds.html"""


def is_member(persistent: bool, at_start: str, look: Callable[[], str | None]) -> bool:  # noqa: FBT001
    """Whether this machine has a place in a group that it must give up as it leaves.

    `persistent` says how it was launched, `at_start` what the metadata service said of its state
    in a group when the agent started, empty for nothing, and `look` what it says now. The service
    may know that state only later, or not at all; a worker that took this for "no group" would
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
    """Whether starting workers is of no use: the run is paused, or its last worker has `failed`.

    If that cannot be read, it is so for a worker that has failed.
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
    """Whether another machine may take the place of this one, which is unfit for the work.

    If many were unfit before it, it is more likely the run that is at fault.
    """
    try:
        unfit = [beat for beat in read_heartbeats(store, layout) if beat.unfit]
    except Exception as error:
        log.warning("not known how many were unfit", error=str(error) or repr(error))
        return False
    return sum(beat.worker != worker for beat in unfit) < MAX_REPLACED


def hold(autoscaling: AutoScalingClient, name: str, should_rest: Callable[[], bool]) -> None:
    """Let the group start nothing, if it should rest; resuming the run resumes it."""
    if not should_rest():
        return
    try:
        outlast(HOLDING, lambda: _suspend(autoscaling, name))
        # Who resumes a run does so in run.json first: if that was before we held the group, they
        # may have resumed the group before it, too.
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
    """Leave the group; answers False if the instance is in none, or AWS keeps refusing.

    The machine switches itself off in any case; a group that could not be lowered replaces it.
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
