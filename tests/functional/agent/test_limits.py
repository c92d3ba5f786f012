"""What a command may use: time, memory, output. Whatever it does, nothing of it stays."""

from __future__ import annotations

import resource
import signal
import sys
from pathlib import Path

import psutil
import pytest
from tests.functional.agent.bench import Gate, until
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.live import at_work

from parallelize_agent.process.command import LOG_LIMIT_BYTES
from parallelize_core.result import Cause
from parallelize_core.run import Limits

SOON = Limits(timeout_seconds=0.3, grace_seconds=0.2, max_attempts=1)
ONCE = Limits(max_attempts=1, grace_seconds=0.2)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def pid_in(path: Path) -> int:
    return int(until(lambda: path.exists() and path.read_text().strip()))


def test_a_command_that_takes_too_long_is_a_timeout(make: MakeBench) -> None:
    bench = make("echo begun >&2; sleep 60", limits=SOON)
    bench.add({"x": b""})
    bench.run()
    result = bench.result("x")
    assert (result.status, result.cause) == ("failed", Cause.TIMEOUT)
    assert "0.3 s" in result.message
    assert result.stderr_tail == "begun\n"


def test_a_timeout_asks_first_and_then_kills(make: MakeBench, gate: Gate) -> None:
    bench = make("trap 'echo asked >&2' TERM; while true; do sleep 0.05; done", limits=SOON)
    bench.add({"x": b""})
    bench.run()
    assert bench.result("x").cause is Cause.TIMEOUT
    assert "asked" in bench.result("x").log
    assert bench.result("x").exit_code == -signal.SIGKILL


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


STARTS = {
    "child": "sleep 60 & echo $! > {pid}; wait",
    "child that ignores signals": "(trap '' TERM HUP INT; while true; do sleep 1; done) & "
    "echo $! > {pid}; wait",
    "session of its own": "setsid sh -c 'echo $$ > {pid}; exec sleep 60' & sleep 60",
    "double fork": "(setsid sh -c '(echo $$ > {pid}; exec sleep 60) &' &); sleep 60",
    "closed output": "setsid sleep 60 >/dev/null 2>&1 & echo $! > {pid}; sleep 60",
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_a_timeout_ends_the_whole_tree(make: MakeBench, gate: Gate, start: str) -> None:
    pid_file = gate.folder / "pid"
    bench = make(start.format(pid=pid_file), limits=SOON)
    bench.add({"x": b""})
    bench.run()
    assert bench.result("x").cause is Cause.TIMEOUT
    assert not is_alive(pid_in(pid_file))


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_what_a_command_leaves_behind_is_ended_with_it(
    make: MakeBench, gate: Gate, start: str
) -> None:
    pid_file = gate.folder / "pid"
    script = start.format(pid=pid_file).removesuffix("wait").removesuffix("; sleep 60")
    script = script.replace("& sleep 60", "&")
    bench = make(f"{script}\nuntil [ -s {pid_file} ]; do sleep 0.01; done")
    bench.add({"x": b""})
    bench.run()
    assert bench.result("x").status == "succeeded"
    assert not is_alive(pid_in(pid_file))


def test_a_daemon_that_holds_stdout_open_does_not_hold_the_job_up(
    make: MakeBench, gate: Gate
) -> None:
    bench = make("setsid sleep 60 & echo done")
    bench.add({"x": b""})
    bench.run()
    assert bench.result("x").log == "done\n"


def test_the_commands_of_other_jobs_live_on_when_one_is_ended(make: MakeBench, gate: Gate) -> None:
    bench = make(
        f'case "$1" in *long) {gate.wait};; *) sleep 60;; esac',
        limits=Limits(timeout_seconds=1, grace_seconds=0.1, max_attempts=1),
    )
    bench.add({"slow": b""})
    bench.add({"long": b""})
    with at_work(bench.worker()) as (worker,):
        until(lambda: bench.has_result("slow") or gate.arrived())
        gate.open()
        worker.join()
    assert bench.result("slow").cause is Cause.TIMEOUT
    assert bench.result("long").status == "succeeded"


@pytest.mark.parametrize("stream", ["1", "2"])
def test_a_hundred_megabytes_of_output_neither_hang_nor_fill_memory_or_disk(
    make: MakeBench, stream: str
) -> None:
    bench = make(
        f"yes 0123456789abcdef | head -c 100000000 >&{stream}; echo the end >&2", limits=ONCE
    )
    bench.add({"x": b""})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bench.run()
    # The log is held once by the store in memory, and once while it is sent there.
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert grown < 4 * LOG_LIMIT_BYTES
    log_key = bench.result("x").log_key
    assert log_key
    log = bench.store.get(log_key)
    assert len(log) < LOG_LIMIT_BYTES + 64 * 1024
    assert b"bytes left out" in log
    assert log.endswith(b"the end\n")


def test_an_output_named_after_twenty_megabytes_of_stdout_is_delivered(make: MakeBench) -> None:
    bench = make("seq 3000000; echo x > out; echo out", limits=ONCE)
    bench.add({"x": b""})
    bench.run()
    assert bench.result("x").status == "succeeded"
    assert bench.outputs() == {"out"}


def test_a_line_without_end_is_no_path(make: MakeBench) -> None:
    bench = make("head -c 5000000 /dev/zero | tr '\\0' /; echo; echo x > out; echo out")
    bench.add({"x": b""})
    bench.run()
    assert bench.outputs() == {"out"}


HOG = f"exec {sys.executable} -c 'import time; x = bytearray({{size}} * 2**20); time.sleep(60)'"


def test_more_memory_than_allowed_ends_the_job_with_that_cause(make: MakeBench) -> None:
    limits = ONCE.model_copy(update={"memory_bytes": 60 * 2**20})
    bench = make(HOG.format(size=150), limits=limits)
    bench.add({"x": b""})
    bench.run()
    result = bench.result("x")
    assert (result.status, result.cause) == ("failed", Cause.MEMORY)
    assert result.usage.peak_memory_bytes > 60 * 2**20


def test_the_memory_of_children_counts(make: MakeBench) -> None:
    limits = ONCE.model_copy(update={"memory_bytes": 100 * 2**20})
    hog = HOG.format(size=70).removeprefix("exec ")
    bench = make(f"{hog} & {hog} & wait", limits=limits)
    bench.add({"x": b""})
    bench.run()
    assert bench.result("x").cause is Cause.MEMORY


def test_a_small_command_is_not_said_to_need_the_agents_memory(make: MakeBench) -> None:
    bench = make("true")
    bench.add({"x": b""})
    bench.run()
    own = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert bench.result("x").usage.peak_memory_bytes < own / 2


def test_a_command_larger_than_the_agent_has_its_peak_in_the_result(make: MakeBench) -> None:
    size = 64 + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    bench = make(f"{sys.executable} -c 'bytearray({size} * 2**20)'")
    bench.add({"x": b""})
    bench.run()
    assert bench.result("x").usage.peak_memory_bytes > size * 2**20


def test_no_process_and_no_descriptor_is_left(make: MakeBench) -> None:
    bench = make("sleep 60 & setsid sleep 60 & cp data.txt $(basename $1).x; echo $(basename $1).x")
    bench.add({"first": b""})
    bench.run("w0")
    children = psutil.Process().children(recursive=True)
    before = descriptors()
    bench.add({f"{n}": b"" for n in range(20)})
    bench.run()
    # Those of other tests, which were dying then, may be gone by now.
    assert set(psutil.Process().children(recursive=True)) <= set(children)
    assert descriptors() <= before
