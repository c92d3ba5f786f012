"""An environment's set-up: once per worker, before the first job, with a job's rights.

It has at most two steps: packages are installed, then the run's own command is started. Each runs
in the environment's folder, which it owns meanwhile, with the user, the cgroup and the temporary
folder of a job. Every job sees what it leaves in the environment; nothing else of it remains.
"""

from __future__ import annotations

import itertools
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from parallelize_agent.job.scratch import PRIVATE, JobFolder, ScratchSpace
from parallelize_agent.process import isolation as sandbox
from parallelize_agent.process.capture import Kept
from parallelize_agent.process.cgroup import JobCgroups
from parallelize_agent.process.command import Command, Ending, Execution, Outcome
from parallelize_agent.process.isolation import Container, Shared
from parallelize_core.errors import ServiceError, SetupError
from parallelize_core.store import Store

log = structlog.get_logger()

PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ")
"""All that a command inherits of the agent's environment: nothing that leads to credentials."""

REASON_CHARACTERS = 300
_LAST_LINES = 20

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ERROR = re.compile(
    r"\s*(\xd7|E:|\w*(error|exception)(\s\[\w+\])?:|fatal:|Error in )", re.IGNORECASE
)
"""How uv, pip, apt, git, R, Python's tracebacks and others begin the line that matters."""

_FRAME = re.compile("^\\s*[\xd7\u2570\u251c\u2502\u2500\u25b6 ]+")
"""The characters with which uv draws a tree of causes."""

Keep = Callable[[str, Kept], None]
"""Keeps what a step has printed: a name for it, and the file."""


def store_printed(store: Store, key: str, printed: Kept) -> None:
    """Store what a step has printed, if possible; call this in a thread."""
    try:
        if isinstance(printed, bytes):
            store.put(key, printed)
        else:
            with printed.open("rb") as file:
                store.put_file(key, file)
    except Exception as error:
        log.warning("output of the set-up not kept", error=str(error) or repr(error))


@dataclass(frozen=True)
class Step:
    """A command that makes an environment ready; errors call it `title`.

    `environ` are variables in addition to a job's, `log` distinguishes its log from others.
    """

    title: str
    command: tuple[str, ...]
    timeout_seconds: float
    environ: Mapping[str, str] = field(default_factory=dict)
    log: str = ""


class Preparer:
    """Runs set-ups, one after the other. A failure is final: nothing is retried here."""

    def __init__(self, scratch: ScratchSpace, cgroups: JobCgroups | None, keep: Keep) -> None:
        self._scratch = scratch
        self._cgroups = cgroups
        self._keep = keep
        self._lock = threading.Lock()
        self._ended = False
        self._execution: Execution | None = None

    def prepare(
        self, place: Path, folder: Path, step: Step, container: Container | None = None
    ) -> None:
        """Run a step in `folder`, which is `place`, the environment, or inside it.

        Raises SetupError if it fails, ServiceError if `stop` ended it.
        """
        job = self._scratch.reserve("setup")
        self._scratch.make(job)
        self._scratch.furnish(job, None)
        log.info("set-up begins", step=step.title)
        sandbox.give(place, job.user)
        try:
            outcome = self._run(job, place, folder, step, container)
            self._keep(f"{place.name}.{step.log}" if step.log else place.name, outcome.log)
            words = reason(outcome.log)
        finally:
            sandbox.take_back(place, job.user)
            self._scratch.reclaim(job)
            self._scratch.remove(job)
        self._judge(outcome, step, words)

    def stop(self) -> None:
        """Stop a set-up that runs, and start no other."""
        with self._lock:
            self._ended = True
            if self._execution:
                self._execution.stop()

    def _run(
        self, job: JobFolder, place: Path, folder: Path, step: Step, container: Container | None
    ) -> Outcome:
        shared = Shared(writable=(place, job.scratch))
        apart = sandbox.prefix(job.user, job.tmp, container, shared)
        cgroup = self._cgroups.create() if self._cgroups else None
        command = _command(job, folder, step, apart, passed_on(container))
        world = sandbox.world_of(job.user, job.tmp, container)
        command = replace(command, cgroup=cgroup, world=world)
        execution = Execution(command, job.stdout, job.log)
        with self._lock:
            self._execution = execution
            if self._ended:
                execution.stop()
        try:
            return execution.run()
        except OSError as error:
            raise _failed(step, f"it cannot be started: {error.strerror or error}", "") from None
        finally:
            with self._lock:
                self._execution = None
            if cgroup:
                cgroup.remove()

    def _judge(self, outcome: Outcome, step: Step, words: str) -> None:
        if outcome.ending is Ending.STOPPED:
            raise ServiceError("the environment's set-up was stopped: the worker leaves")
        if outcome.ending is not Ending.EXITED or outcome.exit_code:
            self.stop()
            raise _failed(step, _how(outcome, step), words)
        log.info("set-up succeeded", step=step.title, seconds=outcome.usage.seconds)


