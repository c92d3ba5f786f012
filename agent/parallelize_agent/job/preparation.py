"""An environment's set-up: once on each worker, before the first job, and as a job would run it.

The command is started in the environment's folder, which is its own for as long as it runs, with
the user, the cgroup and the temporary folder of a job. What it leaves in the environment, every
job sees; nothing else of it stays.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from parallelize_agent.job.scratch import PRIVATE, JobFolder, ScratchSpace
from parallelize_agent.process import isolation as sandbox
from parallelize_agent.process.capture import Kept
from parallelize_agent.process.cgroup import JobCgroup, JobCgroups
from parallelize_agent.process.command import Command, Ending, Execution, Outcome
from parallelize_core.errors import ServiceError, SetupError
from parallelize_core.run import Setup

log = structlog.get_logger()

PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ")
"""All that a command gets of the agent's own environment: nothing that leads to credentials."""

LAST_WORDS_CHARACTERS = 300

Keep = Callable[[str, Kept], None]
"""Keeps what a set-up has printed: the name of the environment, and the file."""


class Preparer:
    """Runs set-ups, one after the other. A failure is final: there is no second try here."""

    def __init__(self, scratch: ScratchSpace, cgroups: JobCgroups | None, keep: Keep) -> None:
        self._scratch = scratch
        self._cgroups = cgroups
        self._keep = keep
        self._lock = threading.Lock()
        self._ended = False
        self._execution: Execution | None = None

    def prepare(self, place: Path, folder: Path, setup: Setup) -> None:
        """Run a set-up in `folder`, which is `place`, the environment, or inside of it.

        Raises SetupError if it fails, ServiceError if `stop` has ended it.
        """
        job = self._scratch.reserve("setup")
        self._scratch.make(job)
        self._scratch.furnish(job, None)
        log.info("set-up begins", command=setup.command)
        sandbox.give(place, job.user)
        try:
            outcome = self._run(job, folder, setup)
            self._keep(place.name, outcome.log)
            words = last_words(outcome.log)
        finally:
            sandbox.take_back(place, job.user)
            self._scratch.reclaim(job)
            self._scratch.remove(job)
        self._judge(outcome, setup, words)

    def stop(self) -> None:
        """End the set-up that runs, and begin no other."""
        with self._lock:
            self._ended = True
            if self._execution:
                self._execution.stop()

    def _run(self, job: JobFolder, folder: Path, setup: Setup) -> Outcome:
        cgroup = self._cgroups.create() if self._cgroups else None
        execution = Execution(_command(job, folder, setup, cgroup), job.stdout, job.log)
        with self._lock:
            self._execution = execution
            if self._ended:
                execution.stop()
        try:
            return execution.run()
        except OSError as error:
            raise _failed(setup, f"it cannot be started: {error.strerror}", "") from None
        finally:
            with self._lock:
                self._execution = None
            if cgroup:
                cgroup.remove()

    def _judge(self, outcome: Outcome, setup: Setup, words: str) -> None:
        if outcome.ending is Ending.STOPPED:
            raise ServiceError("the environment's set-up was stopped: the worker leaves")
        if outcome.ending is not Ending.EXITED or outcome.exit_code:
            self.stop()
            raise _failed(setup, _how(outcome, setup), words)
        log.info("environment set up", seconds=outcome.usage.seconds)


def last_words(log: Kept) -> str:
    """Return the last line that is not empty; what cannot be printed is escaped."""
    content = log if isinstance(log, bytes) else log.read_bytes()
    tail = content[-4096:].decode("utf-8", errors="replace")
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    return lines[-1][-LAST_WORDS_CHARACTERS:] if lines else ""


def _command(job: JobFolder, folder: Path, setup: Setup, cgroup: JobCgroup | None) -> Command:
    environ = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environ |= {
        "HOME": str(job.scratch / PRIVATE),
        "TMPDIR": str(job.tmp),
        "PARALLELIZE_SCRATCH": str(job.scratch),
        "PARALLELIZE_ENVIRONMENT": str(folder),
    }
    prefix = (*(cgroup.prefix if cgroup else ()), *sandbox.job_prefix(job.user, job.tmp))
    return Command(
        argv=(*prefix, *command_line(setup.command, folder)),
        folder=folder,
        environ=environ,
        marker=f"PARALLELIZE_SCRATCH={job.scratch}",
        timeout_seconds=setup.timeout_seconds,
        cgroup=cgroup,
    )


def command_line(command: tuple[str, ...], folder: Path | None) -> tuple[str, ...]:
    """Return the words to start the command with; a program of the environment comes first."""
    program, *arguments = command
    if folder and "/" not in program and (folder / program).is_file():
        return (f"./{program}", *arguments)
    return command


def _how(outcome: Outcome, setup: Setup) -> str:
    if outcome.ending is Ending.TIMEOUT:
        return f"it ran longer than {setup.timeout_seconds:g} s"
    if outcome.ending is Ending.MEMORY:
        return "it ran out of memory"
    code = outcome.exit_code
    return f"signal {-code}" if code < 0 else f"exit {code}"


def _failed(setup: Setup, how: str, words: str) -> SetupError:
    return SetupError(
        f"the set-up {setup.command[0]} has failed: {how}",
        words or "it printed nothing",
        "parallelize logs --setup",
    )
