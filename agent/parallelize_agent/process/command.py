"""One command: started in a session of its own, drained, limited, and ended with all its kin."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import psutil

from parallelize_agent.process import tree as process_tree
from parallelize_agent.process.capture import Capture, Tail
from parallelize_agent.process.cgroup import JobCgroup
from parallelize_agent.process.tree import Child
from parallelize_core.result import Usage

OUTPUT_LIMIT_BYTES = 16 * 1024 * 1024
"""How much of stdout, and of the log, is kept."""

_READ_BYTES = 64 * 1024
_MEMORY_SAMPLE_SECONDS = 0.5


class Ending(Enum):
    """How a command came to its end."""

    EXITED = "it exited by itself"
    TIMEOUT = "it ran for longer than it may"
    MEMORY = "it used more memory than it may"
    STOPPED = "it was stopped from outside"


@dataclass(frozen=True)
class Command:
    """What to run, and within which limits; times in seconds, memory in bytes.

    `marker` is in the environment of this command and of no other; processes that have left its
    session are found by it. With a cgroup, that does the limiting, measuring and killing, as far as
    the kernel lets it.
    """

    argv: tuple[str, ...]
    folder: Path
    environ: Mapping[str, str]
    marker: str
    timeout_seconds: float | None = None
    grace_seconds: float = 10
    memory_bytes: int | None = None
    cgroup: JobCgroup | None = None


@dataclass(frozen=True)
class Outcome:
    """What a command did; `exit_code` is negative for a signal.

    `stdout_lost` says why not all of stdout was kept; it is empty if it was.
    """

    ending: Ending
    exit_code: int
    usage: Usage
    stderr_tail: str
    stdout_lost: str


class Execution:
    """A command that can be run once, and stopped from any thread."""

    def __init__(self, command: Command, stdout: Path, log: Path) -> None:
        self._command = command
        self._stdout_path = stdout
        self._log_path = log
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._lock = threading.Lock()
        self._stopped = False
        self._closed = False

    def stop(self) -> None:
        """End the command, at its start if it has not begun; does nothing once it has ended."""
        with self._lock:
            if not self._stopped and not self._closed:
                os.write(self._waker, b"x")
            self._stopped = True

    def run(self) -> Outcome:
        """Run to the end. Raises OSError if it cannot be started."""
        try:
            with (
                Capture(self._stdout_path, OUTPUT_LIMIT_BYTES) as stdout,
                Capture(self._log_path, OUTPUT_LIMIT_BYTES) as log,
            ):
                return _Watch(self._command, stdout, log, self._wake).run()
        finally:
            with self._lock:
                self._closed = True
            os.close(self._wake)
            os.close(self._waker)


class _Watch:
    """One pass over a running command: its pipes, its end, its limits, and the wake-up pipe."""

    def __init__(self, command: Command, stdout: Capture, log: Capture, wake: int) -> None:
        self._command = command
        self._stdout = stdout
        self._log = log
        self._wake = wake
        self._stderr = Tail()
        self._peak = 0

    def run(self) -> Outcome:
        command = self._command
        started = time.monotonic()
        child = process_tree.spawn(command.argv, command.folder, command.environ)
        try:
            ending = self._follow(child, started)
        finally:
            # Whatever happened, nothing of the command may outlive it, and the log gets the rest.
            exit_code, cpu_seconds, peak = self._end(child)
        with child:
            self._drain(child)
        if command.cgroup and command.cgroup.out_of_memory:
            ending = Ending.MEMORY
        usage = Usage(
            seconds=round(time.monotonic() - started, 3),
            cpu_seconds=round(cpu_seconds, 3),
            peak_memory_bytes=max(peak, self._peak),
        )
        return Outcome(ending, exit_code, usage, self._stderr.text, self._stdout.lost)

    def _follow(self, child: Child, started: float) -> Ending:
        """Drain the command's output until it ends or has to."""
        pidfd = os.pidfd_open(child.pid)
        try:
            poll = select.poll()
            streams = self._streams(child)
            for descriptor in (pidfd, self._wake, *streams):
                poll.register(descriptor, select.POLLIN)
            while True:
                ready = {descriptor for descriptor, _ in poll.poll(self._pause(started))}
                # stdout first: what is said last, as a rule on stderr, is the end of the log then.
                for descriptor, keep in streams.items():
                    if descriptor in ready and not self._read(descriptor, keep):
                        poll.unregister(descriptor)
                if ending := self._ending(child, started, ready, pidfd):
                    return ending
        finally:
            os.close(pidfd)

    def _ending(self, child: Child, started: float, ready: set[int], pidfd: int) -> Ending | None:
        limit = self._command.timeout_seconds
        if pidfd in ready:
            return Ending.EXITED
        if self._wake in ready:
            return Ending.STOPPED
        if limit is not None and time.monotonic() - started >= limit:
            return Ending.TIMEOUT
        return Ending.MEMORY if self._over_memory(child) else None

    def _pause(self, started: float) -> float | None:
        """Return for how many milliseconds nothing but an event has to be looked at."""
        pauses = []
        if self._command.timeout_seconds is not None:
            pauses.append(started + self._command.timeout_seconds - time.monotonic())
        if self._watches_memory:
            pauses.append(_MEMORY_SAMPLE_SECONDS)
        return max(0.0, min(pauses)) * 1000 if pauses else None

    @property
    def _watches_memory(self) -> bool:
        cgroup = self._command.cgroup
        limited = cgroup is not None and cgroup.limits_memory
        return self._command.memory_bytes is not None and not limited

    def _over_memory(self, child: Child) -> bool:
        limit = self._command.memory_bytes
        if limit is None or not self._watches_memory:
            return False
        used = _resident_bytes(child.pid)
        self._peak = max(self._peak, used)
        return used > limit

    def _read(self, descriptor: int, keep: Callable[[bytes], None]) -> bool:
        """Take what a pipe has; answer whether there may be more."""
        data = os.read(descriptor, _READ_BYTES)
        keep(data)
        self._log.write(data)
        return bool(data)

    def _streams(self, child: Child) -> dict[int, Callable[[bytes], None]]:
        return {child.stdout: self._stdout.write, child.stderr: self._stderr.write}

    def _drain(self, child: Child) -> None:
        """Take what is left in the pipes; nobody writes to them any more."""
        for descriptor, keep in self._streams(child).items():
            os.set_blocking(descriptor, False)
            with suppress(BlockingIOError):
                while self._read(descriptor, keep):
                    pass

    def _end(self, child: Child) -> tuple[int, float, int]:
        """End the command and all that it has started, gently where there is time, and reap it."""
        command, cgroup = self._command, self._command.cgroup
        if not process_tree.ended_within(child, 0):
            process_tree.signal_group(child, signal.SIGTERM)
            process_tree.ended_within(child, command.grace_seconds)
        process_tree.signal_group(child, signal.SIGKILL)
        if cgroup:
            cgroup.kill()
        exit_code, cpu_seconds, peak = process_tree.reap(child)
        process_tree.end_orphans(command.marker)
        if cgroup:
            return exit_code, cgroup.cpu_seconds, cgroup.peak_memory_bytes or peak
        return exit_code, cpu_seconds, peak


def _resident_bytes(pid: int) -> int:
    """Return the memory of a process and its descendants; those that end meanwhile count 0."""
    try:
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return 0
    return sum(_resident(process) for process in family)


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
