"""Objects on disk: written atomically, under conditions; read in ranges, listed in order."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from parallelize.local.disk import INLINE_BYTES, Disk, QuotaError
from parallelize.local.http import FileBody, Request, Response, http_date
from parallelize.local.s3.answers import S3Error
from parallelize.local.s3.bodies import CHECKSUM

META = "x-amz-meta-"
MAX_METADATA_BYTES = 2048
KEPT_HEADERS = (
    "cache-control", "content-disposition", "content-encoding", "content-language", "expires",
)  # fmt: skip

_RANGE = re.compile(r"bytes=(\d*)-(\d*)$")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object; its body is in `body` or in `file`."""

    size: int
    etag: str
    modified: float
    headers: Mapping[str, str]
    file: str | None
    body: bytes | None


class Listed(NamedTuple):
    """An object as a listing describes it; a page has a thousand, and is read again and again."""

    key: str
    size: int
    etag: str
    modified: float


class Objects:
    """The objects of all buckets."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def find(self, bucket: str, key: str) -> StoredObject | None:
        """Return an object, or None if it does not exist."""
        row = self._disk.execute(
            "select size, etag, modified, headers, file, body from objects"
            " where bucket = ? and key = ?",
            (bucket, key),
        ).fetchone()
        if row is None:
            return None
        size, etag, modified, headers, file, body = row
        return StoredObject(size, etag, modified, json.loads(headers), file, body)

    def put(self, bucket: str, key: str, stored: StoredObject, there: StoredObject | None) -> None:
        """Write an object, replacing what is `there`. Raises S3Error if there is no room."""
        more = stored.size - (there.size if there else 0)
        reserve(self._disk, more)
        self._disk.execute(
            "insert or replace into objects values (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                bucket, key, stored.size, stored.etag, stored.modified,
                json.dumps(stored.headers), stored.file, stored.body,
            ),
        )  # fmt: skip
        self._disk.used_bytes += more
        self._disk.remove_file(there.file if there else None)

    def delete(self, bucket: str, key: str) -> None:
        """Remove an object if it exists."""
        removed = self._disk.execute(
            "delete from objects where bucket = ? and key = ? returning size, file", (bucket, key)
        ).fetchall()
        for size, file in removed:
            self._disk.used_bytes -= size
            self._disk.remove_file(file)

    def after(self, bucket: str, start: str, *, inclusive: bool, limit: int) -> Iterator[Listed]:
        """Return objects in byte order of their keys, from `start` on."""
        compared = ">=" if inclusive else ">"
        rows = self._disk.execute(
            "select key, size, etag, modified from objects"  # noqa: S608
            f" where bucket = ? and key {compared} ? order by key limit ?",
            (bucket, start, limit),
        )
        return map(Listed._make, rows)

    def store(self, body: bytes, etag: str, headers: Mapping[str, str]) -> StoredObject:
        """Make an object that is not in a bucket yet; a large body is written to disk now.

        May be called from any thread.
        """
        if len(body) <= INLINE_BYTES:
            return StoredObject(len(body), etag, time.time(), headers, None, body)
        return StoredObject(
            len(body), etag, time.time(), headers, self._disk.write_file(body), None
        )

    def read(self, stored: StoredObject) -> bytes:
        """Return a whole body."""
        if stored.file is None:
            return stored.body or b""
        return self._disk.path(stored.file).read_bytes()

    def body(self, stored: StoredObject, start: int, end: int) -> bytes | FileBody:
        """Return a part of a body in the form that a response needs."""
        if stored.file is None:
            return (stored.body or b"")[start:end]
        return FileBody(self._disk.path(stored.file), start, end - start)


def reserve(disk: Disk, size: int) -> None:
    """Raise S3Error if there is no room for that many more bytes."""
    try:
        disk.reserve(size)
    except QuotaError:
        raise S3Error(403, "QuotaExceeded") from None


def described(request: Request) -> dict[str, str]:
    """Return the headers of a request that are stored with an object.

    Raises S3Error if the metadata is larger than S3 allows.
    """
    headers = request.headers
    found = {name: value for name, value in headers.items() if name.startswith(META)}
    size = sum(len(name) - len(META) + len(value) for name, value in found.items())
    if size > MAX_METADATA_BYTES:
        raise S3Error(400, "MetadataTooLarge")
    found["content-type"] = headers.get("content-type") or "binary/octet-stream"
    found |= {name: headers[name] for name in KEPT_HEADERS if name in headers}
    # The encoding of the transfer, not of the stored object.
    if encoding := found.pop("content-encoding", ""):
        kept = [one for one in map(str.strip, encoding.split(",")) if one != "aws-chunked"]
        found |= {"content-encoding": ",".join(kept)} if kept else {}
    return found


def check_write(request: Request, there: StoredObject | None) -> None:
    """Raise S3Error if the conditions in the headers forbid a write or delete."""
    if "if-none-match" in request.headers and there:
        raise S3Error(412, "PreconditionFailed")
    wanted = request.headers.get("if-match")
    if wanted is None:
        return
    if there is None:
        raise S3Error(404, "NoSuchKey")
    if not matches(wanted, there):
        raise S3Error(412, "PreconditionFailed")


def matches(wanted: str, stored: StoredObject) -> bool:
    """Whether an object's ETag is among those in a header."""
    names = {one.strip().strip('"') for one in wanted.split(",")}
    return "*" in names or stored.etag in names


def answer(objects: Objects, stored: StoredObject, request: Request) -> Response:
    """Return the object, or the range of it, that a GET or HEAD asks for."""
    if "if-match" in request.headers and not matches(request.headers["if-match"], stored):
        raise S3Error(412, "PreconditionFailed")
    headers = _shown(stored, request)
    if "if-none-match" in request.headers and matches(request.headers["if-none-match"], stored):
        return Response(304, headers=headers)
    kind = stored.headers.get("content-type", "binary/octet-stream")
    bounds = _range(request.headers.get("range", ""), stored.size)
    start, end = bounds or (0, stored.size)
    status = 200
    if bounds:
        status = 206
        headers = (*headers, ("Content-Range", f"bytes {start}-{end - 1}/{stored.size}"))
    if request.method == "HEAD":
        return Response(status, b"", headers, kind, end - start)
    return Response(status, objects.body(stored, start, end), headers, kind)


def _shown(stored: StoredObject, request: Request) -> tuple[tuple[str, str], ...]:
    checksums = "x-amz-checksum-mode" in request.headers and "range" not in request.headers
    kept = [
        (name, value)
        for name, value in stored.headers.items()
        if name != "content-type" and (checksums or not name.startswith(CHECKSUM))
    ]
    modified = ("Last-Modified", http_date(int(stored.modified)))
    ours = (("ETag", f'"{stored.etag}"'), modified, ("Accept-Ranges", "bytes"))
    return (*ours, *kept)


def _range(asked: str, size: int) -> tuple[int, int] | None:
    """Return where a range starts and ends (exclusive); None for the whole object."""
    bounds = _RANGE.match(asked)
    if not bounds or bounds.groups() == ("", ""):
        return None
    first, last = bounds.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
    if last and first and int(last) < int(first):
        return None
    if start >= end:
        raise S3Error(416, "InvalidRange")
    return start, end
