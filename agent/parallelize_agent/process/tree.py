"""Starts commands, and ends them with everything that they have started.

A command gets its own session, so one signal reaches its group. Processes that leave the group are
found as orphans: the agent asks the kernel to become the parent of orphans below it
(a "child subreaper"), and a marker in their environment says which job they belong to.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import select
import shutil
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from io import FileIO
from pathlib import Path
from typing import IO, Self

_PR_SET_CHILD_SUBREAPER = 36
"""https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html"""

_STDERR = 2

_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
"""As `subprocess` does with `restore_signals`."""

_PAUSE_SECONDS = 0.02

_IN_BETWEEN_SECONDS = 1.0
"""During microseconds of an exec or exit, a process has no memory; a disk may be slow."""

_IN_BETWEEN_PAUSE_SECONDS = 0.0001

_END_OF_CODE, _START_OF_ENV, _END_OF_ENV = 24, 47, 48
"""Indexes of addresses in what `_stat` returns; an exec sets the first one last."""

_LIST_BYTES = 64 * 1024
"""More than the kernel returns at once, which is a page: some 700 process ids."""

_SHORT_LIST_BYTES = 4000
"""After less than a page, nothing follows: one more process id would have fitted."""

_ABANDONED_SECONDS = 10
"""Code that waits for a child of its own has taken its exit status long before."""

_commands: dict[int, Child] = {}
"""Commands that somebody waits for, by process id."""

own_programs: set[int] = set()
"""Children that are neither commands nor orphans."""

_zombies: dict[int, float] = {}
"""Dead children that may be orphans, and since when they are known (monotonic seconds)."""


class Child:
    """A command that was started and not reaped yet; as a context manager it closes its pipes."""

    def __init__(
        self, pid: int, stdout: IO[bytes], stderr: IO[bytes], stdin: IO[bytes] | None
    ) -> None:
        self._pipes = [pipe for pipe in (stdout, stderr, stdin) if pipe]
        self._stdin = stdin
        self.stdin = stdin.fileno() if stdin else -1
        """The write end of its stdin; -1 if it has none."""
        self.pid = pid
        self.stdout = stdout.fileno()
        self.stderr = stderr.fileno()
        self.pidfd = os.pidfd_open(pid)
        """It becomes readable once the command has ended."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.pidfd)
        for pipe in self._pipes:
            pipe.close()

    def close_stdin(self) -> None:
        """Close its stdin."""
        if self._stdin:
            self._stdin.close()
            self.stdin = -1

    def cpu_seconds(self) -> float:
        """Return its CPU time and that of its children that have ended: proc_pid_stat(5)."""
        try:
            text = Path(f"/proc/{self.pid}/stat").read_bytes()
        except OSError:
            return 0.0
        ticks = sum(map(int, text.rpartition(b")")[2].split()[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def wait(self) -> None:
        """Wait for its end; it is not reaped yet."""
        os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOWAIT)

    def ends_within(self, seconds: float) -> bool:
        """Wait for its end; return whether it came in time."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the process group of a command that has not been reaped."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def reap(self) -> tuple[int, float, int]:
        """Wait for it; return its exit code, CPU seconds and largest resident set in bytes.

        The set is that of its largest process, and 0 if unknown.
        """
        _, status, usage = os.wait4(self.pid, 0)
        # Its process id may belong to the next command by now.
        if _commands.get(self.pid) is self:
            del _commands[self.pid]
        return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, _own_peak(usage)


def adopt_orphans() -> None:
    """Make this process the parent of every orphan below it; raises OSError if refused."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel refuses to hand over orphans")


def spawn(
    argv: tuple[str, ...],
    folder: Path | str,
    environ: Mapping[str, str],
    *,
    with_stdin: bool = False,
) -> Child:
    """Start a command with its output in pipes; raises OSError if it cannot be started.

    Call this in `read_only.apart`: it changes the working directory. Descriptors that can be
    inherited are.
    """
    pipes: list[int] = []
    try:
        for _ in range(3 if with_stdin else 2):
            pipes += os.pipe()
        stdout, their_stdout, stderr, their_stderr = pipes[:4]
        theirs = (pipes[4] if with_stdin else _nothing(), their_stdout, their_stderr)
        os.chdir(folder)
        # subprocess.Popen takes twice as long.
        pid = os.posix_spawn(
            _path_of(argv[0], environ),
            argv,
            environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, one, number) for number, one in enumerate(theirs)],
            setsid=True,
            setsigdef=_IGNORED_BY_PYTHON,
        )
    except BaseException:
        for descriptor in pipes:
            os.close(descriptor)
        raise
    for descriptor in theirs if with_stdin else theirs[1:]:
        os.close(descriptor)
    stdin = FileIO(pipes[5], "wb") if with_stdin else None
    return follow(pid, FileIO(stdout), FileIO(stderr), stdin)


def _path_of(program: str, environ: Mapping[str, str]) -> str:
    if "/" in program:
        return program
    if found := shutil.which(program, path=environ.get("PATH", os.defpath)):
        return found
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), program)


