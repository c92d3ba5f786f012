"""What a command prints, drained without end and kept within bounds."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Self

TAIL_BYTES = 16 * 1024


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


class Capture:
    """A file with the first `limit` bytes of a stream and, after a gap that is named, its tail.

    A disk that is full makes the gap larger and is no error: a command that fills it must not be
    taken for a machine that is broken, or it would be tried again without end.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self.path = path
        self.dropped = 0
        self.lost = ""
        """Why not all of the stream is in the file; empty if it is."""
        self._limit = limit
        self._left = limit
        self._tail = Tail()
        self._file: BinaryIO = path.open("wb", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._add_tail()
        self._file.close()

    def write(self, data: bytes) -> None:
        """Keep what fits."""
        kept = self._write_some(data[: self._left])
        self._left -= kept
        rest = data[kept:]
        if rest and not self.lost:
            self.lost = f"it has more than {self._limit:,} bytes"
        self.dropped += len(rest)
        self._tail.write(rest)

    def _add_tail(self) -> None:
        if gap := self.dropped - len(self._tail.data):
            self._write_all(b"\n[... %d bytes left out ...]\n" % gap)
        self._write_all(self._tail.data)

    def _write_some(self, data: bytes) -> int:
        """Write as much as the disk takes, and return how much; write no more after an error."""
        written = 0
        try:
            while written < len(data):
                written += self._file.write(data[written:])
        except OSError as error:
            self._left = written
            self.lost = f"the worker's disk did not take it: {error.strerror}"
        return written

    def _write_all(self, data: bytes) -> None:
        while data:
            data = data[self._file.write(data) :]
