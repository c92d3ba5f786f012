"""What processes take of memory, and what the kernel says of its own kills."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from parallelize_agent.machine.host import memory_bytes
from parallelize_agent.memory.usage import OomKills, resident_bytes
from parallelize_agent.process.cgroup import JobCgroup

MIB = 2**20
HOLD = "taken = b'x' * (60 * 2**20); print(flush=True); input()"


@contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command until the block ends; it has printed a line when that begins."""
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        yield process
        process.stdin.close()


def test_the_memory_of_a_command_is_that_of_its_descendants_too() -> None:
    with running(sys.executable, "-c", HOLD) as alone:
        own = resident_bytes(alone.pid)
        assert own > 60 * MIB
    with running("/bin/sh", "-c", f'"{sys.executable}" -c "{HOLD}"; true') as parent:
        assert resident_bytes(parent.pid) > 60 * MIB


def test_a_process_that_has_ended_takes_nothing() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert resident_bytes(process.pid) == 0


def test_a_kill_for_want_of_memory_is_told_to_who_asks_soon(tmp_path: Path) -> None:
    counters = tmp_path / "vmstat"
    counters.write_text("pgfault 7\noom_kill 3\n", encoding="ascii")
    kills = OomKills(counters)
    assert not kills.lately()
    counters.write_text("pgfault 9\noom_kill 4\n", encoding="ascii")
    kills.look()  # as every second
    assert kills.lately()


def test_a_kernel_that_does_not_count_them_tells_of_none(tmp_path: Path) -> None:
    assert not OomKills(tmp_path / "missing").lately()


def job(folder: Path, **files: str) -> JobCgroup:
    """Return a cgroup with these files, written as the kernel has them."""
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(text, encoding="ascii")
    return JobCgroup(folder)


def test_files_that_the_kernel_caches_are_not_what_a_job_takes(tmp_path: Path) -> None:
    stat = "anon 1000\nfile 500000\nshmem 24\nslab_unreclaimable 6\n"
    cgroup = job(tmp_path, memory_stat=stat, memory_peak="501006")
    assert cgroup.occupied_bytes == 1030
    assert cgroup.peak_of(1030) == 1030


def test_the_kernels_own_peak_counts_where_nothing_was_seen_or_the_job_was_killed(
    tmp_path: Path,
) -> None:
    assert job(tmp_path, memory_peak="501030").peak_of(0) == 501030
    killed = job(tmp_path, memory_peak="501030", memory_events="oom 1\noom_kill 1\n")
    assert killed.peak_of(1030) == 501030


def test_what_a_job_has_had_between_two_looks_counts_too(tmp_path: Path) -> None:
    stat = "anon 0\nfile 3000\nshmem 0\n"  # as it is when all its processes have ended
    assert job(tmp_path, memory_stat=stat, memory_peak="63000").peak_of(200) == 60000


def test_a_sample_that_is_above_the_kernels_peak_is_not_believed(tmp_path: Path) -> None:
    assert job(tmp_path, memory_peak="900").peak_of(1030) == 900


@pytest.mark.parametrize(("limit", "most"), [("max", None), (str(5 * MIB), 5 * MIB)])
def test_a_container_has_as_much_as_its_cgroup_may(
    tmp_path: Path, limit: str, most: int | None
) -> None:
    own = tmp_path / "cgroup"
    own.write_text("0::/outer/inner\n", encoding="ascii")
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    (tmp_path / "outer" / "memory.max").write_text(limit, encoding="ascii")
    missing = tmp_path / "missing"
    assert memory_bytes(tmp_path, own) == (most or memory_bytes(tmp_path, missing))
