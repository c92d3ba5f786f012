"""The table of all files, column by column: for a page, as CSV, as Parquet."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import fields
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from parallelize.console import escape
from parallelize.report.data import File, Report
from parallelize.runs.results.failed import group
from parallelize_core.errors import UsageError

MOST = 200_000
"""The most files in a page's table; the browser then uses some 100 MB."""

COLUMNS = tuple(field.name for field in fields(File))

_TEXTS = {"key", "state", "worker", "finished_at"}
_FLOATS = {"seconds", "cpu_seconds", "gpu_busy"}


def columns(report: Report) -> dict[str, Any]:
    """Return the first `MOST` files for a page: a list for each column, in the report's order.

    Names are made harmless; the original of each changed one is in `raw`, by its index. States,
    workers and reasons are listed once each, and their columns hold indexes into those lists, -1
    for none. Sizes are in bytes, times in seconds.
    """
    files = [*islice(report.files, MOST)]
    why = {key: f"{one.label} · {one.words}" for one in group(report.failures) for key in one.keys}
    states, state = _indexed(file.state for file in files)
    workers, worker = _indexed(file.worker for file in files)
    reasons, reason = _indexed(why.get(file.key) for file in files)
    names = [escape(file.key) for file in files]
    return {
        "names": names,
        "raw": {
            place: file.key
            for place, (file, name) in enumerate(zip(files, names, strict=True))
            if file.key != name
        },
        "states": states,
        "state": state,
        "workers": [escape(name) for name in workers],
        "worker": worker,
        "reasons": reasons,
        "reason": reason,
        "attempts": [file.attempts for file in files],
        "back": [file.handed_back for file in files],
        "seconds": [file.seconds for file in files],
        "in": [file.bytes_in for file in files],
        "out": [file.bytes_out for file in files],
        "left_out": len(report.files) - len(files),
    }


def _indexed(values: Iterable[str | None]) -> tuple[list[str], list[int]]:
    """Return the distinct values, and for each value its index among them, -1 for none."""
    places: dict[str, int] = {}
    found = [-1 if value is None else places.setdefault(value, len(places)) for value in values]
    return list(places), found


def check_form(path: Path) -> None:
    """Raise UsageError unless the suffix is of a known format that can be written here."""
    if path.suffix not in {".csv", ".parquet"}:
        raise UsageError(
            f"{escape(path.name)} is neither .csv nor .parquet",
            "the suffix says in which form the table is written",
        )
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise UsageError(
            "Parquet needs pyarrow", None, "pip install 'parallelize[parquet]', or write .csv"
        )


def write_table(files: Iterable[File], path: Path) -> None:
    """Write all files; `path` has a suffix that `check_form` accepts."""
    if path.suffix == ".csv":
        _write_csv(files, path)
    else:
        _write_parquet(files, path)


def _write_csv(files: Iterable[File], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as opened:
        rows = csv.writer(opened)
        rows.writerow(COLUMNS)
        rows.writerows([getattr(file, name) for name in COLUMNS] for file in files)


def _write_parquet(files: Iterable[File], path: Path) -> None:
    import pyarrow  # noqa: PLC0415 - an extra
    from pyarrow import parquet  # noqa: PLC0415

    def kind(name: str) -> pyarrow.DataType:
        if name in _TEXTS:
            return pyarrow.string()
        return pyarrow.float64() if name in _FLOATS else pyarrow.int64()

    every = [*files]
    columns = {name: [getattr(file, name) for file in every] for name in COLUMNS}
    arrays = {name: pyarrow.array(column, kind(name)) for name, column in columns.items()}
    parquet.write_table(pyarrow.table(arrays), path)
