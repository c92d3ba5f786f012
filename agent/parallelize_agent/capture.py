"""What a command prints, drained without end and kept within bounds."""

from __future__ import annotations

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
    """A file with the first `limit` bytes of a stream and, after a gap that is named, its tail."""

    def __init__(self, path: Path, limit: int) -> None:
        self.path = path
        self.dropped = 0
        self._left = limit
        self._tail = Tail()
        self._file: BinaryIO = path.open("wb", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._add_tail()
        self._file.close()

    def write(self, data: bytes) -> None:
        """Keep what fits; raise OSError if the disk is full."""
        kept, rest = data[: self._left], data[self._left :]
        self._left -= len(kept)
        self.dropped += len(rest)
        self._tail.write(rest)
        self._write_all(kept)

    def _add_tail(self) -> None:
        if gap := self.dropped - len(self._tail.data):
            self._write_all(b"\n[... %d bytes left out ...]\n" % gap)
        self._write_all(self._tail.data)

    def _write_all(self, data: bytes) -> None:
        while data:
            data = data[self._file.write(data) :]
