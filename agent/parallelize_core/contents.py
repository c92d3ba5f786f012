"""Contents that the runs below one place share: each stored once, by its SHA-256.

A content is packed with gzip, each time with a unique name in gzip's header. So a content that is
written again is a new version of the object, with another ETag, and nothing that is done to one
version affects the next. `docs/protocol.md` explains why this matters.

Anybody who may write to the bucket may have written a content: only its checksum says what it is.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from parallelize_core.errors import DecodeError, MissingError, ServiceError
from parallelize_core.layout import Location
from parallelize_core.store import ALWAYS, Condition, Store

if TYPE_CHECKING:
    from parallelize_core.file_list import Listed

_CHUNK_BYTES = 1024 * 1024
_LEVEL = 1
"""gzip's fastest level: large files in an environment are seldom text."""

_LOOKS = 5
"""How often a content is looked for in both of its places, while a sweep puts it back."""


@dataclass(frozen=True)
class Contents:
    """The contents below `place`."""

    place: Location

    def key(self, sha256: str) -> str:
        """Return the key of a content."""
        return self.all.key(f"{sha256}.gz")

    @property
    def all(self) -> Location:
        """The folder of all of them."""
        return self.place.below("content")

    @property
    def withdrawn(self) -> Location:
        """The folder of those that a sweep has removed from there, until it is certain."""
        return self.place.below("withdrawn")

    def withdrawn_key(self, sha256: str, etag: str) -> str:
        """Return where a sweep keeps a version of a content."""
        return self.withdrawn.key(sha256, f"{etag}.gz")

    def places(self, store: Store, sha256: str) -> Iterator[str]:
        """Yield the keys at which a content may be, repeatedly while a sweep may move it."""
        for _ in range(_LOOKS):
            yield self.key(sha256)
            yield from (item.key for item in store.list(self.withdrawn.key(sha256, "")))


def send(
    store: Store, key: str, file: Path, scratch: Path, condition: Condition = ALWAYS
) -> int | None:
    """Store a file's content packed; return the bytes sent, None if the condition did not hold.

    It is packed by way of `scratch`.
    """
    with file.open("rb") as source, scratch.open("wb") as raw:
        with gzip.GzipFile(uuid4().hex, "wb", _LEVEL, raw, mtime=0) as target:
            shutil.copyfileobj(source, target, _CHUNK_BYTES)
        size = raw.tell()
    with scratch.open("rb") as packed:
        return None if store.put_file(key, packed, condition) is None else size


def fetch(store: Store, contents: Contents, file: Listed, target: Path, scratch: Path) -> int:
    """Write a file's content to `target`, by way of `scratch`; return the bytes that were fetched.

    Raises DecodeError for what has another checksum or size, ServiceError if it is nowhere.
    """
    for key in contents.places(store, file.sha256):
        try:
            fetched = store.get_file(key, scratch)
        except MissingError:
            continue
        try:
            unpack(scratch, target, file)
        finally:
            scratch.unlink()
        return fetched
    raise ServiceError(
        f"the content {file.sha256} of the environment is not in {contents.place.uri}",
        "somebody has deleted it", "parallelize prep",
    )  # fmt: skip


def unpack(packed: Path, target: Path, file: Listed) -> None:
    """Unpack a file's content; raise DecodeError, and leave nothing, if it is another."""
    digest, left = hashlib.sha256(), file.size
    try:
        with gzip.open(packed) as source, target.open("wb") as opened:
            # No more than was announced, however much is unpacked.
            while chunk := source.read(min(left + 1, _CHUNK_BYTES)):
                left -= len(chunk)
                if left < 0:
                    break
                digest.update(chunk)
                opened.write(chunk)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        target.unlink(missing_ok=True)
        raise _another(file.sha256, str(error)) from None
    if left or digest.hexdigest() != file.sha256:
        target.unlink()
        raise _another(file.sha256, "its checksum or its size is different")


def _another(sha256: str, why: str) -> DecodeError:
    return DecodeError(f"the stored content {sha256} is wrong", "", why)
