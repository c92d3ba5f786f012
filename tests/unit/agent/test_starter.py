"""The program that starts jobs' commands: what they inherit, what it tells, and how it may end."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from parallelize_agent.job import fault
from parallelize_agent.process import tree
from parallelize_agent.process.cgroup import JOB_OOM_SCORE, JobCgroup
from parallelize_agent.process.command import Command, Execution
from parallelize_agent.process.job_users import JobUser, JobUsers
from parallelize_agent.process.read_only import ReadOnlyFolder
from parallelize_agent.process.tree import Child
from parallelize_agent.process.world import Start, Starter, World
from parallelize_core.result import Cause

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start another user's job")

PATH = "/usr/bin:/bin"


@pytest.fixture
def user() -> JobUser:
    return JobUsers.named("daemon").take()


@pytest.fixture
def place(user: JobUser) -> Iterator[Path]:
    """A folder of the user's, in a place that is not a job's own."""
    with tempfile.TemporaryDirectory(dir="/var/cache") as folder:
        Path(folder).chmod(0o711)
        made = Path(folder) / "job"
        (made / "tmp").mkdir(parents=True)
        for each in (made, made / "tmp"):
            os.chown(each, user.number, user.number)
        yield made


@pytest.fixture
def world(user: JobUser, place: Path) -> World:
    return World.of_job(user, place / "tmp")


@pytest.fixture
def starter() -> Iterator[Starter]:
    made = Starter()
    yield made
    made.close()


def begin(starter: Starter, world: World, place: Path, *words: str, **environ: str) -> Child:
    return starter.start(Start(words, place, {"PATH": PATH, **environ}, world))


def ended(child: Child) -> tuple[int, str]:
    """Wait for a command; return its exit code and what it has said on stdout."""
    with child:
        said = b"".join(iter(lambda: os.read(child.stdout, 65536), b""))
        return child.reap()[0], said.decode()


def test_a_command_inherits_nothing_but_its_streams_and_its_variables(
    starter: Starter, world: World, place: Path
) -> None:
    child = begin(starter, world, place, "sh", "-c", "ls /proc/self/fd; env", NAME="value")
    *open_files, path, pwd, name = sorted(ended(child)[1].split())
    assert open_files == ["0", "1", "2", "3"], "the last is of the folder that ls reads"
    assert (path, pwd, name) == ("NAME=value", f"PATH={PATH}", f"PWD={place}")


def test_a_command_leads_a_session_and_ends_by_a_broken_pipe(
    starter: Starter, world: World, place: Path
) -> None:
    code, said = ended(begin(starter, world, place, "sh", "-c", "echo $$; ps -o sid= $$; yes | :"))
    own, session = said.split()
    assert (code, own) == (0, session)
    told = ended(begin(starter, world, place, "grep", "SigIgn", "/proc/self/status"))[1]
    ignored = int(told.split()[1], 16)
    # Others may be the tests' own: nohup has SIGHUP ignored.
    assert not ignored & sum(1 << (one - 1) for one in (signal.SIGPIPE, signal.SIGXFSZ))


def test_the_starter_has_no_variables_and_a_job_cannot_look_into_it(
    starter: Starter, world: World, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    ended(begin(starter, world, place, "true"))
    assert Path(f"/proc/{starter.pid}/environ").read_bytes() == b""
    script = f"for f in environ mem maps fd/0; do head -c 1 /proc/{starter.pid}/$f; done; id -u"
    child = begin(starter, world, place, "sh", "-c", f"{script}; kill -0 {starter.pid}")
    assert ended(child) == (1, f"{world.user.uid}\n")


@pytest.mark.parametrize(
    ("content", "mode", "error"),
    [
        (None, 0, FileNotFoundError),
        ("#!/bin/sh\n", 0o644, PermissionError),
        ("#!/no/such/shell\n", 0o755, FileNotFoundError),
        ("\x7fELF", 0o755, None),
    ],
    ids=["not there", "not executable", "bad interpreter", "no program at all"],
)
def test_a_command_that_cannot_be_started_is_told_as_without_a_world(
    starter: Starter, world: World, place: Path, content: str | None, mode: int,
    error: type[OSError] | None,
) -> None:  # fmt: skip
    if content is not None:
        (place / "job").write_text(content)
        (place / "job").chmod(mode)
    if error is None:
        assert ended(begin(starter, world, place, "./job"))[0] != 0
        return
    with pytest.raises(error) as raised:
        begin(starter, world, place, "./job")
    assert raised.value.filename == "./job"
    assert fault.of_start(raised.value, "job").cause is Cause.COMMAND


def test_a_script_that_names_no_shell_is_the_shells(
    starter: Starter, world: World, place: Path
) -> None:
    (place / "job").write_text('echo "$1" && exit 3')
    (place / "job").chmod(0o755)
    assert ended(begin(starter, world, place, "./job", "a b")) == (3, "a b\n")


def test_words_may_be_as_long_as_the_kernel_takes_them_and_longer_ones_are_told(
    starter: Starter, world: World, place: Path
) -> None:
    words = ["x" * 100_000] * 10
    script = 'echo "$#"; printf %s "$*" | wc -c'
    child = begin(starter, world, place, "sh", "-c", script, "sh", *words)
    assert ended(child)[1].split() == ["10", "1000009"]
    with pytest.raises(OSError, match="Argument list too long"):
        begin(starter, world, place, "true", "x" * 200_000)
    with pytest.raises(ValueError, match="null byte"):
        begin(starter, world, place, "true", "a\0b")
    with pytest.raises(ValueError, match="variable name"):
        begin(starter, world, place, "true", **{"a=b": "c"})


def test_a_world_that_cannot_be_made_is_not_the_commands_fault(
    starter: Starter, world: World, place: Path, user: JobUser
) -> None:
    odd = World(user, (("/dev/null", "/no/such/place"),))
    with pytest.raises(OSError, match="/no/such/place") as raised:
        begin(starter, odd, place, "true")
    decision = fault.of_start(raised.value, "true")
    assert decision.cause is Cause.INFRASTRUCTURE
    assert ended(begin(starter, world, place, "echo", "next")) == (0, "next\n")


def test_a_command_that_cannot_enter_its_cgroup_is_not_started(
    starter: Starter, world: World, place: Path
) -> None:
    entries = (("/no/such/cgroup", "0"),)
    with pytest.raises(OSError, match="/no/such/cgroup") as raised:
        starter.start(Start(("touch", "made"), place, {"PATH": PATH}, world, entries))
    assert not (place / "made").exists()
    assert fault.of_start(raised.value, "true").cause is Cause.INFRASTRUCTURE


def test_commands_outlive_the_starter_and_the_next_has_a_new_one(
    starter: Starter, world: World, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    child = begin(starter, world, place, "sh", "-c", "read x; exit 5")
    waiting = starter.start(Start(("cat",), place, {"PATH": PATH}, world), with_stdin=True)
    assert ended(child)[0] == 5
    first = starter.pid
    assert first
    os.kill(first, signal.SIGKILL)
    psutil.Process(first).wait()
    os.write(waiting.stdin, b"still there")
    waiting.close_stdin()
    assert ended(waiting) == (0, "still there")
    assert ended(begin(starter, world, place, "echo", "next")) == (0, "next\n")
    assert starter.pid != first
    assert "has ended" in capsys.readouterr().out


def test_what_a_starter_had_in_hand_when_it_died_is_handed_back(
    starter: Starter, world: World, place: Path
) -> None:
    first = started(starter, world, place)
    halt(first)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(begin, starter, world, place, "true")
        wait_for_request(starter)
        os.kill(first, signal.SIGKILL)
        error = asked.exception()
    assert isinstance(error, OSError)
    assert fault.of_start(error, "true").cause is Cause.INFRASTRUCTURE
    assert ended(begin(starter, world, place, "echo", "next")) == (0, "next\n")


def halt(number: int) -> None:
    """Stop a program and wait until it has stopped: until then it may still take a request."""
    os.kill(number, signal.SIGSTOP)
    os.waitid(os.P_PID, number, os.WSTOPPED)


def wait_for_request(starter: Starter) -> None:
    """Return when a request waits in the starter's socket."""
    program = starter._program
    assert program
    # What it has not taken yet: unix(7), SIOCOUTQ.
    while not any(fcntl.ioctl(program.socket, termios.TIOCOUTQ, bytes(4))):
        pass


