"""What happens to machines: each ends with every file processed, and none charged for it."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import REPOSITORY, Shell, only_local, wait_until

from parallelize.local.cloud import attach

pytestmark = pytest.mark.timeout(400)  # on a busy machine; alone it takes a fraction of this

FILES = 4


@pytest.fixture
def gate(shell: Shell) -> Path:
    """A run whose jobs wait until this file is there."""
    gate = shell.folder / "go"
    inputs, env = shell.folder / "inputs", shell.folder / "env"
    inputs.mkdir()
    env.mkdir()
    for number in range(FILES):
        (inputs / f"{number}.txt").write_text("x" * number)
    script = env / "job.sh"
    script.write_text(
        f'#!/bin/sh\ntouch "{shell.folder}/begun"\nuntil [ -e "{gate}" ]; do sleep 0.1; done\n'
        'wc -c <"$1" >size\necho size\n'
    )
    script.chmod(0o755)
    (shell.folder / "parallelize.toml").write_text(
        f'[run]\nname = "{shell.folder.name[:40].strip("_-")}"\ncommand = "./job.sh"\n'
        'env = "env/"\n[output]\nname = "{hash}"\n'
    )
    return gate


def begin(shell: Shell) -> Any:
    """Start two workers; return one of them as soon as it has a job under way."""
    shell.run("prep", "--local")
    shell.run("enqueue", "--local")
    shell.run("launch", "2", "--local")
    return shell.wait_for(lambda status: next(filter(_running, status["workers"]), None))


def _running(worker: Any) -> bool:
    return bool(worker["running"])


def end(shell: Shell, gate: Path) -> None:
    gate.touch()
    shell.wait_for(lambda status: status["state"] == "drained")
    assert shell.status()["done"] == FILES


def last_attempt(shell: Shell, key: str) -> Any:
    return shell.json("logs", key, "--local")[-1]


def agent_of(shell: Shell, worker: str) -> int:
    return next(int(machine["pid"]) for machine in shell.machines() if machine["id"] == worker)


def test_a_file_whose_agent_is_killed_is_processed_by_another(shell: Shell, gate: Path) -> None:
    shell.run("local", "start")
    victim = begin(shell)
    os.kill(agent_of(shell, victim["id"]), signal.SIGKILL)
    end(shell, gate)
    for key in victim["running"]:
        record = last_attempt(shell, key)
        assert record["worker"] != victim["id"]
        assert record["attempt"] == 1, "the job is not charged for the accident"


def test_an_interrupted_worker_hands_its_files_back(shell: Shell, gate: Path) -> None:
    shell.run("local", "start")
    victim = begin(shell)
    # The last 25 s before the end are for handing back, so it begins at once.
    shell.run("local", "interrupt", victim["id"], "--seconds", "25")

    def departed(status: Any) -> Any:
        left = (worker for worker in status["workers"] if worker["state"] == "left")
        return next((worker for worker in left if worker["id"] == victim["id"]), None)

    assert shell.wait_for(departed)["handed_back"] >= 1
    end(shell, gate)
    for key in victim["running"]:
        record = last_attempt(shell, key)
        assert record["worker"] != victim["id"]
        assert record["attempt"] == 1, "the job is not charged for the interruption"


@only_local
def test_an_impatient_second_ctrl_c_leaves_no_worker_at_work(shell: Shell, gate: Path) -> None:
    process = shell.start("run", "--local")
    wait_until((shell.folder / "begun").exists)
    process.send_signal(signal.SIGINT)
    assert process.stderr
    while "ending the local workers" not in (line := process.stderr.readline()):
        assert line, "it ended without a word"
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    wait_until(lambda: all(machine["state"] == "terminated" for machine in shell.machines()))


@only_local
def test_ctrl_c_ends_the_local_workers_and_the_same_command_goes_on(
    shell: Shell, gate: Path
) -> None:
    process = shell.start("run", "--local")
    wait_until((shell.folder / "begun").exists)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130, said
    workers = {worker["id"]: worker["state"] for worker in shell.status()["workers"]}
    assert set(workers.values()) == {"left"}
    assert not [machine for machine in shell.machines() if machine["id"] in workers
                and machine["state"] != "terminated"]  # fmt: skip
    gate.touch()
    shell.run("run", "--local")
    assert shell.status()["done"] == FILES


def test_a_job_with_a_checkpoint_goes_on_when_its_machine_is_taken_away(shell: Shell) -> None:
    shutil.copytree(REPOSITORY / "examples" / "checkpoint", shell.folder, dirs_exist_ok=True)
    (shell.folder / "inputs").mkdir()
    (shell.folder / "inputs" / "n.txt").write_text("2000000")
    shell.run("local", "start")
    shell.run("prep", "--local")
    shell.run("enqueue", "--local")
    shell.run("launch", "1", "--local")
    victim = shell.wait_for(lambda status: next(filter(_running, status["workers"]), None))
    cloud = attach(Path(shell.environ["XDG_STATE_HOME"]) / "parallelize" / "local")
    assert cloud
    cloud.interrupt(victim["id"], 27)  # at once, and not when another command has started
    shell.run("launch", "1", "--local", "--force")
    shell.wait_for(lambda status: status["state"] == "drained")
    shell.run("download", "out", "--local")
    told = json.loads((shell.folder / "out" / "n.json").read_text())
    assert told == {"primes": 148933, "parts": 2}
    assert last_attempt(shell, "n.txt")["attempt"] == 1
