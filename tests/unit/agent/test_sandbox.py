"""Jobs run as a second user, and the agent gets their folders back whatever they did to them."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from parallelize_agent import sandbox
from parallelize_core.errors import UsageError

USER = "daemon"  # every Debian has this user, with a group of the same name

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start another user's job")


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A scratch folder with an input and a link to a file outside."""
    folder = tmp_path / "scratch"
    (folder / "tmp").mkdir(parents=True)
    (folder / "input.txt").write_text("input")
    (tmp_path / "outside.txt").write_text("not yours")
    (folder / "link").symlink_to(tmp_path / "outside.txt")
    return folder


def as_job(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell script as the job user, in `folder`."""
    command = [*sandbox.job_prefix(USER), "sh", "-c", script]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_without_a_second_user_nothing_is_put_before_the_command() -> None:
    assert sandbox.job_prefix(None) == ()


@needs_root
def test_a_job_has_no_capability_no_group_and_no_way_to_more(tmp_path: Path) -> None:
    answer = as_job("cat /proc/self/status", Path("/"))
    status = dict(line.split(":", 1) for line in answer.stdout.splitlines())
    uid = str(pwd.getpwnam(USER).pw_uid)
    assert status["Uid"].split() == [uid] * 4
    assert status["Groups"].split() == []
    assert status["NoNewPrivs"].strip() == "1"
    sets = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    assert {int(status[name], 16) for name in sets} == {0}


@needs_root
def test_a_job_owns_its_scratch_folder_and_nothing_that_it_links_to(scratch: Path) -> None:
    sandbox.give(scratch, USER)
    uid = pwd.getpwnam(USER).pw_uid
    inside = [scratch, scratch / "tmp", scratch / "input.txt", scratch / "link"]
    assert {path.lstat().st_uid for path in inside} == {uid}
    assert (scratch / "link").resolve().stat().st_uid == os.geteuid()


@needs_root
def test_only_the_agent_may_enter_a_jobs_folder_and_not_even_it_may_list_it(scratch: Path) -> None:
    sandbox.give(scratch, USER)
    assert scratch.stat().st_mode & 0o777 == 0o710
    assert scratch.stat().st_gid == os.getegid()


@needs_root
def test_what_a_job_locks_away_is_readable_once_it_is_taken_back(scratch: Path) -> None:
    scratch.parent.chmod(0o755)
    sandbox.give(scratch, USER)
    script = "mkdir -p a/b; echo out >a/b/output; chmod 000 a/b/output a/b a; chmod 000 ."
    assert subprocess.run(
        [*sandbox.job_prefix(USER), "sh", "-c", script], cwd=scratch, check=False
    ).returncode == 0  # fmt: skip
    sandbox.take_back(scratch, USER)
    output = scratch / "a" / "b" / "output"
    assert output.read_text() == "out\n"
    assert {path.stat().st_mode & 0o700 for path in (scratch, *output.parents[:2])} == {0o700}


@needs_root
def test_taking_back_leaves_what_a_link_leads_to_alone(scratch: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o500)
    os.chown(outside, 1, 1)
    (scratch / "escape").symlink_to(outside)
    sandbox.take_back(scratch, USER)
    assert (outside.stat().st_uid, outside.stat().st_mode & 0o777) == (1, 0o500)


@pytest.mark.parametrize("user", [None, pytest.param(USER, marks=needs_root)])
def test_a_folder_nested_deeper_than_any_path_is_removed(scratch: Path, user: str | None) -> None:
    sandbox.give(scratch, user)
    nest = "import os\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')"
    command = [*sandbox.job_prefix(user), "/usr/bin/python3", "-c", nest]
    scratch.parent.chmod(0o755)
    subprocess.run(command, cwd=scratch, check=True)
    sandbox.remove(scratch, user)
    assert not scratch.exists()


def test_a_folder_without_permissions_is_removed(scratch: Path) -> None:
    (scratch / "tmp" / "file").touch()
    (scratch / "tmp").chmod(0)
    sandbox.remove(scratch, None)
    assert not scratch.exists()


def test_removing_what_is_gone_is_no_error(tmp_path: Path) -> None:
    sandbox.remove(tmp_path / "gone", None)


def test_a_user_that_does_not_exist_is_named(scratch: Path) -> None:
    with pytest.raises(UsageError, match="nobody-like-this"):
        sandbox.give(scratch, "nobody-like-this")
