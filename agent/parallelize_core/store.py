"""The one boundary to S3: what the rest of the system may ask of a bucket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import MappingProxyType
from typing import IO, NamedTuple, Protocol

from parallelize_core.errors import ChangedError, UsageError

MAX_METADATA_BYTES = 2048
"""Names and values together, all ASCII.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
"""


_NO_METADATA: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a listing or a HEAD says; `size` in bytes, `etag` without quotes.

    A listing also says, by S3's clock, when the object was `written` (ISO 8601) and when it was
    `listed` (seconds since 1970); they are empty and 0 if the service does not say.
    """

    key: str
    size: int
    etag: str
    metadata: Mapping[str, str] = field(default_factory=lambda: _NO_METADATA)
    written: str = field(default="", compare=False)
    listed: float = field(default=0.0, compare=False)

    @property
    def age_seconds(self) -> float | None:
        """How old the object was when it was listed, by S3's clock; None if unknown."""
        if not (self.written and self.listed):
            return None
        try:
            written = datetime.fromisoformat(self.written).timestamp()
        except ValueError:
            return None
        return max(0.0, self.listed - written)


def seconds_of(date: str) -> float:
    """Return a Date header in seconds since 1970; 0 if it is empty or not a date."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return 0.0


class Condition(NamedTuple):
    """When a write may happen: only if there is no object yet, or only over this version."""

    absent: bool = False
    etag: str | None = None


ALWAYS = Condition()
IF_ABSENT = Condition(absent=True)


class Source(NamedTuple):
    """A version of an object in any bucket; S3 copies at most MAX_COPIED_BYTES in one call."""

    bucket: str
    key: str
    etag: str


MAX_COPIED_BYTES = 5 * 1024**3
"""https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html"""


class Store(Protocol):
    """One bucket.

    Every call may raise ServiceError, AccessError, or UsageError for a bucket or a region that does
    not exist, whatever fails on the way; an OSError is of the file that is read or written. Reads
    raise MissingError when there is no object. Writes answer the new ETag, or None when
    their condition did not hold; a write that arrived, but whose answer was lost and which was
    therefore sent again, also finds that. Writes raise UsageError for metadata that S3 refuses.
    """

    bucket: str

    def get(self, key: str) -> bytes:
        """Return a small object's content."""

    def get_file(self, key: str, path: Path, etag: str = "") -> int:
        """Write an object to `path`, return its bytes; ChangedError if it is not `etag`."""

    def head(self, key: str) -> ObjectInfo | None:
        """Describe an object, or answer None if there is none."""

    def put(
        self,
        key: str,
        body: bytes,
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        """Write a small object."""

    def put_file(
        self,
        key: str,
        file: IO[bytes],
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        """Write an object of any size from an open file, from its start."""

    def list(self, prefix: str, *, folder_only: bool = False) -> Iterator[ObjectInfo]:
        """List the keys that start with `prefix`; with `folder_only`, none with a further /."""

    def folders(self, prefix: str) -> Iterator[str]:
        """List what follows `prefix` up to the next /, each once, without what lies below."""

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that do not exist are not an error."""

    def delete_version(self, key: str, etag: str) -> bool:
        """Delete an object if it is still this version; say whether there is none now.

        So a delete that arrived, but whose answer was lost and which was sent again, is reported
        correctly.
        """

    def copy_from(
        self, source: Source, key: str, metadata: Mapping[str, str] | None = None
    ) -> str | None:
        """Copy a version of an object to a key without an object, without its metadata.

        The bytes stay within S3. None if that version is gone, or the key has an object.
        """


class AsyncStore(Protocol):
    """One bucket, for an event loop: what `Store` says holds here, too.

    A cancelled call ends at once, and leaves nothing half done that others can see.
    """

    @property
    def bucket(self) -> str:
        """Its name."""

    async def get(self, key: str) -> bytes:
        """Return a small object's content."""

    async def get_file(
        self, key: str, path: Path, etag: str = "", size: int = 0, sha256: str = ""
    ) -> int:
        """Write an object to `path`, return its bytes; ChangedError if it is not `etag`.

        If `sha256` is given and the object has another, it raises ChangedError, too. `size`, in
        bytes, is what that version has, 0 if nobody knows: then a large one starts slower.
        """

    async def get_within(self, key: str, limit: int, etag: str = "") -> bytes | None:
        """Return an object's content, or None if it has more than `limit` bytes."""

    async def head(self, key: str) -> ObjectInfo | None:
        """Describe an object, or answer None if there is none."""

    async def put(
        self,
        key: str,
        body: bytes,
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
        sha256: str = "",
    ) -> str | None:
        """Write a small object.

        If `sha256` is given and the body has another, it raises FileChangedError, and writes
        nothing: S3 compares them.
        """

    async def put_file(
        self,
        key: str,
        file: IO[bytes],
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
        sha256: str = "",
    ) -> str | None:
        """Write an object of any size from an open file, from its start.

        If `sha256` is given and the bytes sent have another, it raises FileChangedError, and writes
        nothing.
        """

    def list(self, prefix: str, *, folder_only: bool = False) -> AsyncIterator[ObjectInfo]:
        """List the keys that start with `prefix`; with `folder_only`, none with a further /."""

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that do not exist are not an error."""


def check_sha256(found: str, promised: str, where: str) -> None:
    """Raise ChangedError if an object's SHA-256 is not the one that was promised, if any was."""
    if promised and found != promised:
        raise ChangedError(
            f"{where} has the wrong content",
            f"its SHA-256 is {found}, not {promised}; delete the object",
        )


def checked_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Return `metadata` as S3 takes it; raise UsageError if it does not."""
    whole = "".join(name + value for name, value in (metadata or {}).items())
    if not whole.isascii() or len(whole) > MAX_METADATA_BYTES:
        raise UsageError(
            "an object's metadata is refused", f"S3 takes {MAX_METADATA_BYTES:,} bytes of ASCII"
        )
    return dict(metadata or {})
