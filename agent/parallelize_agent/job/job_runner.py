"""The first stages of a job: fetching what it needs, and running its command.

    received ── stage_in ──> staged ── execute ──> ran ── settle ──> settled

Each stage runs in a pool of its own. A stage that decides the job's fate says so with
`Job.decide`; the stages after it leave the job alone, and `settlement` makes its fate come true.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import structlog

from parallelize_agent.job.commit import Commit
from parallelize_agent.job.job import FINISHED, PARKED, SUCCEEDED, Job, Verdict, failed, put_off
from parallelize_agent.job.preparation import PASSED_ON, command_line
from parallelize_agent.job.scratch import PRIVATE
from parallelize_agent.job.verdicts import SERVICE_ERRORS, blame_service, handed_back, no_room
from parallelize_agent.machine import host
from parallelize_agent.process import isolation as sandbox
from parallelize_agent.process.cgroup import JobCgroup
from parallelize_agent.process.command import Command, Ending, Execution, Outcome
from parallelize_agent.workplace import Machine, Services
from parallelize_core.config import AgentConfig
from parallelize_core.errors import ChangedError, MissingError
from parallelize_core.result import Cause
from parallelize_core.run import Run

log = structlog.get_logger()

_COMMAND_ERRNOS = {errno.ENOEXEC, errno.ENOENT, errno.EACCES, errno.E2BIG, errno.ENOTDIR}
"""A start that fails so would fail anywhere; with any other error, the host is at fault."""


class JobRunner:
    """Takes jobs through their stages. Its methods raise nothing that is a job's own fault."""

    def __init__(
        self,
        config: AgentConfig,
        services: Services,
        machine: Machine,
    ) -> None:
        self._config = config
        self._layout = config.layout
        self._services = services
        self._machine = machine
        # While there is no job, so it is all that a job can have.
        self._room = host.free_bytes(machine.work_dir) - config.disk_reserve_bytes

    def stage_in(self, job: Job, others: int) -> None:
        """Fetch what the job needs; `others` is the number of other jobs in hand.

        Raises UsageError if the run itself cannot be worked on.
        """
        try:
            if verdict := self._early_verdict(job, others):
                job.decide(verdict)
                return
            job.run = self._services.run.current()
            job.environment = self._machine.environments.folder(job.run)
            job.folder = self._machine.scratch.make(job.key)
            self._fetch_input(job, job.run, job.folder.input)
            self._machine.scratch.furnish(job.folder, job.environment)
        except SERVICE_ERRORS as error:
            full = isinstance(error, OSError) and error.errno == errno.ENOSPC and others
            verdict = no_room(self._config, str(error)) if full else None
            job.decide(verdict or blame_service(self._config, error))

    def _early_verdict(self, job: Job, others: int) -> Verdict | None:
        # The claim before the result: its owner drops it when the result is written, so a claim
        # that is gone by now has its result, and hours of work are not done again.
        if job.message.claimed and self._services.claims.held(job.key):
            return PARKED
        if self._is_finished(job):
            return FINISHED
        if job.lease.message.receives > self._config.max_receives:
            return failed(
                Cause.INFRASTRUCTURE,
                f"{self._config.max_receives} workers took it and never answered: they died or "
                "lost touch with it in their hands; perhaps it needs more memory than they have",
                final=True,
            )
        return self._disk_verdict(job.message.size, others)

    def _is_finished(self, job: Job) -> bool:
        records = self._services.records
        if records.head(self._layout.result(job.key)) is None:
            return False
        run = self._services.run.current()
        outputs = self._services.open_store(run.output.bucket)
        return Commit(run, self._layout, records, outputs, job.key, job.lease.check).finished()

    def _disk_verdict(self, size: int, others: int) -> Verdict | None:
        free = host.free_bytes(self._machine.work_dir) - self._config.disk_reserve_bytes
        if size <= free:
            return None
        why = f"it has {size:,} bytes, and the worker's disk has room for {max(0, free):,}"
        if size > self._room:
            return failed(Cause.INPUT, f"{why}; give workers.disk more")
        return no_room(self._config, why) if others else handed_back(self._config, why)

    def _fetch_input(self, job: Job, run: Run, path: Path) -> None:
        store = self._services.open_store(run.input.bucket)
        try:
            size = store.get_file(run.input.key(job.key), path, job.message.etag)
        except (MissingError, ChangedError) as error:
            job.decide(failed(Cause.INPUT, f"{error.what}; parallelize prep lists it anew"))
            return
        if size != job.message.size:
            job.decide(failed(Cause.INPUT, f"it has {size} bytes, not {job.message.size}"))

    def execute(self, job: Job, slot: int) -> None:
        """Run the command in a slot, and judge how it ended."""
        if job.verdict or job.run is None or job.folder is None:
            return
        cgroup = None
        try:
            if self._machine.cgroups:
                cgroup = self._machine.cgroups.create(_memory_limit(job, job.run))
            command = self._command(job, job.run, slot, cgroup)
            outcome = job.execute(Execution(command, job.folder.stdout, job.folder.log))
            job.decide(self._judge(outcome, job.run))
        except OSError as error:
            job.decide(self._not_run(error, job.run))
        finally:
            if cgroup:
                cgroup.remove()

    def _command(self, job: Job, run: Run, slot: int, cgroup: JobCgroup | None) -> Command:
        assert job.folder  # noqa: S101 - made by stage_in, or there would be a verdict
        scratch = job.folder.scratch
        seclusion = sandbox.job_prefix(job.folder.user, job.folder.tmp)
        prefix = (*(cgroup.prefix if cgroup else ()), *seclusion)
        return Command(
            argv=(*prefix, *command_line(run.command, job.environment), str(job.folder.input)),
            folder=scratch,
            environ=self._environ(job, run, slot),
            marker=f"PARALLELIZE_SCRATCH={scratch}",
            timeout_seconds=run.limits.timeout_seconds,
            grace_seconds=run.limits.grace_seconds,
            memory_bytes=_memory_limit(job, run),
            cgroup=cgroup,
            read_only=self._machine.environments.read_only if job.environment else None,
        )

    def _environ(self, job: Job, run: Run, slot: int) -> dict[str, str]:
        assert job.folder  # noqa: S101 - see _command
        environ = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        environ |= {
            "HOME": str(job.folder.scratch / PRIVATE),
            "TMPDIR": str(job.folder.tmp),
            "PARALLELIZE_RUN": run.name,
            "PARALLELIZE_INPUT": str(job.folder.input),
            "PARALLELIZE_INPUT_KEY": job.key,
            "PARALLELIZE_ATTEMPT": str(job.message.attempt),
            "PARALLELIZE_SLOT": str(slot),
            "PARALLELIZE_SLOTS": str(self._machine.slots),
            "PARALLELIZE_SCRATCH": str(job.folder.scratch),
            "PARALLELIZE_ENVIRONMENT": str(job.environment or ""),
        }
        if run.limits.gpus:
            environ["CUDA_VISIBLE_DEVICES"] = host.gpus_of_slot(slot, run.limits.gpus)
        return environ

    def _judge(self, outcome: Outcome, run: Run) -> Verdict:
        match outcome.ending, outcome.exit_code:
            case Ending.TIMEOUT, _:
                return failed(Cause.TIMEOUT, f"it ran over {run.limits.timeout_seconds:g} s")
            case Ending.MEMORY, _:
                return failed(Cause.MEMORY, "it ran out of memory")
            case Ending.STOPPED, _:
                return handed_back(self._config, "it was stopped")
            case _, code:
                return self._judge_exit(code)

    def _judge_exit(self, code: int) -> Verdict:
        match code:
            case os.EX_OK:
                return SUCCEEDED
            case os.EX_TEMPFAIL:
                why = f"the command asked for another try later (exit {code})"
                return put_off(why, self._config.later_seconds, blameless=True)
            case os.EX_DATAERR:
                why = f"the command says that its input is bad (exit {code})"
                return failed(Cause.COMMAND, why, final=True)
            case _:
                return failed(Cause.COMMAND, f"signal {-code}" if code < 0 else f"exit {code}")

    def _not_run(self, error: OSError, run: Run) -> Verdict:
        if error.errno in _COMMAND_ERRNOS:
            return failed(
                Cause.COMMAND, f"{run.command[0]} cannot be started: {error.strerror}", final=True
            )
        return blame_service(self._config, error)


def _memory_limit(job: Job, run: Run) -> int | None:
    # What is alone on the worker may use all of it: one job's share was not enough.
    return None if job.message.alone else run.limits.memory_bytes
