"""Puts the jobs without a result on the queue, each of them once.

The first call sends the whole manifest, chunk by chunk, and the cursors remember how far. So a
second call sends nothing while messages wait, and an interrupted one goes on after the chunks that
were being sent: no job is sent twice. Jobs of these chunks that were not sent, and messages that
SQS lost, are found when everything was sent, the queue is empty, and results are still missing:
then the missing jobs are sent again.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from string import Formatter
from typing import NamedTuple

from parallelize import spool
from parallelize.bulk import get_each, list_each
from parallelize.console import escape, shown
from parallelize.context import Context
from parallelize.progress import progress
from parallelize.runs.jobs.cursor import CursorHold
from parallelize.runs.manifest import EntryLines, KnownJobs, list_corrections, spooled_jobs
from parallelize.runs.record.agent_config import drain_settings
from parallelize.runs.record.ownership import (
    adopt,
    check_same,
    find_run,
    load_run,
    loaded,
    look_up,
)
from parallelize.runs.results.results import read_failed
from parallelize.runs.state.resume import resume
from parallelize.together import Together
from parallelize.units import plural
from parallelize.wire import AT_ONCE, in_flight
from parallelize_core.async_clients import AsyncClients
from parallelize_core.config import DrainSettings
from parallelize_core.errors import (
    MissingError,
    NothingToDoError,
    ParallelizeError,
    UnavailableError,
    UsageError,
)
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import (
    Corrected,
    Cursor,
    Entry,
    count_entries,
    decode_part,
    first_messages,
    part_messages,
    part_places,
    places_of,
    read_cursor,
)
from parallelize_core.queue import BATCH, AsyncQueue, Counted, QueueCounts, batches
from parallelize_core.run import Run
from parallelize_core.store import AsyncStore, Store

CHUNK = 1000
"""Jobs between two writes of a cursor; a crash of `enqueue` leaves at most this many for later."""

PARTS_AT_ONCE = 4
"""Parts of the manifest: while one waits for its cursor to be written, others are sent."""


KeyAndBody = tuple[str, str]
"""A job's key, and the body of its first message."""


class Enqueued(NamedTuple):
    """What `enqueue` did."""

    run: str
    sent: int
    again: int
    finished: int

    @property
    def line(self) -> str:
        """What it did, in words."""
        again = f", {self.again:,} of them again" if self.again else ""
        return f"run {self.run}: {plural(self.sent, 'job')} sent{again}, {self.finished:,} finished"


def send_jobs(
    context: Context, limit: int | None = None, drain: DrainSettings | None = None
) -> Enqueued:
    """Make the queues and do all of `enqueue`; `drain` says when to believe that a queue is empty.

    Raises NothingToDoError if there was nothing to send, and says why.
    """
    store, layout = context.store, context.layout
    calls = Together(store)
    there, manifest = look_up(calls, store, layout), calls.list(layout.manifest.prefix)
    results = calls.list(layout.results.prefix)
    run, places = loaded(store, there()), places_of(manifest())
    done = spool.Table(item.key for item in results())
    waiting = waiting_jobs(run, store, layout, done, places)
    # To read the manifest takes long. No write is refused because its run has since been paused,
    # corrected, begun again, or taken by another project.
    calls, before = Together(store), run
    there, corrections = look_up(calls, store, layout), list_corrections(calls, layout)
    run, corrected = loaded(store, there()), corrections()
    adopted = adopt(context, there())
    check_same(before, run)
    resume(context, run, adopted.read)
    queues = context.make_queues()
    url = queues.main.url
    if waiting:
        count = min(waiting.total(), limit or waiting.total())

        def sender(clients: AsyncClients) -> Sender:
            bucket = clients.store(context.bucket)
            return Sender(bucket, layout, clients.queue(url), done, corrected)

        sent = context.wire.run(lambda clients: sender(clients).send(waiting, count))
        return Enqueued(context.run, sent, 0, len(done))
    drain = drain or drain_settings(context.settings.agent)
    lost = lost_jobs(store, layout, queues, drain)
    count = min(len(lost), limit or len(lost))
    # Their receivers look for a claim and a result first, because the counts may be wrong.
    again = (
        first_messages(context.run, some, claimed=True)
        for some in spool.batches(islice(lost, count), BATCH)
    )
    context.wire.run(lambda clients: in_flight(clients.queue(url).send, again))
    return Enqueued(context.run, count, count, len(done))


