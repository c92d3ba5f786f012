"""`parallelize config show`: every setting, its value, and where it came from."""

from __future__ import annotations

from typing import Any

from parallelize.console import answer, answer_json, shown
from parallelize.context import open_context
from parallelize.options import NOTHING, Common
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


def show(*, json: bool = False, common: Common = NOTHING) -> None:
    """Print each setting, its value, and where it came from."""
    context = open_context(common)
    found = rows(context.resolved, context.run)
    if json:
        answer_json({"schema": 1, "settings": found})
        return
    for row in found:
        value = "-" if row["value"] is None else shown(str(_plain(row["value"])), 36)
        answer(f"{row['key']:<20} {value:<36} {shown(row['source'], 22)}".rstrip())


def _plain(value: Any) -> Any:
    return ", ".join(value) if isinstance(value, tuple) else value
