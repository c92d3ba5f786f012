"""Jobs on their way through the stages: a task for each, and slots for their commands.

    stage in (a task each) ──> run (a slot each) ──> stage out (a task each)

The number of jobs between them is bounded by `places`: the worker receives no message without a
place for it, and none while the results of earlier jobs pile up. Everything here is on the event
loop, so nothing needs a lock.

Fetching the next inputs while the slots are busy hides the transfer. Jobs that are held but not
running are missing elsewhere at the end of a run, so no more are held than can start soon.
"""

from __future__ import annotations

import asyncio
import math
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass

import structlog

from parallelize_agent.job import fault
from parallelize_agent.job.execute import Execute
from parallelize_agent.job.job import LOST, Decision, Job, Ran, Received, Stage, Staged
from parallelize_agent.job.scratch import ScratchSpace
from parallelize_agent.job.slots import Slots
from parallelize_agent.job.stage_in import StageIn
from parallelize_agent.job.stage_out import StageOut
from parallelize_agent.memory.admission import Memory, Need
from parallelize_agent.memory.usage import OomKills
from parallelize_agent.process.command import Ending
from parallelize_agent.shutdown import ShutdownReason
from parallelize_core.queue import BATCH

log = structlog.get_logger()

ESTIMATE_SECONDS = 0.05
"""How long an estimate of how many jobs to hold stays valid."""

SOON_SECONDS = 1.0
"""An agent may always hold what it can start within this time."""

WORTH_A_PLACE = 0.2
"""Below this share of a job, one more job in hand would mostly wait."""

MOST_PER_SLOT = 10


@dataclass(frozen=True)
class Stages:
    """What is done with a job; any exception hands back this job and no other."""

    stage_in: StageIn
    execute: Execute
    stage_out: StageOut
    scratch: ScratchSpace
    files: Executor
    later_seconds: int
    oom_kills: OomKills

    def decide(self, ran: Ran) -> Decision:
        """Return the decision on how a command ended."""
        decision = self._said(ran)
        return fault.gpu_lost(ran.gpu_lost) if ran.gpu_lost and decision.charged else decision

    def _said(self, ran: Ran) -> Decision:
        if ran.outcome.exit_code == -signal.SIGKILL and self.oom_kills.lately():
            return fault.out_of_memory()
        return fault.of_outcome(ran.outcome, ran.staged.run.limits, self.later_seconds)

    async def clean_up(self, job: Job) -> None:
        """Remove what is left of a job on this machine."""
        if job.staged and job.staged.kept and job.staged.kept.restore:
            job.staged.kept.restore[0].unlink(missing_ok=True)
        folder = job.ran.folder if job.ran else job.staged.folder if job.staged else None
        if folder:
            loop = asyncio.get_running_loop()
            await asyncio.shield(loop.run_in_executor(self.files, self.scratch.remove, folder))


Settled = Callable[[Job, Decision], None]


