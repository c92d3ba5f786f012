"""Writes this worker's results a second time, many in one object: see parallelize_core.segment.

If one is lost, readers only need more requests. So segments are written after a few seconds, then
less and less often until it is once a minute, and when the worker leaves; a failure is only logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import structlog

from parallelize_core import segment
from parallelize_core.layout import RunLayout
from parallelize_core.result import Result
from parallelize_core.store import AsyncStore

log = structlog.get_logger()

INTERVAL_SECONDS = 60.0
"""How long a pause between two writes may become."""

FIRST_SECONDS = 2.0
GROWTH = 1.5
"""How many times longer each pause is than the one before.

So most results are in segments at the end of a short run, too: a client that sees the end downloads
before all workers have left.
"""

WRITE_SECONDS = 10.0
"""How long one try to write may take."""

FULL = 1000
"""How many results fill a segment: a million of them then take about a thousand reads."""

PACK_AT = 250
"""How many results are packed at a time: a few milliseconds."""


@dataclass
class SegmentWriter:
    """The segments of `worker`, which started at `started` (milliseconds since 1970).

    The growing one is overwritten each time, until it is full. Only this worker writes it, one
    write after the other.
    """

    store: AsyncStore
    layout: RunLayout
    worker: str
    started: int
    interval_seconds: float = INTERVAL_SECONDS
    _number: int = 0
    _count: int = 0
    _packed: list[bytes] = field(default_factory=list)
    _lines: list[bytes] = field(default_factory=list)
    _due: dict[str, bytes] = field(default_factory=dict)
    """What to write under which key; only the latest version of a growing segment."""
    _changed: bool = False

    def add(self, result: Result, etag: str) -> None:
        """Take a result that S3 has stored with this ETag."""
        self._lines.append(segment.encode_line(result, etag))
        self._count += 1
        self._changed = True
        if len(self._lines) >= PACK_AT:
            self._pack()

    async def run(self) -> None:
        """Write until cancelled."""
        for seconds in pauses(self.interval_seconds):
            await asyncio.sleep(seconds)
            await self.write()

    async def write(self) -> None:
        """Write what has come; what cannot be written is tried again the next time."""
        self._collect()
        for key in [*self._due]:
            try:
                async with asyncio.timeout(WRITE_SECONDS):
                    await self.store.put(key, self._due[key])
            except Exception as error:
                log.warning("segment not written", error=str(error) or repr(error))
                return
            del self._due[key]

    def _collect(self) -> None:
        if not self._changed:
            return
        self._pack()
        key = self.layout.segment(self.worker, self.started, self._number)
        self._due[key] = b"".join(self._packed)
        self._changed = False
        if self._count >= FULL:
            self._number += 1
            self._count = 0
            self._packed.clear()

    def _pack(self) -> None:
        if self._lines:
            self._packed.append(segment.pack(self._lines))
            self._lines.clear()


def pauses(longest_seconds: float) -> Iterator[float]:
    """Yield the seconds between writes, without end."""
    seconds = FIRST_SECONDS
    while True:
        yield min(seconds, longest_seconds)
        seconds = min(GROWTH * seconds, longest_seconds)