def test_a_starter_that_hangs_is_ended_and_its_command_is_handed_back(
    world: World, place: Path
) -> None:
    starter = Starter()
    first = started(starter, world, place)
    halt(first)
    starter._patience_seconds = 0.2
    with pytest.raises(OSError, match="in time") as raised:
        begin(starter, world, place, "true")
    assert fault.of_start(raised.value, "true").cause is Cause.INFRASTRUCTURE
    assert not psutil.pid_exists(first)
    starter.close()


def test_without_the_starter_no_command_is_at_fault(
    starter: Starter, world: World, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(OSError, match="/no/such/python") as raised:
        begin(starter, world, place, "true")
    assert fault.of_start(raised.value, "true").cause is Cause.INFRASTRUCTURE
    monkeypatch.undo()
    assert ended(begin(starter, world, place, "echo", "next")) == (0, "next\n")


def started(starter: Starter, world: World, place: Path) -> int:
    """Return the number of a starter, which runs then."""
    ended(begin(starter, world, place, "true"))
    assert starter.pid
    return starter.pid


WITH_GROUPS = """
import os, sys
from pathlib import Path
from parallelize_agent.process.job_users import JobUser
from parallelize_agent.process.world import COMMANDS, Start, World
os.setgroups([4, 27])
user, folder = JobUser(int(sys.argv[1]), 1, 1), Path(sys.argv[2])
for world in (World(user), World.of_job(user, folder / "tmp")):
    words = ("/bin/grep", "-E", "Groups|NoNewPrivs|Cap", "/proc/self/status")
    with COMMANDS.start(Start(words, folder, {}, world)) as child:
        child.reap()
        print(os.read(child.stdout, 1000).decode())
"""


def test_neither_a_group_nor_a_right_of_the_agent_is_left(user: JobUser, place: Path) -> None:
    words = [sys.executable, "-c", WITH_GROUPS, str(user.number), str(place)]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    lines = [line.split() for line in said.splitlines() if line]
    groups = [values for name, *values in lines if name == "Groups:"]
    rights = {int(value, 16) for name, *values in lines if name[:3] == "Cap" for value in values}
    assert (groups, rights) == ([[], []], {0})
    assert [values for name, *values in lines if name == "NoNewPrivs:"] == [["1"], ["1"]]


def test_a_jobs_mounts_and_queues_are_in_namespaces_of_its_own(
    starter: Starter, world: World, place: Path
) -> None:
    names = ("mnt", "ipc", "user", "pid", "net")
    words = ("readlink", *(f"/proc/self/ns/{name}" for name in names))
    inside = ended(begin(starter, world, place, *words))[1].split()
    outside = [Path(f"/proc/self/ns/{name}").readlink().name for name in names]
    own = [name for name, one, other in zip(names, inside, outside, strict=True) if one != other]
    assert own == ["mnt", "ipc", "user"]


GONE = """
import os, sys
from pathlib import Path
from parallelize_agent.process.job_users import JobUser
from parallelize_agent.process.world import COMMANDS, Start, World
COMMANDS.start(Start(("/bin/true",), Path("/"), {}, World(JobUser(70001, 1, 1))))
print(COMMANDS.pid, flush=True)
os._exit(0)
"""


def test_a_starter_ends_with_its_agent() -> None:
    done = subprocess.run([sys.executable, "-c", GONE], capture_output=True, text=True, check=True)
    number = int(done.stdout)
    if psutil.pid_exists(number):
        psutil.Process(number).wait(30)
    assert not psutil.pid_exists(number)


def test_commands_are_started_side_by_side_and_each_has_its_own_status(
    starter: Starter, world: World, place: Path
) -> None:
    def one(number: int) -> tuple[int, str]:
        return ended(begin(starter, world, place, "sh", "-c", f"echo {number}; exit {number}"))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(60))) == [(n, f"{n}\n") for n in range(60)]


