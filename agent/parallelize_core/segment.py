"""Segments: a second copy of results, many in one object, so that readers need not fetch each.

A result's own object stays the truth. A line of a segment says what the version of a result with
this ETag contained, and nothing about the present: a reader uses it only if a listing of the
results names exactly that version. So a segment that is lost, late, duplicated, or of a replaced or
deleted result shows nothing that the results do not have; at worst it saves no request.

A segment consists of gzip members, so that it grows without being packed again. Its
lines are results without their logs, the ETag first.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Collection, Iterable, Iterator

from parallelize_core.errors import DecodeError
from parallelize_core.result import Result

MAX_SEGMENT_BYTES = 256 * 1024 * 1024
"""Unpacked: far more than a worker finishes in a minute."""

_PACKING = 1
"""gzip's fastest level: it takes a few microseconds per result."""

_HEAD = b'{"etag":"'

_LEFT_OUT = {"log"}


def encode_line(result: Result, etag: str) -> bytes:
    """Return the line of a result that S3 has stored with this ETag."""
    slim = result.model_dump_json(exclude=_LEFT_OUT)
    return _HEAD + etag.encode() + b'",' + slim[1:].encode() + b"\n"


def pack(lines: Iterable[bytes]) -> bytes:
    """Return a member of a segment."""
    return gzip.compress(b"".join(lines), _PACKING, mtime=0)


def read_segment(
    body: bytes, wanted: Collection[str] | None = None
) -> Iterator[tuple[str, Result]]:
    """Return the results of a segment with wanted ETags, or all, each with its ETag.

    Raises DecodeError for what is not a segment, or breaks off.
    """
    for line in _unpacked(body):
        if not line.startswith(_HEAD):
            raise _broken(line, "a line without an ETag")
        etag = line[len(_HEAD) : line.find(b'"', len(_HEAD))].decode(errors="replace")
        if wanted is None or etag in wanted:
            yield etag, Result.decode(line)


def _unpacked(body: bytes) -> list[bytes]:
    try:
        with gzip.open(io.BytesIO(body)) as file:
            content = file.read(MAX_SEGMENT_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _broken(body, str(error)) from None
    *lines, rest = content.split(b"\n")
    if rest or len(content) > MAX_SEGMENT_BYTES:
        raise _broken(rest, "it is incomplete, or too long")
    return lines


def _broken(content: bytes, why: str) -> DecodeError:
    return DecodeError("not a segment of results", repr(content[:80]), why)
