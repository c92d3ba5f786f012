"""`parallelize logs FILE`: what happened at each attempt at a file, and what it printed.

`parallelize logs --setup` shows what the environment's set-up has printed on each worker.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from parallelize.console import answer, answer_json, escape, shown
from parallelize.context import Context, open_context
from parallelize.options import NOTHING, Common
from parallelize.runs.attempts import read_records
from parallelize.runs.failed import label
from parallelize.runs.merge import all_jobs
from parallelize.runs.ownership import say_whose
from parallelize.runs.record import load_run
from parallelize.runs.silent import not_delivered
from parallelize.runs.which import find_key, key_of_path
from parallelize.units import show_size
from parallelize_core.errors import NothingToDoError, UsageError
from parallelize_core.layout import RunLayout
from parallelize_core.result import Attempt, Result
from parallelize_core.store import Store


def logs(
    file: str | None = None,
    *,
    setup: bool = False,
    attempt: int | None = None,
    json: bool = False,
    common: Common = NOTHING,
) -> None:
    """Print the record and the log of every attempt at a file."""
    context = open_context(common)
    say_whose(context)
    if setup:
        show_setups(context, json=json)
        return
    if file is None:
        raise UsageError("which file?", fix="parallelize logs FILE, or: parallelize logs --setup")
    found = read_attempts(context, file)
    wanted = [record for record in found if attempt in {None, record.attempt}]
    if not wanted:
        raise UsageError(
            f"there is no attempt {attempt} at {shown(found[0].key)}",
            f"there are: {', '.join(map(str, sorted({r.attempt for r in found})))}",
        )
    if json:
        answer_json([record.model_dump(mode="json") for record in wanted])
        return
    for record in wanted:
        for line in report(record):
            answer(line)


def show_setups(context: Context, *, json: bool) -> None:
    """Print what set-ups have printed; raise NothingToDoError if none has ended yet."""
    found = read_setups(context.store, context.layout)
    if not found:
        raise NothingToDoError("no set-up has ended on a worker yet", fix="parallelize status")
    if json:
        answer_json([{"name": name, "log": text} for name, text in found.items()])
        return
    for line in setup_lines(found):
        answer(line)


def setup_lines(found: Mapping[str, str]) -> Iterator[str]:
    """Return the lines that show what set-ups have printed, by their names."""
    for name, text in found.items():
        yield f"set-up {shown(name, 60)}"
        for line in text.splitlines() or ["(it printed nothing)"]:
            yield f"  | {_harmless(line)}"


def read_setups(store: Store, layout: RunLayout) -> dict[str, str]:
    """Read what set-ups have printed, by worker and environment."""
    keys = sorted(item.key for item in store.list(layout.setups.prefix))
    names = (layout.setups.relative(key).removesuffix(".log") for key in keys)
    texts = (store.get(key).decode("utf-8", errors="replace") for key in keys)
    return dict(zip(names, texts, strict=True))


def read_attempts(context: Context, file: str) -> list[Attempt]:
    """Read what there is of the attempts at a file; see `find_key` and `read_records`."""
    store, layout = context.store, context.layout
    run = load_run(store, context)
    known = [entry.key for entry in all_jobs(store, layout, run)]
    return read_records(store, layout, find_key(known, file, key_of_path(context, file)))


def report(record: Attempt) -> Iterator[str]:
    """Return the lines that tell of one attempt: a head, our message, the log itself."""
    usage = record.usage
    yield f"attempt {record.attempt} on {shown(record.worker, 30)}: {label(record)}"
    memory = f"  peak memory {show_size(usage.peak_memory_bytes)}" * bool(usage.peak_memory_bytes)
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