DESCRIPTORS = """
import os, resource, sys
from pathlib import Path
from parallelize_agent.process.job_users import JobUser
from parallelize_agent.process.world import COMMANDS, Start, World

def start(word):
    world = World(JobUser(int(sys.argv[1]), 1, 1))
    with COMMANDS.start(Start((word,), Path("/"), {}, world)) as child:
        child.reap()

def refusal(word):
    try:
        start(word)
    except OSError as error:
        return error.strerror or str(error)

def is_open(number):
    return Path(f"/proc/self/fd/{number}").exists()

start("/bin/true")
opened = len(os.listdir("/proc/self/fd"))
"""
"""The beginning of a program of its own: tests in one process open and close files of theirs."""

WHATEVER_COMES = f"""{DESCRIPTORS}
start("/bin/true")
print(refusal("/no/such/program"))
print(len(os.listdir("/proc/self/fd")) - opened)
print(len(os.listdir(f"/proc/{{COMMANDS.pid}}/fd")))
"""

NONE_IS_FREE = f"""{DESCRIPTORS}
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
free = [number for number in range(1000) if not is_open(number)][:5]
resource.setrlimit(resource.RLIMIT_NOFILE, (max(free), limits[1]))
print(refusal("/bin/true"))
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
print(len(os.listdir("/proc/self/fd")) - opened)
"""


