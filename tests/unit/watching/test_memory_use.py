"""What is said of memory: one line, if it is the limit."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.watching.scene import NOW, Scene, heartbeat

from parallelize.report.hints import hints_on
from parallelize.runs.state.memory_use import told_memory
from parallelize.runs.state.status import status_of, worker_of
from parallelize.runs.state.view import as_json, page
from parallelize_core.heartbeat import Heartbeat, MemoryUse

GIB = 2**30


def limited(slots: int = 7, promised: int = 0, expected: int = 4 * GIB) -> Heartbeat:
    use = MemoryUse(total=32 * GIB, promised=promised, expected=expected, slots=slots)
    return heartbeat("i-1").model_copy(update={"slots": 16, "memory": use})


def test_a_worker_whose_memory_is_the_limit_is_told_with_what_a_file_needs() -> None:
    told = "95 % of files need up to 4.0 GiB, so 32.0 GiB allow 7 of 16 slots"
    assert told_memory([limited()]) == told
    status = replace(status_of(Scene().snapshot()), workers=(worker_of(limited(), NOW),))
    assert f"  memory  {told}" in page(status)
    assert as_json(status)["workers"][0]["memory"]["slots"] == 7
    assert any(told in hint for hint in hints_on([limited()]))


def test_a_promise_is_told_as_one() -> None:
    told = told_memory([limited(promised=5 * GIB)])
    assert told.startswith("5.0 GiB a file (run.memory_per_job), so")


def test_nothing_is_said_where_memory_is_no_limit_or_not_known_yet() -> None:
    assert told_memory([limited(slots=16), limited(expected=0), heartbeat("i-2")]) == ""


def test_of_many_workers_the_one_where_it_allows_fewest_is_told() -> None:
    assert "3 of 16" in told_memory([limited(), limited(slots=3)])
