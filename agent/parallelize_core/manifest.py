"""The list of a run's jobs, and which of their results are missing.

The manifest and the results are the truth about a run; the queue only says what to try next. An
input that was corrected after its job had failed keeps its place in the manifest. Its new size and
ETag are written down beside it, and hold for every reader of the manifest, and so for every sender.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Annotated, NamedTuple, Protocol

from pydantic import AfterValidator, Field

from parallelize_core import keys
from parallelize_core.errors import DecodeError, MissingError, ServiceError
from parallelize_core.files import (
    CHECKSUM,
    MAX_JOB_BYTES,
    STORED,
    Checksum,
    InputFile,
    Stored,
)
from parallelize_core.job import JobMessage
from parallelize_core.layout import RunLayout
from parallelize_core.record import Contract, Record
from parallelize_core.store import IF_ABSENT, ObjectInfo, Store

PART_ENTRIES = 10_000
"""Jobs in one part: small enough to hold in memory, large enough for a million in 100 reads."""

MAX_PART_BYTES = 32 * 1024 * 1024
"""Unpacked; PART_ENTRIES with the longest keys, every byte escaped, take 22 MB."""

MAX_PACKED_BYTES = MAX_PART_BYTES - MAX_JOB_BYTES
"""The limit of a part's lines; a job of many files may take as much room as a thousand plain
ones.
"""

_TRIES = 10

_SAMPLE = '"key":"k","size":0,"etag":""'
"""The part that differs between messages; no run's name has quotes."""

_PLAIN_LINE = re.compile(
    r"""\{("key":"([^"\\\x00-\x1f]+)","size":(?:0|[1-9]\d{0,17}),"etag":"[^"\\\x00-\x1f]*\""""
    rf"""(?:,"stored":"{STORED}")?(?:,"sha256":"{CHECKSUM}")?)\}}""",
    re.ASCII,
)
"""A plain entry as `encode_part` writes it, unless something in it is escaped."""

_PART_NAME = re.compile(r"(\d{6})\.jsonl\.gz$")


class Entry(Contract):
    """One job: an input's key below the run's input location, its size in bytes, its ETag in S3.

    `stored` is the input's place below that location, if it differs from the key; `sha256` is the
    SHA-256 of its content, if that is known and not part of `stored`. A job with variables, or of
    several files, has `variables` and `files` (perhaps none). Then `key` is a name made from them,
    `size` is the sum, and `etag` stands for the content of all files. `number` counts from 1, in
    runs whose command has a placeholder for it. `merge` marks the run's last job, which is in no
    part (see `merge`).
    """

    key: Annotated[str, AfterValidator(keys.checked)]
    size: int = Field(ge=0)
    etag: str
    stored: Stored = ""
    sha256: Checksum = ""
    files: tuple[InputFile, ...] | None = None
    variables: dict[str, str] = Field(default_factory=dict)
    number: int | None = None
    merge: bool = False

    @property
    def plain(self) -> bool:
        """Whether the job is nothing but a file."""
        return self.files is None and self.number is None

    @property
    def line(self) -> str:
        """The job as JSON, in one line."""
        return self.model_dump_json(exclude_defaults=True)

    def message(self, run: str) -> JobMessage:
        """Return the message for the first attempt at this job."""
        return JobMessage(
            run=run, key=self.key, size=self.size, etag=self.etag, stored=self.stored,
            sha256=self.sha256, files=self.files, variables=self.variables,
            number=self.number, merge=self.merge,
        )  # fmt: skip


class Corrected(Protocol):
    """Jobs whose inputs were corrected, by their keys."""

    def get(self, key: str, /) -> Entry | None:
        """Return a job as it was last corrected, None if it was not."""

    def __contains__(self, key: object, /) -> bool: ...


class Part(NamedTuple):
    """An immutable piece of the manifest, numbered from 0."""

    number: int
    entries: tuple[Entry, ...]


class Cursor(Record):
    """How many of a part's entries, from its start, have been considered for the queue.

    `enqueue` advances it; entries beyond it were never sent, so no worker sends them again.
    """

    sent: int = Field(default=0, ge=0)


def first_messages(run: str, entries: Iterable[Entry], *, claimed: bool = False) -> list[str]:
    """Return the bodies of the messages for the first attempts at jobs.

    They equal what `Entry.message` encodes; because a million are made at a time, the part that all
    share is encoded once.
    """
    head, tail = _around(run, claimed=claimed)
    return [
        f'{head}"key":{encode_basestring(entry.key)},"size":{entry.size},'
        f'"etag":{encode_basestring(entry.etag)}{_stored(entry)}{tail}'
        if entry.plain
        else _message(run, entry, claimed=claimed)
        for entry in entries
    ]


