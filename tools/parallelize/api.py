"""For Python callers: one command over many parameters, and what came of each.

    import parallelize

    items = [{"seed": seed} for seed in range(1000)]
    outcomes = parallelize.map("./simulate.py", items, name="simulation", env="env/")
    values = [outcome.value() for outcome in outcomes]

Each item becomes an input file of JSON, which the command is called with as in any run; what it
prints is its output. It is a run as the command line makes them: `parallelize status`, `failures`,
`logs` and `report` work on it, and the same call goes on where an earlier one was interrupted.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from parallelize.commands.prep import prepare
from parallelize.commands.retry import retry_jobs
from parallelize.commands.run import carry_through, open_run
from parallelize.commands.status import make_reader
from parallelize.context import Context
from parallelize.explain import explain
from parallelize.options import Common
from parallelize.runs.failed import label, last_words
from parallelize.runs.results import failed_results, read_results
from parallelize_core.errors import ParallelizeError, ServiceError, UsageError
from parallelize_core.result import Result

INPUT = "item.json"
"""What each item's file is called; it lies in a folder of its own."""


class JobError(ParallelizeError):
    """The job of an item has failed, or has not ended."""


@dataclass(frozen=True)
class Outcome:
    """What came of one item: its outputs here, or why there are none."""

    item: Any
    key: str
    """The input's key, which `parallelize logs` takes."""
    files: tuple[Path, ...]
    result: Result | None
    error: str | None
    """Why it has not succeeded; None if it has."""

    def value(self) -> Any:
        """Return what is in the item's one output of JSON.

        Raises JobError if the job has not succeeded, UsageError if there is not one such output.
        """
        if self.error is not None:
            raise JobError(f"{self.key}: {self.error}", fix=f"parallelize logs {self.key}")
        documents = [file for file in self.files if file.suffix == ".json"]
        if len(documents) != 1:
            raise UsageError(
                f"{self.key} has {len(documents)} outputs of JSON, not one",
                f"its outputs: {', '.join(file.name for file in self.files) or 'none'}",
                "look at Outcome.files, or let the command print the name of one .json file",
            )
        return json.loads(documents[0].read_bytes())


def map(  # noqa: A001, PLR0913 - as executors call it; each is a choice of its own
    command: str,
    items: Iterable[Any],
    *,
    name: str,
    env: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    out: str | os.PathLike[str] | None = None,
    local: bool = False,
    retry: bool = False,
    join: bool = False,
    config: str | os.PathLike[str] | None = None,
    settings: Mapping[str, object] | None = None,
) -> list[Outcome]:
    """Run `command` once for each of `items`, and return their outcomes in the same order.

    `name` is the run's. An item that an earlier call with this name has finished is not processed
    again, unless it has failed and `retry` is set; equal items are one job. `env` is the folder or
    zip with what the command needs, `out` the folder for the outputs (NAME-out), `local` uses the
    local cloud in place of AWS, `join` works on a run that another folder has made. `settings` are
    others by their dotted names, such as {"run.timeout": "5m"}; what is not said is as in `config`
    or the nearest parallelize.toml.

    Progress goes to stderr. Raises UsageError for an item that is no JSON, and the other classes of
    `parallelize_core.errors` when the run cannot be carried out; a job that fails raises nothing
    here. Not for several threads at once: for as long as it works, `local` changes the variables
    of this process.
    """
    tasks = [_task(number, item) for number, item in enumerate(items)]
    if not tasks:
        return []
    common = Common(config=Path(config) if config else None, run=name, local=local, join=join)
    flags = {
        **(settings or {}),
        "run.command": command,
        "run.env": str(Path(env).absolute()) if env else None,
        "workers.count": workers,
    }
    folder = Path(out or f"{name}-out")
    with _explained(), _variables_kept():
        results, why = _process(common, flags, tasks, folder, retry=retry)
    return [_outcome(task, results.get(task.key), folder, why) for task in tasks]


@dataclass(frozen=True)
class _Task:
    item: Any
    body: bytes

    @property
    def key(self) -> str:
        return f"{hashlib.sha256(self.body).hexdigest()[:16]}/{INPUT}"


def _task(number: int, item: Any) -> _Task:
    try:
        body = json.dumps(item, sort_keys=True, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"item {number} cannot be written as JSON", str(error),
            "give numbers, strings, booleans, None, and lists and dictionaries of them",
        ) from None  # fmt: skip
    return _Task(item, body)


def _process(
    common: Common,
    flags: Mapping[str, object],
    tasks: Sequence[_Task],
    folder: Path,
    *,
    retry: bool,
) -> tuple[dict[str, Result], str]:
    """Carry the run through; return the results by key, and why there are not more."""
    with TemporaryDirectory(prefix="parallelize-") as inputs:
        for task in tasks:
            path = Path(inputs, task.key)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(task.body)
        context = open_run(common, {**flags, "run.inputs": inputs})
        if retry:
            _retry(context, {task.key for task in tasks})
        end, complete = carry_through(context, make_reader(context), folder, local=common.local)
    if not complete:
        raise ServiceError("not every output could be written to its place, see above")
    keys = dict.fromkeys(task.key for task in tasks)
    results = read_results(context.store, context.layout, keys)
    return {result.key: result for result in results}, end.why or "the run has not ended"


def _retry(context: Context, keys: Set[str]) -> None:
    prepare(context)  # so that the next attempt finds the command as it is now
    failed = [result.key for result in failed_results(context.store, context.layout)]
    if chosen := [key for key in failed if key in keys]:
        retry_jobs(context, chosen)


def _outcome(task: _Task, result: Result | None, folder: Path, why: str) -> Outcome:
    if result is None:
        return Outcome(task.item, task.key, (), None, why)
    if result.status == "failed":
        return Outcome(task.item, task.key, (), result, f"{label(result)} {last_words(result)}")
    files = tuple(folder / output.key for output in result.outputs)
    return Outcome(task.item, task.key, files, result, None)


@contextmanager
def _explained() -> Iterator[None]:
    """Raise what has a meaning for the person as one of our own classes."""
    try:
        yield
    except Exception as error:
        told = explain(error)
        if told is None or told is error:
            raise
        raise told from error


@contextmanager
def _variables_kept() -> Iterator[None]:
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
