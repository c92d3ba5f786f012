"""Retries jobs, with the current settings.

Failed ones, or named ones whose outputs are gone or are not what the job wrote; with --again any.
The order for each job: its result is saved as the record of an attempt and deleted, then its mark
is deleted, then a fresh message is sent. If the message came first, a worker could see the result,
and take the job for finished. Only the very result that was read is deleted: another client may
have retried the job meanwhile, and it may have succeeded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain

from parallelize.bulk import get_each, head_each, put_each
from parallelize.console import quoted, shown
from parallelize.context import Context
from parallelize.runs.jobs.key_lookup import find_key, key_of_path, matches, no_such_file
from parallelize.runs.jobs.plan import with_files
from parallelize.runs.manifest import EntryLines
from parallelize.runs.record.ownership import adopt, check_ours, load_run, loaded
from parallelize.runs.record.run_record import check_same_places, drafted, publish, with_inputs_of
from parallelize.runs.results.merge import all_jobs
from parallelize.runs.results.results import (
    decode_result,
    read_failed,
    read_result,
    read_results,
)
from parallelize.runs.results.silent import among, find_silent, silent_results, told_silent
from parallelize.runs.state.resume import resume
from parallelize.spool import Row, Table, batches
from parallelize.transfers import in_parallel
from parallelize.units import plural
from parallelize_core.config import AgentConfig
from parallelize_core.dead_letter import DeadLetter
from parallelize_core.errors import DecodeError, MissingError, NothingToDoError, UsageError
from parallelize_core.files import InputFile, files_of
from parallelize_core.job import JobMessage
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import Entry, add_corrections
from parallelize_core.queue import BATCH, Queue
from parallelize_core.result import Attempt, Result
from parallelize_core.run import Run
from parallelize_core.store import ObjectInfo, Store

DELAY_SECONDS = int(AgentConfig.model_fields["run_refresh_seconds"].default)
"""A worker reads run.json this often; the message waits until all have seen the new one."""

CHUNK = 100
"""Jobs that a crash may leave with neither result nor message."""

_DEAD_LEASE_SECONDS = 60


@dataclass(frozen=True)
class Retried:
    """What `retry` did."""

    run: str
    sent: int
    run_renewed: bool

    @property
    def line(self) -> str:
        """What it did, in words."""
        return f"run {self.run}: {plural(self.sent, 'job')} sent again"


@dataclass(frozen=True)
class Job:
    """A job to send again: its input, and its current result, if any."""

    key: str
    result: Result | None


def planned(
    context: Context, files: Sequence[str], *, again: bool = False, silent: bool = False
) -> Iterator[str]:
    """Say which jobs `retry_jobs` would send; raises the same errors."""
    run = load_run(context.store, context)
    chosen = _chosen(context, run, files, again=again, silent=silent)
    return (f"would send {shown(key)} again" for key in chosen)


def retry_jobs(
    context: Context, files: Sequence[str] = (), *, again: bool = False, silent: bool = False
) -> Retried:
    """Do all of `retry`; raise NothingToDoError if no job has failed."""
    store = context.store
    found = check_ours(context)
    run = loaded(store, found)
    jobs = _chosen(context, run, files, again=again, silent=silent)
    adopt(context, found)
    renewed = _renew(context, store, run)
    queues = context.make_queues()
    clear_dead(queues.dead, jobs)
    lines = _lines(context, run, jobs)
    sent = 0
    for chunk in batches(jobs, CHUNK):
        sent += _send_again(context, run, lines, _as_chosen(context, jobs, chunk), queues.main)
    if sent < len(jobs):
        context.tell(
            f"{plural(len(jobs) - sent, 'job')} left alone: another client has retried them"
        )
    # Their marks are gone, so they do not halt the run again.
    resume(context, run)
    return Retried(context.run, sent, renewed)


def _send_again(
    context: Context, run: Run, lines: EntryLines, jobs: Sequence[Job], queue: Queue
) -> int:
    """Delete the results of some jobs and send fresh messages; return how many were sent."""
    store, layout = context.store, context.layout
    # A plain job needs only its key.
    listed = [lines.get(job.key) or Entry(key=job.key, size=0, etag="") for job in jobs]
    entries = {entry.key: entry for entry in _as_they_are_now(context, run, listed)}
    known = {job.key: job.result.input_etag for job in jobs if job.result}
    # Before the results are deleted: every sender from the manifest has to know.
    add_corrections(store, layout, [e for e in entries.values() if _is_corrected(e, known)])
    put_each(store, (_record_of(layout, job.result) for job in jobs if job.result))
    taken = _take_away(context, jobs)
    list(in_parallel(lambda job: _remove_spoilt(context, run, job), taken))
    marks = (layout.failure, layout.silence)
    store.delete(mark(job.key) for job in taken for mark in marks)
    queue.send([entries[job.key].message(run.name).encode() for job in taken], DELAY_SECONDS)
    return len(taken)


def _as_chosen(context: Context, chosen: Table, keys: Sequence[str]) -> list[Job]:
    """Read the results of some jobs with their logs; leave out those that have another by now."""
    found = read_results(context.store, context.layout, keys)
    results = {result.key: result for result in found}
    jobs = [Job(key, results.get(key)) for key in keys]
    return [
        job for job in jobs if job.result is None or _version(job.result) == chosen.get(job.key)
    ]


def _version(result: Result) -> Row:
    """Return what tells a result from others of its job, its log apart."""
    return (sha256(result.model_copy(update={"log": ""}).encode()).digest(),)


def _is_corrected(entry: Entry, known: Mapping[str, str]) -> bool:
    """Whether a job's input has changed; the record of a merge says so itself."""
    return not entry.merge and known.get(entry.key) not in {"", entry.etag}


