"""Enqueues the merge once the last result is there: see parallelize_core.merge.

Any worker that sees the last result does it. The order is: read the record, list the results,
store the list of their outputs, write the record on condition that it is still the one that was
read, and only then send the message. A crash before the last step leaves a merge that has neither
message nor result: the leader sends it again, like any other job.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import ParamSpec, Protocol, TypeVar

import structlog

from parallelize_agent.job.run_source import RunSource
from parallelize_core.config import AgentConfig
from parallelize_core.errors import ChangedError, DecodeError, MissingError
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import Entry, read_entries
from parallelize_core.merge import (
    MERGE,
    ListedOutput,
    MergeRecord,
    decode_record,
    digest_of,
    is_current,
)
from parallelize_core.queue import AsyncQueue
from parallelize_core.result import Output, Result
from parallelize_core.run import Run, Then
from parallelize_core.segment import read_segment
from parallelize_core.store import IF_ABSENT, AsyncStore, Condition, Store

log = structlog.get_logger()

P = ParamSpec("P")
T = TypeVar("T")

AT_ONCE = 32
"""How many results are read at once."""

SINGLE_READS = 500
"""Up to this many results are read one by one instead of from segments."""

MAX_RESULT_BYTES = 2**30
"""More than any result has: one with a million outputs has 300 MB."""

Kept = Mapping[str, tuple[Output, ...]]
"""The outputs of jobs that succeeded, by the S3 keys of their results."""


class InThread(Protocol):
    """Calls a blocking function, and returns what it returns."""

    def __call__(self, call: Callable[P, T], /, *args: P.args, **named: P.kwargs) -> Awaitable[T]:
        """Call it."""


class Standing(Enum):
    """The state of a run's merge, in one sentence each."""

    NONE = "there is none, or files have failed that it waits for"
    EARLY = "some job has no result yet"
    DUE = "every job has its result, and the merge is not on the queue for these"
    PUT = "it was put on the queue just now"
    LEFT = "it was put on the queue for these results, and has no result itself"
    DONE = "it has its result"


@dataclass(frozen=True)
class Seen:
    """What a look found: the record with its ETag, the results by their S3 keys and ETags."""

    standing: Standing
    record: MergeRecord | None = None
    etag: str | None = None
    results: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""


@dataclass(frozen=True)
class Merging:
    """The merge of one run, as a worker manages it."""

    config: AgentConfig
    queue: AsyncQueue
    records: AsyncStore
    rare: Store
    run: RunSource
    in_thread: InThread = asyncio.to_thread
    """Makes calls that block."""

    @property
    def layout(self) -> RunLayout:
        """The keys of the run."""
        return self.config.layout

    @property
    def is_wanted(self) -> bool:
        """Whether the run has a merge."""
        return self.run.current.then is not None

    async def put_if_due(self) -> Standing:
        """Return the state of the merge, and enqueue it if every job has its result."""
        run = self.run.current
        if run.then is None:
            return Standing.NONE
        try:
            seen = await self.in_thread(look, self.rare, self.layout, run.then)
            if seen.standing is Standing.DUE:
                await self._put(run, seen)
                # If not by us, then by another worker, which has seen the same.
                return Standing.PUT
        except (MissingError, ChangedError):
            return Standing.EARLY  # a result is not the one that was listed: a retry is under way
        return seen.standing

    async def send_again(self) -> None:
        """Send a fresh message for a merge that is no longer on the queue."""
        record, _ = await self.in_thread(read_record, self.rare, self.layout)
        if record:
            message = record.message(self.config.run).parked()
            await self.queue.send([message.encode()])

    async def _put(self, run: Run, seen: Seen) -> None:
        record, body = await self._made(run, seen)
        if await self._store(seen, record, body):
            log.info("the merge is put on the queue", outputs=record.outputs)
            await self.queue.send([record.message(run.name).encode()])

    async def _made(self, run: Run, seen: Seen) -> tuple[MergeRecord, bytes]:
        """Return the record of what was seen, and the list that it names."""
        outputs = {key: kept async for key, kept in self._outputs(seen.results)}
        return await self.in_thread(self._record, run, seen.digest, outputs)

    def _record(self, run: Run, digest: str, outputs: Kept) -> tuple[MergeRecord, bytes]:
        """Return the same; it blocks, because the manifest is read part by part."""
        lines = list(_lines(run, self.layout, _entries(self.rare, self.layout), outputs))
        if run.naming.on_clash == "replace":
            lines = self._last(run, lines)
        return _record_of(lines, digest)

    async def _store(self, seen: Seen, record: MergeRecord, body: bytes) -> bool:
        """Store list and record; return whether nobody has written a record since the look."""
        await self.records.put(self.layout.merge_list(record.listed), body, IF_ABSENT)
        condition = Condition(etag=seen.etag) if seen.etag else IF_ABSENT
        return await self.records.put(self.layout.merge, record.encode(), condition) is not None

    async def _outputs(
        self, results: Mapping[str, str]
    ) -> AsyncIterator[tuple[str, tuple[Output, ...]]]:
        """Read the outputs of jobs, many from segments; failed jobs have none."""
        missing = dict(results)
        if len(missing) > SINGLE_READS:
            wanted = {*missing.values()}
            async for item in self.records.list(self.layout.segments.prefix):
                for etag, result in await self._segment(item.key, wanted):
                    place = self.layout.result(result.key)
                    if missing.get(place) == etag:
                        del missing[place]
                        yield place, _kept(result)
        for some in _cut(list(missing), AT_ONCE):
            bodies = await self._read([(place, results[place]) for place in some])
            for place, body in zip(some, bodies, strict=True):
                yield place, _kept(_decoded(body))

    async def _read(self, versions: Sequence[tuple[str, str]]) -> Sequence[bytes]:
        return await asyncio.gather(*(self._version(*one) for one in versions))

    async def _version(self, key: str, etag: str) -> bytes:
        """Read a result in the listed version, so that list and digest describe the same."""
        body = await self.records.get_within(key, MAX_RESULT_BYTES, etag)
        if body is None:
            raise ChangedError(f"{key} has more than {MAX_RESULT_BYTES:,} bytes")
        return body

    async def _segment(self, key: str, wanted: set[str]) -> list[tuple[str, Result]]:
        """Read the wanted results of a segment; none if it is broken."""
        with suppress(DecodeError, MissingError):
            body = await self.records.get(key)
            return await self.in_thread(lambda: list(read_segment(body, wanted)))
        return []

    def _last(self, run: Run, lines: Sequence[ListedOutput]) -> list[ListedOutput]:
        """Leave out outputs that another input's output of the same name has replaced."""
        times = Counter(line.name for line in lines)
        heads = {
            name: self.rare.head(run.output.key(name)) for name, count in times.items() if count > 1
        }
        return [
            line for line in lines
            if line.name not in heads or ((h := heads[line.name]) and h.etag == line.etag)
        ]  # fmt: skip


