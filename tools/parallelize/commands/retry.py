"""`parallelize retry`: give failed jobs another go, with what the settings say now.

The order for each job: its failed result is filed among the records of its attempts and goes, then
the mark goes, then a fresh message comes. Were the message first, a worker could see the result,
and take the job for finished.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from parallelize.console import answer_json, say, say_plan, shown
from parallelize.context import Context, open_context
from parallelize.options import NOTHING, Common, DryRun, Json
from parallelize.queues import make_queues
from parallelize.runs.ownership import adopt, check_ours
from parallelize.runs.record import check_same_places, drafted, load_run, publish
from parallelize.runs.results import failed_results
from parallelize.runs.resume import resume
from parallelize.runs.which import find_key, key_of_path, matches
from parallelize.transfers import in_parallel
from parallelize.units import plural
from parallelize_core.config import AgentConfig
from parallelize_core.dead_letter import DeadLetter
from parallelize_core.errors import DecodeError, MissingError, NothingToDoError, UsageError
from parallelize_core.job import JobMessage
from parallelize_core.queue import BATCH, Queue
from parallelize_core.result import Attempt, Result
from parallelize_core.run import Run
from parallelize_core.store import Store

DELAY_SECONDS = int(AgentConfig.model_fields["run_refresh_seconds"].default)
"""A worker looks at run.json this often; the message waits until all have seen the new one."""

_DEAD_LEASE_SECONDS = 60


@dataclass(frozen=True)
class Retried:
    """What `retry` did."""

    run: str
    sent: int
    run_renewed: bool


def retry(
    *files: Annotated[
        str, Parameter(name="FILE", help="Failed inputs, or ends of their keys; none means all.")
    ],
    dry_run: DryRun = False,
    json: Json = False,
    common: Common = NOTHING,
) -> None:
    """Send failed jobs again: all of them, or those of the named files.

    If the environment or the command has changed here, the new one is used.
    """
    context = open_context(common)
    if dry_run:
        for result in _chosen(context, context.store, files):
            say_plan(f"would send {shown(result.key)} again")
        return
    done = retry_jobs(context, files)
    say(f"run {done.run}: {plural(done.sent, 'failed job')} sent again")
    if json:
        answer_json({"schema": 1, **done.__dict__})


def retry_jobs(context: Context, files: Sequence[str] = ()) -> Retried:
    """Do all of `retry`; raise NothingToDoError if no job has failed."""
    store = context.store
    run = load_run(store, context)
    check_ours(context)
    results = _chosen(context, store, files)
    adopt(context)
    renewed = _renew(context, store, run)
    queues = make_queues(context.clients.sqs, context.run, context.tags)
    clear_dead(queues.dead, {result.key for result in results})
    # Chunks, so that after a crash as few jobs as possible have neither a result nor a message.
    for start in range(0, len(results), 100):
        chunk = results[start : start + 100]
        messages = list(in_parallel(lambda r: _message(context, run, r), chunk))
        list(in_parallel(lambda r: _file(context, r), chunk))
        store.delete(context.layout.result(result.key) for result in chunk)
        store.delete(context.layout.failure(result.key) for result in chunk)
        queues.main.send([m.encode() for m in messages], DELAY_SECONDS)
    # Now that their marks are gone, they are no failures that would halt the run again.
    resume(context, run)
    return Retried(context.run, len(results), renewed)


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


def _chosen(context: Context, store: Store, files: Sequence[str]) -> list[Result]:
    failed = failed_results(store, context.layout)
    if not failed:
        raise NothingToDoError("nothing to retry: no job has failed")
    if not files:
        return failed
    by_key = {result.key: result for result in failed}
    return [by_key[key] for key in dict.fromkeys(_find(context, by_key, file) for file in files)]


def _find(context: Context, failed: Collection[str], file: str) -> str:
    path_key = key_of_path(context, file)
    if matches(failed, file, path_key):
        return find_key(failed, file, path_key)
    near = difflib.get_close_matches(file, failed, n=1)
    raise UsageError(
        f"the job of {shown(file)} has not failed",
        f"did you mean {shown(near[0])}?" if near else None,
        "parallelize failures   lists those that have",
    )


def _renew(context: Context, store: Store, there: Run) -> bool:
    """Send the environment and run.json again if they have changed here."""
    if context.resolved.file is None:
        return False  # called from anywhere: there is nothing here to compare with
    with drafted(context) as draft:
        check_same_places(draft.run, there)
        renewed = publish(store, context, draft)
    if renewed:
        say("the environment or the settings of the run have changed: the new ones are used")
    return renewed


def _file(context: Context, result: Result) -> None:
    """Keep the result as the record of an attempt, so that `logs` still shows it."""
    record = Attempt.model_validate(result.model_dump(include=set(Attempt.model_fields)))
    place = context.layout.attempt(record.key, record.attempt, record.worker, record.started_at)
    context.store.put(place, record.encode())


def _message(context: Context, run: Run, result: Result) -> JobMessage:
    """Return a fresh message for the input as it is now: it may have been mended meanwhile."""
    found = context.store_of(run.input.bucket).head(run.input.key(result.key))
    if found is None:
        raise MissingError(
            f"the input {shown(result.key)} is no longer in {run.input.uri}",
            fix="put it there again: parallelize prep",
        )
    return JobMessage(run=run.name, key=result.key, size=found.size, etag=found.etag)