def _take_away(context: Context, jobs: Sequence[Job]) -> list[Job]:
    """Delete the results that were read; return the jobs that have none now."""
    store, layout = context.store, context.layout
    places = [layout.result(job.key) for job in jobs]
    there = list(head_each(store, places))
    # They are read after their ETags. If a service ignores the condition of a deletion, another
    # client's result can be lost only if it comes during the few calls from here on.
    bodies = [body for _, body in get_each(store, places)]

    def is_gone(found: tuple[Job, ObjectInfo | None, bytes | None]) -> bool:
        job, info, body = found
        if info is None or body is None:
            return True
        if decode_result(layout, info.key, body) != job.result:
            return False
        return store.delete_version(info.key, info.etag)

    gone = in_parallel(is_gone, zip(jobs, there, bodies, strict=True))
    return [job for job, is_it in zip(jobs, gone, strict=True) if is_it]


def _remove_spoilt(context: Context, run: Run, job: Job) -> None:
    """Delete the outputs of a job that are not what it wrote, where only runs write.

    Otherwise they would be taken for somebody else's. Elsewhere the worker decides, as for any
    output.
    """
    if run.output != context.layout.output or job.result is None:
        return
    store = context.store_of(run.output.bucket)
    for output in job.result.outputs:
        place = run.output.key(output.key)
        if (there := store.head(place)) and there.etag != output.etag:
            store.delete_version(place, there.etag)


def clear_dead(dead: Queue, keys: Collection[str]) -> None:
    """Take the messages of these jobs off the dead-letter queue; leave the others there."""
    others: list[str] = []
    while messages := dead.receive(BATCH, 0, _DEAD_LEASE_SECONDS):
        ours = [message.receipt for message in messages if _key(message.body) in keys]
        dead.delete(ours)
        others += [message.receipt for message in messages if message.receipt not in ours]
    dead.extend(others, 0)


def _key(body: str) -> str | None:
    try:
        return JobMessage.decode(DeadLetter.decode(body).body).key
    except DecodeError:
        return None


def _chosen(
    context: Context, run: Run, files: Sequence[str], *, again: bool, silent: bool
) -> Table:
    """Return the jobs to send again, with the `_version` of the result of each that has one.

    Raises UsageError for a named file that should not be.
    """
    if again and not files:
        raise UsageError(
            "--again needs the names of files",
            "without names, you would pay for the whole run again",
            "parallelize retry --again FILE, or another run: --run NAME",
        )  # fmt: skip
    failed = Table()
    also = silent_results(context.store, context.layout) if silent else ()
    for result in chain(read_failed(context.store, context.layout), also):
        failed.put(result.key, _version(result))
    if not files and not failed:
        raise _nothing_to_retry(context, run)
    if not files:
        return failed
    named = Table(_find(context, run, failed, file) for file in files)
    for key in named:
        if row := failed.get(key):
            named.put(key, row)
        elif there := _finished(context, run, key, again=again):
            named.put(key, _version(there))
    return named


def _nothing_to_retry(context: Context, run: Run) -> NothingToDoError:
    found = find_silent(context.store, context.layout, run)
    fix = "parallelize retry --silent   sends those, too" if found.count else None
    told = "\n".join(line.strip() for line in told_silent(found)) or None
    return NothingToDoError("nothing to retry: no job has failed", told, fix)


