"""The warm commands of a worker: at most one process per slot, started when needed.

A process has its own scratch folder, its home: its working directory, with the environment's
entries. Each job also has a fresh scratch folder, which belongs to the process's user. While the
agent examines what a job has left there, the process is suspended.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from parallelize_agent.job.job import Staged, memory_limit
from parallelize_agent.job.scratch import JobFolder, ScratchSpace
from parallelize_agent.process.cgroup import JobCgroups
from parallelize_agent.process.command import Command
from parallelize_agent.process.served import Request, ServedProcess, Turn

log = structlog.get_logger()

MakeCommand = Callable[[JobFolder], Command]


@dataclass
class _Warm:
    """A process, its home, and what it was started for."""

    process: ServedProcess
    home: JobFolder
    kind: tuple[object, ...]
    first_bytes: int = 0
    """The memory that it occupied after its first job."""


class Serving:
    """The processes of the slots. Only one thread at a time uses each slot."""

    def __init__(self, scratch: ScratchSpace, cgroups: JobCgroups | None) -> None:
        self._scratch = scratch
        self._cgroups = cgroups
        self._warm: dict[int, _Warm] = {}
        self._numbers = itertools.count(1)
        self._closed = False

    def home(self, slot: int, staged: Staged, command: MakeCommand) -> JobFolder:
        """Return the home of a slot's process; starts one if there is none that fits.

        Raises OSError if it cannot be started.
        """
        run = staged.run
        # A job that may use more memory gets a new process with that limit.
        kind = (
            run.command, staged.environment, staged.container, run.limits, memory_limit(staged),
        )  # fmt: skip
        warm = self._warm.get(slot)
        if warm and (warm.kind != kind or not warm.process.is_sound()):
            self.end(slot)
            warm = None
        if warm is None:
            warm = self._warm[slot] = self._start(staged.environment, command, kind)
        return warm.home

    def turn(self, slot: int, staged: Staged, command: Command, fields: dict[str, object]) -> Turn:
        """Return a job's turn at a slot's process; `fields` are what the process is told of it."""
        process = self._warm[slot].process
        request = Request.of(next(self._numbers), **fields)
        limits = replace(command, cgroup=process.command.cgroup)
        at = staged.folder.at
        return Turn(process, limits, request, at.stdout, at.log)

    def after(self, slot: int, staged: Staged) -> None:
        """Suspend a process, or end it if it has died, or has done or used enough."""
        warm, serve = self._warm[slot], staged.run.serve
        assert serve  # noqa: S101 - else there is no process
        process = warm.process
        if self._closed or process.ended or process.turns >= serve.jobs:
            self.end(slot)
            return
        occupied = process.occupied_bytes
        warm.first_bytes = warm.first_bytes or occupied
        if occupied > warm.first_bytes + serve.growth_bytes:
            log.info("a warm command is renewed", grown_bytes=occupied - warm.first_bytes)
            self.end(slot)
        else:
            process.stand_still()

    def end(self, slot: int) -> None:
        """End a slot's process, if it has one, and remove what belongs to it."""
        warm = self._warm.pop(slot, None)
        if warm is None:
            return
        warm.process.end()
        if warm.process.command.cgroup:
            with suppress(TimeoutError):
                warm.process.command.cgroup.remove()
        self._scratch.reclaim(warm.home)
        self._scratch.remove(warm.home)

    def close(self) -> list[int]:
        """Keep no process beyond its current job; return the slots that have one now."""
        self._closed = True
        return [*self._warm]

    def _start(
        self,
        environment: Path | None,
        command: MakeCommand,
        kind: tuple[object, ...],
    ) -> _Warm:
        home = self._scratch.reserve("serve")
        self._scratch.make(home)
        self._scratch.furnish(home, environment)
        made = command(home)
        cgroup = self._cgroups.create(made.memory_bytes) if self._cgroups else None
        try:
            return _Warm(ServedProcess(replace(made, cgroup=cgroup)), home, kind)
        except BaseException:
            if cgroup:
                cgroup.remove()
            self._scratch.reclaim(home)
            self._scratch.remove(home)
            raise
