"""Three pools, so that transfers never take a compute slot.

    stage in (transfers) ──> execute (slots) ──> stage out (transfers)

What waits between them is bounded by `places`: the worker receives no message for which there
is no place, and none while the results of earlier jobs pile up.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum

import structlog

from parallelize_agent.job.job import Job, Verdict
from parallelize_agent.job.prefetch import Average, places_ahead
from parallelize_agent.job.slots import Slots

log = structlog.get_logger()


class Stage(Enum):
    """Where a job is, in a sentence each."""

    WAITING = "its input is being fetched, or it waits for a slot"
    RUNNING = "it has a slot"
    LEAVING = "its outputs and its result are being stored"


@dataclass(frozen=True)
class Stages:
    """What is done with a job in each pool.

    `stage_in` hears how many other jobs are in hand, `execute` its slot (from 0); `settle`
    returns what became of the job.
    """

    stage_in: Callable[[Job, int], None]
    execute: Callable[[Job, int], None]
    settle: Callable[[Job], Verdict]


class Pipeline:
    """Takes jobs through their stages; `settled` hears of each at its end.

    `broken` hears of an error that no job is to blame for, such as a bug or a run that cannot be
    worked on; the job itself is handed back.
    """

    def __init__(
        self,
        stages: Stages,
        slots: int,
        transfers: int,
        settled: Callable[[Job, Verdict], None],
        broken: Callable[[Exception], None],
    ) -> None:
        self._do = stages
        self._slots = slots
        self._settled = settled
        self._broken = broken
        self._stage_in = ThreadPoolExecutor(transfers, "stage-in")
        self._compute = ThreadPoolExecutor(slots, "compute")
        self._stage_out = ThreadPoolExecutor(transfers, "stage-out")
        self._most_leaving = slots + transfers
        self._stages: dict[Job, Stage] = {}
        self._queued: dict[Job, Future[None]] = {}
        self._changed = threading.Condition()
        self._run_seconds = Average()
        self._stage_in_seconds = Average()
        self._free_slots = Slots(slots)
        self._begun: dict[Job, float] = {}

    @property
    def places(self) -> int:
        """How many more jobs may be received now."""
        with self._changed:
            counts = Counter(self._stages.values())
        if counts[Stage.LEAVING] >= self._most_leaving or self._alone():
            return 0
        held = counts[Stage.WAITING] + counts[Stage.RUNNING]
        return max(0, self._slots + self._ahead() - held)

    def surplus(self) -> list[Job]:
        """Return the waiting jobs that others could start sooner.

        Jobs were short when these were received, and now are long; or one has to be alone.
        """
        waiting = sorted(self.jobs(Stage.WAITING), key=lambda job: not job.message.alone)
        if alone := self._alone():
            return waiting[1:] if alone in waiting else waiting
        # Twice what would be received: a wavering estimate must not send jobs to and fro.
        room = self._slots - len(self.jobs(Stage.RUNNING)) + 2 * self._ahead()
        return waiting[max(0, room) :]

    def _alone(self) -> Job | None:
        """Return the job that has a slot or waits for one, and must be alone, if there is one."""
        inside = self.jobs(Stage.RUNNING) + self.jobs(Stage.WAITING)
        return next((job for job in inside if job.message.alone), None)

    def _ahead(self) -> int:
        average = self._run_seconds.value
        if average is None:
            return 0
        now = time.monotonic()
        with self._changed:
            ages = [now - begun for begun in self._begun.values()]
        paces = [max(average, age) for age in ages] + [average] * (self._slots - len(ages))
        return places_ahead(paces, self._stage_in_seconds.value or 0)

    @property
    def size(self) -> int:
        """How many jobs there are in all stages."""
        with self._changed:
            return len(self._stages)

    def jobs(self, stage: Stage | None = None) -> list[Job]:
        """Return the jobs in a stage, or all."""
        with self._changed:
            return [job for job, at in self._stages.items() if stage in {None, at}]

    def wait_for_place(self, timeout_seconds: float) -> int:
        """Return how many jobs may be received, once it is more than none or the time is up."""
        until = time.monotonic() + timeout_seconds
        while not (places := self.places):
            left = until - time.monotonic()
            if left <= 0:
                break
            with self._changed:
                self._changed.wait(left)
        return places

    def wait_until_empty(self, timeout_seconds: float | None = None) -> bool:
        """Wait for the last job to leave; answer whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._stages, timeout_seconds)

    def add(self, job: Job) -> None:
        """Take a job in."""
        self._move(job, Stage.WAITING)
        self._then(self._stage_in.submit(self._do_stage_in, job), job)

    def give_up(self, job: Job, verdict: Verdict) -> None:
        """End a job from outside; one that waits for a slot need not wait to be handed back."""
        job.stop(verdict)
        with self._changed:
            queued = self._queued.get(job)
        if queued and queued.cancel():
            self._leave(job)
        self._free_slots.wake()

    def close(self) -> None:
        """End the pools; to be called when they are empty."""
        for pool in (self._stage_in, self._compute, self._stage_out):
            pool.shutdown()

    def _do_stage_in(self, job: Job) -> None:
        started = time.monotonic()
        try:
            if not job.verdict:
                self._do.stage_in(job, self.size - 1)
        finally:
            if job.verdict:
                self._leave(job)
            else:
                self._stage_in_seconds.add(time.monotonic() - started)
                self._queue(job)

    def _queue(self, job: Job) -> None:
        with self._changed:
            self._queued[job] = self._compute.submit(self._do_execute, job)
            self._then(self._queued[job], job)

    def _do_execute(self, job: Job) -> None:
        slots = self._free_slots.take(alone=job.message.alone, wanted=lambda: not job.verdict)
        try:
            if slots and not job.verdict:
                self._move(job, Stage.RUNNING)
                self._do.execute(job, slots[0])
                if job.outcome:
                    self._run_seconds.add(job.outcome.usage.seconds)
        finally:
            self._free_slots.give(slots)
            self._leave(job)

    def _leave(self, job: Job) -> None:
        self._move(job, Stage.LEAVING)
        self._then(self._stage_out.submit(self._do_stage_out, job), job)

    def _do_stage_out(self, job: Job) -> None:
        try:
            verdict = self._do.settle(job)
            self._settled(job, verdict)
        finally:
            with self._changed:
                self._stages.pop(job, None)
                self._changed.notify_all()

    def _move(self, job: Job, stage: Stage) -> None:
        with self._changed:
            self._stages[job] = stage
            if stage is Stage.RUNNING:
                self._begun[job] = time.monotonic()
            else:
                self._begun.pop(job, None)
            if stage is not Stage.WAITING:
                self._queued.pop(job, None)
            self._changed.notify_all()

    def _then(self, future: Future[None], job: Job) -> None:
        future.add_done_callback(lambda done: self._report(done, job))

    def _report(self, done: Future[None], job: Job) -> None:
        error = None if done.cancelled() else done.exception()
        if isinstance(error, Exception):
            log.error("a stage broke", key=job.key, exc_info=error)
            self._broken(error)
