"""Jobs run as users of their own, and their folders come back whatever they did to them."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from parallelize_agent.job.scratch import JobFolder, ScratchSpace
from parallelize_agent.process import isolation as sandbox
from parallelize_agent.process.job_users import (
    JOB_USER_VARIABLE,
    NUMBERS,
    JobUser,
    JobUsers,
    job_users,
)
from parallelize_agent.process.tree import Child
from parallelize_agent.process.world import COMMANDS, Start, World
from parallelize_core.errors import UsageError

ACCOUNT = "daemon"  # every Debian has this user, with a group of the same name

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start another user's job")


def made(space: ScratchSpace, key: str) -> JobFolder:
    """Make the folders of a job."""
    folder = space.reserve(key)
    space.make(folder)
    return folder


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A scratch folder with an input and a link to a file outside."""
    folder = tmp_path / "scratch"
    (folder / "tmp").mkdir(parents=True)
    (folder / "input.txt").write_text("input")
    (tmp_path / "outside.txt").write_text("not yours")
    (folder / "link").symlink_to(tmp_path / "outside.txt")
    return folder


@pytest.fixture
def user() -> JobUser:
    return JobUsers.named(ACCOUNT).take()


@pytest.fixture
def space() -> Iterator[ScratchSpace]:
    """Scratch folders with users, in a place that is not a job's own."""
    with tempfile.TemporaryDirectory(dir="/var/cache") as folder:
        Path(folder).chmod(0o711)
        yield ScratchSpace(Path(folder) / "jobs", JobUsers.named(ACCOUNT))


@pytest.fixture
def job(space: ScratchSpace) -> JobFolder:
    """The folders of a job that may begin."""
    folder = made(space, "input.txt")
    space.furnish(folder, None)
    return folder


def begin(job: JobFolder, *words: str, hidden: Sequence[Path] = (), **environ: str) -> Child:
    """Start a command as a job."""
    assert job.user
    world = World.of_job(job.user, job.tmp, hidden)
    variables = {"PATH": os.environ["PATH"], **environ}
    return COMMANDS.start(Start(words, job.scratch, variables, world))


