"""What a job leaves in PARALLELIZE_CHECKPOINT is there for its next attempt, or none of it is."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.functional.agent.bench import Bench, Gate, until
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.faults import Faults, FaultyStore
from tests.functional.agent.live import at_work

from parallelize_agent.job.checkpointer import SLACK
from parallelize_agent.job.checkpoints import Checkpoint
from parallelize_core.result import Cause
from parallelize_core.run import Checkpointing, Serve

COUNT = """
set -eu
cd "$PARALLELIZE_CHECKPOINT"
old=$(cat state 2>/dev/null || echo 0)
save() { echo "$1" >next; mv next state; }
"""
"""The number of attempts before this one, as $old; `save N` leaves N for the next."""

AT_ONCE = Checkpointing(every_seconds=0.01)
DONE = 'cd "$PARALLELIZE_SCRATCH"; echo "$old" >out; echo out'


def kept(bench: Bench) -> list[str]:
    """Return the names of all objects of checkpoints."""
    prefix = bench.layout.root.key("checkpoint/")
    return [item.key.rpartition("/")[2] for item in bench.store.list(prefix)]


def marker(bench: Bench, key: str = "x") -> Checkpoint | None:
    place = bench.layout.checkpoint(key).key("marker.json")
    return Checkpoint.decode(bench.store.get(place)) if bench.store.head(place) else None


def test_what_is_left_at_exit_76_is_there_at_the_next_attempt_and_gone_with_the_result(
    make: MakeBench,
) -> None:
    bench = make(f"{COUNT} [ $old = 3 ] || {{ save $((old + 1)); exit 76; }}; {DONE}")
    bench.add({"x": b""})
    bench.run()
    assert bench.output("out") == b"3\n"
    assert (bench.result("x").attempt, kept(bench)) == (1, [])
    records = bench.attempts("x")
    assert [record.cause for record in records] == [Cause.INTERRUPTED] * 3
    assert all("to continue from it later (exit 76)" in record.message for record in records)


def test_going_on_for_ever_without_anything_new_is_no_progress(make: MakeBench) -> None:
    bench = make("exit 76")
    bench.add({"x": b""})
    bench.run()
    assert bench.result("x").cause is Cause.INFRASTRUCTURE
    assert "PARALLELIZE_CHECKPOINT has nothing new" in bench.result("x").message


def test_a_checkpoint_that_was_only_restored_is_nothing_new(make: MakeBench) -> None:
    bench = make(f"{COUNT} [ $old = 1 ] || save 1; exit 76")
    bench.add({"x": b""})
    bench.run()
    assert (bench.result("x").cause, kept(bench)) == (Cause.INFRASTRUCTURE, [])


def test_what_a_job_saves_when_it_is_told_to_end_goes_to_the_next_worker(
    make: MakeBench, gate: Gate
) -> None:
    told = 'trap "echo 7 >$PARALLELIZE_CHECKPOINT/state; exit 1" TERM'
    bench = make(f"{told}\n{gate.wait}\n{COUNT}\n{DONE}")
    bench.add({"x": b""})
    with at_work(bench.worker("w1")) as (worker,):
        until(gate.arrived)
        worker.leave(0, "spot notice")
    assert marker(bench)
    assert [(job.attempt, job.resumes, job.setbacks) for job in bench.waiting()] == [(1, True, ())]
    gate.open()
    bench.run("w2")
    assert bench.output("out") == b"7\n"
    assert kept(bench) == []


def test_a_running_job_is_stored_every_now_and_then(make: MakeBench, gate: Gate) -> None:
    bench = make(f"{COUNT} save 5; {gate.wait}; {DONE}", checkpoints=AT_ONCE)
    bench.add({"x": b""})
    with at_work(bench.worker()) as (worker,):
        until(lambda: marker(bench))
        gate.open()
        worker.join()
    assert kept(bench) == []


def test_at_a_notice_what_there_is_is_stored_before_the_job_ends(
    make: MakeBench, gate: Gate
) -> None:
    bench = make(f"{COUNT} save 5; {gate.wait}; {DONE}")
    bench.add({"x": b""})
    with at_work(bench.worker()) as (worker,):
        until(gate.arrived)
        worker.worker.shut_down("spot notice", 60, imposed=True)
        until(lambda: marker(bench))
        gate.open()
        worker.join()
    assert bench.has_result("x")


def test_a_job_that_was_killed_goes_on_from_what_was_stored_before(
    make: MakeBench, tmp_path: Path
) -> None:
    once = tmp_path / "once"
    bench = make(
        f'{COUNT} [ -e "{once}" ] || {{ save 5; until [ -e "{once}" ]; do sleep 0.02; done; '
        f"save 6; exit 3; }}; {DONE}",
        checkpoints=AT_ONCE,
    )
    bench.add({"x": b""})
    with at_work(bench.worker()) as (worker,):
        until(lambda: marker(bench))
        once.touch()
        worker.join()
    assert [record.cause for record in bench.attempts("x")] == [Cause.COMMAND]
    assert bench.output("out") in {b"5\n", b"6\n"}


def test_an_archive_without_its_marker_is_never_restored(make: MakeBench, gate: Gate) -> None:
    bench = make(f"{COUNT} save 1; {gate.wait}; {DONE}", checkpoints=AT_ONCE)
    bench.add({"x": b""})

    def no_marker(call: str) -> None:
        if call.startswith("put ") and call.endswith("marker.json"):
            raise OSError("the worker dies here")

    store = FaultyStore(bench.store, Faults(hook=no_marker))
    with at_work(bench.worker("w1", store=store)) as (worker,):
        until(lambda: kept(bench))
        worker.leave()
    assert all(name.endswith(".tar") for name in kept(bench))
    gate.open()
    bench.run("w2")
    assert (bench.output("out"), kept(bench)) == (b"0\n", [])


@pytest.mark.parametrize("damage", ["archive gone", "archive changed", "marker broken", "another"])
def test_a_checkpoint_that_is_not_whole_or_not_of_this_job_is_not_restored(
    make: MakeBench, damage: str
) -> None:
    bench = make(f"{COUNT} {DONE}")
    bench.add({"x": b""}, send=False)
    folder = bench.layout.checkpoint("x")
    good = Checkpoint(
        run="r", key="x", identity="of another command", name="a.tar", etag="", size=3,
        sha256="0" * 64, worker="w9", stored_at="2026-01-01T00:00:00Z",
    )  # fmt: skip
    bench.store.put(folder.key("a.tar"), b"abc")
    match damage:
        case "archive gone":
            bench.store.delete([folder.key("a.tar")])
        case "archive changed":
            good = good.model_copy(update={"etag": "0" * 32})
    body = b"{" if damage == "marker broken" else good.encode()
    bench.store.put(folder.key("marker.json"), body)
    bench.queue.send([bench.message("x").next_attempt().encode()])
    bench.run()
    assert (bench.output("out"), kept(bench)) == (b"0\n", [])


def test_a_checkpoint_of_another_command_is_not_restored(make: MakeBench, gate: Gate) -> None:
    bench = make(f"{COUNT} save 5; {gate.wait}; exit 76")
    bench.add({"x": b""})
    with at_work(bench.worker("w1")) as (worker,):
        until(gate.arrived)
        worker.leave()
    assert marker(bench)
    bench.use(f"{COUNT} {DONE}")
    bench.run("w2")
    assert (bench.output("out"), kept(bench)) == (b"0\n", [])


def test_a_checkpoint_that_is_too_large_is_not_stored_and_harms_nothing(
    make: MakeBench, gate: Gate
) -> None:
    limits = Checkpointing(every_seconds=0.01, limit_bytes=10)
    bench = make(f"{COUNT} save 12345678901; {gate.wait}; {DONE}", checkpoints=limits)
    bench.add({"x": b""})
    with at_work(bench.worker()) as (worker,):
        until(gate.arrived)
        worker.worker.shut_down("spot notice", 5, imposed=True)
        gate.open()
        worker.join()
    assert (kept(bench), bench.has_result("x")) == ([], True)


def test_a_failure_for_good_leaves_no_checkpoint(make: MakeBench) -> None:
    bench = make(f"{COUNT} [ $old = 1 ] && exit 65; save 1; exit 76")
    bench.add({"x": b""})
    bench.run()
    assert (bench.result("x").status, kept(bench)) == ("failed", [])


def test_a_job_at_its_first_attempt_asks_for_no_checkpoint(make: MakeBench) -> None:
    bench = make("true")
    bench.add({"x": b""})
    calls: list[str] = []
    bench.worker(store=FaultyStore(bench.store, Faults(hook=calls.append))).run()
    assert not [call for call in calls if "checkpoint" in call]


def test_of_two_jobs_each_has_its_own_checkpoint(make: MakeBench) -> None:
    bench = make(
        f'{COUNT} [ $old != 0 ] || {{ save "$(basename "$1")"; exit 76; }}; '
        'cd "$PARALLELIZE_SCRATCH"; n="$(basename "$1").out"; echo "$old" >"$n"; echo "$n"'
    )
    bench.add({"a": b"", "a/b": b"", "c": b""})
    bench.run()
    assert bench.output("a.out") == b"a\n"
    assert bench.output("a/b.out") == b"b\n"
    assert bench.output("c.out") == b"c\n"


def test_time_is_left_for_what_is_stored_last(make: MakeBench, gate: Gate) -> None:
    bench = make(f"head -c 3000000 /dev/zero >$PARALLELIZE_CHECKPOINT/state; {gate.wait}")
    bench.add({"x": b""})

    def slowly(call: str) -> None:
        if call.startswith("put_file") and "checkpoint" in call:
            time.sleep(0.5)

    store = FaultyStore(bench.store, Faults(hook=slowly))
    with at_work(bench.worker(store=store)) as (worker,):
        until(gate.arrived)
        worker.worker.shut_down("spot notice", 1000, imposed=True)
        first = until(lambda: worker.worker.decided)
        until(lambda: worker.worker.decided is not first)
        assert first.deadline
        assert worker.worker.decided.deadline <= first.deadline - 0.5 * SLACK
        worker.leave()


WARM = """
import os, pathlib, subprocess, sys
import parallelize

