"""Multipart uploads: each part is a file, which becomes a piece of the object at the end.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from parallelize.local.disk import Disk
from parallelize.local.http import Request, Response
from parallelize.local.s3.answers import S3Error, iso, text, xml
from parallelize.local.s3.bodies import ALGORITHMS, CHECKSUM, composite
from parallelize.local.s3.objects import Objects, StoredObject, check_write, described, reserve

MIN_PART_BYTES = 5 * 1024 * 1024
MAX_PARTS = 10_000
LISTED = 1000

Query = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Part:
    """An uploaded part; `checksum` is `ALGORITHM:BASE64`, or empty."""

    number: int
    size: int
    etag: str
    checksum: str
    modified: float
    file: str


class Uploads:
    """The incomplete uploads of all buckets."""

    def __init__(self, disk: Disk, objects: Objects) -> None:
        self._disk = disk
        self._objects = objects

    def create(self, request: Request, bucket: str, key: str) -> Response:
        """Begin an upload."""
        number = uuid.uuid4().hex
        headers = json.dumps(described(request))
        self._disk.execute(
            "insert into uploads values (?, ?, ?, ?, ?)",
            (number, bucket, key, headers, time.time()),
        )
        named = f"<Bucket>{bucket}</Bucket><Key>{text(key)}</Key>"
        return xml("InitiateMultipartUploadResult", f"{named}<UploadId>{number}</UploadId>")

    async def put_part(
        self, request: Request, bucket: str, key: str, query: Query, checksums: Mapping[str, str]
    ) -> Response:
        """Store a part; it replaces one with the same number."""
        upload = query.get("uploadId", "")
        self._headers(upload, bucket, key)
        number = _part_number(query)
        reserve(self._disk, len(request.body))
        etag, file = await asyncio.to_thread(self._write, request.body)
        self._headers(upload, bucket, key)
        self._remove_parts(upload, number)
        checksum = next((f"{name}:{value}" for name, value in checksums.items()), "")
        self._disk.execute(
            "insert into parts values (?, ?, ?, ?, ?, ?, ?)",
            (upload, number, len(request.body), etag, checksum, time.time(), file),
        )
        self._disk.used_bytes += len(request.body)
        return Response(headers=(("ETag", f'"{etag}"'), *checksums.items()))

    async def complete(self, request: Request, bucket: str, key: str, query: Query) -> Response:
        """Join the named parts into the object, if the conditions hold."""
        upload = query.get("uploadId", "")
        headers = self._headers(upload, bucket, key)
        chosen = _chosen(request.body, self._parts(upload))
        check_write(request, self._objects.find(bucket, key))
        file = await asyncio.to_thread(self._join, chosen)
        # Others may have written, completed or aborted meanwhile.
        try:
            self._headers(upload, bucket, key)
            there = self._objects.find(bucket, key)
            check_write(request, there)
            stored = _whole(chosen, headers, file)
            with self._disk.transaction():
                self._forget(upload)
                self._objects.put(bucket, key, stored, there)
        except BaseException:
            self._disk.remove_file(file)
            raise
        named = f"<Bucket>{bucket}</Bucket><Key>{text(key)}</Key>"
        return xml(
            "CompleteMultipartUploadResult", f"{named}<ETag>&quot;{stored.etag}&quot;</ETag>"
        )

    def abort(self, bucket: str, key: str, query: Query) -> Response:
        """Abort an upload and remove its parts."""
        upload = query.get("uploadId", "")
        self._headers(upload, bucket, key)
        self._forget(upload)
        return Response(204)

    def list_parts(self, bucket: str, key: str, query: Query) -> Response:
        """List the parts that have arrived."""
        upload = query.get("uploadId", "")
        self._headers(upload, bucket, key)
        after = int(query.get("part-number-marker") or 0)
        found = [part for number, part in self._parts(upload).items() if number > after]
        shown = found[:LISTED]
        parts = "".join(
            f"<Part><PartNumber>{part.number}</PartNumber><LastModified>{iso(part.modified)}"
            f"</LastModified><ETag>&quot;{part.etag}&quot;</ETag><Size>{part.size}</Size></Part>"
            for part in shown
        )
        more = "true" if len(found) > len(shown) else "false"
        return xml(
            "ListPartsResult",
            f"<Bucket>{bucket}</Bucket><Key>{text(key)}</Key><UploadId>{upload}</UploadId>"
            f"<NextPartNumberMarker>{shown[-1].number if shown else 0}</NextPartNumberMarker>"
            f"<IsTruncated>{more}</IsTruncated>{parts}",
        )

    def list_uploads(self, bucket: str, query: Query) -> Response:
        """List the uploads that are under way."""
        rows = self._disk.execute(
            "select key, id, started from uploads where bucket = ? order by key, started", (bucket,)
        )
        prefix = query.get("prefix", "")
        listed = "".join(
            f"<Upload><Key>{text(key)}</Key><UploadId>{number}</UploadId>"
            f"<Initiated>{iso(started)}</Initiated></Upload>"
            for key, number, started in rows
            if key.startswith(prefix)
        )
        head = f"<Bucket>{bucket}</Bucket><IsTruncated>false</IsTruncated>"
        return xml("ListMultipartUploadsResult", head + listed)

    def _headers(self, upload: str, bucket: str, key: str) -> dict[str, str]:
        row = self._disk.execute(
            "select headers from uploads where id = ? and bucket = ? and key = ?",
            (upload, bucket, key),
        ).fetchone()
        if row is None:
            raise S3Error(404, "NoSuchUpload")
        headers: dict[str, str] = json.loads(row[0])
        return headers

    def _parts(self, upload: str) -> dict[int, Part]:
        rows = self._disk.execute(
            "select number, size, etag, checksum, modified, file from parts"
            " where upload = ? order by number",
            (upload,),
        )
        return {row[0]: Part(*row) for row in rows}

    def _write(self, body: bytes) -> tuple[str, str]:
        return hashlib.md5(body, usedforsecurity=False).hexdigest(), self._disk.write_file(body)

    def _join(self, parts: Sequence[Part]) -> str:
        name, path = self._disk.new_file()
        with path.open("wb") as whole:
            for part in parts:
                with self._disk.path(part.file).open("rb") as file:
                    shutil.copyfileobj(file, whole, 1024 * 1024)
        return name

    def _forget(self, upload: str) -> None:
        self._disk.execute("delete from uploads where id = ?", (upload,))
        self._remove_parts(upload)

    def _remove_parts(self, upload: str, number: int | None = None) -> None:
        for part in self._parts(upload).values():
            if number in {None, part.number}:
                self._disk.execute(
                    "delete from parts where upload = ? and number = ?", (upload, part.number)
                )
                self._disk.used_bytes -= part.size
                self._disk.remove_file(part.file)


def _part_number(query: Query) -> int:
    number = query.get("partNumber", "")
    if not number.isdecimal() or not 1 <= int(number) <= MAX_PARTS:
        raise S3Error(400, "InvalidArgument", f"parts are numbered from 1 to {MAX_PARTS:,}")
    return int(number)


def _chosen(body: bytes, there: Mapping[int, Part]) -> list[Part]:
    """Return the parts that a completion names; raise S3Error if they cannot form an object."""
    chosen = []
    for number, etag in _named(body):
        part = there.get(number)
        if part is None or part.etag != etag:
            raise S3Error(400, "InvalidPart")
        chosen.append(part)
    numbers = [part.number for part in chosen]
    if numbers != sorted(set(numbers)):
        raise S3Error(400, "InvalidPartOrder")
    if any(part.size < MIN_PART_BYTES for part in chosen[:-1]):
        raise S3Error(400, "EntityTooSmall")
    return chosen


def _named(body: bytes) -> list[tuple[int, str]]:
    try:
        parts = ElementTree.fromstring(body).findall("{*}Part")  # noqa: S314 - the owner's own
        named = [
            (int(part.findtext("{*}PartNumber", "")), part.findtext("{*}ETag", "").strip('"'))
            for part in parts
        ]
    except (ElementTree.ParseError, ValueError):
        named = []
    if not named:
        raise S3Error(400, "MalformedXML")
    return named


def _whole(parts: Sequence[Part], headers: Mapping[str, str], file: str) -> StoredObject:
    """Return the object made of its parts, with the ETag and the checksum that S3 gives it."""
    digests = b"".join(bytes.fromhex(part.etag) for part in parts)
    etag = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"
    size = sum(part.size for part in parts)
    return StoredObject(size, etag, time.time(), {**headers, **_checksum(parts)}, file, None)


def _checksum(parts: Sequence[Part]) -> dict[str, str]:
    named = [part.checksum.partition(":") for part in parts]
    for algorithm in ALGORITHMS:
        header = CHECKSUM + algorithm
        if all(name == header for name, _, _ in named):
            whole = composite(algorithm, [value for _, _, value in named])
            return {header: whole, f"{CHECKSUM}type": "COMPOSITE"} if whole else {}
    return {}
