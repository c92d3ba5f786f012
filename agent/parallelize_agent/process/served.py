"""A warm command: one process that does job after job, so that what it loads is loaded once.

It receives a line of JSON on stdin for each job, and answers on stdout: the names of outputs, one
per line, and then one line of JSON that says {"job": NUMBER, "done": true} or {"job": NUMBER,
"failed": CODE}. The number is the request's, so that a second answer to one job is not taken for
one to the next. What the process prints between two answers belongs to the later job's log. It may
print {"ready": true} before its first job, whose time limit then starts at that moment.

A process that fails affects only the job that it is working on: it is ended, and another is started
for the next job.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from parallelize_agent.process import tree as process_tree
from parallelize_agent.process.capture import MAX_LINE_BYTES, Capture, Lines
from parallelize_agent.process.command import (
    READ_BYTES,
    Command,
    Ending,
    Execution,
    Outcome,
    Watch,
)
from parallelize_agent.process.tree import Child

END_SECONDS = 2.0
"""How long a process without a job may take to end once its stdin is closed."""

START_SECONDS = 600.0
"""The extra time of a process's first job, until it says that it is ready."""

UNKNOWN_CODE = 1
"""The exit code of a failure that is reported without a valid one."""


@dataclass(frozen=True)
class Answer:
    """A process's answer to a job: its exit code. `job` is None if it says that it is ready."""

    job: int | None
    code: int = 0