def reason(log: Kept) -> str:
    """Return why a set-up failed, from what it printed; unprintable characters are escaped.

    It is the last line, unless one of the last few says that it is an error: then it is that one,
    with the indented lines below that continue it; of many, the first and the last.
    """
    content = log if isinstance(log, bytes) else log.read_bytes()
    tail = _COLOUR.sub("", content[-4096:].decode("utf-8", errors="replace"))
    lines = [line.rstrip() for line in tail.splitlines() if line.strip()][-_LAST_LINES:]
    errors = [number for number, line in enumerate(lines) if _ERROR.match(line)]
    if not errors:
        return lines[-1].strip()[-REASON_CHARACTERS:] if lines else ""
    begun = errors[-1]
    goes_on = itertools.takewhile(lambda line: line.startswith((" ", "\t")), lines[begun + 1 :])
    block = [_FRAME.sub("", line).strip() for line in (lines[begun], *goes_on)]
    whole = " ".join(block)
    return whole if len(whole) <= REASON_CHARACTERS else f"{block[0][:200]} ... {block[-1][:100]}"


def passed_on(container: Container | None) -> dict[str, str]:
    """Return what a command inherits of the agent's environment; an image brings its own."""
    if container:
        return {}
    found = ((name, os.environ.get(name)) for name in PASSED_ON)
    return {name: value for name, value in found if value is not None}


def _command(
    job: JobFolder, folder: Path, step: Step, apart: tuple[str, ...], environ: dict[str, str]
) -> Command:
    environ |= {
        "HOME": str(job.scratch / PRIVATE),
        "TMPDIR": str(job.tmp),
        "PARALLELIZE_SCRATCH": str(job.scratch),
        "PARALLELIZE_ENVIRONMENT": str(folder),
        **step.environ,
    }
    return Command(
        argv=(*apart, *command_line(step.command, folder)),
        folder=folder,
        environ=environ,
        marker=f"PARALLELIZE_SCRATCH={job.scratch}",
        timeout_seconds=step.timeout_seconds,
    )


def command_line(command: tuple[str, ...], folder: Path | None) -> tuple[str, ...]:
    """Return the words that start the command; a program of the environment comes first."""
    program, *arguments = command or ("",)
    if not program:
        return ()
    if folder and "/" not in program and (folder / program).is_file():
        return (f"./{program}", *arguments)
    return command


def _how(outcome: Outcome, step: Step) -> str:
    if outcome.ending is Ending.TIMEOUT:
        return f"it ran longer than {step.timeout_seconds:g} s"
    if outcome.ending is Ending.MEMORY:
        return "it ran out of memory"
    code = outcome.exit_code
    return f"signal {-code}" if code < 0 else f"exit {code}"


def _failed(step: Step, how: str, words: str) -> SetupError:
    return SetupError(
        f"{step.title} failed: {how}",
        words or "it printed nothing",
        "parallelize logs --setup",
    )
