"""Starting commands, and ending them with all that they have started.

A command gets a session of its own, so one signal reaches its group. Processes that leave the
group are found as orphans: the agent asks the kernel to become the parent of orphans below it
(a "child subreaper"), and a marker in their environment says which job they belong to.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

_PR_SET_CHILD_SUBREAPER = 36
"""https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html"""

_PAUSE_SECONDS = 0.02

_spawning = threading.Lock()
_children: set[int] = set()
"""Commands that somebody waits for. An orphan is a child of ours that is not among them."""


class Child:
    """A command that was started and is not reaped yet; as a context it closes its pipes."""

    def __init__(self, started: subprocess.Popen[bytes]) -> None:
        self._started = started
        self.pid = started.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self._started.stdout, self._started.stderr):
            if pipe:
                pipe.close()

    @property
    def stdout(self) -> int:
        """The descriptor to read its stdout from."""
        return self._started.stdout.fileno() if self._started.stdout else -1

    @property
    def stderr(self) -> int:
        """The descriptor to read its stderr from."""
        return self._started.stderr.fileno() if self._started.stderr else -1

    def bury(self) -> tuple[int, float, int]:
        """Reap it, once it has ended; see `reap`."""
        _, status, usage = os.wait4(self.pid, 0)
        self._started.returncode = os.waitstatus_to_exitcode(status)
        return self._started.returncode, usage.ru_utime + usage.ru_stime, _own_peak(usage)


def adopt_orphans() -> None:
    """Make this process the parent of every orphan below it; raises OSError if refused."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel refuses to hand over orphans")


def spawn(argv: tuple[str, ...], folder: Path, environ: Mapping[str, str]) -> Child:
    """Start a command with its output in pipes; raises OSError if it cannot be started."""
    with _spawning:
        # No preexec_fn: it would make Python fork, which takes long in a large process.
        started = subprocess.Popen(
            argv,
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        _children.add(started.pid)
        return Child(started)


def reap(child: Child) -> tuple[int, float, int]:
    """Wait for a command; return its exit code, CPU seconds and largest resident set in bytes.

    The set is that of its largest process, and 0 if that cannot be told.
    """
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    # As one step: its number may belong to the next command as soon as it is reaped.
    with _spawning:
        buried = child.bury()
        _children.discard(child.pid)
    return buried


def _own_peak(usage: resource.struct_rusage) -> int:
    # A child begins with this process's memory and its peak; what is below that tells nothing.
    inherited = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage.ru_maxrss * 1024 if usage.ru_maxrss > inherited else 0


def signal_group(child: Child, number: signal.Signals) -> None:
    """Send a signal to a command that has not been reaped, and to its process group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def ended_within(child: Child, seconds: float) -> bool:
    """Whether a command ends within so many seconds; it is not reaped."""
    pidfd = os.pidfd_open(child.pid)
    try:
        return bool(select.select([pidfd], [], [], seconds)[0])
    finally:
        os.close(pidfd)


def end_orphans(marker: str, timeout_seconds: float = 5.0) -> None:
    """Kill and bury the processes that carry `marker` and have lost their parent."""
    deadline = time.monotonic() + timeout_seconds
    while orphans := list(_orphans(marker.encode())):
        for pid in orphans:
            _kill(pid)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(orphans)} processes of a job do not die")
        # The children of those that were killed become ours now: look again.
        time.sleep(_PAUSE_SECONDS)


def _orphans(marker: bytes) -> Iterator[int]:
    with _spawning:
        strangers = [pid for pid in _own_children() if pid not in _children]
        for pid in strangers:
            if _buried(pid):
                continue
            with suppress(OSError):
                if marker in Path(f"/proc/{pid}/environ").read_bytes():
                    yield pid


def _own_children() -> Iterator[int]:
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            yield from map(int, (task / "children").read_text(encoding="ascii").split())


def _buried(pid: int) -> bool:
    with suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return True


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