def _stored(entry: Entry) -> str:
    return "".join(
        f',"{name}":"{value}"'
        for name, value in (("stored", entry.stored), ("sha256", entry.sha256))
        if value
    )


def part_messages(run: str, body: bytes, place: str, corrected: Corrected) -> list[tuple[str, str]]:
    """Read a part, and return each job's key and the body of its first message.

    It equals what `read_part` and `first_messages` return, without an Entry for each of a million
    plain lines, whose text is already that of a message. Raises like `decode_part`.
    """
    head, tail = _around(run, claimed=False)
    messages = []
    try:
        for line in _lines(body):
            plain = _PLAIN_LINE.fullmatch(line.decode())
            if plain and plain[2] not in corrected and not keys.refusal(plain[2]):
                messages.append((plain[2], f"{head}{plain[1]}{tail}"))
                continue
            read = Entry.model_validate_json(line)
            entry = corrected.get(read.key) or read
            messages.append((entry.key, first_messages(run, [entry])[0]))
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise _broken(body, place, error) from None
    return messages


def part_lines(body: bytes, place: str, corrected: Corrected) -> Iterator[tuple[str, str]]:
    """Read a part; yield each job's key and its line as JSON, as it was last corrected.

    As in `part_messages`, no Entry is made for a plain line. Raises like `decode_part`.
    """
    try:
        for line in map(bytes.decode, _lines(body)):
            plain = _PLAIN_LINE.fullmatch(line)
            if plain and plain[2] not in corrected and not keys.refusal(plain[2]):
                yield plain[2], line
                continue
            read = Entry.model_validate_json(line)
            entry = corrected.get(read.key) or read
            yield entry.key, entry.line
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise _broken(body, place, error) from None


def part_entries(body: bytes, place: str, corrected: Corrected) -> Iterator[Entry]:
    """Read a part; yield each job as it was last corrected. Raises like `decode_part`, if later.

    The ten thousand jobs of a part with files and variables would take 30 MB together.
    """
    try:
        for line in _lines(body):
            read = Entry.model_validate_json(line)
            yield corrected.get(read.key) or read
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise _broken(body, place, error) from None


def _around(run: str, *, claimed: bool) -> tuple[str, str]:
    """Return what comes before and after the differing part of messages for plain jobs."""
    sample = JobMessage(run=run, key="k", size=0, claimed=claimed).encode()
    head, _, tail = sample.partition(_SAMPLE)
    return head, tail


def _message(run: str, entry: Entry, *, claimed: bool) -> str:
    message = entry.message(run)
    return (message.parked() if claimed else message).encode()


def encode_part(entries: Iterable[Entry]) -> bytes:
    """Return a part's content; the same entries give the same bytes."""
    return encode_lines(entry.line for entry in entries)


def encode_lines(lines: Iterable[str]) -> bytes:
    """Return a part's content, of which the lines are given."""
    return gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0)


def decode_part(body: bytes, place: str = "") -> tuple[Entry, ...]:
    """Read a part's content; raise DecodeError, which names its `place`, if it is not one."""
    try:
        return tuple(Entry.model_validate_json(line) for line in _lines(body))
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise _broken(body, place, error) from None


def count_entries(body: bytes, place: str = "") -> int:
    """Return how many entries a part has, without decoding each; raises like `decode_part`."""
    try:
        return len(_lines(body))
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise _broken(body, place, error) from None


def cut(entries: Iterable[Entry]) -> Iterator[tuple[str, ...]]:
    """Cut jobs into the lines that one part takes, in order."""
    part: list[str] = []
    size = 0
    for entry in entries:
        took = 0 if entry.plain else _most_bytes(entry)
        if part and (len(part) == PART_ENTRIES or size + took > MAX_PACKED_BYTES):
            yield tuple(part)
            part, size = [], 0
        part.append(entry.line)
        size += took
    if part:
        yield tuple(part)


def _most_bytes(entry: Entry) -> int:
    """Return a quick upper bound for the bytes of a line: a character may take six."""
    texts = sum(map(len, (*entry.variables, *entry.variables.values())))
    files = sum(len(f"{f.key}{f.stored}{f.column}") + 40 for f in entry.files or ())
    return 6 * (len(entry.key) + texts + files) + 200


@dataclass(frozen=True)
class PartOutline:
    """How many entries a part has, and the key of the first; empty if it has none."""

    count: int
    first: str


