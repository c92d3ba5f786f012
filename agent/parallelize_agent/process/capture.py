"""What a command prints: drained completely, and kept within bounds.

The log keeps the beginning and the end of all output. Of stdout, which names the outputs, every
line that could be a path is kept: however much a command prints, the disk is the only limit.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Self

TAIL_BYTES = 16 * 1024

MAX_LINE_BYTES = 8 * 1024
"""Twice Linux's PATH_MAX: a path with colours around it may be longer than a path."""

IN_MEMORY_BYTES = 64 * 1024
"""A command usually prints less, which needs no file. A result holds this much."""

Kept = bytes | Path
"""What is kept of a stream: the content itself if it is small, else the file that holds it."""

_NULS = re.compile(rb"\0+")


class Tail:
    """The last 16 KiB of a stream."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        """Append to the tail."""
        self.data = (self.data + data)[-TAIL_BYTES:]

    @property
    def text(self) -> str:
        """The tail as text; bytes that are not UTF-8 become U+FFFD."""
        return self.data.decode("utf-8", errors="replace")


class Spool:
    """Buffered data: in memory while it is small, in the file `path` from then on.

    A full disk is not an error: `lost` says why data is missing. A command that fills the disk
    must not be taken for a broken machine, or it would be retried without end.
    """

    def __init__(self, path: Path | str) -> None:
        self.lost = ""
        """Why part of the stream is missing; empty if none is."""
        self._path = path
        self._start = bytearray()
        self._descriptor: int | None = None

    @property
    def content(self) -> Kept:
        """Everything that was kept."""
        return bytes(self._start) if self._descriptor is None else Path(self._path)

    def write(self, data: bytes) -> int:
        """Keep as much as the disk takes, and return how much."""
        if self._descriptor is None and len(self._start) + len(data) <= IN_MEMORY_BYTES:
            self._start += data
            return len(data)
        try:
            return self._write_to_disk(self._file(), data)
        except OSError as error:
            self._note(error)
            return 0

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _file(self) -> int:
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o666)
            self._write_to_disk(self._descriptor, bytes(self._start))
        return self._descriptor

    def _write_to_disk(self, descriptor: int, data: bytes) -> int:
        written = 0
        try:
            while written < len(data):
                rest = data[written:] if written else data
                written += os.write(descriptor, rest)
        except OSError as error:
            self._note(error)
        return written

    def _note(self, error: OSError) -> None:
        self.lost = f"the worker's disk did not take it: {error.strerror}"


class Capture:
    """The first `limit` bytes of a stream and, after a marked gap, its tail."""

    def __init__(self, path: Path | str, limit: int) -> None:
        self.dropped = 0
        self._left = limit
        self._tail = Tail()
        self._spool = Spool(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.dropped:
            self._add_tail()
        self._spool.close()

    @property
    def content(self) -> Kept:
        """What is kept, once the stream has ended."""
        return self._spool.content

    def write(self, data: bytes) -> None:
        """Keep what fits."""
        kept = self._spool.write(data[: self._left]) if self._left else 0
        self._left = 0 if self._spool.lost else self._left - kept
        if rest := data[kept:]:
            self.dropped += len(rest)
            self._tail.write(rest)

    def _add_tail(self) -> None:
        if gap := self.dropped - len(self._tail.data):
            self._spool.write(b"\n[... %d bytes left out ...]\n" % gap)
        self._spool.write(self._tail.data)


class Lines:
    """The lines of a stream that could be paths, in order.

    A NUL ends a line, because no path has one. Lines longer than any path are left out, except what
    follows their last carriage return, because progress bars precede it. Repeated lines are
    usually left out. Memory is bounded, whatever is printed.
    """

    def __init__(self, path: Path | str) -> None:
        self._spool = Spool(path)
        self._rest = b""
        self._before: dict[bytes, None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._keep([self._rest])
        self._spool.close()

    @property
    def content(self) -> Kept:
        """The lines that are kept, each with its end, once the stream has ended."""
        return self._spool.content

    @property
    def lost(self) -> str:
        """Why a line may be missing; empty if none is."""
        return self._spool.lost

    def write(self, data: bytes) -> None:
        """Keep the lines that end in `data`."""
        if b"\0" in data:
            data = _NULS.sub(b"\n", data)
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = _shortened(rest) if len(rest) > MAX_LINE_BYTES else rest
        if lines:
            self._keep(lines)

    def _keep(self, lines: list[bytes]) -> None:
        # Each line of this piece once, and none of the piece before: enough for output that repeats
        # endlessly, without remembering everything that was ever printed.
        distinct = dict.fromkeys(lines)
        kept = [line for line in distinct if line and line not in self._before]
        self._before = distinct
        if max(map(len, kept), default=0) > MAX_LINE_BYTES:
            shortened = [_shortened(line) for line in kept]
            kept = [line for line in shortened if len(line) <= MAX_LINE_BYTES]
        if kept and not self._spool.lost:
            self._spool.write(b"\n".join(kept) + b"\n")


def _shortened(line: bytes) -> bytes:
    """Return what may still be a path at the end of a long line, with the CR before it.

    If that is too long, it stays too long whatever is added, until the next carriage return.
    """
    if len(line) <= MAX_LINE_BYTES:
        return line
    start = line.rstrip(b"\r").rfind(b"\r")
    return line[max(start, 0) :][: MAX_LINE_BYTES + 1]
