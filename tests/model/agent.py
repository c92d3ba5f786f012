"""One agent's dealings with one message, as straight code over calls that the model answers.

The writes are those of the shipped `parallelize_agent.job.commit.Commit` and `claim.Claims`, not a
copy of them. The rest is what `receiver`, `stage_in`, `leases`, `stage_out` and `messages` do, in
their order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from tests.model.world import Asked, Call, Script, ScriptedStore

from parallelize_agent.job.commit import AlreadyFinishedError, Commit
from parallelize_agent.job.outputs import OutputFile
from parallelize_agent.queue.claims import Claim, Claims
from parallelize_agent.queue.leases import LeaseLostError
from parallelize_core.errors import ServiceError
from parallelize_core.layout import Location, RunLayout
from parallelize_core.result import Result
from parallelize_core.run import Run

T = TypeVar("T")

KEY = "in.txt"
BASE = Location("bucket")
LAYOUT = RunLayout(BASE, "r")
RESULT = LAYOUT.result(KEY)
CLAIM = LAYOUT.claim(KEY)
RUN = Run(
    name="r", command=("c",), input=LAYOUT.input, output=LAYOUT.output, created_at="2026-01-01"
)


@dataclass(frozen=True)
class Work:
    """What the executions of the job leave; `files` by execution, each with contents of its own."""

    files: tuple[tuple[OutputFile, ...], ...]


def make_work(folder: Path, executions: int, outputs: int) -> Work:
    """Write the files that each execution leaves."""
    made = []
    for execution in range(executions):
        names = [f"out{number}" for number in range(outputs)]
        paths = [folder / f"{execution}-{name}" for name in names]
        for path in paths:
            path.write_text(path.name)
        made.append(tuple(map(_output, paths, names)))
    return Work(tuple(made))


def _output(path: Path, name: str) -> OutputFile:
    content = path.read_bytes()
    return OutputFile(path, name, len(content), hashlib.sha256(content).hexdigest(), content)


Open = Callable[[ScriptedStore, Callable[[], None]], Commit]


def open_commit(store: ScriptedStore, check: Callable[[], None]) -> Commit:
    """Return the writes as the agent makes them."""
    return Commit(RUN, LAYOUT, store, store, KEY, check)


@dataclass
class Holding:
    """The right to the job: by the message, until a claim takes its place."""

    script: Script
    claims: Claims
    receipt: tuple[int, int]
    claim: Claim | None = None
    since: float = 0

    def check(self) -> None:
        """Raise LeaseLostError if somebody else may have the job."""
        if not (self._claim_holds() if self.claim else self.script.ask("check", self.receipt)):
            raise LeaseLostError

    def _claim_holds(self) -> bool:
        now = self.script.ask("now")
        if now == self.since:
            return True
        # The claim has not been renewed for too long. It may be still, if nobody has taken it.
        self.since = now
        return self.claim is not None and finish(self.claims.renew(self.claim))

    async def outlive_message(self) -> None:
        """Put a claim in the place of the message (`LeaseKeeper._make_claim`)."""
        self.check()
        self.since = self.script.ask("now")
        claim = await self.claims.make(KEY)
        self.script.ask("send", True)
        self.script.ask("delete", self.receipt)
        self.claim = claim

    async def acknowledge(self) -> None:
        """Let the job go (`Messages.acknowledge`)."""
        if self.claim:
            await self.claims.drop(self.claim)
        self.script.ask("delete", self.receipt)


def finish(steps: Coroutine[Any, Any, T]) -> T:
    """Run shipped code that never has to wait: every call is answered at once, or raises Asked."""
    try:
        steps.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("the code waits for something that is no call")


@dataclass(frozen=True)
class Agent:
    """An agent's code; `open` and `claims` are how it writes, which weakened variants replace."""

    work: Work
    open: Open = open_commit
    claims: type[Claims] = Claims

    def next_call(self, execution: int, answers: tuple[Any, ...]) -> Call | None:
        """Return what an execution wants next after these answers; None if it is over.

        The code before that point runs again each time. It depends on nothing but the answers,
        so what it does is always the same.
        """
        script = Script(answers)
        try:
            finish(self._run(script, execution))
        except Asked as asked:
            return asked.call
        except LeaseLostError:
            return None
        return None

    async def _run(self, script: Script, execution: int) -> None:
        *receipt, claimed = script.ask("receive", execution + 1)
        store = ScriptedStore(script)
        claims = self.claims(store, LAYOUT, f"w{execution}", 1, lambda: script.ask("now"))
        job = Holding(script, claims, (receipt[0], receipt[1]))
        commit = self.open(store, job.check)
        if claimed and not await claims.take_over(KEY):
            script.ask("send", True)
            await job.acknowledge()
        elif await commit.finished():
            await job.acknowledge()
        else:
            await self._work(script, execution, job, commit)

    async def _work(self, script: Script, execution: int, job: Holding, commit: Commit) -> None:
        try:
            script.ask("begin", execution)
            if script.ask("outlive", execution):
                await job.outlive_message()
            outputs = await commit.put_outputs(self.work.files[execution])
            await commit.put_result(_result(execution, outputs))
        except AlreadyFinishedError:
            pass
        except ServiceError:
            job.check()
            script.ask("send", False)
        except LeaseLostError:
            if await commit.spoiled():
                script.ask("send", False)
            return
        await job.acknowledge()


def _result(execution: int, outputs: Any) -> Result:
    return Result(
        run="r", key=KEY, attempt=1, worker=f"w{execution}", started_at="", finished_at="",
        status="succeeded", outputs=outputs,
    )  # fmt: skip


def remembered(agent: Agent) -> Callable[[int, tuple[Any, ...]], Call | None]:
    """Return `next_call` with a memory: many worlds lead to the same answers."""
    return cache(agent.next_call)
