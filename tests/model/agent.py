"""One agent's dealings with one message: the shipped stages, over calls that the model answers.

What runs is the agent's own code from the receive to the delete: the lease and its keeper, the
claims, the way in, the judge of failures, the way out, the messages and the acknowledger. Of the
model's own are only the order of the stages (`Pipeline`, which needs an event loop) and the end of
the command; and there are stand-ins for what may only pause a run or dismiss a worker.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

from tests.model.scripted import (
    NOW,
    Asked,
    Call,
    Clock,
    DeadLetters,
    Script,
    ScriptedPeers,
    ScriptedQueue,
    ScriptedStore,
    finish,
)

from parallelize_agent.container.images import Images
from parallelize_agent.container.pull import Puller
from parallelize_agent.job import fault
from parallelize_agent.job.commit import unfiled
from parallelize_agent.job.environment import Environments
from parallelize_agent.job.job import Decision, Ran, Received, Staged
from parallelize_agent.job.judge import Judge
from parallelize_agent.job.output_files import OutputFile
from parallelize_agent.job.outputs import Outputs
from parallelize_agent.job.preparation import Preparer
from parallelize_agent.job.run_source import RunSource
from parallelize_agent.job.scratch import ScratchSpace
from parallelize_agent.job.stage_in import StageIn
from parallelize_agent.job.stage_out import StageOut
from parallelize_agent.process.command import Ending, Outcome
from parallelize_agent.queue.acknowledger import Acknowledger
from parallelize_agent.queue.claims import Claims
from parallelize_agent.queue.lanes import one_lane
from parallelize_agent.queue.leases import Lease, LeaseKeeper, LeaseTerms
from parallelize_agent.queue.messages import Messages
from parallelize_agent.reporting.circuit_breaker import CircuitBreaker
from parallelize_agent.reporting.fitness import Fitness
from parallelize_agent.reporting.peers import Peers
from parallelize_agent.reporting.silence import SilenceBreaker
from parallelize_agent.shutdown import Shutdown
from parallelize_core.config import AgentConfig
from parallelize_core.job import JobMessage
from parallelize_core.layout import Location, RunLayout
from parallelize_core.queue import Message
from parallelize_core.result import Result, Usage
from parallelize_core.run import Limits, Run
from parallelize_core.segment import encode_line
from parallelize_core.store import AsyncStore

KEY = "in.txt"
BASE = Location("bucket")
LAYOUT = RunLayout(BASE, "r")
RESULT = LAYOUT.result(KEY)
CLAIM = LAYOUT.claim(KEY)
CONFIG = AgentConfig(run="r", bucket="bucket", queue_url="q", dead_letter_queue_url="d")
TERMS = LeaseTerms(seconds=1, claim_after_seconds=math.inf)
RUN = Run(
    name="r",
    command=("c",),
    input=LAYOUT.input,
    output=LAYOUT.output,
    created_at="2026-01-01",
    limits=Limits(max_attempts=2),
)
MESSAGE = JobMessage(run="r", key=KEY, size=0)

SUCCEEDS, FAILS, SETBACK = "succeeds", "fails", "meets a setback"
"""How a command can end here; by a setback it is not known whose fault it is."""


class _RunJson:
    async def get(self, _: str) -> bytes:
        return RUN.encode()


class FitWorker:
    """What a worker that is not sick says of itself (see Fitness)."""

    proven = True

    async def may_charge(self, reason: str) -> bool:
        """Whether a failure is the job's."""
        return True


class NoSilence:
    """A run of which nobody expects outputs (see SilenceBreaker)."""

    def note_output(self) -> None:
        """Take note of a job that has succeeded with an output."""

    async def admit(self, key: str, left: Sequence[str]) -> bool:
        """Whether a success without any output may be recorded."""
        return True


class ClosedBreaker:
    """A run of which nothing is paused (see CircuitBreaker)."""

    async def note_attempt(self, key: str) -> None:
        """Take note of a failure after which the job is tried again."""

    async def admit(self, key: str, decision: Decision, said: str) -> bool:
        """Whether a failure may be recorded for good."""
        return True


class PromptAcknowledger(Acknowledger):
    """Deletes a message as early as the shipped one can; that it may be late is the search's part.

    The shipped one waits a moment for company, which takes an event loop.
    """

    def acknowledge(self, lease: Lease) -> None:
        """Delete a message now."""
        finish(self._delete([lease]))


@dataclass(frozen=True)
class Work:
    """What the executions of the job leave, `files` by execution; and what a worker needs for it.

    No two executions leave the same contents.
    """

    files: tuple[tuple[OutputFile, ...], ...]
    environments: Environments
    images: Images
    scratch: ScratchSpace
    run: RunSource
    shutdown: Shutdown
    files_thread: ThreadPoolExecutor


