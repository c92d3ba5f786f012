"""Notifying people by a command of the run's environment: with a job's user and isolation.

The command has everything that a job has, and no more: a scratch folder with the environment, its
own folder for temporary files, no credentials. Its last argument is a file with the notification.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parallelize_agent.job import dependencies
from parallelize_agent.job.preparation import command_line, passed_on
from parallelize_agent.job.scratch import PRIVATE, JobFolder, ScratchSpace
from parallelize_agent.process import isolation
from parallelize_agent.process.cgroup import JobCgroup, JobCgroups
from parallelize_agent.process.command import Command, Ending, Execution
from parallelize_agent.process.read_only import ReadOnlyFolder
from parallelize_core.errors import ServiceError
from parallelize_core.run import Run

FILE = "notification.json"
TIMEOUT_SECONDS = 30.0
GRACE_SECONDS = 2.0


class CommandRunner:
    """Runs a command of the environment, found in `environments`, as a job would be."""

    def __init__(
        self, scratch: ScratchSpace, environments: ReadOnlyFolder, cgroups: JobCgroups | None
    ) -> None:
        self._scratch = scratch
        self._environments = environments
        self._cgroups = cgroups

    def __call__(
        self, words: tuple[str, ...], run: Run, environment: Path | None, body: Mapping[str, Any]
    ) -> None:
        """Run it and wait for its end; raise ServiceError if it fails."""
        job = self._scratch.reserve(FILE)
        self._scratch.make(job)
        try:
            Path(job.input).write_text(json.dumps(body), encoding="utf-8")
            self._scratch.furnish(job, environment)
            self._run(job, words, run, environment)
        finally:
            self._scratch.reclaim(job)
            self._scratch.remove(job)

    def _run(
        self, job: JobFolder, words: tuple[str, ...], run: Run, environment: Path | None
    ) -> None:
        cgroup = self._cgroups.create() if self._cgroups else None
        try:
            command = self._command(job, words, run, environment, cgroup)
            outcome = Execution(command, job.stdout, job.log).run()
        except OSError as error:
            raise ServiceError(
                "the command of run.notify cannot be started", error.strerror or str(error)
            ) from None
        finally:
            if cgroup:
                cgroup.remove()
        if outcome.ending is Ending.TIMEOUT:
            raise ServiceError(f"the command of run.notify took longer than {TIMEOUT_SECONDS:g} s")
        if outcome.exit_code:
            raise ServiceError(f"the command of run.notify ended with exit {outcome.exit_code}")

    def _command(
        self,
        job: JobFolder,
        words: tuple[str, ...],
        run: Run,
        environment: Path | None,
        cgroup: JobCgroup | None,
    ) -> Command:
        environ = passed_on(None) | {
            "HOME": str(job.scratch / PRIVATE),
            "TMPDIR": str(job.tmp),
            "PARALLELIZE_RUN": run.name,
            "PARALLELIZE_SCRATCH": str(job.scratch),
            "PARALLELIZE_ENVIRONMENT": str(environment or ""),
        }
        path = environ.get("PATH", os.defpath)
        environ |= dependencies.variables(run.dependencies, environment, path)
        return Command(
            argv=(*command_line(words, environment), str(job.input)),
            folder=job.scratch,
            environ=environ,
            marker=f"PARALLELIZE_SCRATCH={job.scratch}",
            timeout_seconds=TIMEOUT_SECONDS,
            grace_seconds=GRACE_SECONDS,
            cgroup=cgroup,
            read_only=self._environments if environment else None,
            world=isolation.world_of(job.user, job.tmp, None),
        )
