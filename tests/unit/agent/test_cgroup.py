"""One cgroup per job: entered from the first instruction, ended as a whole, measured."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from parallelize_agent.process import cgroup
from parallelize_agent.process.cgroup import JobCgroup, JobCgroups


def cgroup2_mount() -> Path | None:
    """Return where this machine has cgroup v2, if anywhere."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    return None


@pytest.fixture
def groups() -> Iterator[JobCgroups]:
    """A cgroup of this machine's own kernel to make jobs' cgroups in."""
    mount = cgroup2_mount()
    if mount is None or not os.access(mount, os.W_OK) or os.geteuid() != 0:
        pytest.skip("this needs root and a writable cgroup v2")
    folder = mount / f"parallelize-test-{os.getpid()}"
    folder.mkdir()
    yield JobCgroups(folder)
    folder.rmdir()


@pytest.fixture
def job(groups: JobCgroups) -> Iterator[JobCgroup]:
    """One job's cgroup."""
    made = groups.create()
    yield made
    made.remove()


def test_a_command_is_inside_from_its_first_instruction(job: JobCgroup) -> None:
    command = [*job.prefix, "cat", "/proc/self/cgroup"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1].endswith(f"/{job.folder.name}")


def test_arguments_arrive_as_they_were(job: JobCgroup) -> None:
    odd = ["a b", "", "$HOME", "'", "-n", "\n"]
    command = [*job.prefix, "/usr/bin/printf", "%s\\0", *odd]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout == "".join(f"{word}\0" for word in odd)


def test_jobs_are_the_first_to_go_when_memory_runs_out(job: JobCgroup) -> None:
    command = [*job.prefix, "cat", "/proc/self/oom_score_adj"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(answer.stdout) == cgroup.JOB_OOM_SCORE


def test_kill_ends_descendants_that_have_left_their_session(job: JobCgroup) -> None:
    script = "setsid sh -c 'setsid sleep 1000 & echo ready; sleep 1000'"
    command = [*job.prefix, "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        job.kill()
        # The pipe ends only when the last process that holds it is dead.
        assert process.stdout.read() == ""
        assert process.wait() == -signal.SIGKILL


def test_a_removed_cgroup_takes_its_processes_with_it(groups: JobCgroups) -> None:
    job = groups.create()
    command = [*job.prefix, "sh", "-c", "echo ready; exec sleep 1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        job.remove()
        assert process.wait() == -signal.SIGKILL
    assert not job.folder.exists()


def test_a_cgroup_that_is_gone_can_be_killed_and_removed_again(groups: JobCgroups) -> None:
    job = groups.create()
    job.remove()
    job.kill()
    job.remove()


def test_cpu_time_counts_processes_that_have_ended(job: JobCgroup) -> None:
    # What the prefix used before it entered the cgroup is not the job's.
    burn = "from time import process_time as now\nend = now() + 0.2\nwhile now() < end: pass"
    subprocess.run([*job.prefix, "/usr/bin/python3", "-c", burn], check=True)
    assert job.cpu_seconds >= 0.2


def test_each_job_gets_a_cgroup_of_its_own(groups: JobCgroups) -> None:
    jobs = [groups.create() for _ in range(3)]
    assert len({job.folder for job in jobs}) == 3
    for job in jobs:
        job.remove()


def test_the_peak_and_an_oom_kill_are_read_as_the_kernel_writes_them(tmp_path: Path) -> None:
    (tmp_path / "memory.peak").write_text("1048576\n")
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 7\noom 1\noom_kill 1\n")
    job = JobCgroup(tmp_path)
    assert job.peak_memory_bytes == 1024**2
    assert job.out_of_memory


def test_without_a_memory_controller_nothing_is_claimed_about_memory(job: JobCgroup) -> None:
    if (job.folder / "memory.peak").exists():
        pytest.skip("this kernel's cgroup v2 has the memory controller")
    assert job.peak_memory_bytes is None
    assert not job.out_of_memory


def test_a_cgroup_of_version_1_is_not_taken_for_one_of_version_2(tmp_path: Path) -> None:
    assert cgroup.own_folder(tmp_path, "4:memory:/user.slice\n1:cpu:/\n") is None


def test_the_own_cgroup_is_found_below_the_mount(tmp_path: Path) -> None:
    unit = tmp_path / "parallelize.slice" / "parallelize-agent.service"
    unit.mkdir(parents=True)
    (unit / "cgroup.procs").touch()
    line = "1:name=systemd:/\n0::/parallelize.slice/parallelize-agent.service\n"
    assert cgroup.own_folder(tmp_path, line) == unit


def test_a_cgroup_that_holds_other_processes_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text(f"1\n{os.getpid()}\n")
    assert not cgroup.is_delegated(tmp_path)