class Pipeline:
    """Takes jobs through their stages; `settled` is called with each at its end.

    `most_leaving` limits the jobs whose results are being stored. With `memory`, only as many jobs
    run as it has room for.
    """

    def __init__(
        self,
        stages: Stages,
        slots: int,
        most_leaving: int,
        settled: Settled,
        memory: Memory | None = None,
    ) -> None:
        self._do = stages
        self._settled = settled
        self._most_leaving = most_leaving
        self._jobs: dict[Stage, dict[Job, None]] = {stage: {} for stage in Stage}
        self._alone: dict[Job, None] = {}
        """The jobs that have a slot or wait for one, and must run alone."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._memory = memory
        self._slots = Slots(slots, memory)
        self._place = asyncio.Event()
        self._empty = asyncio.Event()
        self._run_seconds = Average()
        self._run_spread = Average()
        self._stage_in_seconds = Average()
        self._begun: dict[Job, float] = {}
        self._ahead = 0
        self._ahead_until = 0.0

    @property
    def size(self) -> int:
        """How many jobs there are in all stages."""
        waiting, running, leaving = self._jobs.values()
        return len(waiting) + len(running) + len(leaving)

    @property
    def places(self) -> int:
        """How many more jobs may be received now."""
        if len(self._jobs[Stage.LEAVING]) >= self._most_leaving or self._alone:
            return 0
        waiting = len(self._jobs[Stage.WAITING])
        capacity = self._slots.usable + self._places_ahead()
        places = max(0, capacity - waiting - len(self._jobs[Stage.RUNNING]))
        # Small receives cost a call each; but no slot should wait for a larger batch.
        worth_a_call = min(BATCH, capacity // 2)
        return places if places >= worth_a_call or not waiting else 0

    @property
    def usable_slots(self) -> int:
        """How many typical jobs may run at once in this machine's memory."""
        return self._slots.usable

    def look_again(self) -> None:
        """Start waiting jobs, or have more received, if the running ones turn out to need less."""
        self._slots.look_again()
        self._look_around()

    def jobs(self, stage: Stage | None = None) -> list[Job]:
        """Return the jobs in a stage, or all."""
        stages = list(Stage) if stage is None else [stage]
        return [job for at in stages for job in self._jobs[at]]

    def excess(self) -> list[Job]:
        """Return the waiting jobs that others could start sooner.

        Jobs were short when these were received, and are long now; or one has to run alone.
        """
        waiting = sorted(self.jobs(Stage.WAITING), key=lambda job: not job.alone)
        if self._alone:
            return waiting[1:] if waiting and waiting[0].alone else waiting
        # Twice what would be received: a wavering estimate must not send jobs to and fro.
        room = self._slots.usable - len(self._jobs[Stage.RUNNING]) + 2 * self._places_ahead()
        return waiting[max(0, room) :]

    def add(self, received: Received, shutdown: ShutdownReason | None = None) -> None:
        """Take in a job; if the worker is already shutting down, only to hand it back."""
        job = Job(received)
        if self._memory and self._memory.takes_all(received.message.memory_bytes):
            job.alone = True
        if shutdown:
            job.stop(fault.interrupted(shutdown.reason))
        self._jobs[job.stage][job] = None
        if job.alone:
            self._alone[job] = None
        self._tasks.add(asyncio.create_task(self._process(job)))

    async def wait_for_place(self, timeout_seconds: float) -> int:
        """Return how many jobs may be received, once any may be, or the time is up."""
        if not self.places:
            self._place.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_seconds):
                    await self._place.wait()
        return self.places

    async def wait_until_empty(self, timeout_seconds: float) -> bool:
        """Wait for the last job to leave; return whether it has."""
        if self.size:
            self._empty.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_seconds):
                    await self._empty.wait()
        return not self.size

    def abandon(self) -> None:
        """Leave all jobs to their leases."""
        for task in self._tasks:
            task.cancel()

    async def _process(self, job: Job) -> None:
        # Only now: a task that is cancelled before its first step never runs it.
        job.task = asyncio.current_task()
        try:
            decision = await self._work(job)
            self._move(job, Stage.LEAVING)
            await self._leave(job, decision)
        except Exception:
            # The message is gone or left to its lease by now; only local files remain.
            log.exception("job not put away", key=job.key)
        finally:
            self._jobs[job.stage].pop(job)
            self._alone.pop(job, None)
            # Otherwise task and job would keep each other alive until the collector runs.
            job.received.lease.work_ended()
            if job.task:
                self._tasks.discard(job.task)
            self._look_around()

    async def _work(self, job: Job) -> Decision:
        """Take a job through the stages as far as possible; return the decision."""
        try:
            staged = await self._stage_in(job)
            if isinstance(staged, Decision):
                return staged
            job.staged = staged
            ran = await self._run(job, staged)
            if isinstance(ran, Decision):
                return ran
            job.ran = ran
            return self._decide(job, ran)
        except asyncio.CancelledError:
            if not job.stopped or not job.task:
                raise
            job.task.uncancel()
            return job.stopped
        except Exception as error:
            log.exception("a stage raised an error", key=job.key)
            return fault.of_unknown(error)

    def _decide(self, job: Job, ran: Ran) -> Decision:
        # A command that ended by itself although it was to be stopped has not run in vain.
        if job.stopped and (job.stopped is LOST or ran.outcome.ending is Ending.STOPPED):
            return job.stopped
        return self._do.decide(ran)

    async def _stage_in(self, job: Job) -> Staged | Decision:
        if job.stopped:
            return job.stopped
        started = time.monotonic()
        result = await self._do.stage_in(job.received, self.size - 1)
        if isinstance(result, Staged):
            self._stage_in_seconds.add(time.monotonic() - started)
        return result

    async def _run(self, job: Job, staged: Staged) -> Ran | Decision:
        count = self._slots.count if job.alone else 1
        job.slots = await self._slots.take(count, self._need(job, staged))
        try:
            self._move(job, Stage.RUNNING)
            self._begun[job] = time.monotonic()
            timer = self._announce_end()
            try:
                ran = await self._do.execute(job, staged)
            finally:
                if timer:
                    timer.cancel()
            if isinstance(ran, Ran):
                self._learn(ran.outcome.usage.seconds)
            return ran
        finally:
            self._begun.pop(job, None)
            self._slots.give(job.slots)

    def _learn(self, seconds: float) -> None:
        if (average := self._run_seconds.value) is not None:
            self._run_spread.add(abs(seconds - average))
        self._run_seconds.add(seconds)

    def _announce_end(self) -> asyncio.TimerHandle | None:
        """Arrange to receive the next job shortly before one that starts now will end."""
        wait = (self._run_seconds.value or 0.0) - self._horizon
        if wait <= 0:
            return None  # unknown, or so short that `places_ahead` provides for it
        return asyncio.get_running_loop().call_later(wait, self._look_for_ends)

    def _look_for_ends(self) -> None:
        self._ahead_until = 0.0
        self._look_around()

    def _need(self, job: Job, staged: Staged) -> Need:
        message = job.received.message
        return Need(
            message.size,
            staged.run.limits.memory_bytes or 0,
            message.memory_bytes,
            job.used_bytes,
            lambda: self._age(job),
        )

    def _age(self, job: Job) -> float:
        now = time.monotonic()
        return now - self._begun.get(job, now)

    async def _leave(self, job: Job, decision: Decision) -> None:
        try:
            decision = await self._do.stage_out(job.received, job.ran, decision)
            self._settled(job, decision)
        finally:
            await self._do.clean_up(job)

    def _move(self, job: Job, stage: Stage) -> None:
        self._jobs[job.stage].pop(job)
        job.stage = stage
        self._jobs[stage][job] = None
        if stage is Stage.LEAVING:
            self._alone.pop(job, None)
        self._look_around()

    def _look_around(self) -> None:
        """Wake those who wait for a place, or for the last job to leave, if it is time."""
        if not self._place.is_set() and self.places:
            self._place.set()
        if not self.size:
            self._empty.set()

    def _places_ahead(self) -> int:
        """Return how many jobs to hold beyond those that run; recomputed only now and then."""
        now = time.monotonic()
        average = self._run_seconds.value
        if average is not None and now >= self._ahead_until:
            paces = [max(average, now - begun) for begun in self._begun.values()]
            paces += [average] * (self._slots.usable - len(paces))
            self._ahead = max(
                places_ahead(paces, self._horizon),
                ending_soon(
                    [now - begun for begun in self._begun.values()],
                    average, self._run_spread.value or 0.0, self._horizon,
                ),
            )  # fmt: skip
            self._ahead_until = now + ESTIMATE_SECONDS
        return self._ahead

    @property
    def _horizon(self) -> float:
        return horizon_of(self._stage_in_seconds.value or 0.0)