def inherit_nothing() -> None:
    """Let commands have none of the files that this process was started with, but its streams."""
    for descriptor in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208
        if descriptor > _STDERR:
            with suppress(OSError):  # that of the listing itself is closed by now
                os.set_inheritable(descriptor, False)  # noqa: FBT003


@cache
def _nothing() -> int:
    """Return a descriptor of /dev/null that stays open."""
    return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


def follow(pid: int, stdout: IO[bytes], stderr: IO[bytes], stdin: IO[bytes] | None = None) -> Child:
    """Treat a child of this process as a command; if that fails, end it and raise OSError."""
    try:
        child = _commands[pid] = Child(pid, stdout, stderr, stdin)
    except OSError:  # no descriptor is free for it
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    return child


def _own_peak(usage: resource.struct_rusage) -> int:
    # A child begins with this process's memory and its peak; lower values mean nothing.
    inherited = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage.ru_maxrss * 1024 if usage.ru_maxrss > inherited else 0


def end_orphans(session: int, marker: str, timeout_seconds: float = 5.0) -> None:
    """Kill and reap a job's orphans: those in its command's session, or with its marker.

    Call this when the command has ended and is not reaped: until then no other session has its
    id. Raises TimeoutError if a process does not die.
    """
    deadline = time.monotonic() + timeout_seconds
    pause = 0.0005
    killed: set[int] = set()
    while left := _left_of(session, marker, killed):
        for pid in left:
            _kill(pid)
        killed.update(left)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(left)} processes of a job do not die")
        # The children of those that were killed become ours now: look again.
        time.sleep(pause)
        pause = min(2 * pause, _PAUSE_SECONDS)


def _left_of(session: int, marker: str, killed: set[int]) -> list[int]:
    """Return the live orphans of a job; dead ones are reaped."""
    while True:
        candidates = _orphan_candidates()
        left = [pid for pid in candidates if _is_left(pid, session, marker, killed)]
        # One that died just now has handed us children that are not candidates yet: look again.
        if left or _orphan_candidates() <= candidates:
            return left


def _orphan_candidates() -> set[int]:
    """Return the children of this process's main thread that are not commands.

    The kernel gives orphans to it, and the children of other threads are in lists of their own.
    """
    children = set(map(int, _list_of_children().split()))
    for pid in _zombies.keys() - children:
        _zombies.pop(pid, None)
    return children - _commands.keys() - own_programs if children else children


def _list_of_children() -> bytes:
    descriptor, text = _children_file(os.getpid()), b""
    while len(more := os.pread(descriptor, _LIST_BYTES, len(text))) > _SHORT_LIST_BYTES:
        text += more
    return text + more


@cache
def _children_file(leader: int) -> int:
    """Return a descriptor that stays open: opening this file takes longer than all else here."""
    return os.open(f"/proc/self/task/{leader}/children", os.O_RDONLY | os.O_CLOEXEC)


def _is_left(pid: int, session: int, marker: str, killed: set[int]) -> bool:
    """Whether a process is a live orphan of the job; a dead one is reaped."""
    try:
        state, its_session = _state(pid)
        if state == "Z":
            _reap_orphan(pid, its_session, certain=its_session == session or pid in killed)
            return False
        if its_session == session or pid in killed:
            return True
        return marker.encode() in _environ(pid)
    except OSError:
        return False  # it has gone meanwhile, or it is another user's and the cgroup's to end


def _state(pid: int) -> tuple[str, int]:
    """Return a process's state and session."""
    fields = _stat(pid)
    return fields[0].decode(), int(fields[3])


def _environ(pid: int) -> bytes:
    """Return a process's environment, empty if dead; wait while it is in an exec or an exit.

    A process that exits frees its memory first and passes its children to us last.
    """
    deadline = time.monotonic() + _IN_BETWEEN_SECONDS
    while not (environ := _environ_now(pid)) and _is_in_between(_stat(pid)):
        if time.monotonic() > deadline:
            break
        time.sleep(_IN_BETWEEN_PAUSE_SECONDS)
    return environ


def _environ_now(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except ProcessLookupError:  # it has no memory any more, but may not be dead yet
        return b""


def _is_in_between(stat: list[bytes]) -> bool:
    """Whether a process that showed no environment may show one, or be dead, in a moment."""
    has_begun = stat[_END_OF_CODE] != b"0"
    return stat[0] != b"Z" and not (has_begun and stat[_START_OF_ENV] == stat[_END_OF_ENV])


def _stat(pid: int) -> list[bytes]:
    """Return the kernel's fields on a process, from its state on: proc_pid_stat(5)."""
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()


def _reap_orphan(pid: int, its_session: int, *, certain: bool) -> None:
    """Reap a dead child, unless other code may be about to take its exit status.

    A daemon that died by itself had its own session, which only a job's processes have;
    even so, code that waits for it gets time to do so.
    """
    if not certain:
        age = time.monotonic() - _zombies.setdefault(pid, time.monotonic())
        if its_session == os.getsid(0) or age < _ABANDONED_SECONDS:
            return
    _zombies.pop(pid, None)
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
