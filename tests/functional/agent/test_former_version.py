"""A run that the former version has begun is read, and gone on with, by this one.

former_run.json has the objects and messages that the agent of that version left (commit e9aa90e):
of four files one has succeeded, one has failed, one has succeeded at its second attempt, and one is
on the queue.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from tests.functional.agent.bench import SWIFT, Bench
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.shown import failures_page, status_page

from parallelize_core.config import AgentConfig
from parallelize_core.dead_letter import DeadLetter
from parallelize_core.heartbeat import WorkerState
from parallelize_core.job import JobMessage
from parallelize_core.manifest import read_parts
from parallelize_core.result import Cause
from parallelize_core.testing import InMemoryStore


def left() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(__file__).with_name("former_run.json").read_text())
    return found


@pytest.fixture
def former(make: MakeBench) -> Bench:
    """The run as the former version has left it."""
    run = left()
    bench = make("exit 1", config=SWIFT, store=InMemoryStore())
    for key, body in run["objects"].items():
        bench.store.put(key, base64.b64decode(body))
    bench.queue.send(run["messages"])
    return bench


def test_status_shows_what_has_become_of_each_file(former: Bench) -> None:
    page = status_page(former)
    assert "2 done · 0 running · 1 waiting · 1 failed" in page
    assert "exit 1" in page


def test_failures_lists_what_failed_and_why(former: Bench) -> None:
    assert "bad" in failures_page(former)
    assert "ValueError: bad header" in failures_page(former)


def test_each_record_says_what_it_said(former: Bench) -> None:
    assert {e.key for part in read_parts(former.store, former.layout) for e in part.entries} == {
        "good", "bad", "twice", "open",
    }  # fmt: skip
    assert [o.key for o in former.result("good").outputs] == ["good.out"]
    assert (former.result("bad").cause, former.result("bad").attempt) == (Cause.COMMAND, 2)
    assert [record.exit_code for record in former.attempts("twice")] == [9]
    last = former.heartbeat("w1")
    assert (last.state, last.done, last.failed) == (WorkerState.LEFT, 2, 1)
    assert (last.unfit, last.failed_in_row) == (False, 0)
    (letter,) = map(DeadLetter.decode, left()["dead"])
    assert JobMessage.decode(letter.body).key == "bad"
    assert AgentConfig.decode(left()["config"], "the settings").run == "r"


def test_a_worker_of_this_version_goes_on_with_it(former: Bench) -> None:
    assert former.run("w2").error is None
    assert former.result("open").status == "succeeded"
    assert former.output("open.out") == b"4"
    assert former.result("good").worker == "w1"
    assert "3 done" in status_page(former)
