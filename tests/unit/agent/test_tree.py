"""What a command has started ends with it, and nobody else's processes are touched."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from parallelize_agent.process import tree
from parallelize_agent.process.read_only import apart


@pytest.fixture(autouse=True)
def _orphans() -> None:
    tree.adopt_orphans()


@pytest.fixture(autouse=True)
def strangers() -> Iterator[set[psutil.Process]]:
    """The children that this process had before, such as servers of other tests; they stay."""
    before = living_children()
    yield before
    for child in living_children() - before:
        child.kill()


def end(child: tree.Child, marker: str) -> int:
    """Do as a slot does once the command has ended."""
    with child:
        child.wait()
        tree.end_orphans(child.pid, marker)
        return child.reap()[0]


def started(folder: Path, script: str, marker: str) -> tree.Child:
    environ = {"PATH": os.environ["PATH"], "MARK": marker}
    with apart():
        return tree.spawn(("sh", "-c", script), folder, environ)


def living_children() -> set[psutil.Process]:
    children = psutil.Process().children()
    return {child for child in children if child.status() != psutil.STATUS_ZOMBIE}


def alive(pid_file: Path) -> bool:
    return Path("/proc", pid_file.read_text().strip()).exists()


@pytest.mark.parametrize("session", [False, True], ids=["our session", "a session of its own"])
def test_nobody_elses_exit_status_is_taken(tmp_path: Path, session: bool) -> None:
    others = [
        subprocess.Popen(["sh", "-c", f"exit {status}"], start_new_session=session)
        for status in range(1, 30)
    ]
    for other in others:
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert end(started(tmp_path, "exit 3", "MARK=a"), "MARK=a") == 3
    assert [other.wait() for other in others] == list(range(1, 30))


def test_commands_of_other_threads_keep_their_exit_status(tmp_path: Path) -> None:
    statuses: list[int] = []

    def run(number: int) -> None:
        for _ in range(5):
            marker = f"MARK=job-{number}"
            statuses.append(end(started(tmp_path, "setsid true & exit 7", marker), marker))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [7] * 30


@pytest.mark.parametrize(
    "script",
    [
        "sleep 1000 & echo $! > pid",
        "(sleep 1000 & echo $! > pid) & wait",
        "env -i sh -c 'echo $$ > pid; exec sleep 1000' & while [ ! -s pid ]; do :; done",
        "setsid sh -c 'echo $$ > pid; exec sleep 1000' & while [ ! -s pid ]; do :; done",
    ],
    ids=["child", "grandchild", "child without its marker", "daemon"],
)
def test_what_a_command_has_left_is_ended_and_reaped(tmp_path: Path, script: str) -> None:
    end(started(tmp_path, script, "MARK=left"), "MARK=left")
    assert not alive(tmp_path / "pid")


def test_the_daemon_of_another_job_lives_on(tmp_path: Path) -> None:
    script = "setsid sh -c 'echo $$ > pid; exec sleep 1000' & while [ ! -s pid ]; do :; done"
    one = started(tmp_path, script, "MARK=one")
    one.wait()
    end(started(tmp_path, "true", "MARK=two"), "MARK=two")
    assert alive(tmp_path / "pid")
    end(one, "MARK=one")
    assert not alive(tmp_path / "pid")


NOT_STARTED = """
import os, resource, sys
from pathlib import Path
from parallelize_agent.process import tree
from parallelize_agent.process.read_only import apart
free, with_stdin = int(sys.argv[1]), sys.argv[2] == "stdin"
with apart(), tree.spawn(("true",), Path("/"), {"PATH": "/usr/bin:/bin"}) as child:
    child.reap()  # what is opened once is open now
highest = max(map(int, os.listdir("/proc/self/fd")))
while (last := os.dup(0)) < highest:
    pass  # no number between those in use is free
resource.setrlimit(resource.RLIMIT_NOFILE, (last + 1 + free, last + 1 + free))
before = os.listdir("/proc/self/fd")
try:
    with apart():
        tree.spawn(("/no/such/program",), Path("/"), {}, with_stdin=with_stdin)
except OSError as error:
    print(error.errno, before == os.listdir("/proc/self/fd"))
"""


@pytest.mark.parametrize(("stdin", "needed"), [("stdin", 7), ("no stdin", 5)])
@pytest.mark.parametrize("free", range(1, 9))
def test_a_command_that_cannot_be_started_leaves_nothing(
    free: int, stdin: str, needed: int
) -> None:
    # In a process of its own: other tests open and close files in this one.
    words = [sys.executable, "-c", NOT_STARTED, str(free), stdin]
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True)
    refused = errno.EMFILE if free < needed else errno.ENOENT
    assert done.stdout.split() == [b"%d" % refused, b"True"]


HEIR = """
import os, sys
from pathlib import Path
from parallelize_agent.process import tree
from parallelize_agent.process.read_only import apart
tree.inherit_nothing()
with apart(), tree.spawn(("sh", "-c", "ls /proc/self/fd"), Path("/"), os.environ) as child:
    child.wait()
    print(os.read(child.stdout, 100).split())
    child.reap()
print(os.getcwd())
"""


def test_a_command_inherits_nothing_that_the_agent_was_given_but_its_streams(
    tmp_path: Path,
) -> None:
    with (tmp_path / "secret").open("wb") as secret:
        done = subprocess.run(
            [sys.executable, "-c", HEIR],
            pass_fds=[secret.fileno()],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
    files, folder = done.stdout.splitlines()
    assert files == "[b'0', b'1', b'2', b'3']", "the last is of the folder that ls reads"
    assert folder == str(tmp_path), "the agent stays where it was"


def test_a_program_is_looked_for_on_the_path_that_the_command_has(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "greet"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 7\n")
    program.chmod(0o755)
    with apart():
        assert end(tree.spawn(("greet",), tmp_path, {"PATH": "/no/such:bin"}), "MARK=a") == 7
    with pytest.raises(FileNotFoundError), apart():
        tree.spawn(("greet",), program.parent, {"PATH": "/usr/bin"})


RESTLESS = {
    "execs itself forever": '[ -s pid ] || echo $$ > pid; exec sh "$0"',
    "goes, and leaves its work to a child": """
        [ "$1" ] && exec sleep 1000
        echo $$ > pid; sh "$0" last &
    """,
}


@pytest.mark.parametrize("script", RESTLESS.values(), ids=RESTLESS)
def test_what_becomes_another_process_at_any_moment_is_ended_too(
    tmp_path: Path, strangers: set[psutil.Process], script: str
) -> None:
    # In the middle of an exec a process has no environment, and the child of one that goes just
    # now is not on the list yet: a look meets that once in 25 times, so a hundred looks do.
    (tmp_path / "restless").write_text(script)
    daemon = "rm -f pid; setsid sh restless >&- 2>&- & while [ ! -s pid ]; do :; done"
    for _ in range(100):
        end(started(tmp_path, daemon, "MARK=restless"), "MARK=restless")
        assert living_children() == strangers


def test_more_dead_than_a_page_holds_hide_none_that_lives(
    tmp_path: Path, strangers: set[psutil.Process]
) -> None:
    script = "for _ in $(seq 1000); do (setsid true &); done; setsid sleep 1000 >&- 2>&- &"
    end(started(tmp_path, script, "MARK=many"), "MARK=many")
    assert living_children() == strangers