def waiting_jobs(
    run: Run,
    store: Store,
    layout: RunLayout,
    done: Collection[str],
    places: Iterable[tuple[int, str]] | None = None,
) -> Counter[int]:
    """Count the jobs of each part that were never sent and have no result; omits parts without any.

    `places` are the numbers and keys of the parts, if they were listed. Raises UsageError if all
    outputs would have the same name.
    """
    waiting: Counter[int] = Counter()
    names: list[str] = []
    places = part_places(store, layout) if places is None else places
    for number, place, body, sent in _with_cursors(store, layout, places):
        where = f"s3://{store.bucket}/{place}"
        if done or len(names) < 2:
            part = decode_part(body, where)
            names += [entry.key for entry in part[:2]]
            unsent = (entry.key for entry in part[sent:])
            count = sum(layout.result(key) not in done for key in unsent)
        else:
            count = count_entries(body, where) - sent
        if count > 0:
            waiting[number] = count
    check_names(run, names)
    return waiting


def _with_cursors(
    store: Store, layout: RunLayout, places: Iterable[tuple[int, str]]
) -> Iterator[tuple[int, str, bytes, int]]:
    """Read some parts at a time; yield number, key and content of each, and how much was sent."""
    for some in spool.batches(places, PARTS_AT_ONCE):
        keys = [key for number, place in some for key in (place, layout.cursor(number))]
        read = dict(get_each(store, keys))
        for number, place in some:
            body, cursor = read[place], read[layout.cursor(number)]
            if body is None:
                raise MissingError(f"s3://{store.bucket}/{place} is gone")
            where = f"s3://{store.bucket}/{layout.cursor(number)}"
            yield number, place, body, Cursor.decode(cursor, where).sent if cursor else 0


def spread(parts: Sequence[int], stretches: int) -> Iterator[int]:
    """Go through parts of the manifest, from the start of each of N stretches in turn.

    Workers then read and write in several places of the bucket at once. S3 partitions by key, so
    each place can have a partition of its own.
    """
    length = math.ceil(len(parts) / stretches)
    for at in range(length):
        yield from parts[at::length]


