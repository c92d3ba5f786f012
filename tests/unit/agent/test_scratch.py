"""Job folders are made, furnished and removed; what cannot be removed is in nobody's way."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from parallelize_agent.job.furnishing import MAX_COPIED, MAX_COPIED_BYTES
from parallelize_agent.job.scratch import JobFolder, ScratchSpace
from parallelize_agent.process.job_users import JobUsers


def made(space: ScratchSpace, key: str) -> JobFolder:
    """Make the folders of a job."""
    folder = space.reserve(key)
    space.make(folder)
    return folder


@pytest.fixture
def space(tmp_path: Path) -> ScratchSpace:
    return ScratchSpace(tmp_path / "jobs")


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    folder = tmp_path / "environment"
    folder.mkdir()
    return folder


def furnished(space: ScratchSpace, environment: Path) -> JobFolder:
    job = made(space, "input.txt")
    space.furnish(job, environment)
    return job


# Furnishing


def test_files_at_the_top_are_links(space: ScratchSpace, environment: Path) -> None:
    (environment / "model.bin").write_bytes(b"weights")
    job = furnished(space, environment)
    assert (job.scratch / "model.bin").readlink() == environment / "model.bin"


def test_a_small_folder_is_the_jobs_own_copy(space: ScratchSpace, environment: Path) -> None:
    (environment / "a/b").mkdir(parents=True)
    (environment / "a/b/run.sh").write_text("#!/bin/sh\n")
    (environment / "a/b/run.sh").chmod(0o555)
    (environment / "a/link").symlink_to("b/run.sh")
    job = furnished(space, environment)
    mine = job.scratch / "a/b/run.sh"
    assert not (job.scratch / "a").is_symlink()
    assert os.access(mine, os.X_OK)
    assert (job.scratch / "a/link").readlink() == Path("b/run.sh")
    mine.write_text("changed")
    assert (environment / "a/b/run.sh").read_text() == "#!/bin/sh\n"
    space.remove(job)
    assert (environment / "a/b/run.sh").exists()


@pytest.mark.parametrize("kind", ["many files", "large files"])
def test_a_large_folder_is_a_link(space: ScratchSpace, environment: Path, kind: str) -> None:
    (environment / "data").mkdir()
    for number in range(MAX_COPIED if kind == "many files" else 2):
        size = 0 if kind == "many files" else MAX_COPIED_BYTES
        (environment / f"data/{number}").write_bytes(bytes(size))
    job = furnished(space, environment)
    assert (job.scratch / "data").readlink() == environment / "data"


def test_all_that_is_copied_for_a_job_is_bounded(space: ScratchSpace, environment: Path) -> None:
    for number in range(2 * MAX_COPIED):
        (environment / f"{number:03}").mkdir()
    job = furnished(space, environment)
    kinds = [path.is_symlink() for path in sorted(job.scratch.iterdir()) if path.name[0] != "."]
    assert kinds == [False] * MAX_COPIED + [True] * MAX_COPIED


def test_a_link_in_the_environment_to_a_folder_is_a_link(
    space: ScratchSpace, environment: Path
) -> None:
    (environment / "v1").mkdir()
    (environment / "latest").symlink_to("v1")
    assert (furnished(space, environment).scratch / "latest").is_symlink()


# Removal


@pytest.fixture(autouse=True)
def _unmounted(tmp_path: Path) -> Iterator[None]:
    yield
    free(tmp_path)


def stuck_job(space: ScratchSpace) -> JobFolder:
    """Return a job whose folder not even root can remove, until `free`."""
    job = made(space, "stuck")
    place = job.scratch / "mounted"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this needs root and the right to mount")
    return job


@pytest.fixture
def stuck(space: ScratchSpace) -> JobFolder:
    return stuck_job(space)


def free(folder: Path) -> None:
    mounted = subprocess.run(
        ["findmnt", "-rno", "TARGET"], capture_output=True, text=True, check=True
    )
    for place in mounted.stdout.splitlines():
        if place.startswith(f"{folder}/"):
            subprocess.run(["umount", place], check=True)


def left_over(space_root: Path) -> list[Path]:
    folder = space_root / "left-over"
    return list(folder.iterdir()) if folder.exists() else []


def test_a_folder_that_cannot_be_removed_is_moved_aside_and_told_once(
    space: ScratchSpace, stuck: JobFolder, tmp_path: Path
) -> None:
    with capture_logs() as lines:
        space.remove(stuck)
        space.sweep()
    assert not stuck.root.exists()
    (aside,) = left_over(tmp_path)
    assert (aside / "scratch/mounted").exists()
    assert [line["folder"] for line in lines] == [str(aside)]
    assert "busy" in lines[0]["reason"]


def test_a_sweep_removes_what_can_be_removed_by_then(
    space: ScratchSpace, stuck: JobFolder, tmp_path: Path
) -> None:
    space.remove(stuck)
    space.sweep()
    assert left_over(tmp_path)
    free(tmp_path)
    space.sweep()
    assert not left_over(tmp_path)


def test_the_next_agent_starts_beside_what_the_former_could_not_remove(
    space: ScratchSpace, stuck: JobFolder, tmp_path: Path
) -> None:
    following = ScratchSpace(tmp_path / "jobs")
    assert made(following, "next").scratch.is_dir()
    assert len(left_over(tmp_path)) == 1
    free(tmp_path)
    ScratchSpace(tmp_path / "jobs")
    assert not left_over(tmp_path)


def test_a_user_is_not_another_jobs_while_files_of_it_are_left(tmp_path: Path) -> None:
    space = ScratchSpace(tmp_path / "jobs", JobUsers(1, 1))
    job = stuck_job(space)
    space.remove(job)
    assert made(space, "next").user != job.user
    free(tmp_path)
    space.sweep()
    assert made(space, "after").user == job.user
