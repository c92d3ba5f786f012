"""`parallelize enqueue`: put the jobs without a result on the queue, each of them once.

A first call sends the whole manifest, chunk by chunk, and the cursors remember how far. So
a second call sends nothing while messages wait, and one that was cut off goes on where it was.
Only when everything was sent, nothing is on the queue, and results are still missing, were
messages lost: then what is missing is sent again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Annotated

from cyclopts import Parameter

from parallelize.console import answer_json, escape, say, say_plan, shown
from parallelize.context import Context, open_context
from parallelize.options import NOTHING, Common, DryRun, Json
from parallelize.progress import Step, progress
from parallelize.queues import make_queues
from parallelize.runs.agent_config import drain_settings
from parallelize.runs.cursor import CursorHold
from parallelize.runs.ownership import adopt
from parallelize.runs.record import load_run
from parallelize.runs.results import failed_results
from parallelize.runs.resume import resume
from parallelize.transfers import in_parallel
from parallelize.units import plural
from parallelize_core.config import DrainSettings
from parallelize_core.errors import NothingToDoError, UsageError
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import Entry, Part, finished, read_cursor, read_parts, unfinished
from parallelize_core.queue import Queue, QueueCounts, batches
from parallelize_core.run import Run
from parallelize_core.store import Store

CHUNK = 1000
"""Jobs between two writes of a cursor: what a crash of `enqueue` may send twice."""


@dataclass(frozen=True)
class Enqueued:
    """What `enqueue` did."""

    run: str
    sent: int
    again: int
    finished: int


def enqueue(
    *,
    limit: Annotated[int | None, Parameter(help="Send at most N jobs.")] = None,
    dry_run: DryRun = False,
    json: Json = False,
    common: Common = NOTHING,
) -> None:
    """Put the jobs that have no result on the queue; nothing is put there twice."""
    if limit is not None and limit < 1:
        raise UsageError("--limit is at least 1")
    context = open_context(common)
    if dry_run:
        show_plan(context, limit)
        return
    done = send_jobs(context, limit)
    again = f", {done.again:,} of them again" if done.again else ""
    say(f"run {done.run}: {plural(done.sent, 'job')} sent{again}, {done.finished:,} finished")
    if json:
        answer_json({"schema": 1, **done.__dict__})


def send_jobs(
    context: Context, limit: int | None = None, drain: DrainSettings | None = None
) -> Enqueued:
    """Make the queues and do all of `enqueue`; `drain` says when an empty queue is believed.

    Raises NothingToDoError if there was nothing to send, and says why.
    """
    store, layout = context.store, context.layout
    run = load_run(store, context)
    parts = list(read_parts(store, layout))
    check_names(run, parts)
    adopt(context)
    resume(context, run)
    queue = make_queues(context.clients.sqs, context.run, context.queue_tags).main
    sender = Sender(store, layout, queue, finished(store, layout))
    waiting = len(beyond_cursors(store, layout, parts, sender.done))
    if waiting:
        sent = sender.send(parts, min(waiting, limit or waiting))
        return Enqueued(context.run, sent, 0, len(sender.done))
    drain = drain or drain_settings(context.settings.agent)
    again = lost_jobs(store, layout, queue, drain)[:limit]
    # Their receivers look for a claim and a result first: the counts may have been wrong.
    queue.send([entry.message(context.run).parked().encode() for entry in again])
    return Enqueued(context.run, len(again), len(again), len(sender.done))


def beyond_cursors(
    store: Store, layout: RunLayout, parts: Iterable[Part], done: set[str]
) -> list[Entry]:
    """Return the jobs that were never sent and have no result."""
    return [entry for part in parts
            for entry in part.entries[read_cursor(store, layout, part.number).sent :]
            if layout.result(entry.key) not in done]  # fmt: skip


@dataclass
class Sender:
    """Sends the jobs that lie beyond the cursors and are not `done` (the keys of results)."""

    store: Store
    layout: RunLayout
    queue: Queue
    done: set[str]

    def send(self, parts: Iterable[Part], limit: int) -> int:
        """Send at most `limit` jobs; return how many were sent."""
        total = 0
        with progress("sent", limit) as step:
            for part in parts:
                if total < limit and self._sent(part) < len(part.entries):
                    total += self._send_part(part, limit - total, step)
        return total

    def _send_part(self, part: Part, limit: int, step: Step) -> int:
        total = 0
        with CursorHold.take(self.store, self.layout, part.number) as hold:
            while hold.cursor.sent < len(part.entries) and total < limit:
                end = min(hold.cursor.sent + CHUNK, len(part.entries))
                chunk = self._open(part.entries[hold.cursor.sent : end])
                if len(chunk) > limit - total:
                    chunk = chunk[: limit - total]
                    end = part.entries.index(chunk[-1]) + 1
                self._put_on_queue(chunk, step)
                # Only now: a crash before this line repeats a chunk, and none loses one.
                hold.advance(end)
                total += len(chunk)
        return total

    def _put_on_queue(self, entries: Sequence[Entry], step: Step) -> None:
        def send(batch: Sequence[str]) -> int:
            self.queue.send(batch)
            return len(batch)

        bodies = [entry.message(self.layout.run).encode() for entry in entries]
        for count in in_parallel(send, batches(bodies)):
            for _ in range(count):
                step()

    def _sent(self, part: Part) -> int:
        return read_cursor(self.store, self.layout, part.number).sent

    def _open(self, entries: Sequence[Entry]) -> list[Entry]:
        return [entry for entry in entries if self.layout.result(entry.key) not in self.done]


def lost_jobs(store: Store, layout: RunLayout, queue: Queue, drain: DrainSettings) -> list[Entry]:
    """Return the jobs that were sent, and have neither result nor message.

    Raises NothingToDoError if there are none, and says why.
    """
    # The counts take a minute to settle, so they are not asked for without need.
    if next(unfinished(store, layout), None):
        counts = settled_counts(queue, drain)
        # Read after the counts: a job that ended while they were taken is not missing.
        missing = list(unfinished(store, layout))
        if missing and not counts.total:
            return missing
        if missing:
            raise NothingToDoError(
                "nothing to send: every job without a result is on the queue",
                f"{counts.visible + counts.delayed:,} waiting, {counts.in_flight:,} at a worker",
                "parallelize launch, or parallelize status",
            )
    failed = len(failed_results(store, layout))
    raise NothingToDoError(
        f"nothing to send: {plural(len(finished(store, layout)), 'job')} finished, none left",
        f"{failed:,} failed" if failed else None,
        "parallelize retry" if failed else "parallelize download DIR",
    )


def check_names(run: Run, parts: Sequence[Part]) -> None:
    """Raise UsageError if every output would have one and the same name.

    More cannot be foretold: {dir}, {stem} and {suffix} come from what the command prints.
    """
    fields = {field for _, field, *_ in Formatter().parse(run.naming.name) if field}
    keys = [entry.key for part in parts[:2] for entry in part.entries[:2]]
    if run.naming.on_clash != "fail" or fields - {"run"} or len(keys) < 2:
        return
    raise UsageError(
        f"all outputs would have the same name {escape(run.naming.name)}",
        f"for example those of {shown(keys[0], 30)} and {shown(keys[1], 30)}",
        'output.name = "{dir}/{stem}{suffix}", or output.on_clash = "suffix"',
    )


def show_plan(context: Context, limit: int | None) -> None:
    """Print how many jobs would be sent."""
    store, layout = context.store, context.layout
    run = load_run(store, context)
    parts = list(read_parts(store, layout))
    check_names(run, parts)
    done = finished(store, layout)
    waiting = len(beyond_cursors(store, layout, parts, done))
    count = min(waiting, limit or waiting)
    say_plan(f"would send {plural(count, 'job')} to the queue of run {context.run}")
    say_plan(f"{plural(len(done), 'job')} have a result already")


def settled_counts(
    queue: Queue, drain: DrainSettings, sleep: Callable[[float], None] = time.sleep
) -> QueueCounts:
    """Count the messages; believe that there are none only after several looks.

    SQS's counts are approximate, and need up to a minute to settle.
    """
    for number in range(drain.samples):
        if number:
            sleep(drain.interval_seconds)
        if (counts := queue.counts()).total:
            break
    return counts
