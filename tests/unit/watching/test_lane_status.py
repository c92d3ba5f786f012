"""What waits in the lanes of a run, and what to start for it."""

from __future__ import annotations

import pytest
from tests.unit.watching.scene import Scene

from parallelize.queues import RunCounts
from parallelize.runs.state.status import RunStatus, status_of
from parallelize.runs.state.view import as_json, page
from parallelize_core.heartbeat import WorkerState
from parallelize_core.lane import Lane
from parallelize_core.queue import QueueCounts

NONE = QueueCounts(0, 0, 0)


def status(*, main: int = 0, large: int = 0, workers: tuple[Lane, ...] = ()) -> RunStatus:
    """Return the status of a run with these messages and workers."""
    lanes = {Lane.LARGE: QueueCounts(large, 0, 0), Lane.STEADY: NONE}
    scene = Scene(queue=RunCounts(main + large, 0, 0, lanes))
    scene.prepare("a", "b", "c")
    for number, lane in enumerate(workers):
        scene.beat(f"i-{number}", WorkerState.IDLE, lane=lane)
    return status_of(scene.snapshot())


@pytest.mark.parametrize("workers", [(), (Lane.MAIN,)])
def test_a_lane_without_workers_says_what_waits_and_what_to_start(workers: tuple[Lane]) -> None:
    assert status(large=2, workers=workers).why == (
        "2 jobs wait in the large lane, which has no workers: parallelize launch --lane large"
    )


def test_with_workers_there_is_nothing_to_say() -> None:
    assert status(main=1, large=2, workers=(Lane.MAIN, Lane.LARGE)).why is None


def test_the_main_lane_is_not_forgotten_while_others_work() -> None:
    assert status(main=1, workers=(Lane.STEADY,)).why == (
        "1 job waits in the main lane, which has no workers: parallelize launch"
    )


def test_a_run_without_workers_says_so_as_one_without_lanes_does() -> None:
    assert "no worker has reported yet" in (status(main=1).why or "")


def test_what_waits_in_a_lane_is_no_empty_queue() -> None:
    assert "the queue is empty" not in (status(large=1).why or "")


def test_the_page_and_the_json_have_the_lanes() -> None:
    now = status(main=1, large=2, workers=(Lane.MAIN, Lane.LARGE))
    assert "  lanes   large: 2 jobs, 1 worker · steady: 0 jobs, 0 workers" in page(now)
    assert as_json(now)["lanes"]["main"] == {
        "lane": "main", "waiting": 1, "at_work": 0, "workers": 1,
    }  # fmt: skip


def test_a_run_with_one_lane_does_not_speak_of_lanes() -> None:
    scene = Scene(queue=RunCounts(1, 0, 0))
    scene.prepare("a")
    now = status_of(scene.snapshot())
    assert now.lanes == ()
    assert not any("lane" in line for line in page(now))