def do(job):
    state = pathlib.Path(job["checkpoint"], "state")
    parts = int(state.read_text()) if state.exists() else 0
    if parts < 2:
        state.with_suffix(".new").write_text(str(parts + 1))
        state.with_suffix(".new").rename(state)
        END
    name = job["key"] + ".out"
    pathlib.Path(name).write_text(f"{job['key']} in {parts} parts")
    return name

parallelize.serve(do)
"""


def warm(make: MakeBench, end: str, **changes: object) -> Bench:
    """Return a bench with a warm command that leaves a part in each attempt, and then does this."""
    files = {"serve.py": WARM.replace("END", end)}
    return make("exec python3 ./serve.py", serve=Serve(), version=2, files=files, **changes)


def test_a_warm_command_goes_on_from_each_jobs_own_checkpoint(make: MakeBench) -> None:
    bench = warm(make, "sys.exit(76)")
    bench.add({"a": b"", "b": b"", "c": b""})
    bench.run()
    for key in "abc":
        assert bench.output(f"{key}.out") == f"{key} in 2 parts".encode()
        assert bench.result(key).attempt == 1
        assert [record.cause for record in bench.attempts(key)] == [Cause.INTERRUPTED] * 2
    assert kept(bench) == []


def test_what_a_warm_command_has_left_when_its_machine_is_taken_away_goes_to_the_next_worker(
    make: MakeBench, gate: Gate
) -> None:
    wait = f"subprocess.run({['/bin/sh', '-c', gate.wait, 'sh', 'x']!r}, check=True)"
    bench = warm(make, wait)
    bench.add({"x": b""})
    for worker in ("w1", "w2"):
        with at_work(bench.worker(worker)) as (live,):
            until(lambda: live.worker.describe().running and gate.arrived())
            live.leave(0, "spot notice")
        for path in (gate.folder / "arrived").iterdir():
            path.unlink()
        assert [(job.attempt, job.resumes) for job in bench.waiting()] == [(1, True)]
    gate.open()
    bench.run("w3")
    assert (bench.output("x.out"), kept(bench)) == (b"x in 2 parts", [])
