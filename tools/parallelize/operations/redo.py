"""Redoes finished jobs: their results are set aside, and fresh messages are sent.

The order for each job is that of `retry`: first the manifest has the new state of its input; then
its result is saved among the superseded ones and as the record of an attempt, and deleted; then a
fresh message is sent. Only the version that was compared is deleted. If a crash leaves a job with
neither result nor message, `enqueue` and the workers find it, like any job that SQS has lost.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from parallelize.bulk import get_each
from parallelize.context import Context
from parallelize.progress import progress
from parallelize.runs.jobs.plan import KnownJobs
from parallelize.runs.record.outdated import Now, Reason, compare_results
from parallelize.runs.record.ownership import load_run
from parallelize.runs.results import superseded
from parallelize.runs.results.merge import merge_entry
from parallelize.runs.results.results import decode_result
from parallelize.runs.state.resume import resume
from parallelize.transfers import in_parallel
from parallelize.units import plural
from parallelize.wire import in_flight
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import Entry, read_cursor, read_parts
from parallelize_core.merge import MERGE
from parallelize_core.queue import Queue
from parallelize_core.result import Result
from parallelize_core.store import Store

CHUNK = 100
"""Jobs that a crash may leave with neither result nor message."""


def redo(
    context: Context, results: Mapping[str, str], waiting: Collection[str], *, renewed: bool
) -> int:
    """Have jobs redone; return how many were sent.

    `results` has the ETags of the results to set aside, by the jobs' keys. Jobs that are `waiting`
    have none, but their messages name an earlier version of their input. If the record of the run
    was `renewed`, messages are delayed until all workers have read it.
    """
    if not results and not waiting:
        return 0
    from parallelize.operations.retry import DELAY_SECONDS, clear_dead  # noqa: PLC0415 - seldom

    if results.keys() - {MERGE}:
        # The merge runs again by itself when another job does.
        results = {key: etag for key, etag in results.items() if key != MERGE}
    again = _entries(context, results, waiting)
    queues = context.make_queues()
    clear_dead(queues.dead, results.keys())
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


def _entries(
    context: Context, results: Mapping[str, str], waiting: Collection[str]
) -> Iterator[Entry]:
    """Go through those jobs, with their current inputs; leave out those that were never sent."""
    store, layout = context.store, context.layout
    for part in read_parts(store, layout):
        unsent: set[str] = set()
        if any(entry.key in waiting for entry in part.entries):
            sent = read_cursor(store, layout, part.number).sent
            unsent = {entry.key for entry in part.entries[sent:]}
        for entry in part.entries:
            if entry.key in results or (entry.key in waiting and entry.key not in unsent):
                yield entry
    if MERGE in results:
        yield from merge_entry(store, layout, load_run(store, context))


def _send_chunk(
    context: Context,
    chunk: Sequence[Entry],
    results: Mapping[str, str],
    queue: Queue,
    delay_seconds: int,
) -> int:
    store, layout = context.store, context.layout
    done = [entry for entry in chunk if entry.key in results]
    _keep(context, done, results)
    gone = dict(in_parallel(lambda entry: _take_away(store, layout, entry, results), done))
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


def redo_late(context: Context, known: Collection[str]) -> bool:
    """Redo the jobs that were running when the run changed; return whether there were any.

    Their results arrived later, but are from the earlier command or input. `known` has the ETags of
    the results that were already known to be outdated, which have been decided on.
    """
    store, layout = context.store, context.layout
    run = load_run(store, context)
    found = compare_results(KnownJobs(store, layout), run, Now(run))
    late = {
        one.key: one.etag
        for one in found.outdated
        # Workers of former versions do not record what they executed.
        if one.etag not in known and one.reason is not Reason.UNKNOWN
    }
    if late:
        context.tell(f"{plural(len(late), 'job')} began before the change; processing again")
    return redo(context, late, (), renewed=True) > 0
