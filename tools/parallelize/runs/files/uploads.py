"""Sends local files to S3, many at a time.

Threads read files, small ones in groups: handing over each one alone would take longer than reading
it. The event loop sends what they have read; a budget limits the bytes in memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from parallelize.console import escape, shown
from parallelize.spool import Row, Spooled
from parallelize.transfers import (
    LARGE_AT_ONCE,
    SHA256,
    ByteBudget,
    DiskThreads,
    fingerprint,
    groups,
)
from parallelize.wire import Pace, in_flight
from parallelize_core.errors import FileChangedError, ServiceError, UsageError
from parallelize_core.parts import PART_BYTES
from parallelize_core.store import AsyncStore


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A file to send: its name, its path, its S3 key, and its bytes so far.

    With `sha256`, it is stored only if that is its checksum: S3 compares it. Not every other
    service does, so it has to have been written last at `modified_ns`, too.
    """

    name: str
    path: str
    key: str
    size: int
    sha256: str = ""
    modified_ns: int = 0


def outgoing_row(file: Outgoing) -> Row:
    """Return a file to send as a row, of which `Outgoing` makes it again."""
    return file.name, file.path, file.key, file.size, file.sha256, file.modified_ns


def spooled_uploads(files: Iterable[Outgoing] = ()) -> Spooled[Outgoing]:
    """Return a list of files to send."""
    uploads = Spooled(outgoing_row, Outgoing)
    uploads.extend(files)
    return uploads


@dataclass(frozen=True, slots=True)
class Stored:
    """A file as S3 has it; `sha256` is empty if nobody chose its key by that."""

    name: str
    size: int
    etag: str
    key: str
    sha256: str = ""


@dataclass(frozen=True)
class _Loaded:
    file: Outgoing
    body: bytes
    sha256: str
    modified_ns: int


class Uploads:
    """Sends files to a bucket; calls `told` for each that S3 has."""

    def __init__(self, store: AsyncStore, told: Callable[[Stored], None]) -> None:
        self._store = store
        self._told = told
        self._budget = ByteBudget()
        self._pace = Pace()
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)

    async def send(self, files: Iterable[Outgoing]) -> None:
        """Send all; raise UsageError for a file that changes meanwhile, and any error of the disk.

        The first error stops it.
        """
        with DiskThreads() as self._disk:
            await in_flight(self._send_group, groups(files, lambda file: file.size))

    async def _send_group(self, group: Sequence[Outgoing]) -> None:
        if group[0].size >= PART_BYTES:
            async with self._large:
                await self._send_large(group[0])
            return
        size = sum(file.size for file in group)
        await self._budget.take(size)
        try:
            loaded = await self._disk.run(lambda: _load(group), size)
            await self._pace.each(self._send_loaded, loaded)
        finally:
            await self._budget.give_back(size)

    async def _send_loaded(self, loaded: _Loaded) -> None:
        try:
            etag = await self._store.put(
                loaded.file.key, loaded.body, metadata={SHA256: loaded.sha256}, sha256=loaded.sha256
            )
        except FileChangedError:
            raise _changed(loaded.file) from None
        self._tell(loaded.file, len(loaded.body), loaded.modified_ns, etag)

    async def _send_large(self, file: Outgoing) -> None:
        with Path(file.path).open("rb") as opened:
            before = os.fstat(opened.fileno())
            if before.st_size != file.size:
                raise _changed(file)
            try:
                etag = await self._send_opened(file, opened)
            except FileChangedError:
                raise _changed(file) from None
            except ServiceError as error:
                # S3 refuses a part that changed after its checksum was computed.
                if _has_changed(file, before.st_size, before.st_mtime_ns):
                    raise _changed(file) from error
                raise
        self._tell(file, before.st_size, before.st_mtime_ns, etag)

    async def _send_opened(self, file: Outgoing, opened: IO[bytes]) -> str | None:
        sha256 = file.sha256
        if not sha256:  # S3 wants the metadata, with the checksum, before the first byte
            stopping = self._disk.stopping
            content = await self._disk.run(
                lambda: fingerprint(file.path, etag=False, stopping=stopping), file.size
            )
            sha256 = content.sha256
        return await self._store.put_file(
            file.key, opened, metadata={SHA256: sha256}, sha256=sha256
        )

    def _tell(self, file: Outgoing, size: int, modified_ns: int, etag: str | None) -> None:
        if etag is None:
            raise ServiceError(f"{escape(file.name)} was not stored")
        # Somebody may still be writing it, so only half of it may have been sent.
        if _has_changed(file, size, modified_ns):
            raise _changed(file)
        self._told(Stored(file.name, size, etag, file.key, file.sha256))


def _has_changed(file: Outgoing, size: int, modified_ns: int) -> bool:
    now = os.stat(file.path)  # noqa: PTH116 - making a Path takes longer than the call
    return (now.st_mtime_ns, now.st_size) != (modified_ns, size)


def _changed(file: Outgoing) -> UsageError:
    return UsageError(
        f"{shown(file.name, 50)} changed while it was read and sent",
        "this command added nothing to the run",
        "wait until nothing writes to it, then run the command again",
    )


def _load(group: Sequence[Outgoing]) -> list[_Loaded]:
    return [_load_one(file) for file in group]


def _load_one(file: Outgoing) -> _Loaded:
    descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        body = os.read(descriptor, min(found.st_size, PART_BYTES))
    finally:
        os.close(descriptor)
    if file.sha256 and (found.st_mtime_ns, found.st_size) != (file.modified_ns, file.size):
        raise _changed(file)
    # S3 refuses what does not have the checksum by which the key was chosen.
    sha256 = file.sha256 or hashlib.sha256(body).hexdigest()
    return _Loaded(file, body, sha256, found.st_mtime_ns)
