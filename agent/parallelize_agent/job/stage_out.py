"""The last stage: a decision is carried out; then the message is deleted or somebody else's.

If it cannot be carried out, there is a second decision: a clash of outputs is the job's own
failure, a service's error is not, and a lost lease means that nothing may be shown at all.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import structlog

from parallelize_agent.job import fault
from parallelize_agent.job.checkpoints import Checkpoints
from parallelize_agent.job.commit import (
    AlreadyFinishedError,
    ClashError,
    CollisionError,
    Commit,
    File,
    unfiled,
)
from parallelize_agent.job.job import (
    FINISHED,
    LOST,
    SUCCEEDED,
    Decision,
    DecisionKind,
    Ran,
    Received,
)
from parallelize_agent.job.judge import Judge
from parallelize_agent.job.merge import Merge
from parallelize_agent.job.output_files import OutputError
from parallelize_agent.job.outputs import Outputs
from parallelize_agent.job.run_source import RunSource
from parallelize_agent.queue.leases import LeaseLostError
from parallelize_agent.queue.messages import Messages
from parallelize_core.clock import utc_now
from parallelize_core.config import AgentConfig
from parallelize_core.content_key import content_key
from parallelize_core.errors import ServiceError
from parallelize_core.files import output_folder
from parallelize_core.queue import MAX_DELAY_SECONDS
from parallelize_core.result import Attempt, Cause, Output, Result, Usage
from parallelize_core.run import Run
from parallelize_core.store import AsyncStore

log = structlog.get_logger()

STDERR_TAIL_CHARACTERS = 2000


@dataclass(frozen=True)
class StageOut:
    """Stores what jobs leave, and releases their messages; `worker` is this worker's id.

    `now` returns the time as ISO 8601 in UTC.
    """

    config: AgentConfig
    worker: str
    open_store: Callable[[str], AsyncStore]
    run: RunSource
    judge: Judge
    messages: Messages
    at_once: asyncio.Semaphore
    """How many jobs may send their files at once."""
    hourly_usd: float | None = None
    now: Callable[[], str] = utc_now
    file: File = unfiled
    """Called with each result that S3 has stored, and its ETag."""
    checkpoints: Checkpoints | None = None

    async def __call__(self, received: Received, ran: Ran | None, decision: Decision) -> Decision:
        """Carry out a decision, or a second one if that fails; return the one carried out."""
        try:
            decision = await self._keep_checkpoint(ran, decision)
            return await self._bring_about(received, ran, decision)
        except LeaseLostError:
            second = LOST
        except AlreadyFinishedError:
            second = FINISHED
        except OutputError as error:
            # Another try would run the command again, and find the other's output there again.
            second = fault.failed(Cause.OUTPUT, str(error), final=isinstance(error, ClashError))
        except CollisionError as error:
            setbacks = len(received.message.setbacks)
            second = fault.of_unknown(error, moment_apart(self.config.recovery_seconds, setbacks))
        except Exception as error:
            log.warning("job not stored", key=received.key, error=str(error) or repr(error))
            second = fault.of_unknown(error)
        return await self._bring_about_second(received, ran, second)

    async def _bring_about_second(
        self, received: Received, ran: Ran | None, decision: Decision
    ) -> Decision:
        """Carry out the second decision; if that fails too, the lease expires by itself."""
        try:
            return await self._bring_about(received, ran, decision)
        except Exception as error:
            log.warning("job left to its lease", key=received.key, error=str(error) or repr(error))
            self.messages.let_go(received.lease)
        return decision

    async def _bring_about(
        self, received: Received, ran: Ran | None, decision: Decision
    ) -> Decision:
        """Carry out the decision as it was judged, and return it."""
        decision = await self.judge(received, ran, decision)
        match decision.kind:
            case DecisionKind.SUCCEEDED:
                async with self.at_once:
                    await self._succeed(received, ran)
            case DecisionKind.FAILED if decision.final:
                async with self.at_once:
                    await self._fail(received, ran, decision)
            case DecisionKind.FAILED:
                await self._try_again(received, ran, decision)
            case DecisionKind.FINISHED:
                await self._drop_checkpoint(received, ran)
                await self.messages.acknowledge(received.lease)
            case DecisionKind.PARKED:
                message = received.message.parked()
                await self.messages.replace(received.lease, message, MAX_DELAY_SECONDS)
            case DecisionKind.PASSED_ON:
                delay = self.config.recovery_seconds
                await self.messages.replace(received.lease, received.message, delay)
            case DecisionKind.MOVED:
                await self.messages.replace(received.lease, received.message, 0, decision.lane)
            case DecisionKind.LOST:
                self.messages.let_go(received.lease)
        return decision

    async def _keep_checkpoint(self, ran: Ran | None, decision: Decision) -> Decision:
        """Store a job's checkpoint before anybody else can receive its message."""
        if self.checkpoints is None or ran is None or ran.staged.kept is None:
            return decision
        if decision.kind is DecisionKind.LOST and ran.snapshot:
            ran.snapshot.remove()
            return decision
        fresh = await self.checkpoints.keep_last(ran.staged.kept, ran.snapshot)
        if decision.goes_on and not fresh:
            return fault.without_checkpoint(ran.outcome.exit_code)
        if decision.cause is Cause.INTERRUPTED and fresh:
            return replace(decision, blameless=True)
        return decision

    async def _drop_checkpoint(self, received: Received, ran: Ran | None) -> None:
        """Delete the checkpoint of a job that has its result."""
        kept = ran.staged.kept if ran else None
        if self.checkpoints and (kept or not received.first):
            await self.checkpoints.drop(received.key, kept)

    async def _succeed(self, received: Received, ran: Ran | None) -> None:
        assert ran  # noqa: S101 - a command ran
        if isinstance(ran.outputs, OutputError):
            raise ran.outputs
        run = ran.staged.run
        found = ran.outputs
        if not found.files and run.limits.require_output:
            raise OutputError(_nothing_made(run, found))
        commit = self._commit(received, run)
        try:
            outputs = await commit.put_outputs(found.files)
            held = await commit.put_result(await self._result(received, ran, SUCCEEDED, outputs))
        except LeaseLostError:
            await self._reconcile(received, commit)
            raise
        await self._drop_checkpoint(received, ran)
        if held:
            await self.messages.acknowledge(received.lease)
        else:
            self.messages.let_go(received.lease)

    async def _reconcile(self, received: Received, commit: Commit) -> None:
        """Have the job done again if a late write of ours has spoiled a result."""
        if await commit.spoiled():
            log.warning("outputs replaced without a lease; job sent again", key=received.key)
            latest = await commit.merge.latest() if commit.merge else None
            await self.messages.send(latest or received.message)

    async def _fail(self, received: Received, ran: Ran | None, decision: Decision) -> None:
        run = ran.staged.run if ran else self.run.current
        result = await self._result(received, ran, decision)
        held = await self._commit(received, run).put_result(result)
        await self._drop_checkpoint(received, ran)
        if held:
            await self.messages.dead_letter(received.lease, decision.message)
        else:
            self.messages.let_go(received.lease)

    async def _try_again(self, received: Received, ran: Ran | None, decision: Decision) -> None:
        try:
            await self._record(received, ran, decision)
        except ServiceError as error:
            # A failure that is the job's own must not be forgotten; others can do without.
            if decision.charged:
                raise
            log.warning("attempt not recorded", key=received.key, error=str(error))
        again = self.judge.next_message(received.message, decision, ran)
        if ran and ran.staged.kept and ran.staged.kept.stored:
            again = again.resuming()
        lane = self.messages.lanes.lane_of_next(received.message, again, decision.cause)
        await self.messages.replace(received.lease, again, self._delay(decision), lane)

    def _delay(self, decision: Decision) -> int:
        """Return after how many seconds the job may be tried again."""
        if decision.delay_seconds or decision.cause is not Cause.INFRASTRUCTURE:
            return decision.delay_seconds
        return self.config.recovery_seconds

    async def _record(self, received: Received, ran: Ran | None, decision: Decision) -> None:
        if decision.cause is Cause.INTERRUPTED and ran is None:
            return  # it never began
        run = ran.staged.run if ran else self.run.current
        account = await self._account(received, ran, decision)
        await self._commit(received, run).put_attempt(Attempt(**account))

    def _commit(self, received: Received, run: Run) -> Commit:
        records = self.open_store(self.config.bucket)
        outputs = self.open_store(run.output.bucket)
        message, layout = received.message, self.config.layout
        merge = Merge(records, layout, message.etag) if message.merge else None
        return Commit(
            run, layout, records, outputs, received.key, received.lease.check,
            file=self.file, folder=output_folder(message), merge=merge,
        )  # fmt: skip

    async def _result(
        self,
        received: Received,
        ran: Ran | None,
        decision: Decision,
        outputs: tuple[Output, ...] = (),
    ) -> Result:
        succeeded = decision.kind is DecisionKind.SUCCEEDED
        # As the command has seen it: run.json may have changed since.
        run = ran.staged.run if ran else self.run.current
        return Result(
            **await self._account(received, ran, decision),
            status="succeeded" if succeeded else "failed",
            outputs=outputs,
            input_size=received.message.size,
            input_etag=received.message.etag,
            recipe=run.recipe,
            content=content_key(run, received.message),
            **(_hints(ran) if succeeded and ran else {}),
        )

    async def _account(
        self, received: Received, ran: Ran | None, decision: Decision
    ) -> dict[str, Any]:
        """Return what an attempt's record and a result have in common."""
        outcome = ran.outcome if ran else None
        run = ran.staged.run if ran else self.run.current
        text, log_key = await self._store_log(received, ran)
        return {
            "run": self.config.layout.run,
            "key": received.key,
            "attempt": received.message.attempt,
            "worker": self.worker,
            "started_at": received.started_at,
            "finished_at": self.now(),
            "cause": decision.cause,
            "message": decision.message,
            "exit_code": outcome.exit_code if outcome else None,
            "usage": outcome.usage if outcome else Usage(),
            "stderr_tail": outcome.stderr_tail[-STDERR_TAIL_CHARACTERS:] if outcome else "",
            "log": text,
            "log_key": log_key,
            "environment": run.environment_identity,
            "image": run.image.digest if run.image else "",
            "hourly_usd": self.hourly_usd,
        }

    async def _store_log(self, received: Received, ran: Ran | None) -> tuple[str, str | None]:
        """Return a small log itself, or store a larger one and return its key."""
        if ran is None:
            return "", None
        if isinstance(ran.log, bytes):
            return ran.log.decode("utf-8", errors="replace"), None
        record = self.config.layout.attempt(
            received.key, received.message.attempt, self.worker, received.started_at
        )
        key = record.removesuffix(".json") + ".log"
        try:
            with ran.log.open("rb") as file:
                await self.open_store(self.config.bucket).put_file(key, file)
        except FileNotFoundError:
            return "", None  # the command has deleted it
        return "", key


def _hints(ran: Ran) -> dict[str, Any]:
    """Return what may help if an output is missing."""
    assert isinstance(ran.outputs, Outputs)  # noqa: S101 - the job has succeeded
    found = ran.outputs
    return {
        "leads_nowhere": found.leads_nowhere,
        "left_behind": found.left,
        "left_behind_count": found.left_count,
    }


def _nothing_made(run: Run, found: Outputs) -> str:
    """Say that a command has left no output, and what it may have meant."""
    collected = " and nothing matches output.collect" if run.naming.collect else ""
    left = f"; {found.left[0]} was left in the scratch folder" if found.left else ""
    return f"exit 0, but stdout names no file{collected} (run.require_output is set){left}"


def moment_apart(least_seconds: int, setbacks: int) -> int:
    """Return when to do a job again that collided with another execution of itself, in seconds.

    The other one is done again, too. After equal times they would collide once more, so the time
    is random, with a wider range after each setback.
    """
    most = max(1, least_seconds) * 2 ** (1 + setbacks)
    chosen = random.uniform(least_seconds, most)  # noqa: S311 - no secret
    return min(round(chosen), MAX_DELAY_SECONDS)