def said_by(program: str, user: JobUser) -> list[str]:
    words = [sys.executable, "-c", program, str(user.number)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_nothing_stays_open_whatever_comes_of_a_command(user: JobUser) -> None:
    refused, more, of_starter = said_by(WHATEVER_COMES, user)
    assert (refused, more) == ("No such file or directory", "0")
    assert of_starter == "4", "three streams, its socket"


def test_without_a_free_descriptor_nothing_is_started_and_nothing_stays(user: JobUser) -> None:
    assert said_by(NONE_IS_FREE, user) == ["Too many open files", "0"]


def test_a_folder_that_is_mounted_read_only_is_so_for_a_command_in_a_world(
    world: World, place: Path, tmp_path: Path
) -> None:
    shared = place.parent / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    words = ("sh", "-c", f"echo x > {shared}/f || echo x > f")
    command = Command(
        words, place, {"PATH": PATH}, "MARK=x", world=world, read_only=ReadOnlyFolder(shared)
    )
    Execution(command, tmp_path / "stdout", tmp_path / "log").run()
    assert list(shared.iterdir()) == []
    assert (place / "f").exists()


def test_the_starter_is_nobodys_orphan(starter: Starter, world: World, place: Path) -> None:
    tree.adopt_orphans()
    number = started(starter, world, place)
    script = "setsid sleep 1000 >&- 2>&- & echo $!"
    with begin(starter, world, place, "sh", "-c", script, MARK="one") as child:
        sleeper = int(os.read(child.stdout, 100))
        child.wait()
        assert number not in tree._orphan_candidates()
        tree.end_orphans(child.pid, "MARK=one")
        child.reap()
    assert not psutil.pid_exists(sleeper)
    assert psutil.pid_exists(number)


def test_a_command_is_in_its_cgroup_from_its_first_instruction(
    starter: Starter, world: World, place: Path, own_cgroup: JobCgroup
) -> None:
    words = ("cat", "/proc/self/cgroup", "/proc/self/oom_score_adj")
    start = Start(words, place, {"PATH": PATH}, world, own_cgroup.entries)
    lines = ended(starter.start(start))[1].splitlines()
    assert lines[-2].endswith(f"/{own_cgroup.folder.name}")
    assert int(lines[-1]) == JOB_OOM_SCORE


@pytest.fixture
def own_cgroup() -> Iterator[JobCgroup]:
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    mount = next((where for _, where, kind, *_ in mounts if kind == "cgroup2"), None)
    if mount is None or not os.access(mount, os.W_OK):
        pytest.skip("this needs a writable cgroup v2")
    made = JobCgroup(Path(mount) / f"parallelize-test-{os.getpid()}")
    made.folder.mkdir()
    yield made
    made.remove()
