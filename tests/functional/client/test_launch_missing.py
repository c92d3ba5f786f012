"""What `run` starts: as many workers as are missing, and those that leave are missing."""

from __future__ import annotations

import time

import pytest
from tests.functional.client.conftest import Project

from parallelize.commands.run import launch_missing, living
from parallelize.commands.status import make_reader
from parallelize.runs.status import status_of
from parallelize_core.heartbeat import Heartbeat, WorkerState


@pytest.fixture
def enqueued(project: Project) -> Project:
    project.add("a.txt", "b.txt", "c.txt")
    project.call("prep")
    project.call("enqueue")
    return project


def started(project: Project) -> int:
    before = living(project.context)
    launch_missing(project.context, status_of(make_reader(project.context).snapshot()))
    return living(project.context) - before


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
