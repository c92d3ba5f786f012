"""Leaving an Auto Scaling group: lower it by one, so that nothing takes this worker's place.

Otherwise the group would replace each worker whose work is over, for ever. A worker that is
interrupted, or whose time is up, does not do this: its work is not over, and it should be replaced.

A group that follows the queue would also wake up for the files that a paused run leaves there, and
start workers that only leave again. So a worker that leaves such a run holds the group first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random_exponential

from parallelize_agent.reporting.peers import read_heartbeats
from parallelize_core.errors import code_of
from parallelize_core.layout import RunLayout
from parallelize_core.pause import HELD_PROCESSES
from parallelize_core.run import Run
from parallelize_core.store import Store

if TYPE_CHECKING:
    from types_boto3_autoscaling import AutoScalingClient

log = structlog.get_logger()

BUSY = {"ScalingActivityInProgress", "ResourceContention"}
"""The group is in the middle of something else, and takes this a moment later."""

MAX_REPLACED = 3
"""How many unfit machines of a run may be replaced by others."""


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
        autoscaling.suspend_processes(
            AutoScalingGroupName=name, ScalingProcesses=list(HELD_PROCESSES)
        )
        # Who resumes a run does so in run.json first: if that was before we held the group, they
        # may have resumed the group before it, too.
        if not should_rest():
            autoscaling.resume_processes(
                AutoScalingGroupName=name, ScalingProcesses=list(HELD_PROCESSES)
            )
    except Exception as error:
        log.warning("group not held", error=str(error) or repr(error))
    else:
        log.info("held its group")


def _is_busy(error: BaseException) -> bool:
    return code_of(error) in BUSY


def leave(autoscaling: AutoScalingClient, instance: str) -> bool:
    """Leave the group; answers False if the instance is in none, or AWS keeps refusing.

    The machine switches itself off in any case; a group that could not be lowered replaces it.
    """
    try:
        _leave(autoscaling, instance)
    except Exception as error:
        log.warning("not left its group", error=str(error) or repr(error))
        return False
    log.info("left its group")
    return True


@retry(
    retry=retry_if_exception(_is_busy),
    stop=stop_after_attempt(5),
    wait=wait_random_exponential(multiplier=0.5, max=10),
    reraise=True,
)
def _leave(autoscaling: AutoScalingClient, instance: str) -> None:
    autoscaling.terminate_instance_in_auto_scaling_group(
        InstanceId=instance, ShouldDecrementDesiredCapacity=True
    )
