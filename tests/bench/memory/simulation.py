"""Machines in simulated time: jobs take memory, and the kernel ends one when there is none left.

What decides when a job may start is given: the shipped rule, or a fixed number of slots.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from parallelize_agent.memory import knowledge
from parallelize_agent.memory.admission import Memory, Need
from parallelize_agent.memory.peaks import PeakModel
from parallelize_core.job import JobMessage

MEDIAN_BYTES = 1.8e9
P99_BYTES = 5.7e9
SPREAD = math.log(P99_BYTES / MEDIAN_BYTES) / 2.326
"""Of the logarithm of the peaks, as they are log-normal."""

STEP_SECONDS = 0.5
"""How often memory is looked at: as often as the agent samples."""

TELL_SECONDS = 30.0
"""How often a worker that knows little hears what others have learned."""

SYSTEM_SHARE = 0.04
"""What of the machine is the system's own."""


@dataclass(frozen=True)
class Machine:
    """A machine by its processors and bytes."""

    cpus: int
    memory: int


@dataclass
class Work:
    """A job: its peak in bytes, how long it runs in seconds, and how it comes to its peak.

    It grows evenly during the share `growth` of its time, and stays there.
    """

    number: int
    peak: float
    seconds: float
    growth: float
    size: int = 1000
    message: JobMessage = field(init=False)

    def __post_init__(self) -> None:
        self.message = JobMessage(run="mapsnap", key=str(self.number), size=self.size)

    def takes(self, seconds: float) -> float:
        """Return what it takes so long after its start."""
        grown = seconds / (self.growth * self.seconds) if self.growth else 1.0
        return self.peak * min(1.0, grown)


@dataclass(eq=False)
class Running:
    """A job that runs since `began`, in seconds; `used` is the most that was seen of it."""

    work: Work
    began: float
    used: float = 0.0
    alone: bool = False
    need: Need = field(init=False)

    now: float = 0.0

    def __post_init__(self) -> None:
        message = self.work.message
        self.need = Need(
            message.size,
            room=message.memory_bytes,
            used=lambda: int(self.used),
            age=lambda: self.now - self.began,
        )


@dataclass
class Outcome:
    """What came of a simulation: seconds in all, and jobs by what happened to them."""

    seconds: float = 0.0
    done: int = 0
    failed: int = 0
    killed: int = 0
    hit: set[int] = field(default_factory=set)
    """The numbers of the jobs that were killed, once or more."""
    most: int = 0

    @property
    def rate(self) -> float:
        """Jobs done in a second."""
        return self.done / self.seconds


def mapsnap(seed: int, jobs: int = 1000, growth: float = 0.3, seconds: float = 60) -> list[Work]:
    """Return jobs with mapsnap's distribution of memory, about a minute each."""
    chance = random.Random(seed)
    return [
        Work(
            number,
            MEDIAN_BYTES * math.exp(SPREAD * chance.gauss(0, 1)),
            seconds * math.exp(0.3 * chance.gauss(0, 1)),
            growth,
        )
        for number in range(jobs)
    ]


Admits = Callable[[Collection[Running], Running, float, int], bool]
"""Whether one more may start beside those that run, at a time, with this number of bytes free."""


def by_the_rule(machine: Machine, model: PeakModel) -> Admits:
    """Decide as a worker does."""

    def admits(running: Collection[Running], one: Running, now: float, free: int) -> bool:
        memory = Memory(machine.memory, model, lambda: free)
        needs = [other.need for other in running]
        return memory.admits(needs, one.need, machine.cpus, now)

    return admits


def fixed(slots: int) -> Admits:
    """Decide by a number of slots that somebody has set."""
    return lambda running, _one, _now, _free: len(running) < slots


@dataclass(eq=False)
class Worker:
    """One machine's worker: what lets its jobs start, and what it has learned of them."""

    admits: Admits
    model: PeakModel = field(default_factory=PeakModel)
    running: list[Running] = field(default_factory=list)

    def end_jobs(self, now: float) -> int:
        """Let those end that have run their time, and learn from them; return how many."""
        over = [one for one in self.running if now - one.began >= one.work.seconds]
        for one in over:
            self.running.remove(one)
            settled = one.work.growth * one.work.seconds
            self.model.add(one.work.size, int(one.work.peak), settled, one.work.seconds)
        return len(over)


def learning(machine: Machine) -> Worker:
    """Return a worker that decides by the shipped rule, and knows nothing at first."""
    model = PeakModel()
    return Worker(by_the_rule(machine, model), model)


def simulate(
    machine: Machine,
    works: list[Work],
    workers: Sequence[Worker],
    attempts: int = 3,
    moved: list[Work] | None = None,
) -> Outcome:
    """Do all jobs, on a machine for each worker; return what came of it.

    What would go to the large lane is put into `moved`, if there is such a lane.
    """
    outcome, now, waiting = Outcome(), 0.0, deque(works)
    usable = machine.memory * (1 - SYSTEM_SHARE)
    while waiting or any(worker.running for worker in workers):
        if now % TELL_SECONDS == 0:
            _tell(workers)
        # Another is the first each time, as none takes its jobs before all others.
        first = int(now / STEP_SECONDS) % len(workers)
        for worker in (*workers[first:], *workers[:first]):
            outcome.done += worker.end_jobs(now)
            _start(worker, waiting, machine, now, usable)
            outcome.most = max(outcome.most, len(worker.running))
            for one in _killed(worker.running, now, usable):
                worker.running.remove(one)
                outcome.killed += 1
                outcome.hit.add(one.work.number)
                if one.work.message.attempt >= attempts:
                    outcome.failed += 1
                    continue
                worker.model.add(one.work.size, int(one.used), now - one.began)
                before, larger = one.work.message, moved is not None
                one.work.message = before.with_more_memory(int(one.used), larger=larger)
                (moved if moved is not None and before.alone else waiting).append(one.work)
        now += STEP_SECONDS
    outcome.seconds = now
    return outcome


def _tell(workers: Sequence[Worker]) -> None:
    """Let workers that know little hear what the others have learned themselves."""
    told = {worker: worker.model.told for worker in workers}
    for worker in workers:
        if worker.model.own < knowledge.ENOUGH:
            worker.model.learn_from(told[other] for other in workers if other is not worker)


def _start(
    worker: Worker, waiting: deque[Work], machine: Machine, now: float, usable: float
) -> None:
    taken = sum(one.work.takes(now - one.began) for one in worker.running)
    free = int(usable - taken)
    for one in _starting(waiting, worker.running, machine, worker.admits, now, free):
        worker.running.append(one)


def _starting(
    waiting: deque[Work],
    running: list[Running],
    machine: Machine,
    admits: Admits,
    now: float,
    free: int,
) -> Iterator[Running]:
    """Go through the jobs that may start now, in their order; one that may not holds up all."""
    while waiting and len(running) < machine.cpus and not any(one.alone for one in running):
        message = waiting[0].message
        room = message.memory_bytes
        alone = room > 0.9 * machine.memory or (message.alone and not room)
        one = Running(waiting[0], now, alone=alone)
        if (alone and running) or not admits(running, one, now, free):
            return
        waiting.popleft()
        yield one


def _killed(running: list[Running], now: float, usable: float) -> Iterator[Running]:
    """Let the kernel end the largest while there is not enough for all."""
    left = list(running)
    for one in left:
        one.now = now
        one.used = max(one.used, one.work.takes(now - one.began))
    while left and sum(one.work.takes(now - one.began) for one in left) > usable:
        largest = max(left, key=lambda one: one.work.takes(now - one.began))
        left.remove(largest)
        yield largest
