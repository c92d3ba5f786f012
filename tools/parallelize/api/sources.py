"""What a Python caller asks for: items, rows, a grid, or files; and the jobs that these become."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Any, Protocol

from parallelize.context import Context
from parallelize.runs.inputs.input_files import remote_files
from parallelize.runs.jobs.source import group
from parallelize.runs.jobs.spec import JobSpec
from parallelize.runs.jobs.wanted import read_asked
from parallelize_core.errors import UsageError

INPUT = "item.json"
"""The name of each item's file, which is in a folder of its own."""

_MARK = ".parallelize-"


@dataclass(frozen=True)
class Task:
    """One thing that was asked for, and the job that does it; equal items share a job."""

    item: Any
    key: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


class Source(Protocol):
    """What is asked for."""

    def tasks(self, context: Context) -> Sequence[Task]:
        """Return the tasks in order, once the settings tell where they are."""

    def settings(self) -> Mapping[str, object]:
        """Return the settings that tell that."""


@dataclass(frozen=True)
class Items:
    """Values, each of which becomes a JSON file below `folder`."""

    folder: Path
    items: list[Any] = field(default_factory=list)
    _tasks: list[Task] = field(default_factory=list)

    def add(self, item: Any) -> Task:
        """Write one more; raise UsageError if it is not JSON."""
        body = _encoded(len(self._tasks), item)
        key = f"{hashlib.sha256(body).hexdigest()[:16]}/{INPUT}"
        path = self.folder / key
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(body)
        task = Task(item, key, item if isinstance(item, dict) else {"item": item})
        self._tasks.append(task)
        return task

    def tasks(self, _: Context) -> Sequence[Task]:
        """Return the items' jobs."""
        return tuple(self._tasks)

    def settings(self) -> Mapping[str, object]:
        """Return the setting that says where the files are."""
        return {"run.inputs": str(self.folder)}


@dataclass(frozen=True)
class Written:
    """Jobs that the settings define: files, a sheet's rows, a grid."""

    said: Mapping[str, object]
    rows: Sequence[Mapping[str, Any]] = ()

    def tasks(self, context: Context) -> Sequence[Task]:
        """Return the jobs as `prep` makes them."""
        specs = _specs(context)
        items = self.rows if len(self.rows) == len(specs) else [_item(spec) for spec in specs]
        return [
            Task(item, spec.name, dict(spec.variables) or {"file": spec.name})
            for item, spec in zip(items, specs, strict=True)
        ]

    def settings(self) -> Mapping[str, object]:
        """Return these settings."""
        return self.said


def _item(spec: JobSpec) -> Any:
    return dict(spec.variables) or spec.name


def _specs(context: Context) -> list[JobSpec]:
    asked = read_asked(context)
    if asked.jobs is not None:
        return list(asked.jobs)
    files = asked.found.inputs if asked.found else remote_files(context).wanted
    return list(group(context, files, dict).jobs)


def _encoded(number: int, item: Any) -> bytes:
    try:
        return json.dumps(item, sort_keys=True, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"item {number} cannot be written as JSON", str(error),
            "give numbers, strings, booleans, None, and lists and dictionaries of them",
        ) from None  # fmt: skip


Files = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


@contextmanager
def opened(
    items: Iterable[Any] | None,
    files: Files | None,
    rows: Iterable[Mapping[str, Any]] | None,
    grid: Mapping[str, object] | None,
) -> Iterator[Source]:
    """Yield what is asked for; files that are written for it are deleted at the end.

    Raises UsageError if nothing is asked for, or things that do not go together.
    """
    said = [
        name
        for name, given in (("items", items), ("files", files), ("rows", rows))
        if given is not None
    ]
    if len(said) > 1 or (items is not None and grid) or not (said or grid):
        named = ", ".join([*said, *(["grid"] if grid else [])]) or "nothing"
        raise UsageError(
            f"map was given {named}", None,
            "give items, files or rows; a grid can stand alone, or go with files or rows",
        )  # fmt: skip
    settings: dict[str, object] = {"run.grid": dict(grid)} if grid else {}
    if items is not None:
        with TemporaryDirectory(prefix="parallelize-") as folder:
            source = Items(Path(folder))
            for item in items:
                source.add(item)
            yield source
    elif rows is not None:
        yield from _from_rows([dict(row) for row in rows], settings)
    elif files is not None:
        yield from _from_files(files, settings)
    else:
        yield Written({**settings, "run.inputs": ""})


def _from_rows(
    rows: Sequence[Mapping[str, Any]], settings: Mapping[str, object]
) -> Iterator[Source]:
    lines = "".join(f"{_encoded(number, row).decode()}\n" for number, row in enumerate(rows))
    with _beside(".jsonl", lines) as name:
        # A grid multiplies them, so that a row no longer belongs to one job.
        yield Written({**settings, "run.inputs": f"@{name}"}, () if settings else rows)


def _from_files(files: Files, settings: Mapping[str, object]) -> Iterator[Source]:
    if isinstance(files, str):
        yield Written({**settings, "run.inputs": files})
    elif isinstance(files, os.PathLike):
        yield Written({**settings, "run.inputs": str(Path(files).absolute())})
    else:
        with _beside(".list", "\0".join(os.fspath(file) for file in files)) as name:
            yield Written({**settings, "run.inputs": f"@{name}"})


@contextmanager
def _beside(suffix: str, text: str) -> Iterator[str]:
    """Write a list into the current folder, to which the names in it are relative."""
    with NamedTemporaryFile(
        "w", dir=Path.cwd(), prefix=_MARK, suffix=suffix, encoding="utf-8"
    ) as file:
        file.write(text)
        file.flush()
        yield file.name
