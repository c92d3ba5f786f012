"""What `run` starts: as many workers as are missing, and those that leave are missing."""

from __future__ import annotations

import time

import pytest
from tests.functional.client.conftest import Project

from parallelize.fleet import instances
from parallelize.operations.crew import LOOKS_ALONE, Judge, billed, launch_missing
from parallelize.operations.status import make_reader
from parallelize.runs.status import status_of
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.pause import pause


@pytest.fixture
def enqueued(project: Project) -> Project:
    project.add("a.txt", "b.txt", "c.txt")
    project.call("prep")
    project.call("enqueue")
    return project


def started(project: Project) -> int:
    before = len(billed(project.context))
    launch_missing(project.context, status_of(make_reader(project.context).snapshot()))
    return len(billed(project.context)) - before


def beat(project: Project, worker: str, state: WorkerState) -> None:
    heartbeat = Heartbeat(
        worker=worker, state=state, started=0, seen=time.time(), interval_seconds=30
    )
    project.store.put(project.layout.heartbeat(worker), heartbeat.encode())


def test_workers_that_are_there_already_are_not_started_again(enqueued: Project) -> None:
    assert started(enqueued) == 2, "workers.count"
    assert started(enqueued) == 0


def test_workers_elsewhere_count_too(enqueued: Project) -> None:
    beat(enqueued, "w-1", WorkerState.BUSY)
    assert started(enqueued) == 1


def test_workers_that_are_about_to_leave_are_replaced(enqueued: Project) -> None:
    beat(enqueued, "w-1", WorkerState.DRAINING)
    beat(enqueued, "w-2", WorkerState.LEFT)
    assert started(enqueued) == 2


def look(project: Project, judge: Judge) -> list[bool]:
    """What the judge says each time when it looks as often as it needs to be sure."""
    reader = make_reader(project.context)
    return [judge(status_of(reader.snapshot())) for _ in range(LOOKS_ALONE)]


def relied_on(project: Project) -> Judge:
    """A judge of a run whose workers were there before, and have left since."""
    for worker in ("w-1", "w-2"):
        beat(project, worker, WorkerState.BUSY)
    relied = launch_missing(project.context, status_of(make_reader(project.context).snapshot()))
    for worker in ("w-1", "w-2"):
        beat(project, worker, WorkerState.LEFT)
    return Judge(project.context, relied=relied)


def test_workers_that_leave_before_they_see_the_new_jobs_are_replaced_once(
    enqueued: Project,
) -> None:
    judge = relied_on(enqueued)
    assert look(enqueued, judge) == [False] * LOOKS_ALONE
    assert len(billed(enqueued.context)) == 2

    ec2 = enqueued.context.client("ec2")
    instances.terminate(ec2, [one.id for one in instances.find(ec2, enqueued.context.names)])
    assert look(enqueued, judge)[-1], "nobody is left, and these were told of all jobs"


def test_workers_launched_by_this_command_are_not_replaced(enqueued: Project) -> None:
    assert look(enqueued, Judge(enqueued.context, relied=False))[-1]
    assert len(billed(enqueued.context)) == 0


def test_nobody_is_launched_for_a_run_that_was_paused_meanwhile(enqueued: Project) -> None:
    judge = relied_on(enqueued)
    pause(enqueued.store, enqueued.layout, "tired")
    assert look(enqueued, judge)[-1]
    assert len(billed(enqueued.context)) == 0
