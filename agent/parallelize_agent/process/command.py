"""One command: started in its own session, drained, limited, ended with all its descendants."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from parallelize_agent.memory.usage import resident_bytes
from parallelize_agent.process import tree as process_tree
from parallelize_agent.process.capture import Capture, Kept, Lines, Tail
from parallelize_agent.process.cgroup import JobCgroup
from parallelize_agent.process.read_only import ReadOnlyFolder, apart
from parallelize_agent.process.tree import Child
from parallelize_agent.process.world import COMMANDS, Start, World
from parallelize_core.result import Usage

LOG_LIMIT_BYTES = 16 * 1024 * 1024
"""How much of the log is kept from its beginning."""

READ_BYTES = 64 * 1024
_FIRST_LOOK_MILLISECONDS = 10
"""When to look at a command's output first; until then, its pipes hold 64 KB of it."""

_MEMORY_SAMPLE_SECONDS = 0.5
_SETTLED_SHARE = 0.9
"""A command that has reached this share of its peak counts as having reached it."""


class Ending(Enum):
    """How a command ended."""

    EXITED = "it exited by itself"
    TIMEOUT = "it ran for longer than it may"
    MEMORY = "it used more memory than it may"
    STOPPED = "it was stopped from outside"
    ANSWERED = "it has answered, and goes on with the next job"
    UNANSWERED = "it ended, or went on, without an answer to this job"


@dataclass(frozen=True)
class Command:
    """What to run, and within which limits; times in seconds, memory in bytes.

    `marker` is in the environment of this command only; it identifies processes that have left
    its session. With a cgroup, that does the limiting, measuring and killing, as far as the
    kernel allows. `read_only` is a folder that it must not write to, whatever user it runs as.
    Without a `world` it runs as the agent does.
    """

    argv: tuple[str, ...]
    folder: Path | str
    environ: Mapping[str, str]
    marker: str
    timeout_seconds: float | None = None
    grace_seconds: float = 10
    memory_bytes: int | None = None
    cgroup: JobCgroup | None = None
    read_only: ReadOnlyFolder | None = None
    world: World | None = None

    def start(self, *, with_stdin: bool = False) -> Child:
        """Start it. Raises OSError or ValueError if that fails."""
        cgroup, read_only = self.cgroup, self.read_only
        if self.world:
            entries = cgroup.entries if cgroup else ()
            namespace = read_only.namespace() if read_only else None
            start = Start(self.argv, self.folder, self.environ, self.world, entries, namespace)
            return COMMANDS.start(start, with_stdin=with_stdin)
        words = (*cgroup.prefix, *self.argv) if cgroup else self.argv
        with read_only.enforced() if read_only else apart():
            return process_tree.spawn(words, self.folder, self.environ, with_stdin=with_stdin)


@dataclass(frozen=True)
class Outcome:
    """What a command did; `exit_code` is negative for a signal.

    `stdout` has the lines of its stdout that could be paths, `log` everything that it printed,
    within limits. `stdout_lost` says why some of those lines are missing; empty if none is.
    """

    ending: Ending
    exit_code: int
    usage: Usage
    stderr_tail: str
    stdout_lost: str = ""
    stdout: Kept = b""
    log: Kept = b""


class Execution:
    """A command that can be run once, and stopped from any thread.

    `stdout` and `log` are the files for output too large for memory; see Outcome.
    """

    def __init__(self, command: Command, stdout: Path | str, log: Path | str) -> None:
        self._command = command
        self._stdout_path = stdout
        self._log_path = log
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()
        self._closed = False
        self._watched: Watch | None = None

    @property
    def peak_bytes(self) -> int:
        """The most memory that the command was seen to use at once so far."""
        return self._watched.peak if self._watched else 0

    def stop(self) -> None:
        """End the command, or prevent its start; does nothing once it has ended."""
        with self._lock:
            if not self._closed:
                os.eventfd_write(self._wake, 1)

    def run(self) -> Outcome:
        """Run to the end. Raises OSError if it cannot be started."""
        try:
            with (
                Lines(self._stdout_path) as stdout,
                Capture(self._log_path, LOG_LIMIT_BYTES) as log,
            ):
                outcome = self._follow(stdout, log)
            # Only now: the last line is kept at the very end.
            return replace(outcome, stdout_lost=stdout.lost, stdout=stdout.content, log=log.content)
        finally:
            with self._lock:
                self._closed = True
                os.close(self._wake)

    def _follow(self, stdout: Lines, log: Capture) -> Outcome:
        self._watched = watch = Watch(self._command, stdout, log, self._wake)
        return watch.run()


