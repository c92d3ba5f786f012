"""Reads and shows the attempts at one input, and the output of set-ups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from parallelize.console import escape, shown
from parallelize.context import Context
from parallelize.runs.jobs.key_lookup import find_key, key_of_path
from parallelize.runs.record.ownership import load_run
from parallelize.runs.results.failed import label
from parallelize.runs.results.merge import all_jobs
from parallelize.runs.results.results import read_result
from parallelize.runs.results.silent import not_delivered
from parallelize.spool import Table
from parallelize.units import show_size
from parallelize_core.errors import DecodeError, MissingError, NothingToDoError, UsageError
from parallelize_core.layout import RunLayout
from parallelize_core.result import Attempt, Cause, Result
from parallelize_core.store import Store


def read_records(store: Store, layout: RunLayout, key: str) -> list[Attempt]:
    """Read the attempts at the input `key`, each with its log, in the order in which they began.

    Numbers do not give that order: a job that was sent again counts from 1 again. Raises
    NothingToDoError if none has ended yet.
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
    """Go through the records of the attempts; the last attempt's record is the result."""
    for item in store.list(layout.logs(key), folder_only=True):
        if item.key.endswith(".json"):
            yield _decoded(layout, key, store.get(item.key))
    if result := read_result(store, layout, key):
        yield result


def _decoded(layout: RunLayout, key: str, body: bytes) -> Attempt:
    """Read the record of an attempt; for an unreadable one, return a record that says so."""
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


def setup_lines(found: Mapping[str, str]) -> Iterator[str]:
    """Return the lines that show what set-ups printed, by their names."""
    for name, text in found.items():
        yield f"set-up {shown(name, 60)}"
        for line in text.splitlines() or ["(it printed nothing)"]:
            yield f"  | {_harmless(line)}"


def find_setups(context: Context) -> dict[str, str]:
    """Read what set-ups printed, by worker and environment.

    Raises NothingToDoError, with the reason, if they printed nothing; UsageError without a run.
    """
    found = read_setups(context.store, context.layout)
    if found:
        return found
    run = load_run(context.store, context)
    if run.setup or run.dependencies or run.image or context.settings.workers.root_setup:
        raise NothingToDoError("no set-up has ended on a worker yet", fix="parallelize status")
    raise NothingToDoError(
        f"the workers of run {run.name} have nothing to set up",
        "run.setup, run.image and workers.root_setup are not set, and no dependencies are listed",
        "parallelize logs FILE   shows what the command has printed",
    )


def read_setups(store: Store, layout: RunLayout) -> dict[str, str]:
    """Read what set-ups printed, by worker and environment."""
    keys = sorted(item.key for item in store.list(layout.setups.prefix))
    names = (layout.setups.relative(key).removesuffix(".log") for key in keys)
    texts = (store.get(key).decode("utf-8", errors="replace") for key in keys)
    return dict(zip(names, texts, strict=True))


def read_attempts(context: Context, file: str, number: int | None = None) -> list[Attempt]:
    """Read the attempts at a file, or only number `number`; see `find_key` and `read_records`.

    Raises UsageError if there is no attempt of this number.
    """
    store, layout = context.store, context.layout
    run = load_run(store, context)
    known = Table(entry.key for entry in all_jobs(store, layout, run))
    found = read_records(store, layout, find_key(known, file, key_of_path(context, file)))
    if wanted := [record for record in found if number in {None, record.attempt}]:
        return wanted
    raise UsageError(
        f"there is no attempt {number} at {shown(found[0].key)}",
        f"there are: {', '.join(map(str, sorted({r.attempt for r in found})))}",
    )


def report(record: Attempt) -> Iterator[str]:
    """Return the lines that describe one attempt: a heading, our message, the log itself."""
    usage = record.usage
    yield f"attempt {record.attempt} on {shown(record.worker, 30)}: {label(record)}"
    memory = f"  peak memory {show_size(usage.peak_memory_bytes)}" * bool(usage.peak_memory_bytes)
    memory += f"  peak GPU memory {show_size(usage.gpu_memory_bytes)}" * bool(
        usage.gpu_memory_bytes
    )
    yield f"  began {record.started_at}  took {usage.seconds:,.1f} s{memory}"
    if record.message and record.message != label(record):
        yield f"  {escape(record.message)}"
    if isinstance(record, Result):
        yield from (f"  output {shown(o.key, 50)}  {show_size(o.size)}" for o in record.outputs)
        if left := not_delivered(record):
            yield f"  {left}"
    if record.log:
        yield from (f"  | {_harmless(line)}" for line in record.log.splitlines())
    else:
        yield "  (it printed nothing)"


def _harmless(line: str) -> str:
    return escape(line.expandtabs())
