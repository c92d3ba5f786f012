"""Redoes finished jobs: their results are set aside, and fresh messages are sent.

The order for each job is that of `retry`: first the manifest has the new state of its input; then
its result is saved among the superseded ones and as the record of an attempt, and deleted; then a
fresh message is sent. Only the version that was compared is deleted. If a crash leaves a job with
neither result nor message, `enqueue` and the workers find it, like any job that SQS has lost.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from parallelize.bulk import get_each
from parallelize.context import Context
from parallelize.progress import progress
from parallelize.runs.manifest import KnownJobs
from parallelize.runs.record.outdated import Now, Reason, compare_results
from parallelize.runs.record.ownership import load_run
from parallelize.runs.results import superseded
from parallelize.runs.results.merge import merge_entry
from parallelize.runs.results.results import decode_result
from parallelize.runs.state.resume import resume
from parallelize.spool import Table
from parallelize.transfers import in_parallel
from parallelize.units import plural
from parallelize.wire import in_flight
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import Entry, read_cursor
from parallelize_core.merge import MERGE
from parallelize_core.queue import Queue
from parallelize_core.result import Result
from parallelize_core.store import Store

CHUNK = 100
"""Jobs that a crash may leave with neither result nor message."""


def redo(context: Context, results: Table, waiting: Table, *, renewed: bool) -> int:
    """Have jobs redone; return how many were sent.

    `results` has the ETags of the results to set aside, by the jobs' keys; the merge's is taken out
    if there are others. Jobs that are `waiting` have none, but their messages name an earlier
    version of their input. If the record of the run was `renewed`, messages are delayed until all
    workers have read it.
    """
    if not results and not waiting:
        return 0
    from parallelize.operations.retry import DELAY_SECONDS, clear_dead  # noqa: PLC0415 - seldom

    if len(results) > 1 and MERGE in results:
        results.remove(MERGE)  # it runs again by itself when another job does
    again = _entries(context, results, waiting)
    queues = context.make_queues()
    clear_dead(queues.dead, results)
    delay = DELAY_SECONDS if renewed else 0
    sent = 0
    with progress("sent again", len(results) + len(waiting)) as step:
        while chunk := list(itertools.islice(again, CHUNK)):
            sent += _send_chunk(context, chunk, results, queues.main, delay)
            for _ in chunk:
                step()
    if results:
        resume(context, load_run(context.store, context))
        context.tell(f"run {context.run}: {plural(sent, 'job')} sent again")
    return sent


def _entries(context: Context, results: Table, waiting: Table) -> Iterator[Entry]:
    """Go through those jobs, with their current inputs; leave out those that were never sent."""
    store, layout = context.store, context.layout
    for number, entries in KnownJobs(store, layout).by_part():
        sent = read_cursor(store, layout, number).sent if waiting else 0
        for place, entry in enumerate(entries):
            if entry.key in results or (place < sent and entry.key in waiting):
                yield entry
    if MERGE in results:
        yield from merge_entry(store, layout, load_run(store, context))


def _send_chunk(
    context: Context, chunk: Sequence[Entry], results: Table, queue: Queue, delay_seconds: int
) -> int:
    store, layout = context.store, context.layout
    etags = {entry.key: row[0] for entry in chunk if (row := results.get(entry.key))}
    done = [entry for entry in chunk if entry.key in etags]
    _keep(context, done, etags)
    gone = dict(in_parallel(lambda entry: _take_away(store, layout, entry, etags), done))
    taken = [entry for entry in chunk if gone.get(entry.key, True)]
    marks = (layout.failure, layout.silence)
    store.delete(mark(entry.key) for entry in taken if entry.key in gone for mark in marks)
    queue.send([entry.message(context.run).encode() for entry in taken], delay_seconds)
    return len(taken)


def _keep(context: Context, entries: Iterable[Entry], etags: Mapping[str, str]) -> None:
    """Save results before they are deleted, each as the record of an attempt, and all together."""
    store, layout = context.store, context.layout
    places = [layout.result(entry.key) for entry in entries]
    bodies = {place: body for place, body in get_each(store, places) if body is not None}
    results = {place: decode_result(layout, place, body) for place, body in bodies.items()}
    good = [one for one in results.values() if one.status == "succeeded"]
    superseded.keep(store, layout, [(one, etags[one.key]) for one in good])
    records = [(_record(layout, result), bodies[place]) for place, result in results.items()]
    context.transfer(
        context.bucket, lambda bucket: in_flight(lambda record: bucket.put(*record), records)
    )


def _record(layout: RunLayout, result: Result) -> str:
    return layout.attempt(result.key, result.attempt, result.worker, result.started_at)


def _take_away(
    store: Store, layout: RunLayout, entry: Entry, etags: Mapping[str, str]
) -> tuple[str, bool]:
    return entry.key, store.delete_version(layout.result(entry.key), etags[entry.key])


def redo_late(context: Context, known: Container[str]) -> bool:
    """Redo the jobs that were running when the run changed; return whether there were any.

    Their results arrived later, but are from the earlier command or input. `known` has the ETags of
    the results that were already known to be outdated, which have been decided on.
    """
    store, layout = context.store, context.layout
    run = load_run(store, context)
    found = compare_results(KnownJobs(store, layout), run, Now(run))
    late = Table()
    for one in found.outdated:
        # Workers of former versions do not record what they executed.
        if one.etag not in known and one.reason is not Reason.UNKNOWN:
            late.put(one.key, (one.etag,))
    if late:
        context.tell(f"{plural(len(late), 'job')} began before the change; processing again")
    return redo(context, late, Table(), renewed=True) > 0