@dataclass
class Sender:
    """Sends the jobs beyond the cursors that are not `done` (the keys of results)."""

    store: AsyncStore
    layout: RunLayout
    queue: AsyncQueue
    done: Collection[str]
    corrected: Corrected = field(default_factory=EntryLines)
    _room: int = 0
    _accepted: bool = False

    async def send(self, parts: Iterable[int], limit: int) -> int:
        """Send at most `limit` jobs of the parts with these numbers; return how many were sent."""
        self._room = limit
        with progress("sent", limit) as self._step:
            await in_flight(self._send_part, spread(list(parts), PARTS_AT_ONCE), PARTS_AT_ONCE)
        return limit - self._room

    async def _send_part(self, number: int) -> None:
        if not self._room:
            return
        place = self.layout.manifest_part(number)
        where = f"s3://{self.store.bucket}/{place}"
        reading = asyncio.ensure_future(self.store.get(place))
        try:
            async with await CursorHold.take(self.store, self.layout, number) as hold:
                body = await reading
                part = part_messages(self.layout.run, body, where, self.corrected)
                while hold.cursor.sent < len(part) and self._room:
                    await self._send_chunk(part, hold)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _send_chunk(self, part: Sequence[KeyAndBody], hold: CursorHold) -> None:
        start = hold.cursor.sent
        end = min(start + CHUNK, len(part))
        chunk = self._open(part[start:end])
        if len(chunk) > self._room:
            chunk = chunk[: self._room]
            end = part.index(chunk[-1]) + 1
        self._room -= len(chunk)
        # Before they are sent: a crash after this line leaves jobs for later, and duplicates none.
        await hold.advance(end)
        try:
            await self._put_on_queue([body for _, body in chunk])
        except UnavailableError:
            raise  # some of them may be on the queue
        except ParallelizeError:
            if not self._accepted:
                await hold.advance(start)
            raise

    async def _put_on_queue(self, bodies: Sequence[str]) -> None:
        if not self._accepted:
            # Send these alone, so that a queue that refuses us has certainly taken nothing.
            await self._send_batch(bodies[:BATCH])
            bodies = bodies[BATCH:]
        await in_flight(self._send_batch, batches(bodies), AT_ONCE // PARTS_AT_ONCE)

    async def _send_batch(self, bodies: Sequence[str]) -> None:
        if bodies:
            await self.queue.send(bodies)
            self._accepted = True
        for _ in bodies:
            self._step()

    def _open(self, jobs: Sequence[KeyAndBody]) -> Sequence[KeyAndBody]:
        if not self.done:
            return jobs
        return [job for job in jobs if self.layout.result(job[0]) not in self.done]


def lost_jobs(
    store: Store, layout: RunLayout, queue: Counted, drain: DrainSettings
) -> spool.Spooled[Entry]:
    """Return the jobs that were sent, and have neither a result nor a message.

    Raises NothingToDoError if there are none, and says why.
    """
    # The counts take a minute to settle, so ask for them only if necessary.
    if next(_unfinished(store, layout), None):
        counts = settled_counts(queue, drain)
        # Read this after the counts: a job that ended meanwhile is not missing.
        missing = spooled_jobs(_unfinished(store, layout))
        if missing and not counts.total:
            return missing
        if missing:
            raise NothingToDoError(
                "nothing to send: every job without a result is on the queue",
                f"{counts.visible + counts.delayed:,} waiting, {counts.in_flight:,} at a worker",
                "parallelize launch, or parallelize status",
            )
    run = find_run(store, layout.run_json)
    failed = sum(1 for _ in read_failed(store, layout))
    if run and run.then and (run.then.partial or not failed):
        raise NothingToDoError(
            f"nothing to send: {plural(len(_finished(store, layout)), 'job')} finished",
            "when all are finished, a worker puts run.then on the queue",
            "parallelize launch",
        )
    raise NothingToDoError(
        f"nothing to send: {plural(len(_finished(store, layout)), 'job')} finished, none left",
        f"{failed:,} failed" if failed else None,
        "parallelize retry" if failed else "parallelize download DIR",
    )


def _unfinished(store: Store, layout: RunLayout) -> Iterator[Entry]:
    """Go through the jobs that were sent to the queue and have no result."""
    done = _finished(store, layout)
    for number, entries in KnownJobs(store, layout).by_part():
        sent = islice(entries, read_cursor(store, layout, number).sent)
        yield from (entry for entry in sent if layout.result(entry.key) not in done)


def _finished(store: Store, layout: RunLayout) -> spool.Table:
    return spool.Table(item.key for item in list_each(store, layout.results.prefix))


def check_names(run: Run, keys: Sequence[str]) -> None:
    """Raise UsageError if every output would have the same name.

    More cannot be known in advance: {dir}, {stem} and {suffix} come from what the command prints.
    """
    fields = {field for _, field, *_ in Formatter().parse(run.naming.name) if field}
    if run.naming.on_clash != "fail" or fields - {"run"} or len(keys) < 2:
        return
    raise UsageError(
        f"all outputs would have the same name {escape(run.naming.name)}",
        f"for example those of {shown(keys[0], 30)} and {shown(keys[1], 30)}",
        'output.name = "{dir}/{stem}{suffix}", or output.on_clash = "suffix"',
    )


def planned(context: Context, limit: int | None) -> Iterator[str]:
    """Say how many jobs would be sent."""
    store, layout = context.store, context.layout
    run = load_run(store, context)
    done = _finished(store, layout)
    waiting = waiting_jobs(run, store, layout, done).total()
    count = min(waiting, limit or waiting)
    yield f"would send {plural(count, 'job')} to the queue of run {context.run}"
    yield f"{plural(len(done), 'job')} finished already"


def settled_counts(
    queue: Counted, drain: DrainSettings, sleep: Callable[[float], None] = time.sleep
) -> QueueCounts:
    """Count the messages; believe in an empty queue only after several looks.

    SQS's counts are approximate, and need up to a minute to settle.
    """
    for number in range(drain.samples):
        if number:
            sleep(drain.interval_seconds)
        if (counts := queue.counts()).total:
            break
    return counts
