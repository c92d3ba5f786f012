"""Jobs that need other machines, on the local cloud: `run` starts these, and the jobs end there."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Shell, only_local, wait_until

from parallelize.local.cloud import attach

pytestmark = [pytest.mark.timeout(400), only_local]

SETTINGS = """
[run]
command = "./job.sh"
env = "env/"
memory_per_job = "40MiB"
require_output = true

[workers]
slots = 1

[workers.large]
types = ["r7i.4xlarge"]

[workers.steady]
"""

JOB = """#!/bin/sh -e
name=$(basename "$1")
if [ "$name" = hog.txt ] && [ "$PARALLELIZE_ATTEMPT" -lt 3 ]; then
    exec {python} -c 'import time; x = bytearray({size} * 2**20); time.sleep(300)'
elif [ "$name" = long.txt ]; then
    pwd >>{folder}/began
    until [ -e {folder}/go ]; do sleep 0.1; done
fi
echo done >"$name.done"
echo "$name.done"
"""
"""The hog takes more than its share and more than twice its peak, and little where it has room."""


@pytest.fixture
def project(shell: Shell) -> Shell:
    for name in ("env", "inputs"):
        (shell.folder / name).mkdir()
    for name in ("hog.txt", "long.txt"):
        (shell.folder / "inputs" / name).write_text(name)
    job = shell.folder / "env" / "job.sh"
    size = "$(( PARALLELIZE_ATTEMPT == 1 ? 50 : 400 ))"
    job.write_text(JOB.format(python=sys.executable, folder=shell.folder, size=f"'{size}'"))
    job.chmod(0o755)
    (shell.folder / "parallelize.toml").write_text(SETTINGS)
    return shell


def interrupt(shell: Shell, worker: str) -> None:
    """Announce the end of a machine, so soon that its jobs have to be handed back at once."""
    cloud = attach(Path(shell.environ["XDG_STATE_HOME"], "parallelize", "local"))
    assert cloud
    cloud.interrupt(worker, 27)


def machine_of_start(shell: Shell, number: int) -> str:
    """Wait for the long job to start for the NUMBERth time; return the machine that it is on."""
    began = shell.folder / "began"
    lines = wait_until(lambda: began.exists() and _if_long_enough(began, number))
    found = re.search(r"/(i-[0-9a-f]+)/", lines[number - 1])
    assert found
    return found[1]


def _if_long_enough(file: Path, number: int) -> list[str] | None:
    lines = file.read_text().splitlines()
    return lines if len(lines) >= number else None


def test_what_ran_out_of_memory_twice_and_what_was_interrupted_twice_end_in_their_lanes(
    project: Shell,
) -> None:
    project.run("local", "start")
    process = project.start("run", "--local", "--workers", "2")
    lost = [machine_of_start(project, 1)]
    interrupt(project, lost[0])
    lost.append(machine_of_start(project, 2))
    interrupt(project, lost[1])
    steady = machine_of_start(project, 3)
    (project.folder / "go").touch()
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert "for the steady lane" in said
    assert "for the large lane" in said
    workers = {one["id"]: one for one in project.status()["workers"]}
    hog, long = (attempts(project, name) for name in ("hog.txt", "long.txt"))
    assert [one["cause"] for one in hog] == ["memory", "memory", None]
    assert workers[hog[-1]["worker"]]["lane"] == "large"
    assert [one["worker"] for one in long] == [*lost, steady]
    assert workers[steady]["lane"] == "steady"
    assert {one["attempt"] for one in long} == {1}, "an interruption is charged to nobody"


def attempts(shell: Shell, key: str) -> list[Any]:
    records: list[Any] = json.loads(shell.run("logs", key, "--local", "--json"))
    return records


TAIL = """
[run]
name = "tail"
command = "./job.sh"
env = "env/"

[output]
name = "{hash}"

[workers]
slots = 10

[workers.steady]
"""

TAIL_JOB = """#!/bin/sh -e
sleep 1.2
echo done >done.txt
echo done.txt
"""


def test_the_last_per_cent_of_long_jobs_is_done_by_a_steady_worker_that_is_started_for_it(
    shell: Shell,
) -> None:
    for name in ("env", "inputs"):
        (shell.folder / name).mkdir()
    for number in range(99):
        (shell.folder / "inputs" / f"{number}.txt").touch()
    job = shell.folder / "env" / "job.sh"
    job.write_text(TAIL_JOB)
    job.chmod(0o755)
    (shell.folder / "parallelize.toml").write_text(TAIL)
    shell.run("run", "--local", "--workers", "2")
    (shell.folder / "inputs" / "last.txt").touch()
    _, said = shell.start("run", "--local", "--workers", "2").communicate()
    assert "1 worker launched for the steady lane" in said
    status = shell.status()
    assert status["done"] == 100
    (last,) = attempts(shell, "last.txt")
    assert {one["id"]: one["lane"] for one in status["workers"]}[last["worker"]] == "steady"