def look(store: Store, layout: RunLayout, then: Then) -> Seen:
    """Look at the merge of a run."""
    # Before the results: the record is written over this one, or not at all.
    record, etag = read_record(store, layout)
    results = {item.key: item.etag for item in store.list(layout.results.prefix)}
    merged = results.pop(layout.result(MERGE), None)
    if any(layout.result(entry.key) not in results for entry in _entries(store, layout)):
        return Seen(Standing.EARLY)
    digest = digest_of(layout, results.items())
    if record and record.digest == digest:
        done = merged is not None and _is_merged(store, layout, record, digest)
        return Seen(Standing.DONE if done else Standing.LEFT)
    if not then.partial and has_failed(store, layout, results):
        return Seen(Standing.NONE)
    return Seen(Standing.DUE, record, etag, results, digest)


def read_record(store: Store, layout: RunLayout) -> tuple[MergeRecord | None, str | None]:
    """Return the record of the merge, and a version that is at most as new.

    Something else may have been written in its place: then there is a version but no record.
    """
    head = store.head(layout.merge)
    if head is None:
        return None, None
    return decode_record(store.get(layout.merge)), head.etag


def has_failed(store: Store, layout: RunLayout, results: Mapping[str, str]) -> bool:
    """Whether a job has failed: a mark suggests it, and its result confirms it."""
    marks = {item.key for item in store.list(layout.failures.prefix)}
    keys = (e.key for e in _entries(store, layout) if layout.failure(e.key) in marks)
    places = (layout.result(key) for key in keys) if marks else ()
    return any(_failed(_decoded(store.get(place))) for place in places if place in results)


def _is_merged(store: Store, layout: RunLayout, record: MergeRecord, digest: str) -> bool:
    with suppress(MissingError):
        result = _decoded(store.get(layout.result(MERGE)))
        return result is not None and is_current(result, record, digest)
    return False


def _entries(store: Store, layout: RunLayout) -> Iterator[Entry]:
    return read_entries(store, layout)


def _decoded(body: bytes) -> Result | None:
    """Return a result; None for anything else, which counts as a failure."""
    with suppress(DecodeError):
        return Result.decode(body)
    return None


def _failed(result: Result | None) -> bool:
    return result is None or result.status == "failed"


def _kept(result: Result | None) -> tuple[Output, ...]:
    return () if result is None or _failed(result) else result.outputs


def _lines(
    run: Run, layout: RunLayout, entries: Iterable[Entry], outputs: Kept
) -> Iterator[ListedOutput]:
    for entry in entries:
        for output in outputs.get(layout.result(entry.key), ()):
            yield ListedOutput.of(output, run.output, entry.key, entry.variables)


def _record_of(lines: Sequence[ListedOutput], digest: str) -> tuple[MergeRecord, bytes]:
    """Return the record of a list, and the list's content."""
    body = "".join(f"{line.model_dump_json()}\n" for line in lines).encode()
    listed = hashlib.sha256(body).hexdigest()
    size = sum(line.size for line in lines)
    return MergeRecord(digest=digest, listed=listed, outputs=len(lines), size=size), body


def _cut(keys: Sequence[str], count: int) -> Iterator[Sequence[str]]:
    return (keys[start : start + count] for start in range(0, len(keys), count))
