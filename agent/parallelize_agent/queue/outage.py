"""Outages of a service: noticed by the first call that meets one, and waited out by all.

A call that fails because its service is unavailable says little: it may concern one object. So
the service is asked for something that certainly exists. If that works, the failure is the
call's own; if not, the service has an outage: nothing more is received, finished work waits on
this machine, and every call that met the outage is repeated when it is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

import structlog

from parallelize_core.clock import boot_seconds
from parallelize_core.errors import ThrottledError, UnavailableError
from parallelize_core.store import ALWAYS, AsyncStore, Condition, ObjectInfo

log = structlog.get_logger()
T = TypeVar("T")

FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 15.0
"""The longest wait before the service is asked again; waits double up to this."""


class Outage:
    """What is known of one service; `probe` asks it for something that certainly exists."""

    def __init__(
        self,
        service: str,
        probe: Callable[[], Awaitable[object]],
        clock: Callable[[], float] = boot_seconds,
    ) -> None:
        self.service = service
        self.why = ""
        self._probe = probe
        self._clock = clock
        self._since: float | None = None
        self._over = asyncio.Event()
        self._over.set()
        self._watch: asyncio.Task[None] | None = None

    @property
    def seconds(self) -> float:
        """How long the outage has lasted; 0 if there is none."""
        return 0.0 if self._since is None else self._clock() - self._since

    @property
    def lasts(self) -> bool:
        """Whether there is an outage now."""
        return self._since is not None

    async def wait_until_over(self) -> None:
        """Wait for the end of the outage, if there is one."""
        await self._over.wait()

    async def outlast(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call, again after each outage that it meets.

        Raises what the call raises; UnavailableError only while the service answers other calls.
        """
        while True:
            try:
                return await call()
            except UnavailableError as error:
                if await self._serves_others(error):
                    raise
                await self.wait_until_over()

    async def _serves_others(self, error: UnavailableError) -> bool:
        if self.lasts:
            return False
        if not isinstance(error, ThrottledError):
            try:
                await self._probe()
            except UnavailableError:
                pass
            except Exception as odd:
                # An answer, or trouble of this machine; raised here, it would be taken for the
                # service's answer about the call's own object, and be charged to a file.
                log.warning("probe failed", service=self.service, error=str(odd) or repr(odd))
                return True
            else:
                return True
        self._begin(error)
        return False

    def _begin(self, error: UnavailableError) -> None:
        if self.lasts:
            return
        self.why = str(error)
        self._since = self._clock()
        self._over.clear()
        log.warning("outage begins", service=self.service, error=self.why)
        self._watch = asyncio.create_task(self._watch_for_the_end())

    async def _watch_for_the_end(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        try:
            while True:
                await asyncio.sleep(pause)
                pause = min(2 * pause, MAX_PAUSE_SECONDS)
                try:
                    await self._probe()
                except UnavailableError as error:
                    self.why = str(error)
                except Exception as odd:
                    # An answer, or trouble of this machine: the calls meet it, too, and report it.
                    log.warning("probe failed", service=self.service, error=str(odd) or repr(odd))
                    return
                else:
                    return
        finally:
            log.info("outage is over", service=self.service, seconds=round(self.seconds, 1))
            self._since = None
            self._over.set()

    def stop(self) -> None:
        """Stop watching."""
        if self._watch:
            self._watch.cancel()


WRITE_PAUSES = (0.1, 0.2, 0.4)
"""The pauses, as shares of `pause_seconds`, of a write that fails while S3 answers other calls.

A read that fails this way costs a fetch; a write that is given up costs the whole job.
"""


@dataclass(frozen=True)
class OutlastingStore:
    """A bucket whose calls outlast outages; see AsyncStore."""

    store: AsyncStore
    outage: Outage
    pause_seconds: float

    @property
    def bucket(self) -> str:
        """Its name."""
        return self.store.bucket

    async def get(self, key: str) -> bytes:
        """Return a small object's content."""
        return await self.outage.outlast(lambda: self.store.get(key))

    async def get_within(self, key: str, limit: int, etag: str = "") -> bytes | None:
        """Return an object's content, or None if it has more than `limit` bytes."""
        return await self.outage.outlast(lambda: self.store.get_within(key, limit, etag))

    async def get_file(
        self, key: str, path: Path, etag: str = "", size: int = 0, sha256: str = ""
    ) -> int:
        """Write an object to `path`; see `AsyncStore`."""
        return await self.outage.outlast(lambda: self.store.get_file(key, path, etag, size, sha256))

    async def head(self, key: str) -> ObjectInfo | None:
        """Describe an object, or return None if it does not exist."""
        return await self.outage.outlast(lambda: self.store.head(key))

    async def put(
        self,
        key: str,
        body: bytes,
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
        sha256: str = "",
    ) -> str | None:
        """Write a small object; `sha256` is the body's, if it is known."""
        return await self._insist(lambda: self.store.put(key, body, condition, metadata, sha256))

    async def put_file(
        self,
        key: str,
        file: IO[bytes],
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
        sha256: str = "",
    ) -> str | None:
        """Write an object of any size from an open file, from its start."""
        return await self._insist(
            lambda: self.store.put_file(key, file, condition, metadata, sha256)
        )

    def list(self, prefix: str, *, folder_only: bool = False) -> AsyncIterator[ObjectInfo]:
        """List the keys that start with `prefix`; with `folder_only`, none with a further /."""
        return self.store.list(prefix, folder_only=folder_only)

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that do not exist are not an error."""
        names = list(keys)
        await self.outage.outlast(lambda: self.store.delete(names))

    async def _insist(self, call: Callable[[], Awaitable[T]]) -> T:
        for part in WRITE_PAUSES:
            try:
                return await self.outage.outlast(call)
            except UnavailableError as error:
                log.warning("write is tried again", error=str(error))
                await asyncio.sleep(part * self.pause_seconds)
        return await self.outage.outlast(call)