def run(
    job: JobFolder, script: str, hidden: Sequence[Path] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a shell script as a job."""
    with begin(job, "sh", "-c", script, hidden=hidden) as child:
        stdout, stderr = (said(child, stream) for stream in (child.stdout, child.stderr))
        code, _, _ = child.reap()
    return subprocess.CompletedProcess(script, code, stdout, stderr)


def said(child: Child, stream: int) -> str:
    """Return what a command says on a stream until it closes that."""
    pieces = iter(lambda: os.read(stream, 65536), b"")
    return b"".join(pieces).decode()


@needs_root
@pytest.mark.parametrize("name", ["with blanks  and\ttabs", "a\\b#c,d", "l\nf", "ünï"])
def test_the_folder_of_the_jobs_may_have_any_name(name: str) -> None:
    with tempfile.TemporaryDirectory(dir="/var/cache") as folder:
        root = Path(folder)
        root.chmod(0o711)
        (root / name).mkdir()
        space = ScratchSpace(root / name / "jobs", JobUsers.named(ACCOUNT))
        job = made(space, "input.txt")
        space.furnish(job, None)
        done = run(job, "echo mine > /tmp/a && cat /var/tmp/a && df --output=fstype /dev/shm")
        assert (done.stdout.split(), done.stderr) == (["mine", "Type", "tmpfs"], "")


@needs_root
def test_a_device_that_is_hidden_from_a_job_opens_as_one_that_has_nothing(
    space: ScratchSpace,
) -> None:
    own, others = (space.root.parent / name for name in ("nvidia0", "nvidia1"))
    for node in (own, others):
        node.write_text("a GPU")
        node.chmod(0o666)
    job = made(space, "input.txt")
    space.furnish(job, None)
    script = f"cat {own}; echo; cat {others}; umount {others} 2>/dev/null; cat {others}"
    done = run(job, script, [others])
    assert (done.stdout, done.stderr) == ("a GPU\n", "")


def test_without_a_second_user_a_command_has_no_world_of_its_own(tmp_path: Path) -> None:
    assert sandbox.world_of(None, tmp_path, None) is None


@needs_root
def test_a_job_has_no_capability_no_group_and_no_way_to_more(job: JobFolder) -> None:
    answer = run(job, "cat /proc/self/status")
    status = dict(line.split(":", 1) for line in answer.stdout.splitlines())
    assert status["Uid"].split() == [str(pwd.getpwnam(ACCOUNT).pw_uid)] * 4
    assert status["NoNewPrivs"].strip() == "1"
    sets = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    assert {int(status[name], 16) for name in sets} == {0}


@needs_root
def test_a_file_that_a_job_makes_belongs_to_a_number_that_no_account_has(job: JobFolder) -> None:
    run(job, "touch made")
    made = (job.scratch / "made").stat()
    assert job.user
    assert (made.st_uid, made.st_gid) == (job.user.number, job.user.number)
    assert made.st_uid in NUMBERS


@needs_root
@pytest.mark.parametrize("place", ["/tmp", "/var/tmp"])
def test_a_job_finds_its_own_temporary_folder_under_the_common_names(
    job: JobFolder, place: str
) -> None:
    run(job, f"echo mine >{place}/name")
    assert (job.tmp / "name").read_text() == "mine\n"
    assert not Path(place, "name").exists()


@needs_root
def test_shared_memory_is_a_jobs_own_and_goes_with_it(job: JobFolder) -> None:
    answer = run(job, "ls -A /dev/shm; echo mine >/dev/shm/name && cat /dev/shm/name")
    assert answer.stdout == "mine\n"
    assert not Path("/dev/shm/name").exists()


@needs_root
def test_a_command_ends_as_it_would_without_all_this(job: JobFolder) -> None:
    assert run(job, "exit 7").returncode == 7
    assert run(job, "kill -KILL $$").returncode == -signal.SIGKILL


@needs_root
def test_a_command_that_is_asked_to_end_can_still_tidy_up(job: JobFolder) -> None:
    script = 'trap "echo tidied; exit 9" TERM; echo ready; sleep 60 & wait'
    with begin(job, "sh", "-c", script) as child:
        assert os.read(child.stdout, 100) == b"ready\n"
        child.signal_group(signal.SIGTERM)
        assert os.read(child.stdout, 100) == b"tidied\n"
        assert child.reap()[0] == 9


@needs_root
def test_jobs_have_different_users_and_a_finished_jobs_user_is_free_again(
    space: ScratchSpace,
) -> None:
    first, second = made(space, "a"), made(space, "b")
    assert first.user
    assert second.user
    assert first.user.number != second.user.number
    space.remove(first)
    assert made(space, "c").user == first.user


@needs_root
def test_a_machine_that_can_keep_jobs_apart_passes_the_check(space: ScratchSpace) -> None:
    space.check()
    assert not [path for path in space.root.rglob("*") if path.is_file()], "it leaves nothing"


@needs_root
def test_a_work_folder_that_jobs_would_not_find_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot isolate jobs"):
        ScratchSpace(tmp_path / "jobs", JobUsers.named(ACCOUNT)).check()


def test_where_jobs_are_the_agent_there_is_nothing_to_check(tmp_path: Path) -> None:
    ScratchSpace(tmp_path / "jobs").check()


@needs_root
def test_a_job_owns_its_scratch_folder_and_nothing_that_it_links_to(
    scratch: Path, user: JobUser
) -> None:
    sandbox.give(scratch, user)
    inside = [scratch, scratch / "tmp", scratch / "input.txt", scratch / "link"]
    assert {path.lstat().st_uid for path in inside} == {user.number}
    assert (scratch / "link").resolve().stat().st_uid == os.geteuid()


@needs_root
def test_only_the_agent_may_enter_a_jobs_folder_and_not_even_it_may_list_it(
    scratch: Path, user: JobUser
) -> None:
    sandbox.give(scratch, user)
    assert scratch.stat().st_mode & 0o777 == 0o710
    assert scratch.stat().st_gid == os.getegid()


@needs_root
def test_what_a_job_locks_away_is_readable_once_it_is_taken_back(
    space: ScratchSpace, job: JobFolder
) -> None:
    script = "mkdir -p a/b; echo out >a/b/output; chmod 000 a/b/output a/b a; chmod 000 ."
    assert run(job, script).returncode == 0
    space.reclaim(job)
    output = job.scratch / "a" / "b" / "output"
    assert output.read_text() == "out\n"
    assert {path.stat().st_mode & 0o700 for path in (job.scratch, *output.parents[:2])} == {0o700}


@needs_root
def test_taking_back_leaves_what_a_link_leads_to_alone(
    scratch: Path, tmp_path: Path, user: JobUser
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o500)
    os.chown(outside, 1, 1)
    (scratch / "escape").symlink_to(outside)
    sandbox.take_back(scratch, user)
    assert (outside.stat().st_uid, outside.stat().st_mode & 0o777) == (1, 0o500)


NEST = "import os\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')"


def test_a_folder_nested_deeper_than_any_path_is_removed(scratch: Path) -> None:
    subprocess.run(["/usr/bin/python3", "-c", NEST], cwd=scratch, check=True)
    sandbox.remove(scratch)
    assert not scratch.exists()


@needs_root
def test_a_jobs_folder_nested_deeper_than_any_path_is_removed(
    space: ScratchSpace, job: JobFolder
) -> None:
    assert run(job, f'exec /usr/bin/python3 -c "{NEST}"').returncode == 0
    space.reclaim(job)
    space.remove(job)
    assert not job.root.exists()


def test_a_folder_without_permissions_is_removed(scratch: Path) -> None:
    (scratch / "tmp" / "file").touch()
    (scratch / "tmp").chmod(0)
    sandbox.remove(scratch)
    assert not scratch.exists()


def test_removing_what_is_gone_is_no_error(tmp_path: Path) -> None:
    sandbox.remove(tmp_path / "gone")
    assert list(tmp_path.iterdir()) == []


def test_a_user_that_does_not_exist_is_named() -> None:
    with pytest.raises(UsageError, match="nobody-like-this"):
        job_users({JOB_USER_VARIABLE: "nobody-like-this"})