def part_outline(body: bytes, place: str = "") -> PartOutline:
    """Return what is known of a part without decoding each entry; raises like `decode_part`."""
    try:
        lines = _lines(body)
        first = Entry.model_validate_json(lines[0]).key if lines else ""
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise _broken(body, place, error) from None
    return PartOutline(len(lines), first)


def _lines(body: bytes) -> list[bytes]:
    *lines, rest = _unpacked(body).split(b"\n")
    if rest:
        raise ValueError("its last line is cut off")
    return lines


def _broken(body: bytes, place: str, error: Exception) -> DecodeError:
    what = f"a part of the manifest is broken: {place}".removesuffix(": ")
    return DecodeError(what, repr(body[:80]), str(error))


def _unpacked(body: bytes) -> bytes:
    if not body:
        # gzip takes this for empty content, but then every input of the part would be skipped.
        raise EOFError("it is empty")
    with gzip.open(io.BytesIO(body)) as file:
        content = file.read(MAX_PART_BYTES + 1)
    if len(content) > MAX_PART_BYTES:
        raise ValueError(f"unpacked it has more than {MAX_PART_BYTES:,} bytes")
    return content


def read_parts(store: Store, layout: RunLayout) -> Iterator[Part]:
    """Read the manifest, part by part, in order, each input as it was last corrected."""
    corrected = read_corrections(store, layout)
    for number, key in part_places(store, layout):
        yield read_part(number, store.get(key), f"s3://{store.bucket}/{key}", corrected)


def read_entries(store: Store, layout: RunLayout) -> Iterator[Entry]:
    """Go through all jobs of the manifest, in order."""
    return (entry for part in read_parts(store, layout) for entry in part.entries)


def part_places(store: Store, layout: RunLayout) -> Iterator[tuple[int, str]]:
    """Return the numbers of the manifest's parts and the keys of their objects, in order."""
    return places_of(store.list(layout.manifest.prefix))


def places_of(listed: Iterable[ObjectInfo]) -> Iterator[tuple[int, str]]:
    """Return what `part_places` does, from a listing of the manifest's folder."""
    for item in listed:
        if match := _PART_NAME.search(item.key):
            yield int(match[1]), item.key


def read_part(number: int, body: bytes, place: str, corrected: Corrected) -> Part:
    """Read a part, each input as it was last corrected."""
    entries = decode_part(body, place)
    return Part(number, tuple(corrected.get(entry.key) or entry for entry in entries))


def read_corrections(store: Store, layout: RunLayout) -> dict[str, Entry]:
    """Return the corrected inputs by their keys, as they are now."""
    return corrected_by(store.get(item.key) for item in store.list(layout.corrections.prefix))


def corrected_by(corrections: Iterable[bytes]) -> dict[str, Entry]:
    """Return the corrected inputs by their keys, from all corrections in their order."""
    return {entry.key: entry for body in corrections for entry in decode_part(body)}


def add_corrections(store: Store, layout: RunLayout, entries: Iterable[Entry]) -> None:
    """Record how inputs of the manifest have changed; raise ServiceError if that is impossible."""
    for part in cut(entries):
        _add_correction(store, layout, encode_lines(part))


def _add_correction(store: Store, layout: RunLayout, body: bytes) -> None:
    for _ in range(_TRIES):
        number = sum(1 for _ in store.list(layout.corrections.prefix))
        if store.put(layout.correction(number), body, IF_ABSENT) is not None:
            return
    raise ServiceError(
        f"other commands keep changing the inputs of run {layout.run}", None, "try again"
    )


def read_cursor(store: Store, layout: RunLayout, part: int) -> Cursor:
    """Return how far a part has been sent; nothing of it, if nobody has said."""
    try:
        key = layout.cursor(part)
        return Cursor.decode(store.get(key), f"s3://{store.bucket}/{key}")
    except MissingError:
        return Cursor()


def count_sent(store: Store, layout: RunLayout) -> int:
    """Return how many jobs of the run were sent."""
    return sum(read_cursor(store, layout, number).sent for number, _ in part_places(store, layout))


def finished(store: Store, layout: RunLayout) -> set[str]:
    """Return the S3 keys of all results there are (`layout.result` gives a job's own)."""
    return {item.key for item in store.list(layout.results.prefix)}


def unfinished(store: Store, layout: RunLayout) -> Iterator[Entry]:
    """Go through the jobs that were sent to the queue and have no result."""
    done = finished(store, layout)
    for part in read_parts(store, layout):
        sent = part.entries[: read_cursor(store, layout, part.number).sent]
        yield from (entry for entry in sent if layout.result(entry.key) not in done)
