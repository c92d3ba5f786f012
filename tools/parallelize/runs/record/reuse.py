"""Copies what another run in the bucket made by the same work, so that it is not made again.

Another run with the same recipe may have a result of the same job with the same content key. The
outputs that it names are copied within S3, each only if it is still the version that the result
names. The new result says where it comes from. This costs neither an upload nor an execution.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from parallelize.bulk import head_each
from parallelize.context import Context
from parallelize.runs.manifest import KnownJobs
from parallelize.runs.record.ownership import find_run
from parallelize.runs.record.run_record import Draft
from parallelize.runs.results.results import list_results_of, read_listed, read_result
from parallelize.spool import Spooled, Table, batches
from parallelize.together import Later
from parallelize.transfers import in_parallel
from parallelize_core import keys
from parallelize_core.clock import utc_now
from parallelize_core.content_key import content_keys
from parallelize_core.errors import AccessError, DecodeError
from parallelize_core.files import CHECKSUM, files_of
from parallelize_core.layout import RUN_NAME, RunLayout
from parallelize_core.manifest import Entry
from parallelize_core.owner import OWNER, OWNER_RUN, owner_mark, run_mark
from parallelize_core.result import Output, Result, Usage
from parallelize_core.run import Run
from parallelize_core.segment import encode_line, pack
from parallelize_core.store import IF_ABSENT, MAX_COPIED_BYTES, Source, Store

COPIER = "copied"
"""Stands for the worker in results that were copied, not executed."""

_SEGMENT = 1000

_SHA256 = re.compile(CHECKSUM)


class Reusable(NamedTuple):
    """A job of this run, and another run's result that can be copied for it."""

    entry: Entry
    result: Result
    run: Run
    """The run that has the result."""


def find_others(context: Context, draft: Draft, runs: Later[Sequence[str]]) -> list[RunLayout]:
    """Return the `runs` that have had the same recipe; none if nothing should be copied.

    Jobs with numbers are never copied: numbers depend on the order in which jobs were added.
    """
    if not context.settings.run.reuse or draft.numbered:
        return []
    store, recipe = context.store, draft.run.recipe
    try:
        names = (name for name in runs() if RUN_NAME.fullmatch(name))
        others = [RunLayout(context.base, name) for name in names if name != context.run]
        there = head_each(store, (layout.recipe(recipe) for layout in others))
        return [layout for layout, head in zip(others, there, strict=True) if head]
    except AccessError:
        return []  # a user who may only see this run


def find(
    run: Run, others: Sequence[RunLayout], entries: Iterable[Entry], jobs: KnownJobs
) -> Spooled[Reusable]:
    """Return what a run can copy from `others` for those of its entries that are no `jobs` yet."""
    runs: list[Run] = []
    found: Spooled[Reusable] = Spooled(
        lambda one: (one.entry.line, one.result.encode(), runs.index(one.run)),
        lambda line, result, run: Reusable(
            Entry.model_validate_json(line), Result.decode(result), runs[run]
        ),
    )
    wanted = _wanted(run, entries, jobs) if others else Table()
    for layout in others:
        if wanted and (other := _readable(jobs.store, layout)):
            runs.append(other)
            for one in _in_run(jobs.store, layout, other, wanted):
                found.append(one)
                wanted.remove(one.entry.key)
    return found


def _wanted(run: Run, entries: Iterable[Entry], jobs: KnownJobs) -> Table:
    """Return the lines of new jobs with the content keys of what they would make, by their keys."""
    known, wanted = jobs.again(), Table()
    for entry in entries:
        if known.etag(entry.key) is None and (contents := content_keys(run, entry)):
            wanted.add(entry.key, (entry.line, contents))
    return wanted


def _readable(store: Store, layout: RunLayout) -> Run | None:
    try:
        return find_run(store, layout.run_json)
    except DecodeError:
        return None  # from a later version, or written by something else


def _in_run(store: Store, layout: RunLayout, run: Run, wanted: Table) -> Iterator[Reusable]:
    for result in read_listed(store, layout, list_results_of(store, layout, wanted)):
        line, contents = wanted.get(result.key) or ("", ())
        if result.content in contents and _can_be_copied(result):
            yield Reusable(Entry.model_validate_json(line), result, run)


def _can_be_copied(result: Result) -> bool:
    """Whether a result is worth copying; a success without output is doubtful, so it is retried."""
    return (
        result.status == "succeeded"
        and bool(result.outputs)
        and all(map(_is_sound, result.outputs))
    )


