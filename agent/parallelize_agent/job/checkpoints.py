"""Checkpoints in S3: found for an attempt, stored for the next, deleted with the result.

An archive is written first, under a unique name; then the marker that names it, on the
condition that the marker is still the one that this attempt has seen. So a checkpoint is complete
or absent, and an attempt that has lost its lease cannot overwrite the next one's checkpoint: the
marker has changed by then. Each write is made under a lease that was just checked.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from pydantic import Field

from parallelize_agent.job import snapshot
from parallelize_agent.job.scratch import JobFolder
from parallelize_agent.job.snapshot import Snapshot, SnapshotError
from parallelize_agent.queue.leases import Lease
from parallelize_core.clock import utc_now
from parallelize_core.errors import ChangedError, DecodeError, MissingError, ServiceError
from parallelize_core.job import JobMessage
from parallelize_core.layout import RunLayout
from parallelize_core.record import IsoTime, Record
from parallelize_core.run import Run
from parallelize_core.store import IF_ABSENT, AsyncStore, Condition

MAX_MARKER_BYTES = 64 * 1024


class Checkpoint(Record):
    """The marker of a checkpoint; written last, so an archive without one is incomplete.

    `name` is that of the archive below the checkpoint's own folder; `etag`, `size` in bytes and
    `sha256` are the archive's. `identity` says what it is a checkpoint of, see `identity_of`.
    """

    run: str
    key: str
    identity: str
    name: str = Field(pattern=r"^[^/]{1,255}$")
    etag: str
    size: int
    sha256: str
    worker: str
    stored_at: IsoTime


def identity_of(run: Run, message: JobMessage) -> str:
    """Return a digest of a job, its command and its input: if it differs, the job starts over."""
    environment = run.environment.identity if run.environment else ""
    image = run.image.model_dump_json() if run.image else ""
    parts = [run.name, run.origin, run.command, environment, image, message.key, message.etag]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


log = structlog.get_logger()

MARKER = "marker.json"

TRIES = 3
"""How often to retry the marker's write when another attempt's late write gets in between."""

AT_ONCE = 4
"""Archives that are sent at the same time; large ones are sent in parallel parts anyway."""

ASSUMED_BYTES_PER_SECOND = 20e6
"""Assumed upload speed of archives before any was measured."""

MEASURED_BYTES = 1024**2
"""Smaller archives measure latency, not speed."""


class Speed:
    """The upload speed of recent archives."""

    def __init__(self) -> None:
        self._measured: float | None = None

    def note(self, size: int, seconds: float) -> None:
        """Record the upload of an archive."""
        if size < MEASURED_BYTES:
            return
        now = size / max(seconds, 0.001)
        self._measured = now if self._measured is None else (self._measured + now) / 2

    def seconds_for(self, size: int) -> float:
        """Return how many seconds it will take to send this number of bytes."""
        return size / (self._measured or ASSUMED_BYTES_PER_SECOND)


@dataclass(eq=False)
class Kept:
    """What the attempt that has a job knows of the job's checkpoint.

    `restore` is the archive that was found, with its checksum. `any` says whether S3 may have
    objects of it, `stored` whether S3 has a complete one, and `content` is a digest of the folder's
    content then. `storing` stores what the running job has left so far.
    """

    run: Run
    message: JobMessage
    lease: Lease
    folder: JobFolder
    restore: tuple[Path, str] | None = None
    marker: str | None = None
    archive_key: str | None = None
    any: bool = False
    stored: bool = False
    content: str = ""
    closed: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    storing: asyncio.Task[bool] | None = None
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def owner(self) -> int:
        """The user whose files are in the folder while the job runs."""
        return self.folder.user.number if self.folder.user else os.geteuid()

    @property
    def identity(self) -> str:
        """What identifies the job that it belongs to."""
        return identity_of(self.run, self.message)

    def close(self) -> None:
        """Stop storing: the job has ended."""
        self.closed = True
        if self.storing:
            self.storing.cancel()

    def new_archive(self) -> Path:
        """Return the path of the next archive, next to the job's folders."""
        root = self.folder.root
        return root.with_name(f"{root.name}.checkpoint{next(self.numbers)}")

    def pack(self, owner: int | None = None) -> Snapshot | None:
        """Pack the folder; None if it is empty, or unchanged since stored. Raises SnapshotError.

        It blocks. `owner` owns the files, if they are no longer the job's user's.
        """
        whose = self.owner if owner is None else owner
        if snapshot.look(self.folder.checkpoint, whose).digest == self.content:
            return None
        limit = self.run.checkpoints.limit_bytes
        return snapshot.pack(self.folder.checkpoint, whose, self.new_archive(), limit)

    def put_back(self) -> None:
        """Put what was found into the job's folder, which exists; it blocks.

        An incomplete archive is left out: then the job starts from the beginning.
        """
        if self.restore is None:
            return
        (archive, sha256), self.restore = self.restore, None
        fresh = self.folder.root / "restored"
        try:
            snapshot.unpack(archive, sha256, fresh)
            fresh.rename(self.folder.checkpoint)
            self.content = snapshot.look(self.folder.checkpoint, os.geteuid()).digest
            log.info("checkpoint restored", key=self.message.key)
        except (SnapshotError, OSError) as error:
            log.warning("checkpoint not restored", key=self.message.key, error=str(error))
        finally:
            archive.unlink(missing_ok=True)


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a run's jobs; `worker` is this worker's id."""

    store: AsyncStore
    layout: RunLayout
    worker: str
    files: Executor
    speed: Speed = field(default_factory=Speed)
    now: Callable[[], str] = utc_now
    at_once: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def find(self, kept: Kept) -> None:
        """Look for a checkpoint of an earlier attempt, and fetch it."""
        for _ in range(TRIES):
            try:
                await self._find(kept)
                return
            except (MissingError, ChangedError) as error:
                # An attempt that lost its lease may just have replaced it.
                log.warning("checkpoint not there", key=kept.message.key, error=str(error))
            except DecodeError as error:
                log.warning("checkpoint not read", key=kept.message.key, error=str(error))
                return

    async def _find(self, kept: Kept) -> None:
        folder = self.layout.checkpoint(kept.message.key)
        found = {item.key: item.etag async for item in self.store.list(folder.prefix)}
        kept.any = bool(found)
        marker = folder.key(MARKER)
        if marker in found:
            await self._fetch(kept, marker, found[marker])

    async def _fetch(self, kept: Kept, marker: str, etag: str) -> None:
        content = await self.store.get_within(marker, MAX_MARKER_BYTES, etag)
        kept.marker = etag
        checkpoint = Checkpoint.decode(content or b"")
        key = self.layout.checkpoint(kept.message.key).key(checkpoint.name)
        kept.archive_key = key
        if checkpoint.identity != kept.identity:
            log.info("checkpoint of another command or input", key=kept.message.key)
            return
        archive = kept.new_archive()
        await asyncio.get_running_loop().run_in_executor(
            self.files, lambda: archive.parent.mkdir(parents=True, exist_ok=True)
        )
        try:
            await self.store.get_file(key, archive, checkpoint.etag)
        except BaseException:
            archive.unlink(missing_ok=True)
            raise
        kept.restore, kept.stored = (archive, checkpoint.sha256), True

    async def keep(self, kept: Kept) -> bool:
        """Store what a running job has left so far; return whether there was anything new.

        Errors are only logged: what was stored before is still there.
        """
        async with kept.lock:
            if kept.closed:
                return False
            made: Snapshot | None = None
            try:
                made = await self._pack(kept)
                return made is not None and await self._store(kept, made)
            except (SnapshotError, ServiceError, OSError) as error:
                log.warning("checkpoint not stored", key=kept.message.key, error=str(error))
                return False
            finally:
                if made:
                    made.remove()

    async def _pack(self, kept: Kept) -> Snapshot | None:
        packing = asyncio.get_running_loop().run_in_executor(self.files, kept.pack)
        try:
            return await asyncio.shield(packing)
        except asyncio.CancelledError:
            packing.add_done_callback(_remove)
            raise

    async def keep_last(self, kept: Kept, made: Snapshot | None) -> bool:
        """Store what a stopped job has left; return whether that is new.

        Raises LeaseLostError.
        """
        kept.close()
        if made is None:
            return False
        async with kept.lock:
            try:
                return await self._store(kept, made)
            except (ServiceError, OSError) as error:
                log.warning("checkpoint not stored", key=kept.message.key, error=str(error))
                return False
            finally:
                made.remove()

    async def drop(self, key: str, kept: Kept | None) -> None:
        """Delete a job's checkpoint, because the job has its result."""
        if kept:
            kept.close()
            if not kept.any:
                return
        try:
            prefix = self.layout.checkpoint(key).prefix
            found = [item.key async for item in self.store.list(prefix)]
            # The marker first: what is half deleted is not a checkpoint.
            await self.store.delete(sorted(found, key=lambda name: not name.endswith(MARKER)))
        except ServiceError as error:
            log.warning("checkpoint not deleted", key=key, error=str(error))

    async def _store(self, kept: Kept, made: Snapshot) -> bool:
        """Send an archive, and then the marker that names it."""
        folder = self.layout.checkpoint(kept.message.key)
        stamp = time.time_ns()
        name = f"{self.worker}.{stamp}.tar"
        kept.lease.check()
        kept.any = True
        async with self.at_once:
            began = time.monotonic()
            with made.path.open("rb") as file:
                etag = await self.store.put_file(folder.key(name), file, IF_ABSENT)
            self.speed.note(made.size, time.monotonic() - began)
        if etag is None:
            raise ServiceError("an archive of a checkpoint is there already", name)
        marker = Checkpoint(
            run=self.layout.run,
            key=kept.message.key,
            identity=kept.identity,
            name=name,
            etag=etag,
            size=made.size,
            sha256=made.sha256,
            worker=self.worker,
            stored_at=self.now(),
        )
        await self._mark(kept, folder.key(MARKER), marker.encode())
        old, kept.archive_key = kept.archive_key, folder.key(name)
        kept.stored, kept.content = True, made.content
        log.info("checkpoint stored", key=kept.message.key, bytes=made.size)
        if old:
            await self.store.delete([old])
        return True

    async def _mark(self, kept: Kept, key: str, content: bytes) -> None:
        """Replace the marker that this attempt knows; raises ServiceError.

        If another attempt's late write came in between, this one, whose lease holds, replaces it.
        """
        for _ in range(TRIES):
            kept.lease.check()
            condition = Condition(etag=kept.marker) if kept.marker else IF_ABSENT
            if etag := await self.store.put(key, content, condition):
                kept.marker = etag
                return
            there = await self.store.head(key)
            kept.marker = there.etag if there else None
        raise ServiceError("a checkpoint was replaced by another again and again", key)


def _remove(packing: asyncio.Future[Snapshot | None]) -> None:
    """Remove an archive that is no longer needed."""
    if not packing.cancelled() and not packing.exception() and (made := packing.result()):
        made.remove()
