"""What a command prints, drained without end and kept within bounds.

The log keeps the beginning and the end of all that was said. Of stdout, which names the outputs,
every line is kept that could be a path: however much a command prints, the disk is the only limit.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Self

TAIL_BYTES = 16 * 1024

MAX_LINE_BYTES = 8 * 1024
"""Twice Linux's PATH_MAX: a path with colours around it may be longer than a path."""

_NULS = re.compile(rb"\0+")


class Tail:
    """The last 16 KiB of a stream."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        """Remember the end of what was said so far."""
        self.data = (self.data + data)[-TAIL_BYTES:]

    @property
    def text(self) -> str:
        """The tail as text; bytes that are no UTF-8 become U+FFFD."""
        return self.data.decode("utf-8", errors="replace")


class _DiskFile:
    """A new file. A disk that does not take something is no error: `lost` says why.

    A command that fills the disk must not be taken for a machine that is broken, or it would be
    tried again without end.
    """

    def __init__(self, path: Path) -> None:
        self.lost = ""
        """Why not all of the stream is in the file; empty if it is."""
        self._descriptor = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666
        )

    def write(self, data: bytes) -> int:
        """Write as much as the disk takes, and return how much."""
        written = 0
        try:
            while written < len(data):
                rest = data[written:] if written else data
                written += os.write(self._descriptor, rest)
        except OSError as error:
            self.lost = f"the worker's disk did not take it: {error.strerror}"
        return written

    def close(self) -> None:
        os.close(self._descriptor)


class Capture:
    """A file with the first `limit` bytes of a stream and, after a gap that is named, its tail."""

    def __init__(self, path: Path, limit: int) -> None:
        self.dropped = 0
        self._left = limit
        self._tail = Tail()
        self._file = _DiskFile(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.dropped:
            self._add_tail()
        self._file.close()

    def write(self, data: bytes) -> None:
        """Keep what fits."""
        kept = self._file.write(data[: self._left]) if self._left else 0
        self._left = 0 if self._file.lost else self._left - kept
        if rest := data[kept:]:
            self.dropped += len(rest)
            self._tail.write(rest)

    def _add_tail(self) -> None:
        if gap := self.dropped - len(self._tail.data):
            self._file.write(b"\n[... %d bytes left out ...]\n" % gap)
        self._file.write(self._tail.data)


class Lines:
    """A file with the lines of a stream that could be paths, in their order.

    A NUL ends a line, as no path has one. Lines longer than any path are left out, but for what
    comes after their last carriage return, as progress bars precede it. A line that is repeated
    is left out as a rule. Memory is bounded, whatever is printed.
    """

    def __init__(self, path: Path) -> None:
        self._file = _DiskFile(path)
        self._rest = b""
        self._before: dict[bytes, None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._keep([self._rest])
        self._file.close()

    @property
    def lost(self) -> str:
        """Why a line may be missing; empty if none is."""
        return self._file.lost

    def write(self, data: bytes) -> None:
        """Keep the lines that end in `data`."""
        if b"\0" in data:
            data = _NULS.sub(b"\n", data)
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = _shortened(rest) if len(rest) > MAX_LINE_BYTES else rest
        if lines:
            self._keep(lines)

    def _keep(self, lines: list[bytes]) -> None:
        # Each line of this piece once, and none of the piece before: enough for what repeats
        # itself without end, and no memory of all that was ever said.
        distinct = dict.fromkeys(lines)
        kept = [line for line in distinct if line and line not in self._before]
        self._before = distinct
        if max(map(len, kept), default=0) > MAX_LINE_BYTES:
            shortened = [_shortened(line) for line in kept]
            kept = [line for line in shortened if len(line) <= MAX_LINE_BYTES]
        if kept and not self._file.lost:
            self._file.write(b"\n".join(kept) + b"\n")


def _shortened(line: bytes) -> bytes:
    """Return what may still be a path at the end of a long line, with the CR before it.

    What stays too long does so whatever is added to it, until the next carriage return.
    """
    if len(line) <= MAX_LINE_BYTES:
        return line
    start = line.rstrip(b"\r").rfind(b"\r")
    return line[max(start, 0) :][: MAX_LINE_BYTES + 1]
