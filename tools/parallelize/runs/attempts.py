"""Reading the attempts at one input, with their logs."""

from __future__ import annotations

from collections.abc import Iterator

from parallelize.console import shown
from parallelize.runs.results import read_result
from parallelize_core.errors import DecodeError, MissingError, NothingToDoError
from parallelize_core.layout import RunLayout
from parallelize_core.result import Attempt, Cause
from parallelize_core.store import Store


def read_records(store: Store, layout: RunLayout, key: str) -> list[Attempt]:
    """Read the attempts at the input `key`, each with its log, the first one first.

    The order is that of their beginnings: a job that was sent again counts from 1 again.
    Raises NothingToDoError if none has ended yet.
    """
    records = sorted(
        _records(store, layout, key), key=lambda record: (record.started_at, record.attempt)
    )
    if not records:
        raise NothingToDoError(
            f"no attempt at {shown(key)} has ended yet", fix="parallelize status"
        )
    return [_with_log(store, record) for record in records]


def _records(store: Store, layout: RunLayout, key: str) -> Iterator[Attempt]:
    """Go through the records of the attempts; the result is that of the last one."""
    for item in store.list(layout.logs(key), folder_only=True):
        if item.key.endswith(".json"):
            yield _decoded(layout, key, store.get(item.key))
    if result := read_result(store, layout, key):
        yield result


def _decoded(layout: RunLayout, key: str, body: bytes) -> Attempt:
    """Read the record of an attempt; of one that cannot be read, make one that says so."""
    try:
        return Attempt.decode(body)
    except DecodeError as error:
        return Attempt(
            run=layout.run, key=key, attempt=0, worker="", started_at="", finished_at="",
            cause=Cause.INFRASTRUCTURE, message=f"its record cannot be read: {error.why}",
        )  # fmt: skip


def _with_log(store: Store, record: Attempt) -> Attempt:
    if record.log_key is None:
        return record
    try:
        text = store.get(record.log_key).decode("utf-8", errors="replace")
    except MissingError:
        text = f"(the log {record.log_key} is gone)"
    return record.model_copy(update={"log": text})
