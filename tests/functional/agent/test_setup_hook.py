"""The environment's set-up: once on each worker, before the first job sees what it has made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.functional.agent.bench import SWIFT, Bench, Gate, until
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.live import at_work

from parallelize_agent.machine.root_setup import RootSetup
from parallelize_core.errors import SetupError
from parallelize_core.heartbeat import WorkerState
from parallelize_core.run import Run, Setup

ANSWER = "cat made; cp made made.txt; echo made.txt"
ALERT = SWIFT.model_copy(update={"run_refresh_seconds": 0})
"""Reads the run again for each job."""

SETUP = Setup(command=("./setup.sh",))


def bench_with(make: MakeBench, hook: str, script: str = ANSWER, **more: Any) -> Bench:
    """Make a bench whose environment has a set-up in shell, and one job."""
    files = {"setup.sh": f"#!/bin/sh -e\n{hook}\n"}
    bench = make(script, files=files, **({"setup": SETUP} | more))
    bench.add({"x": b""})
    return bench


def test_jobs_see_what_the_set_up_has_left_in_the_environment(make: MakeBench) -> None:
    bench = bench_with(make, "echo hello >made")
    bench.run()
    assert bench.output("made.txt") == b"hello\n"


def test_it_runs_once_for_all_jobs_of_a_worker(make: MakeBench, tmp_path: Path) -> None:
    bench = bench_with(make, f"echo once >>{tmp_path}/runs; touch made")
    bench.add({f"{name}/x": b"" for name in "abcdef"})
    bench.run()
    assert len(bench.outputs()) == 7
    assert (tmp_path / "runs").read_text() == "once\n"


def test_an_agent_that_starts_again_finds_the_environment_ready(
    make: MakeBench, tmp_path: Path
) -> None:
    bench = bench_with(make, f"echo once >>{tmp_path}/runs; touch made")
    bench.run()
    bench.add({"y": b""})
    bench.run()
    assert bench.has_result("y")
    assert (tmp_path / "runs").read_text() == "once\n"


def test_another_environment_is_set_up_before_its_first_job(
    make: MakeBench, tmp_path: Path, gate: Gate
) -> None:
    bench = bench_with(make, "echo first >made", script=f"{gate.wait}; cat made", config=ALERT)
    with at_work(bench.worker()):
        until(gate.arrived)
        bench.files["setup.sh"] = "#!/bin/sh\necho second >made\n"
        bench.use(ANSWER)
        bench.add({"y": b""})
        gate.open()
        until(lambda: bench.has_result("y"))
    assert bench.output("made.txt") == b"second\n"


def test_no_job_can_change_what_the_set_up_has_made(make: MakeBench) -> None:
    bench = bench_with(
        make,
        "mkdir lib && echo 1 >lib/a",
        script='cd "$PARALLELIZE_ENVIRONMENT"; stat -c %a lib lib/a >$OLDPWD/m; echo m',
    )
    bench.run()
    assert bench.output("m") == b"555\n444\n"


def test_its_temporary_files_are_gone_with_it(make: MakeBench) -> None:
    bench = bench_with(make, 'echo big >"$TMPDIR/x"; echo "$TMPDIR" >made')
    bench.run()
    assert not Path(bench.output("made.txt").decode().strip()).exists()


def test_what_it_prints_is_kept(make: MakeBench) -> None:
    bench = bench_with(make, "echo collecting numpy; echo a warning >&2; touch made")
    bench.run()
    (said,) = bench.setups.values()
    assert sorted(said.splitlines()) == ["a warning", "collecting numpy"]


def test_a_failing_set_up_is_the_workers_fault_and_no_jobs(make: MakeBench) -> None:
    bench = bench_with(make, "echo no such package >&2; exit 3")
    departure = bench.run()
    assert isinstance(departure.error, SetupError)
    assert not bench.has_result("x")
    assert [job.attempt for job in bench.waiting()] == [1]
    heartbeat = bench.heartbeat()
    assert heartbeat.state is WorkerState.FAILED
    assert heartbeat.reason == "the set-up ./setup.sh failed: exit 3: no such package"
    assert heartbeat.fix == "parallelize logs --setup"


def test_a_set_up_that_fails_in_mid_run_hands_back_what_the_worker_holds(
    make: MakeBench, gate: Gate
) -> None:
    bench = bench_with(make, "touch made", script=f"{gate.wait}; echo", config=ALERT)
    with at_work(bench.worker()) as (background,):
        until(gate.arrived)
        bench.files["setup.sh"] = "#!/bin/sh\nexit 3\n"
        bench.use(ANSWER)
        bench.add({"y": b""})
        gate.open()
        departure = background.join()
    assert isinstance(departure.error, SetupError)
    assert not bench.has_result("y")
    assert [(job.key, job.attempt) for job in bench.waiting()] == [("y", 1)]


def test_a_set_up_has_a_time_limit(make: MakeBench) -> None:
    slow = Setup(command=("./setup.sh",), timeout_seconds=0.3)
    bench = bench_with(make, "exec sleep 60", setup=slow)
    departure = bench.run()
    assert departure.error
    assert departure.error.what == "the set-up ./setup.sh failed: it ran longer than 0.3 s"


def test_a_worker_that_has_to_leave_does_not_wait_for_its_set_up(
    make: MakeBench, tmp_path: Path
) -> None:
    bench = bench_with(make, f"touch {tmp_path}/begun; exec sleep 60")
    with at_work(bench.worker()) as (background,):
        until((tmp_path / "begun").exists)
        departure = background.leave()
    assert departure.error is None
    assert [job.attempt for job in bench.waiting()] == [1]


def test_a_worker_says_that_it_is_setting_up(make: MakeBench, tmp_path: Path) -> None:
    bench = bench_with(make, f"until [ -e {tmp_path}/go ]; do sleep 0.02; done; touch made")
    with at_work(bench.worker()):
        key = bench.layout.heartbeat("w1")
        until(lambda: bench.store.head(key))
        heartbeat = bench.heartbeat()
        (tmp_path / "go").touch()
        until(lambda: bench.has_result("x"))
    assert (heartbeat.state, heartbeat.reason) == (WorkerState.STARTING, "setting up")


def test_a_command_that_the_set_up_makes_is_found(make: MakeBench) -> None:
    bench = bench_with(make, "mkdir bin && mv job.sh bin/program; touch made")
    run = bench.read_run().model_copy(update={"command": ("bin/program",)})
    bench.store.put(bench.layout.run_json, run.encode())
    bench.run()
    assert bench.result("x").status == "succeeded"


def test_a_run_of_an_older_client_has_no_set_up() -> None:
    older = """{"v": 1, "name": "r", "command": ["x"], "created_at": "2026-01-01T00:00:00Z",
                "input": {"bucket": "b"}, "output": {"bucket": "b"}}"""
    assert Run.decode(older.encode()).setup is None


@pytest.mark.parametrize("early", [True, False], ids=["done before", "done while it waits"])
def test_no_job_begins_before_root_has_set_the_machine_up(
    make: MakeBench, tmp_path: Path, early: bool
) -> None:
    setup = RootSetup(tmp_path / "wanted", tmp_path)
    bench = make("echo", root_setup=setup)
    bench.add({"x": b""})
    if early:
        (tmp_path / "status").write_text("success 0\n")
    with at_work(bench.worker()):
        if not early:
            until(lambda: (tmp_path / "wanted").exists() and bench.has_heartbeat("w1"))
            assert bench.heartbeat().state is WorkerState.STARTING
            assert not bench.has_result("x")
            (tmp_path / "new").write_text("success 0\n")
            (tmp_path / "new").rename(tmp_path / "status")
        until(lambda: bench.has_result("x"))
    assert (tmp_path / "wanted").exists() is not early


@pytest.mark.parametrize("status", ["success 0\n", "exit-code 100\n"])
def test_what_root_has_printed_is_kept_when_the_machine_is_gone(
    make: MakeBench, tmp_path: Path, status: str
) -> None:
    (tmp_path / "status").write_text(status)
    (tmp_path / "log").write_text("Reading lists\n")
    bench = make("echo", root_setup=RootSetup(tmp_path / "wanted", tmp_path))
    bench.add({"x": b""})
    bench.run()
    assert bench.setups == {"w1.root.log": "Reading lists\n"}


def test_a_machine_that_root_could_not_set_up_takes_no_job(make: MakeBench, tmp_path: Path) -> None:
    (tmp_path / "status").write_text("exit-code 100\n")
    (tmp_path / "log").write_text("Reading lists\nE: Unable to locate package samtool\n")
    bench = make("echo", root_setup=RootSetup(tmp_path / "wanted", tmp_path))
    bench.add({"x": b""})
    departure = bench.run()
    assert isinstance(departure.error, SetupError)
    assert bench.heartbeat().reason == (
        "the machine's set-up as root failed: exit-code 100: E: Unable to locate package samtool"
    )
    assert [job.attempt for job in bench.waiting()] == [1]
