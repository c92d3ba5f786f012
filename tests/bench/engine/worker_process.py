"""A worker as a process, seen from outside: its CPU, its memory, how long it took."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.bench.engine.bench_run import BenchRun
from tests.bench.small_cloud.process import ROOT

TICKS = os.sysconf("SC_CLK_TCK")
SCRATCH = Path("/dev/shm")
"""A memory file system, where creating files costs little and always the same."""

POLL_SECONDS = 0.02
PATIENCE_SECONDS = 300

Program = tuple[str, ...]
AGENT: Program = (str(Path(sys.executable).parent / "parallelize-agent"),)
PLAIN_LOOP: Program = (sys.executable, "-m", "tests.bench.engine.plain_loop")


@dataclass(frozen=True)
class Cpu:
    """CPU seconds of a process itself, and of its children: ended, or still there."""

    own: float
    children: float

    def since(self, former: Cpu) -> Cpu:
        """Return what was used since `former`."""
        return Cpu(self.own - former.own, self.children - former.children)


@dataclass(frozen=True)
class Memory:
    """MiB of a process: resident, and its share of what it has in common with others."""

    rss: float
    pss: float


@dataclass(frozen=True)
class Worker:
    """A worker that runs, and the run that it serves."""

    run: BenchRun
    process: subprocess.Popen[bytes]
    core: int | None
    started_at: float
    log: Path

    def cpu(self) -> Cpu:
        """Return what it has used so far."""
        return cpu_of(self.process.pid)

    def memory(self) -> Memory:
        """Return what it occupies now."""
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()[1:]
        sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
        return Memory(sizes["Rss"], sizes["Pss"])

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Return when the condition is true; exit with the worker's log if that takes too long."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"the worker does not go on:\n{self.log.read_text()[-3000:]}")
            time.sleep(POLL_SECONDS)

    def done(self) -> int:
        """Return how many jobs it has acknowledged."""
        deleted: int = self.run.stats()["deleted"]
        return deleted

    def check_success(self) -> None:
        """Exit if a job has failed here: what failures cost is not what is measured."""
        # A worker before this one was stopped, perhaps in the middle of a job.
        if failed := self.run.failures(f"vm-{self.process.pid}"):
            sys.exit(f"jobs have failed, as {failed[0]} says:\n{self.log.read_text()[-3000:]}")


def cpu_of(pid: int) -> Cpu:
    """Return what a process has used so far, its children to a hundredth of a second."""
    clock = ctypes.c_int()
    if ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise ProcessLookupError(pid)
    ended = sum(_ticks(pid)[2:])
    # An agent has a program for as long as it lives that starts others.
    there = sum(sum(_ticks(child)) for child in _children_of(pid))
    return Cpu(time.clock_gettime(clock.value), (ended + there) / TICKS)


def _ticks(pid: int) -> list[int]:
    """Return the CPU of a process, and of its ended children, in user and in kernel mode each."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended meanwhile, and is counted the next time
        return [0] * 4
    return [int(field) for field in fields[11:15]]


def _children_of(pid: int) -> list[int]:
    numbers = ""
    for each in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # of a thread that has just ended
            numbers += each.read_text()
    return [int(number) for number in numbers.split()]


def busy_seconds(core: int | None) -> float:
    """Return for how long a processor, or all of them, has done anything since the boot."""
    name = "cpu" if core is None else f"cpu{core}"
    lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    ticks = next([int(field) for field in fields] for word, *fields in lines if word == name)
    idle, waiting = ticks[3:5]
    return (sum(ticks[:8]) - idle - waiting) / TICKS


def pinned(core: int | None, *command: str) -> list[str]:
    """Return a command that stays on the processor `core`, if given."""
    return [*([] if core is None else ["taskset", "--cpu-list", str(core)]), *command]


def inherited() -> dict[str, str]:
    """Return the environment without what leads to any cloud, or keeps modules uncompiled."""
    ours = ("AWS_", "PARALLELIZE_", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


@contextmanager
def worker(run: BenchRun, program: Program, config: str, core: int | None) -> Iterator[Worker]:
    """Run a worker on the processor `core`, if given; it is told to stop at the end."""
    with tempfile.TemporaryDirectory(
        prefix="bench-", dir=SCRATCH, ignore_cleanup_errors=True
    ) as name:
        folder = Path(name)
        (folder / "agent.json").write_text(config)
        places = ("--config", f"{name}/agent.json", "--work-dir", f"{name}/work")
        command = pinned(core, *program, *places)
        with (folder / "log").open("wb") as log:
            started_at = time.monotonic()
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=log,
                env=inherited() | run.cloud.environ | {"HOME": name},
                # As systemd does: the kernel may divide a processor by session.
                start_new_session=True,
            )  # fmt: skip
        try:
            yield Worker(run, process, core, started_at, folder / "log")
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
