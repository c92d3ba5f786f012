"""The outcome of one job, for Python callers, and of many."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from parallelize.api.sources import Task
from parallelize.runs.results.failed import label, last_words
from parallelize_core.errors import ParallelizeError, UsageError
from parallelize_core.result import Result


class JobError(ParallelizeError):
    """A job has failed, or has not ended."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one job: its outputs here, or why there are none.

    `item` is what the caller passed: an item, a row, or a file's name. `parameters` are the job's
    variables by name: those of its row or grid, or the item itself if it is a dictionary.
    """

    item: Any
    key: str
    """The job's name, which `parallelize logs` takes."""
    files: tuple[Path, ...]
    result: Result | None
    error: str | None
    """Why it did not succeed, with the last line that it printed; None if it did."""
    parameters: Mapping[str, Any]

    def value(self) -> Any:
        """Return the content of the job's one JSON output.

        Raises JobError if the job did not succeed, UsageError if it does not have exactly one JSON
        output.
        """
        self.check()
        documents = [file for file in self.files if file.suffix == ".json"]
        if len(documents) != 1:
            raise UsageError(
                f"{self.key} has {len(documents)} JSON outputs, not one",
                f"its outputs: {', '.join(file.name for file in self.files) or 'none'}",
                "use Outcome.files, or make the command print the name of just one .json file",
            )
        return json.loads(documents[0].read_bytes())

    def check(self) -> None:
        """Raise JobError if the job did not succeed."""
        if self.error is not None:
            raise JobError(f"{self.key}: {self.error}", fix=f"parallelize logs {self.key}")

    def record(self) -> dict[str, Any]:
        """Return a row of a table: the parameters, what the job made of them, and how it went.

        A JSON output gives a column for each key if it is a dictionary, and otherwise the column
        `value`. It and the parameters replace our own columns of the same name.
        """
        usage = self.result.usage if self.result else None
        return {
            "key": self.key,
            "error": self.error,
            "seconds": usage.seconds if usage else None,
            "files": [str(file) for file in self.files],
            **self._made(),
            **self.parameters,
        }

    def _made(self) -> dict[str, Any]:
        if self.error is not None or sum(file.suffix == ".json" for file in self.files) != 1:
            return {}
        value = self.value()
        return value if isinstance(value, dict) else {"value": value}


class Outcomes(list[Outcome]):
    """Outcomes in the order of the request."""

    def records(self) -> list[dict[str, Any]]:
        """Return a dictionary for each, as the rows of a table."""
        return [outcome.record() for outcome in self]

    def to_pandas(self) -> Any:
        """Return them as a DataFrame, one row each; raise UsageError without pandas."""
        return _imported("pandas").DataFrame.from_records(self.records())

    def to_arrow(self) -> Any:
        """Return them as an Arrow table, one row each; raise UsageError without pyarrow."""
        return _imported("pyarrow").Table.from_pylist(_even(self.records()))


def _even(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return records that all have the same columns."""
    listed = list(records)
    columns = dict.fromkeys(name for record in listed for name in record)
    return [{name: record.get(name) for name in columns} for record in listed]


def _imported(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise UsageError(
            f"{name} is not installed here", None, f"pip install {name}, or use Outcomes.records()"
        ) from None


def outcome_of(task: Task, result: Result | None, folder: Path, why: str) -> Outcome:
    """Return a task's outcome, with its outputs in `folder`; `why` says why it has no result."""
    files: tuple[Path, ...] = ()
    error = None
    if result is None:
        error = why
    elif result.status == "failed":
        error = f"{label(result)} {last_words(result)}"
    else:
        files = tuple(folder / output.key for output in result.outputs)
    return Outcome(task.item, task.key, files, result, error, task.parameters)
