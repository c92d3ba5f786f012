"""Making a job's fate come true: the last stage, after which the message is gone or somebody's.

What the stages before have decided is brought about here, in the order of `commit`. If that is
not possible, there is a second verdict: a clash of outputs is the job's own failure, a bucket
that cannot be reached is not, and a lost lease means that nothing is to be shown at all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import structlog

from parallelize_agent.job.commit import AlreadyFinishedError, ClashError, Commit
from parallelize_agent.job.job import FINISHED, LOST, SUCCEEDED, Fate, Job, Verdict, failed
from parallelize_agent.job.outputs import OutputError, find_outputs
from parallelize_agent.job.verdicts import SERVICE_ERRORS, blame_service, handed_back
from parallelize_agent.queue.leases import Lease, LeaseLostError
from parallelize_agent.workplace import Machine, Services
from parallelize_core.clock import utc_now
from parallelize_core.config import AgentConfig
from parallelize_core.dead_letter import DeadLetter
from parallelize_core.job import JobMessage
from parallelize_core.queue import MAX_DELAY_SECONDS
from parallelize_core.result import Attempt, Cause, Output, Result, Usage
from parallelize_core.run import Run

log = structlog.get_logger()

STDERR_TAIL_CHARACTERS = 2000


def bury(services: Services, worker: str, lease: Lease, reason: str) -> None:
    """Put a message on the dead-letter queue, with the reason."""
    letter = DeadLetter(reason=reason, worker=worker, body=lease.message.body)
    services.dead_letters.send([letter.encode()])


def refuse(services: Services, worker: str, lease: Lease, reason: str) -> None:
    """Take a message that is no job off the queue, to where somebody can look at it."""
    try:
        bury(services, worker, lease, reason)
        services.acknowledger.acknowledge(lease)
    except SERVICE_ERRORS as error:
        log.warning("message left to its lease", error=str(error))
        services.keeper.release(lease)


class Settler:
    """Settles jobs; raises nothing that is a job's own fault, or the network's."""

    def __init__(self, config: AgentConfig, services: Services, machine: Machine) -> None:
        self._config = config
        self._layout = config.layout
        self._services = services
        self._machine = machine

    def settle(self, job: Job) -> Verdict:
        """Make the job's fate come true, clean up after it, and return what it was."""
        try:
            self._reclaim(job)
            return self._settle(job)
        finally:
            if job.folder:
                self._machine.scratch.remove(job.folder)

    def _reclaim(self, job: Job) -> None:
        if job.folder:
            self._machine.scratch.reclaim(job.folder)

    def _settle(self, job: Job) -> Verdict:
        verdict = job.verdict or handed_back(self._config, "it was given up before its command ran")
        settled = verdict
        try:
            settled = self._bring_about(job, verdict)
        except LeaseLostError:
            job.overrule(LOST)
        except AlreadyFinishedError:
            job.overrule(FINISHED)
        except OutputError as error:
            # Another try would run the command again, and find the other's output there again.
            final = isinstance(error, ClashError)
            job.overrule(failed(Cause.OUTPUT, str(error), final=final))
        except SERVICE_ERRORS as error:
            job.overrule(blame_service(self._config, error))
        if job.verdict in {None, verdict}:
            return settled
        return self._settle_otherwise(job)

    def _settle_otherwise(self, job: Job) -> Verdict:
        """Bring about the second verdict; if that fails too, the lease runs out by itself."""
        verdict = job.verdict or LOST
        try:
            return self._bring_about(job, verdict)
        except (*SERVICE_ERRORS, LeaseLostError, AlreadyFinishedError) as error:
            log.warning("job left to its lease", key=job.key, error=str(error))
            self._services.keeper.release(job.lease)
        return verdict

    def _bring_about(self, job: Job, verdict: Verdict) -> Verdict:
        """Do what the verdict says; return it, as a final one if the job has failed for good."""
        match verdict.fate:
            case Fate.SUCCEEDED:
                self._succeed(job)
            case Fate.FAILED if self._is_final(job, verdict):
                self._give_up(job, verdict)
                return replace(verdict, final=True)
            case Fate.FAILED:
                self._try_again(job, verdict)
            case Fate.FINISHED:
                self._acknowledge(job)
            case Fate.PARKED:
                self._replace(job, job.message.parked(), MAX_DELAY_SECONDS)
            case Fate.LOST:
                self._services.keeper.release(job.lease)
        return verdict

    def _succeed(self, job: Job) -> None:
        assert job.run  # noqa: S101 - a command ran
        assert job.folder  # noqa: S101
        commit = self._commit(job, job.run)
        self._check_stdout(job)
        folder = job.folder
        found = find_outputs(folder.stdout, folder.scratch, job.environment, folder.own_places)
        if not found.files and job.run.limits.require_output:
            raise OutputError("exit 0, but stdout names no file (run.require_output is set)")
        try:
            outputs = commit.put_outputs(found.files)
            commit.put_result(self._result(job, commit, SUCCEEDED, outputs))
        except LeaseLostError:
            self._own_up(job, commit)
            raise
        self._acknowledge(job)

    def _own_up(self, job: Job, commit: Commit) -> None:
        """Have the job done again if a write of ours came so late that it has spoiled a result."""
        if commit.in_doubt():
            log.warning("outputs replaced without a lease; job sent again", key=job.key)
            self._services.queue.send([job.message.encode()])

    def _check_stdout(self, job: Job) -> None:
        if job.folder and not job.folder.stdout.exists():
            raise OutputError(
                "what it printed is gone, and with it the names of its outputs: "
                "the command has deleted files beside its scratch folder"
            )
        if job.outcome and job.outcome.stdout_lost:
            raise OutputError(
                f"not all of stdout was kept, so a line that names an output may be lost: "
                f"{job.outcome.stdout_lost}; print file names there, and the rest on stderr"
            )

    def _is_final(self, job: Job, verdict: Verdict) -> bool:
        if verdict.final or not (verdict.cause and verdict.cause.charged):
            return verdict.final
        run = job.run or self._services.run.current()
        return job.message.attempt >= run.limits.max_attempts

    def _give_up(self, job: Job, verdict: Verdict) -> None:
        commit = self._commit(job, job.run or self._services.run.current())
        commit.put_result(self._result(job, commit, verdict))
        bury(self._services, self._machine.worker, job.lease, verdict.message)
        self._acknowledge(job)

    def _try_again(self, job: Job, verdict: Verdict) -> None:
        charged = verdict.cause is not None and verdict.cause.charged
        try:
            self._record(job, verdict)
        except SERVICE_ERRORS as error:
            # A failure that is the job's own must not be forgotten; others can do without.
            if charged:
                raise
            log.warning("attempt not recorded", key=job.key, error=str(error))
        again = job.message.next_attempt(alone=verdict.cause is Cause.MEMORY)
        self._replace(job, again if charged else job.message, verdict.delay_seconds)

    def _record(self, job: Job, verdict: Verdict) -> None:
        if verdict.cause is Cause.INTERRUPTED and job.outcome is None:
            return  # it never began
        commit = self._commit(job, job.run or self._services.run.current())
        commit.put_attempt(Attempt(**self._account(job, commit, verdict)))

    def _replace(self, job: Job, message: JobMessage, delay_seconds: int) -> None:
        """Send a fresh message, then delete the old: a job is never without one.

        Fresh, because SQS counts receives and ages by message, and neither is the job's fault.
        """
        job.lease.check()
        self._services.queue.send([message.encode()], delay_seconds)
        self._acknowledge(job)

    def _acknowledge(self, job: Job) -> None:
        if job.lease.claim:
            self._services.claims.drop(job.lease.claim)
        self._services.acknowledger.acknowledge(job.lease)

    def _commit(self, job: Job, run: Run) -> Commit:
        outputs = self._services.open_store(run.output.bucket)
        return Commit(run, self._layout, self._services.records, outputs, job.key, job.lease.check)

    def _result(
        self, job: Job, commit: Commit, verdict: Verdict, outputs: tuple[Output, ...] = ()
    ) -> Result:
        return Result(
            **self._account(job, commit, verdict),
            status="succeeded" if verdict.fate is Fate.SUCCEEDED else "failed",
            outputs=outputs,
            input_size=job.message.size,
            input_etag=job.message.etag,
        )

    def _account(self, job: Job, commit: Commit, verdict: Verdict) -> dict[str, Any]:
        """Return what an attempt's record and a result have in common."""
        outcome = job.outcome
        text, log_key = self._store_log(job, commit)
        environment = commit.run.environment
        return {
            "run": self._layout.run,
            "key": job.key,
            "attempt": job.message.attempt,
            "worker": self._machine.worker,
            "started_at": job.started_at,
            "finished_at": utc_now(),
            "cause": verdict.cause,
            "message": verdict.message,
            "exit_code": outcome.exit_code if outcome else None,
            "usage": outcome.usage if outcome else Usage(),
            "stderr_tail": outcome.stderr_tail[-STDERR_TAIL_CHARACTERS:] if outcome else "",
            "log": text,
            "log_key": log_key,
            "environment": environment.identity if environment else "",
            "hourly_usd": self._machine.hourly_usd,
        }

    def _store_log(self, job: Job, commit: Commit) -> tuple[str, str | None]:
        if job.folder is None or not job.folder.log.exists():
            return "", None
        record = self._layout.attempt(
            job.key, job.message.attempt, self._machine.worker, job.started_at
        )
        return commit.put_log(record.removesuffix(".json") + ".log", job.folder.log)
