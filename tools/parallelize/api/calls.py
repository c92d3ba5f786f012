"""Executes a run for a Python caller, and reports each job as soon as it has ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict, Unpack

from parallelize.api.outcome import Outcome, outcome_of
from parallelize.api.sources import Source, Task
from parallelize.context import Context
from parallelize.explain import explain
from parallelize.operations.download import fetch
from parallelize.operations.prep import prepare
from parallelize.operations.retry import retry_jobs
from parallelize.operations.run import carry_through, open_run
from parallelize.operations.status import make_reader
from parallelize.options import Common
from parallelize.runs.results.results import read_failed, read_results
from parallelize.runs.state.snapshot import Snapshot, Snapshots
from parallelize_core.errors import NothingToDoError, ServiceError
from parallelize_core.result import Result

Tell = Callable[[int, Outcome], None]
"""Receives the outcome of the task with this number."""


class Options(TypedDict, total=False):
    """The options of a call besides its command, name and jobs; see `map`."""

    env: str | os.PathLike[str] | None
    workers: int | None
    out: str | os.PathLike[str] | None
    local: bool
    retry: bool
    join: bool
    config: str | os.PathLike[str] | None
    settings: Mapping[str, object] | None


def make_call(command: str, name: str, **options: Unpack[Options]) -> Call:
    """Return the call for a run of this name; TypeError for an unknown option."""
    if unknown := options.keys() - Options.__annotations__.keys():
        raise TypeError(f"unexpected keyword argument: {', '.join(sorted(unknown))}")
    env, config, local = options.get("env"), options.get("config"), options.get("local", False)
    common = Common(
        config=Path(config) if config else None,
        run=name,
        local=local,
        join=options.get("join", False),
    )
    flags = {
        **(options.get("settings") or {}),
        "run.command": command,
        "run.env": str(Path(env).absolute()) if env else None,
        "workers.count": options.get("workers"),
    }
    folder = Path(options.get("out") or f"{name}-out")
    return Call(common, flags, folder, options.get("retry", False))


@dataclass(frozen=True)
class Call:
    """One call: its run, its settings, and where the outputs go."""

    common: Common
    flags: Mapping[str, object]
    folder: Path
    retry: bool = False

    def carry(self, source: Source, tell: Tell) -> None:
        """Carry out the whole call, and report each task once, at the end."""
        self._carry(source, tell, live=False)

    def follow(
        self, source: Source, tell: Tell, join: Callable[[Context], bool] = lambda _: False
    ) -> None:
        """Carry out the whole call, and report each task once, as soon as its job has ended.

        `join` is called at each look, and may add to the source; it returns whether it did.
        """
        self._carry(source, tell, live=True, join=join)

    def _carry(
        self,
        source: Source,
        tell: Tell,
        *,
        live: bool,
        join: Callable[[Context], bool] = lambda _: False,
    ) -> None:
        with explained(), variables_kept():
            context = open_run(self.common, {**self.flags, **source.settings()})
            reader = make_reader(context)
            following = Following(context, source, self.folder, tell, reader, join)
            if self.retry:
                _retry(context, {task.key for task in source.tasks(context)})
            carried = carry_through(
                context, following if live else reader, self.folder, local=self.common.local
            )
            if not carried.complete:
                raise ServiceError("some outputs could not be written; the messages above say why")
            following.tell_rest(carried.status.why or "the run has not ended")


@dataclass
class Following:
    """Takes snapshots of a run, and reports the tasks whose jobs have ended since the last one."""

    context: Context
    source: Source
    folder: Path
    tell: Tell
    reader: Snapshots
    join: Callable[[Context], bool]
    _told: set[int] = field(default_factory=set)
    _tasks: Sequence[Task] = ()

    def snapshot(self) -> Snapshot:
        """Read the run as it is now."""
        if self.join(self.context) or not self._tasks:
            self._tasks = self.source.tasks(self.context)
        snapshot = self.reader.snapshot()
        layout = self.context.layout
        ended = {
            number: task
            for number, task in self._open()
            if layout.result(task.key) in snapshot.finished
        }
        if ended:
            self._tell(ended)
        return snapshot

    def tell_rest(self, why: str) -> None:
        """Report all other tasks; `why` is the reason for missing results."""
        self._tasks = self.source.tasks(self.context)
        rest = dict(self._open())
        found = self._results(rest)
        for number, task in rest.items():
            self._tell_one(number, task, found.get(task.key), why)

    def _open(self) -> Iterator[tuple[int, Task]]:
        return ((n, task) for n, task in enumerate(self._tasks) if n not in self._told)

    def _results(self, tasks: Mapping[int, Task]) -> dict[str, Result]:
        keys = dict.fromkeys(task.key for task in tasks.values())
        return {r.key: r for r in read_results(self.context.store, self.context.layout, keys)}

    def _tell(self, ended: Mapping[int, Task]) -> None:
        found = self._results(ended)
        with suppress(NothingToDoError):
            fetch(self.context, self.folder)
        for number, task in ended.items():
            if task.key in found:
                self._tell_one(number, task, found[task.key], "")

    def _tell_one(self, number: int, task: Task, result: Result | None, why: str) -> None:
        self._told.add(number)
        self.tell(number, outcome_of(task, result, self.folder, why))


def _retry(context: Context, keys: set[str]) -> None:
    prepare(context)  # so that the next attempt finds the command as it is now
    failed = [result.key for result in read_failed(context.store, context.layout)]
    if chosen := [key for key in failed if key in keys]:
        retry_jobs(context, chosen)


@contextmanager
def explained() -> Iterator[None]:
    """Turn errors that mean something to the user into our own classes."""
    try:
        yield
    except Exception as error:
        told = explain(error)
        if told is None or told is error:
            raise
        raise told from error


@contextmanager
def variables_kept() -> Iterator[None]:
    """Restore the environment variables of this process at the end: `local` changes them."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