class Watch:
    """One pass over a running command: its pipes, its end, its limits, and the wake-up pipe."""

    def __init__(self, command: Command, stdout: Lines, log: Capture, wake: int) -> None:
        self._command = command
        self._stdout = stdout
        self._log = log
        self._wake = wake
        self._stderr = Tail()
        self.peak = 0
        self._grew: list[tuple[float, int]] = []
        """When it was seen to use more memory than before, in seconds since its start."""
        self._sampled = 0.0
        self._used = 0
        self._started = 0.0
        self._poll = select.poll()
        self._streams: dict[int, Callable[[bytes], None]] = {}

    def run(self) -> Outcome:
        """Start the command, and follow it to its end."""
        command = self._command
        self._started = time.monotonic()
        with command.start() as child:
            try:
                self._watch(child)
                ending = self._follow(child)
                if ending is not Ending.EXITED:
                    self._end_gently(child)
            finally:
                # Whatever happened, nothing of the command may outlive it.
                exit_code, cpu_seconds, peak = self._end(child)
            self._take_the_rest()
        if command.cgroup and command.cgroup.out_of_memory:
            ending = Ending.MEMORY
        return Outcome(ending, exit_code, self._usage(cpu_seconds, peak), self._stderr.text)

    def _usage(self, cpu_seconds: float, peak: int) -> Usage:
        seconds = time.monotonic() - self._started
        peak = max(peak, self.peak)
        enough = (at for at, size in self._grew if size >= _SETTLED_SHARE * peak)
        return Usage(
            seconds=round(seconds, 3),
            cpu_seconds=round(cpu_seconds, 3),
            peak_memory_bytes=peak,
            peak_after_seconds=round(next(enough, seconds), 3),
        )

    def _watch(self, child: Child) -> None:
        for descriptor in (child.pidfd, self._wake):
            self._poll.register(descriptor, select.POLLIN)
        # A short command ends meanwhile: then one look is enough, instead of one for each pipe.
        self._poll.poll(_FIRST_LOOK_MILLISECONDS)
        # stdout first: the last words are usually on stderr, and then end the log.
        self._streams = {child.stdout: self._stdout.write, child.stderr: self._stderr.write}
        for descriptor in self._streams:
            self._poll.register(descriptor, select.POLLIN)

    def _follow(self, child: Child) -> Ending:
        """Drain the command's output until it ends, or must be ended."""
        while True:
            ready = self._wait_and_drain(self._pause_seconds())
            if ending := self._ending(child, ready):
                return ending

    def _wait_and_drain(self, seconds: float | None) -> Collection[int]:
        """Wait for an event, drain the pipes, and return the events."""
        events = self._poll.poll(None if seconds is None else max(0.0, seconds) * 1000)
        ready = dict(events)
        for descriptor in [stream for stream in self._streams if stream in ready]:
            # A pipe without POLLIN is empty, and nobody can write to it any more.
            if not (ready[descriptor] & select.POLLIN and self._read(descriptor)):
                self._poll.unregister(descriptor)
                del self._streams[descriptor]
        return ready.keys()

    def _ending(self, child: Child, ready: Collection[int]) -> Ending | None:
        limit = self._limit_seconds
        if child.pidfd in ready:
            return Ending.EXITED
        if self._wake in ready:
            return Ending.STOPPED
        if limit is not None and time.monotonic() - self._started >= limit:
            return Ending.TIMEOUT
        self._sample(child)
        return Ending.MEMORY if self._over_memory() else None

    def _pause_seconds(self) -> float:
        """Return how long to wait at most for an event."""
        if (limit := self._limit_seconds) is None:
            return _MEMORY_SAMPLE_SECONDS
        return min(_MEMORY_SAMPLE_SECONDS, self._started + limit - time.monotonic())

    @property
    def _limit_seconds(self) -> float | None:
        return self._command.timeout_seconds

    def _sample(self, child: Child) -> None:
        """Sample its memory now and then, without the files that it reads."""
        now = time.monotonic()
        if now - max(self._sampled, self._started) < _MEMORY_SAMPLE_SECONDS:
            return
        self._sampled = now
        cgroup = self._command.cgroup
        known = cgroup.occupied_bytes if cgroup else None
        self._used = resident_bytes(child.pid) if known is None else known
        if self._used > self.peak:
            self.peak = self._used
            self._grew.append((now - self._started, self._used))

    def _over_memory(self) -> bool:
        """Whether it exceeds its memory limit, if the kernel does not enforce that."""
        limit, cgroup = self._command.memory_bytes, self._command.cgroup
        limited = cgroup is not None and cgroup.limits_memory
        return limit is not None and not limited and self._used > limit

    def _read(self, descriptor: int) -> int:
        """Drain a pipe; return how many bytes it had, 0 at its end."""
        data = os.read(descriptor, READ_BYTES)
        self._streams[descriptor](data)
        self._log.write(data)
        return len(data)

    def _end_gently(self, child: Child) -> None:
        """Ask a running command to end, and drain its output until its grace period is over."""
        if child.ends_within(0):
            return
        child.signal_group(signal.SIGTERM)
        deadline = time.monotonic() + self._command.grace_seconds
        self._poll.unregister(self._wake)
        while (left := deadline - time.monotonic()) > 0:
            if child.pidfd in self._wait_and_drain(left):
                return

    def _end(self, child: Child) -> tuple[int, float, int]:
        """End everything that is left of the command, and reap it; see `Child.reap`."""
        command, cgroup = self._command, self._command.cgroup
        child.signal_group(signal.SIGKILL)
        if cgroup:
            cgroup.kill()
        try:
            child.wait()
            process_tree.end_orphans(child.pid, command.marker)
        finally:
            exit_code, cpu_seconds, peak = child.reap()
        if cgroup:
            return exit_code, cgroup.cpu_seconds, cgroup.peak_of(max(peak, self.peak))
        return exit_code, cpu_seconds, peak

    def _take_the_rest(self) -> None:
        """Drain what is left in open pipes, without waiting for processes that still hold one."""
        for descriptor in self._streams:
            os.set_blocking(descriptor, False)
            left = fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ)
            with suppress(BlockingIOError):
                while left > 0 and (taken := self._read(descriptor)):
                    left -= taken
