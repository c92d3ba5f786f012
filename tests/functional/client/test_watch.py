"""`status --watch --json`: what a program reads while a run goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.functional.client.conftest import Project

from parallelize_core.pause import pause

PROGRAM = Path(sys.executable).with_name("parallelize")


def test_each_look_of_a_watch_is_a_line_of_json(project: Project) -> None:
    project.add("a.tif", "b.tif")
    assert project.call("prep") == 0
    words = [PROGRAM, "status", "--watch", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        first = json.loads(watching.stdout.readline())
        for name in ("a.tif", "b.tif"):
            project.finish(name, f"{name}.out")
        *_, last = map(json.loads, watching.stdout)
    assert (first["schema"], first["done"], last["done"]) == (1, 0, 2)
    assert watching.returncode == 0


@pytest.mark.parametrize("words", [(), ("--json",)], ids=["lines", "json"])
def test_a_watch_ends_when_the_sample_that_was_enqueued_is_done(
    project: Project, words: tuple[str, ...]
) -> None:
    project.add("a.tif", "b.tif")
    assert project.call("prep") == 0
    assert project.call("enqueue", "--limit", "1") == 0
    queue = project.context.queues.main
    queue.delete([message.receipt for message in queue.receive(10, 5, 60)])
    project.finish("a.tif", "a.out")
    watching = subprocess.run(
        [PROGRAM, "status", "--watch", *words], capture_output=True, text=True, check=True
    )
    told = " ".join((watching.stdout + watching.stderr).split())
    assert "1 result still missing: parallelize enqueue" in told


@pytest.mark.parametrize("words", [(), ("--json",)], ids=["lines", "json"])
def test_a_watch_of_a_paused_run_without_workers_ends_and_says_what_to_do(
    project: Project, words: tuple[str, ...]
) -> None:
    project.add("a.tif")
    assert project.call("prep") == 0
    assert project.call("enqueue") == 0
    pause(project.store, project.layout, "too much has failed")
    watching = subprocess.run(
        [PROGRAM, "status", "--watch", *words], capture_output=True, text=True, check=False
    )
    told = " ".join((watching.stdout + watching.stderr).split())
    assert "the run is paused: too much has failed; parallelize enqueue resumes it" in told
    assert watching.returncode == 1, "as of a run command"
