"""Three pools, so that transfers never take a compute slot.

    stage in (transfers) ──> execute (slots) ──> stage out (transfers)

What waits between them is bounded by `places`: the worker receives no message for which there
is no place, and none while the results of earlier jobs pile up.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum

import structlog

from parallelize_agent.job import Job, Verdict
from parallelize_agent.prefetch import Average, places_ahead

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
        self._free_slots: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(slots):
            self._free_slots.put(slot)

    @property
    def places(self) -> int:
        """How many more jobs may be received now."""
        with self._changed:
            counts = Counter(self._stages.values())
        if counts[Stage.LEAVING] >= self._most_leaving:
            return 0
        ahead = places_ahead(
            self._slots, self._run_seconds.value, self._stage_in_seconds.value or 0
        )
        return max(0, self._slots + ahead - counts[Stage.WAITING] - counts[Stage.RUNNING])

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
        others = self.size
        self._move(job, Stage.WAITING)
        self._then(self._stage_in.submit(self._do_stage_in, job, others), job)

    def give_up(self, job: Job, verdict: Verdict) -> None:
        """End a job from outside; one that waits for a slot need not wait to be handed back."""
        job.stop(verdict)
        with self._changed:
            queued = self._queued.get(job)
        if queued and queued.cancel():
            self._leave(job)

    def close(self) -> None:
        """End the pools; to be called when they are empty."""
        for pool in (self._stage_in, self._compute, self._stage_out):
            pool.shutdown()

    def _do_stage_in(self, job: Job, others: int) -> None:
        started = time.monotonic()
        try:
            if not job.verdict:
                self._do.stage_in(job, others)
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
        slot = self._free_slots.get()
        try:
            if not job.verdict:
                self._move(job, Stage.RUNNING)
                self._do.execute(job, slot)
                if job.outcome:
                    self._run_seconds.add(job.outcome.usage.seconds)
        finally:
            self._free_slots.put(slot)
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
