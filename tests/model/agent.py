"""One agent's dealings with one message, as straight code over calls that the model answers.

The writes are those of the shipped `parallelize_agent.commit.Commit`, not a copy of them. The
rest is what `receiver`, `job_runner`, `settlement` and `acknowledge` do, in their order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.model.world import Asked, Call, Script, ScriptedStore

from parallelize_agent.commit import AlreadyFinishedError, Commit
from parallelize_agent.lease import LeaseLostError
from parallelize_agent.outputs import OutputFile
from parallelize_core.errors import ServiceError
from parallelize_core.layout import Location, RunLayout
from parallelize_core.result import Result
from parallelize_core.run import Run

KEY = "in.txt"
BASE = Location("bucket")
LAYOUT = RunLayout(BASE, "r")
RESULT = LAYOUT.result(KEY)
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
        made.append(tuple(map(OutputFile, paths, names)))
    return Work(tuple(made))


Open = Callable[[ScriptedStore, Callable[[], None]], Commit]


def open_commit(store: ScriptedStore, check: Callable[[], None]) -> Commit:
    """Return the writes as the agent makes them."""
    return Commit(RUN, LAYOUT, store, store, KEY, check)


@dataclass(frozen=True)
class Agent:
    """An agent's code; `open` is how it writes, which a weakened variant replaces."""

    work: Work
    open: Open = open_commit

    def next_call(self, execution: int, answers: tuple[Any, ...]) -> Call | None:
        """Return what an execution wants next after these answers; None if it is over.

        The code before that point runs again each time. It depends on nothing but the answers,
        so what it does is always the same.
        """
        script = Script(answers)
        try:
            self._run(script, execution)
        except Asked as asked:
            return asked.call
        except LeaseLostError:
            return None
        return None

    def _run(self, script: Script, execution: int) -> None:
        receipt = script.ask("receive", execution + 1)

        def check() -> None:
            if not script.ask("check", receipt):
                raise LeaseLostError

        commit = self.open(ScriptedStore(script), check)
        if commit.finished():
            script.ask("delete", receipt)
            return
        try:
            outputs = commit.put_outputs(list(self.work.files[execution]))
            commit.put_result(_result(execution, outputs))
        except AlreadyFinishedError:
            pass
        except ServiceError:
            check()
            script.ask("send")
        except LeaseLostError:
            if commit.in_doubt():
                script.ask("send")
            return
        script.ask("delete", receipt)


def _result(execution: int, outputs: Any) -> Result:
    return Result(
        run="r", key=KEY, attempt=1, worker=f"w{execution}", started_at="", finished_at="",
        status="succeeded", outputs=outputs,
    )  # fmt: skip


def remembered(agent: Agent) -> Callable[[int, tuple[Any, ...]], Call | None]:
    """Return `next_call` with a memory: many worlds lead to the same answers."""
    return cache(agent.next_call)