def make_work(folder: Path, executions: int, outputs: int) -> Work:
    """Write the files that each execution leaves."""
    made = []
    for execution in range(executions):
        names = [f"out{number}" for number in range(outputs)]
        paths = [folder / f"{execution}-{name}" for name in names]
        for path in paths:
            path.write_text(path.name)
        made.append(tuple(map(_output, paths, names)))
    scratch, thread = ScratchSpace(folder / "jobs"), ThreadPoolExecutor(1)
    preparer = Preparer(scratch, None, _unused)
    environments = Environments(folder / "environments", _unused, preparer, thread, boot_id="boot")
    images = Images(folder / "images", folder, Puller(_unused, _unused), preparer, thread)
    run = RunSource(cast("AsyncStore", _RunJson()), LAYOUT, math.inf)
    finish(run.refresh())
    return Work(tuple(made), environments, images, scratch, run, Shutdown(), thread)


def _unused(*_: Any) -> Any:
    raise AssertionError("the run has no environment")


def _output(path: Path, name: str) -> OutputFile:
    content = path.read_bytes()
    return OutputFile(str(path), name, len(content), hashlib.sha256(content).hexdigest(), content)


@dataclass(frozen=True)
class Parts:
    """The shipped classes that an agent is made of; weakened variants replace one or two."""

    store: type[ScriptedStore] = ScriptedStore
    claims: type[Claims] = Claims
    keeper: type[LeaseKeeper] = LeaseKeeper
    messages: type[Messages] = Messages
    stage_in: type[StageIn] = StageIn
    judge: type[Judge] = Judge
    stage_out: type[StageOut] = StageOut


@dataclass(frozen=True)
class Agent:
    """The agents' code. There are `workers` of them, by default one for each execution."""

    work: Work
    workers: int = 0
    parts: Parts = field(default_factory=Parts)
    files: bool = False
    """Whether results are filed in segments, which is a step more for each."""

    def worker(self, execution: int) -> str:
        """Return which worker an execution is one of."""
        return f"w{execution % (self.workers or len(self.work.files))}"

    def next_call(self, execution: int, answers: tuple[Any, ...]) -> Call | None:
        """Return what an execution wants next after these answers; None if it is over.

        The code before that point runs again each time. It depends on nothing but the answers,
        so what it does is always the same.
        """
        try:
            finish(_Execution(self, execution, Script(answers)).run())
        except Asked as asked:
            return asked.call
        return None


class _Execution:
    """One receive of the message by one worker, and all that follows from it."""

    def __init__(self, agent: Agent, execution: int, script: Script) -> None:
        self._script = script
        self._number = execution
        self._work, parts = agent.work, agent.parts
        worker = agent.worker(execution)
        store = parts.store(script, LAYOUT.attempts.prefix)
        queue = ScriptedQueue(script)
        lanes = one_lane(queue)
        peers = cast("Peers", ScriptedPeers(script, worker))
        self._clock = Clock(script)
        claims = parts.claims(store, LAYOUT, worker, TERMS.seconds, self._clock.wall)
        self._keeper = parts.keeper(queue, TERMS, claims, clock=self._clock)
        acknowledger = PromptAcknowledger(queue, self._keeper.release)
        messages = parts.messages(
            lanes, DeadLetters(script), worker, self._keeper, claims, acknowledger
        )
        judge = parts.judge(
            worker,
            self._work.run,
            peers,
            cast("Fitness", FitWorker()),
            cast("CircuitBreaker", ClosedBreaker()),
            cast("SilenceBreaker", NoSilence()),
            lanes,
        )
        self._stage_in = parts.stage_in(
            CONFIG, worker, lambda _: store, self._work.run, claims, self._work.environments,
            self._work.images, self._work.scratch, peers, self._work.shutdown,
            self._work.files_thread, asyncio.Semaphore(1), room=0, lanes=lanes,
        )  # fmt: skip
        self._stage_out = parts.stage_out(
            CONFIG, worker, lambda _: store, self._work.run, judge, messages,
            asyncio.Semaphore(1), now=lambda: "",
            file=self._file if agent.files else unfiled,
        )  # fmt: skip

    def _file(self, result: Result, etag: str) -> None:
        self._script.ask("file", encode_line(result, etag))

    async def run(self) -> None:
        """Take the job through its stages, as `Pipeline` does."""
        received = self._receive()
        staged = await self._stage_in(received, 0)
        if isinstance(staged, Decision):
            await self._stage_out(received, None, staged)
            return
        outlive, ending = self._script.ask("work", self._number)
        if outlive:
            await self._keeper._renew_by_claim(received.lease)
        ran = self._end(staged, ending)
        decision = fault.of_outcome(ran.outcome, RUN.limits, 0)
        await self._stage_out(received, ran, decision)

    def _receive(self) -> Received:
        number, count, body = self._script.ask("receive", self._number + 1)
        message = Message(str(number), body, f"{number}/{count}", count)
        lease = self._keeper.hold(message, NOW)
        self._clock.follow(lease, self._keeper)
        return Received(JobMessage.decode(body), lease, "")

    def _end(self, staged: Staged, ending: str) -> Ran:
        how = Ending.STOPPED if ending == SETBACK else Ending.EXITED
        outcome = Outcome(how, int(ending == FAILS), Usage(), "", "")
        return Ran(staged, outcome, Outputs(self._work.files[self._number]), b"", None)


def remembered(agent: Agent) -> Callable[[int, tuple[Any, ...]], Call | None]:
    """Return `next_call` with a memory: many worlds lead to the same answers."""
    return cache(agent.next_call)
