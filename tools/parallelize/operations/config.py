"""Every setting, its value, and where it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from parallelize.console import shown
from parallelize.settings import KEYS, Resolved


def rows(resolved: Resolved, run: str) -> list[dict[str, Any]]:
    """Return every setting as a record of its key, value and source."""
    found = [
        {"key": key, "value": resolved.settings.shown(key), "source": resolved.source(key)}
        for key in KEYS
    ]
    for row in found:
        if row["key"] == "run.name" and row["value"] is None:
            row |= {"value": run, "source": "the folder's name"}
    return found


def listing(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Return one line for each such record."""
    for row in found:
        value = "-" if row["value"] is None else shown(str(_plain(row["value"])), 36)
        yield f"{row['key']:<20} {value:<36} {shown(row['source'], 22)}".rstrip()


def _plain(value: Any) -> Any:
    return ", ".join(value) if isinstance(value, tuple) else value