class Answers:
    """Separates the answers on a process's stdout from everything else that it prints."""

    def __init__(self) -> None:
        self._rest = b""
        self._too_long = False

    def split(self, data: bytes) -> tuple[bytes, Answer | None]:
        """Return the lines before the first answer in `data` and earlier input, and the answer.

        What follows it is kept. So is a line that is not complete yet, unless it is too
        long for an answer.
        """
        kept: list[bytes] = []
        *lines, self._rest = (self._rest + data).split(b"\n")
        for place, line in enumerate(lines):
            answer = None if self._too_long else _read_answer(line)
            self._too_long = False
            if answer:
                if kept[-1:] == [b"\n"]:  # it only begins the answer's line
                    kept.pop()
                self._rest = b"\n".join([*lines[place + 1 :], self._rest])
                return b"".join(kept), answer
            kept.append(line + b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            kept.append(self.take_rest())
            self._too_long = True
        return b"".join(kept), None

    def keep(self, data: bytes) -> None:
        """Keep what follows an answer."""
        self._rest += data

    def take_rest(self) -> bytes:
        """Return the incomplete line."""
        rest, self._rest = self._rest, b""
        return rest


def _read_answer(line: bytes) -> Answer | None:
    if not line.startswith(b"{"):
        return None
    with suppress(ValueError, RecursionError):
        match json.loads(line):
            case {"ready": True}:
                return Answer(None)
            case {"job": int(job), "done": True}:
                return Answer(job)
            case {"job": int(job), "failed": code}:
                known = isinstance(code, int) and 0 < code < 256
                return Answer(job, code if known else UNKNOWN_CODE)
    return None


@dataclass(frozen=True)
class Request:
    """A job as a process receives it: the number for its answer, and the line."""

    number: int
    line: bytes

    @classmethod
    def of(cls, number: int, **fields: object) -> Self:
        """Create the line for a job."""
        return cls(number, json.dumps({"job": number, **fields}).encode() + b"\n")


class ServedProcess:
    """A process that is started with a command, and its output so far; for one thread at a time.

    Raises OSError if it cannot be started.
    """

    def __init__(self, command: Command) -> None:
        self.command = command
        self.answers = Answers()
        self.ready = False
        self.turns = 0
        self.ended = False
        """Whether it was killed and reaped."""
        self._used = 0.0
        self.child = command.start(with_stdin=True)

    def is_sound(self) -> bool:
        """Whether it can take a job; what it printed without one stays for the job's log."""
        if self.ended or self.child.ends_within(0):
            return False
        os.set_blocking(self.child.stdout, False)
        with suppress(BlockingIOError):
            self.answers.keep(os.read(self.child.stdout, READ_BYTES))
        return True

    @property
    def occupied_bytes(self) -> int:
        """The memory that it occupies now, without its descendants'."""
        return _status_bytes(self.child.pid, "VmRSS:")

    @property
    def peak_bytes(self) -> int:
        """The most memory that it has ever occupied."""
        cgroup = self.command.cgroup
        seen = _status_bytes(self.child.pid, "VmHWM:")
        return cgroup.peak_of(seen) if cgroup else seen

    def cpu_seconds(self) -> float:
        """Return the CPU time used since the last call."""
        cgroup = self.command.cgroup
        used = cgroup.cpu_seconds if cgroup else self.child.cpu_seconds()
        before, self._used = self._used, max(used, self._used)
        return self._used - before

    def stand_still(self) -> None:
        """Suspend it until `go_on`, while the agent examines its files."""
        self.child.signal_group(signal.SIGSTOP)

    def go_on(self) -> None:
        """Resume it."""
        self.child.signal_group(signal.SIGCONT)

    def end(self, seconds: float = END_SECONDS) -> None:
        """Close its stdin, so that it ends by itself, and kill it if it does not in time."""
        if self.ended:
            return
        self.go_on()
        self.child.close_stdin()
        self.child.ends_within(seconds)
        self.kill()

    def kill(self) -> int:
        """Kill it and everything that it has started; return its exit code."""
        self.ended = True
        with self.child:
            self.child.signal_group(signal.SIGKILL)
            if self.command.cgroup:
                self.command.cgroup.kill()
            try:
                self.child.wait()
                process_tree.end_orphans(self.child.pid, self.command.marker)
            finally:
                code, _, _ = self.child.reap()
        return code


class Turn(Execution):
    """One job's turn at a process: an execution that starts nothing, and ends with the answer.

    `command` has the limits of this job. Stopping it ends the process.
    """

    def __init__(
        self,
        process: ServedProcess,
        command: Command,
        request: Request,
        stdout: Path | str,
        log: Path | str,
    ) -> None:
        super().__init__(command, stdout, log)
        self._process = process
        self._request = request

    def _follow(self, stdout: Lines, log: Capture) -> Outcome:
        self._watched = watch = _TurnWatch(self._command, stdout, log, self._wake)
        return watch.serve(self._process, self._request)


class _TurnWatch(Watch):
    """Watches a process from a request to its answer."""

    _process: ServedProcess
    _request: Request
    _unsent: bytes
    _answer: Answer | None = None

    def serve(self, process: ServedProcess, request: Request) -> Outcome:
        """Send the request, and follow the process until it has answered or ended."""
        self._process, self._request, self._unsent = process, request, request.line
        child = process.child
        self._started = time.monotonic()
        process.cpu_seconds()
        process.go_on()
        self._watch(child)
        self._streams[child.stdout] = self._take_stdout
        self._take_stdout(b"")
        os.set_blocking(child.stdin, False)
        self._poll.register(child.stdin, select.POLLOUT)
        ending = self._follow(child)
        if ending is not Ending.ANSWERED:
            return self._ended(child, ending)
        self._take_the_rest()
        process.turns += 1
        assert self._answer  # noqa: S101 - see _ending
        return self._outcome(Ending.EXITED, self._answer.code, process.peak_bytes)

    def _ended(self, child: Child, ending: Ending) -> Outcome:
        """End a process that has not answered, and return the outcome."""
        process, cgroup = self._process, self._command.cgroup
        if ending is not Ending.EXITED:
            self._end_gently(child)
        self._take_the_rest()
        if self._answer and self._answer.job == self._request.number:
            # It has answered and ended; the turn must not fail for that.
            return self._outcome(Ending.EXITED, self._answer.code, process.peak_bytes)
        rest = process.answers.take_rest()
        self._stdout.write(rest)
        self._log.write(rest)
        if cgroup and cgroup.out_of_memory:
            ending = Ending.MEMORY
        peak = process.peak_bytes
        outcome = self._outcome(ending, 0, peak)
        code = process.kill()
        if ending is Ending.EXITED and code == 0:
            ending = Ending.UNANSWERED
        return replace(outcome, ending=ending, exit_code=code)

    def _outcome(self, ending: Ending, code: int, peak: int) -> Outcome:
        usage = self._usage(self._process.cpu_seconds(), peak)
        return Outcome(ending, code, usage, self._stderr.text)

    @property
    def _limit_seconds(self) -> float | None:
        limit = super()._limit_seconds
        starts = not (self._process.ready or self._process.turns)
        return limit + START_SECONDS if limit is not None and starts else limit

    def _take_stdout(self, data: bytes) -> None:
        if self._answer:
            self._process.answers.keep(data)
            return
        words, answer = self._process.answers.split(data)
        self._stdout.write(words)
        self._log.write(words)
        if answer is None:
            return
        if answer.job is None:
            self._process.ready, self._started = True, time.monotonic()
        elif not 0 < answer.job < self._request.number:
            self._answer = answer
        self._take_stdout(b"")

    def _read(self, descriptor: int) -> int:
        if descriptor != self._process.child.stdout:
            return super()._read(descriptor)
        data = os.read(descriptor, READ_BYTES)
        self._take_stdout(data)
        return len(data)

    def _ending(self, child: Child, ready: Collection[int]) -> Ending | None:
        if self._answer:
            return (
                Ending.ANSWERED if self._answer.job == self._request.number else Ending.UNANSWERED
            )
        ending = super()._ending(child, ready)
        if ending is None and child.stdin in ready and not self._send(child):
            return Ending.UNANSWERED
        return ending

    def _send(self, child: Child) -> bool:
        """Write as much of the request as the process takes; return whether it reads at all."""
        try:
            self._unsent = self._unsent[os.write(child.stdin, self._unsent) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            self._poll.unregister(child.stdin)
            # It is about to end, and its end tells more.
            return child.ends_within(END_SECONDS)
        if not self._unsent:
            self._poll.unregister(child.stdin)
        return True


def _status_bytes(pid: int, field: str) -> int:
    """Return a size from proc_pid_status(5); 0 if the process has ended."""
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    return 0