def _is_sound(output: Output) -> bool:
    """Whether S3 can copy it in one call, and a worker wrote it: anybody may write records."""
    return (
        keys.refusal(output.key) is None
        and 0 <= output.size <= MAX_COPIED_BYTES
        and _SHA256.fullmatch(output.sha256) is not None
    )


def copy(context: Context, run: Run, found: Iterable[Reusable]) -> Iterator[Result]:
    """Copy outputs and write results; yield those that are there now.

    What has changed or gone meanwhile is left out, and is made like anything else.
    """
    started = time.time_ns() // 10**6
    made = (pair for pair in in_parallel(lambda one: _copy(context, run, one), found) if pair)
    for number, some in enumerate(batches(made, _SEGMENT)):
        # For readers, as workers do.
        place = context.layout.segment(COPIER, started, number)
        context.store.put(place, pack(encode_line(result, etag) for result, etag in some))
        yield from (result for result, _ in some)


def _copy(context: Context, run: Run, found: Reusable) -> tuple[Result, str] | None:
    outputs = [_copy_output(context, run, found, output) for output in found.result.outputs]
    copied = tuple(output for output in outputs if output)
    if len(copied) < len(outputs):
        return None
    result = _result(context, run, found, copied)
    place = context.layout.result(found.entry.key)
    if etag := context.store.put(place, result.encode(), IF_ABSENT):
        return result, etag
    there, head = read_result(context.store, context.layout, result.key), context.store.head(place)
    # An interrupted command got as far as this.
    return (there, head.etag) if there and head and there.content == result.content else None


def _copy_output(context: Context, run: Run, found: Reusable, output: Output) -> Output | None:
    store, place = context.store_of(run.output.bucket), run.output.key(output.key)
    owner = {OWNER: owner_mark(found.entry.key), OWNER_RUN: run_mark(context.layout)}
    if run.output != context.layout.output and store.head(place):
        return None  # the worker decides whose it is, and what to do with it
    source = Source(found.run.output.bucket, found.run.output.key(output.key), output.etag)
    etag = store.copy_from(source, place, {**owner, "sha256": output.sha256})
    if etag is None:
        there = store.head(place)
        mine = there and owner.items() <= there.metadata.items() and there.etag == output.etag
        return output if mine else None
    # The copy of an object that was sent in parts has another ETag. For others, an equal ETag shows
    # that the service has respected the condition.
    if etag != output.etag and "-" not in output.etag:
        store.delete_version(place, etag)
        return None
    return output.model_copy(update={"etag": etag})


def _result(context: Context, run: Run, found: Reusable, outputs: tuple[Output, ...]) -> Result:
    old, now = found.result, utc_now()
    origin = old.copied_from or found.run.name
    by = "" if old.copied_from else f", executed on {old.worker} at {old.started_at}"
    update = {
        "run": context.run, "attempt": 1, "worker": COPIER, "started_at": now, "finished_at": now,
        "usage": Usage(), "hourly_usd": None, "stderr_tail": "", "log_key": None,
        "log": f"copied from run {origin}: the same command on the same input{by}\n",
        "environment": run.environment.identity if run.environment else "",
        "outputs": outputs, "copied_from": origin,
    }  # fmt: skip
    return old.model_copy(update=update)


def unneeded(
    known: KnownJobs, entries: Iterable[Entry], names: Table, copied: Table, redo: Table
) -> Table:
    """Return those of some inputs that are used only by jobs with copied outputs.

    `known` are the run's jobs, `entries` those asked for, `copied` those of them that have such
    outputs now; `redo` are jobs that will be executed in any case.
    """
    found, needed = Table(), Table()
    if not names:
        return found
    before = _copied_before(known, Table(key for key, _ in _users(known, names) if key not in redo))
    asked = _users(entries, names) if copied or before else ()
    for key, name in chain(_users(known, names), asked):
        (found if key in copied or key in before else needed).add(name)
    return Table(name for name in found if name not in needed)


def _users(entries: Iterable[Entry], names: Table) -> Iterator[tuple[str, str]]:
    """Go through the jobs that use some of the inputs, with each such input."""
    return ((entry.key, f.key) for entry in entries for f in files_of(entry) if f.key in names)


def _copied_before(known: KnownJobs, keys: Table) -> Table:
    store, layout = known.store, known.layout
    read = read_listed(store, layout, list_results_of(store, layout, keys)) if keys else ()
    return Table(result.key for result in read if result.copied_from)