def _find(context: Context, run: Run, failed: Collection[str], file: str) -> str:
    """Return the one input that a name means; failed ones come first."""
    path_key = key_of_path(context, file)
    if matches(failed, file, path_key):
        return find_key(failed, file, path_key)
    every = Table(entry.key for entry in all_jobs(context.store, context.layout, run))
    if matches(every, file, path_key):
        return find_key(every, file, path_key)
    raise no_such_file(file, every, "parallelize failures   lists those that have failed")


def _finished(context: Context, run: Run, key: str, *, again: bool) -> Result | None:
    """Return the result of a job that has not failed; UsageError without a reason to redo it."""
    result = read_result(context.store, context.layout, key)
    if again or (result and (among(run, [result]).count or _spoilt(context, run, result))):
        return result
    if result is None:
        raise UsageError(
            f"the job of {shown(key)} has no result yet",
            "it is waiting, or a worker is processing it",
            f"parallelize status; to send it once more: parallelize retry --again {quoted(key)}",
        )  # fmt: skip
    raise UsageError(
        f"the job of {shown(key)} has not failed", "its outputs exist, unchanged",
        f"to process it again anyway: parallelize retry --again {quoted(key)}",
    )  # fmt: skip


def _spoilt(context: Context, run: Run, result: Result) -> bool:
    """Whether an output of a job is gone, or is not what the job wrote."""
    store = context.store_of(run.output.bucket)
    there = ((output, store.head(run.output.key(output.key))) for output in result.outputs)
    return any(found is None or found.etag != output.etag for output, found in there)


def _renew(context: Context, store: Store, there: Run) -> bool:
    """Send the environment and run.json again if they have changed here."""
    if context.resolved.file is None:
        return False  # called from another folder: there is nothing here to compare with
    with drafted(context) as draft:
        check_same_places(with_inputs_of(context.layout, draft.run, there), there)
        renewed = publish(store, context, draft)
    if renewed:
        context.tell(
            "the environment or the settings of the run have changed: the new ones are used"
        )
    return renewed


def _record_of(layout: RunLayout, result: Result) -> tuple[str, bytes]:
    """Return a result as the record of an attempt and its key, so that `logs` still shows it."""
    record = Attempt.model_validate(result.model_dump(include=set(Attempt.model_fields)))
    place = layout.attempt(record.key, record.attempt, record.worker, record.started_at)
    return place, record.encode()


def _lines(context: Context, run: Run, chosen: Table) -> EntryLines:
    """Return the jobs with their files and variables, of a run whose jobs have any."""
    if not (run.extended or run.shares_inputs):
        return EntryLines()
    known = all_jobs(context.store, context.layout, run)
    return EntryLines.of(entry for entry in known if entry.key in chosen)


def _as_they_are_now(context: Context, run: Run, jobs: Sequence[Entry]) -> Iterator[Entry]:
    """Yield jobs with their current files: they may have been corrected meanwhile."""
    files = [file for entry in jobs for file in files_of(entry)]
    now = iter(_files_now(context, run, files))
    for entry in jobs:
        current = [next(now) for _ in files_of(entry)]
        if entry.files is not None:
            yield with_files(entry, current) if current else entry
        else:
            [file] = current
            update = {"size": file.size, "etag": file.etag, "sha256": file.sha256}
            yield entry.model_copy(update=update)


def _files_now(context: Context, run: Run, files: Sequence[InputFile]) -> Iterator[InputFile]:
    """Yield the current versions of files, in their order."""
    places = [file.place(run.input) for file in files]
    by_bucket: dict[str, list[str]] = {}
    for bucket, key in places:
        by_bucket.setdefault(bucket, []).append(key)
    heads = {
        bucket: head_each(context.store_of(bucket), keys) for bucket, keys in by_bucket.items()
    }
    for file, (bucket, _) in zip(files, places, strict=True):
        found = next(heads[bucket])
        if found is None:
            raise MissingError(
                f"the input {shown(file.key)} is no longer in {run.input.uri}",
                fix="put it there again: parallelize prep; to send it and process it once more:\n"
                f"parallelize run --again {quoted(file.key)}",
            )
        # What is known of a content holds for that version alone.
        sha256 = file.sha256 if found.etag == file.etag else ""
        yield file.model_copy(update={"size": found.size, "etag": found.etag, "sha256": sha256})