def horizon_of(stage_in_seconds: float) -> float:
    """Return how many seconds before it starts a job may be received: enough to fetch it twice."""
    return max(SOON_SECONDS, 2 * stage_in_seconds)


def places_ahead(paces: Sequence[float], horizon: float) -> int:
    """Return how many jobs to hold ready: about as many as will start within `horizon` seconds.

    `paces` lists, for each slot, in how many seconds it will probably be free for the next job;
    slots for which this is unknown are not in it.
    """
    wanted = sum(horizon / max(pace, 0.001) for pace in paces)
    return 0 if wanted < WORTH_A_PLACE else min(math.ceil(wanted), MOST_PER_SLOT * len(paces))


def ending_soon(ages: Sequence[float], average: float, spread: float, horizon: float) -> int:
    """Return how many jobs of these ages will probably end within `horizon` seconds.

    Jobs run for `average` seconds, give or take `spread`. Returns 0 if that says too little.
    """
    if spread > horizon:
        return 0
    return sum(abs(average - age) <= horizon for age in ages)


class Average:
    """An average that follows the recent values; None before the first."""

    def __init__(self, weight: float = 0.2) -> None:
        self._weight = weight
        self.value: float | None = None

    def add(self, value: float) -> None:
        """Take a value into account."""
        known = value if self.value is None else self.value
        self.value = known + self._weight * (value - known)
