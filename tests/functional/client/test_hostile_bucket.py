"""Every command that reads a run, over records that somebody else has written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.functional.client.conftest import Project
from tests.unit.watching.scene import failure
from tests.unit.watching.test_hostile_records import places, spoiled

from parallelize_core.heartbeat import Heartbeat, WorkerState

PROGRAM = Path(sys.executable).with_name("parallelize")
STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\ud800-\udfff]")
COMMANDS = [
    ["status"], ["status", "--json"], ["failures"], ["failures", "--json"], ["logs", "a.tif"],
    ["logs", "a.tif", "--json"], ["report"], ["report", "--json"], ["runs"], ["runs", "--json"],
    ["download", "out", "--dry-run"], ["download", "out", "--json"], ["retry", "--dry-run"],
    ["enqueue", "--dry-run"], ["prep", "--dry-run"], ["repro", "a.tif"], ["stop", "--dry-run"],
    ["kill", "--dry-run"], ["clean", "--dry-run"],
]  # fmt: skip
VALUES = ["NaN", "1e300", json.dumps("\x1b[2J\u202e\x9b31m\n\x00")]
"""More of them are tried on what the commands are made of: test_hostile_records."""


@pytest.fixture
def run(project: Project) -> Project:
    """A run with a success, a failure, and a worker that has left."""
    project.write_script("#!/bin/sh\n")
    project.add("a.tif", "b.tif")
    assert project.call("prep") == 0
    assert project.call("enqueue") == 0
    project.finish("b.tif", "b.csv")
    layout = project.layout
    body = failure("a.tif", run=project.run, log="words\n").encode()
    project.store.put(layout.failure("a.tif"), b"")
    project.store.put(layout.result("a.tif"), body)
    beat = Heartbeat(
        worker="i-1", state=WorkerState.LEFT, started=1.0, seen=2.0, interval_seconds=30.0,
        running=("b.tif",), hourly_usd=0.1, type="c7i.xlarge", reason="drained",
    )  # fmt: skip
    project.store.put(layout.heartbeat("i-1"), beat.encode())
    return project


def places_of(run: Project) -> dict[str, str]:
    layout = run.layout
    return {
        "run": layout.run_json, "failure": layout.result("a.tif"),
        "success": layout.result("b.tif"), "heartbeat": layout.heartbeat("i-1"),
        "cursor": layout.cursor(0),
    }  # fmt: skip


def check_commands(
    run: Project, commands: Sequence[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    for command in commands:
        capsys.readouterr()
        run.call(*command)  # raises what would be a traceback
        said = capsys.readouterr()
        assert not STEERS.search(said.out), command
        assert not STEERS.search(said.err), command


@pytest.mark.parametrize("raw", VALUES)
@pytest.mark.parametrize("kind", ["run", "failure", "success", "heartbeat", "cursor"])
def test_a_record_with_one_value_everywhere_ends_no_command_in_a_traceback(
    run: Project, kind: str, raw: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = places_of(run)[kind]
    body = run.store.get(place)
    # Every other value at once, then the others: some spoil the whole record, some do not.
    every = range(len(places(json.loads(body))))
    run.store.put(place, spoiled(body, dict.fromkeys(every, raw)))
    check_commands(run, COMMANDS, capsys)


@pytest.mark.parametrize("kind", ["run", "failure", "success", "heartbeat"])
def test_texts_that_steer_a_terminal_reach_none(
    run: Project, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = places_of(run)[kind]
    document = json.loads(run.store.get(place))
    kept = {"v", "key", "name", "status", "state", "cause", "bucket", "on_clash", "prefix"}

    def steering(value: object, name: str = "") -> object:
        if isinstance(value, dict):
            return {key: steering(one, key) for key, one in value.items()}
        if isinstance(value, list):
            return [steering(one, name) for one in value]
        steers = isinstance(value, str) and name not in kept
        return f"{value}\x1b[2J\x9b31m\u202e\r" if steers else value

    run.store.put(place, json.dumps(steering(document)).encode())
    check_commands(run, COMMANDS, capsys)


@pytest.mark.parametrize("body", [b"", b"[" * 100_000])
@pytest.mark.parametrize("kind", ["run", "failure", "success", "heartbeat", "cursor"])
def test_garbage_in_place_of_a_record_ends_no_command_in_a_traceback(
    run: Project, kind: str, body: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    run.store.put(places_of(run)[kind], body)
    check_commands(run, COMMANDS, capsys)


def test_garbage_in_place_of_the_manifest_ends_no_command_in_a_traceback(
    run: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    run.store.put(run.layout.manifest_part(0), b"\x1f\x8bnonsense")
    check_commands(run, COMMANDS, capsys)


@pytest.mark.parametrize("encoding", ["ascii", "utf-16"])
@pytest.mark.parametrize("command", [["status"], ["failures"], ["logs", "ü.tif"], ["runs"]])
def test_a_terminal_that_takes_no_unicode_gets_what_it_takes(
    run: Project, command: list[str], encoding: str
) -> None:
    run.add("ü.tif")
    assert run.call("prep") == 0
    run.finish("ü.tif", failed=True)
    done = _call(command, encoding)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert done.stdout.decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_json_is_json_whatever_the_terminal_takes(run: Project, encoding: str) -> None:
    run.add("界.tif")
    assert run.call("prep") == 0
    run.finish("界.tif", failed=True)
    done = _call(["failures", "--json"], encoding)
    keys = [one["key"] for one in json.loads(done.stdout.decode(encoding))]
    assert "界.tif" in keys


def _call(command: list[str], encoding: str) -> subprocess.CompletedProcess[bytes]:
    environ = {**os.environ, "PYTHONIOENCODING": encoding}
    return subprocess.run([PROGRAM, *command], capture_output=True, env=environ, check=False)
