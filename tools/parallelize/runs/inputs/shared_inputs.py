"""Uploaded inputs that runs share: each content is stored once, and found by its SHA-256.

Each upload has a key of its own, `<sha256>/<mark>`, so a deleted one never comes back. A run first
names contents, then checks which uploads are doomed, and then which exist: it can rely on those
that exist and are not doomed (see `docs/protocol.md`, and `sweep_inputs` for the other side).

What a run's manifest names stays where it is. Any other content that some run has sent is borrowed,
if it is still there once this run has named it; what is not there is sent.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import re
import secrets
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from parallelize.bulk import list_all
from parallelize.runs.files.known_contents import KnownContents, known_contents
from parallelize.runs.files.uploads import Outgoing, outgoing_row, spooled_uploads
from parallelize.runs.inputs.local_inputs import Inputs, LocalInput
from parallelize.spool import Row, Spooled, Table, batches
from parallelize.transfers import (
    THREADS,
    DiskThreads,
    Fingerprint,
    groups,
    holds,
    in_order,
    in_parallel,
)
from parallelize_core.errors import DecodeError
from parallelize_core.files import CHECKSUM, STORED, InputFile
from parallelize_core.layout import Location, RunLayout, shared_by_runs, shared_inputs
from parallelize_core.store import ObjectInfo, Store

PAGE = 1000
"""Keys that one call lists.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
"""

FEW = 20
"""Up to this many contents are looked up one by one."""

LISTED_CONTENTS = 20_000
"""In one list of contents."""

MAX_LIST_BYTES = 64 * 1024 * 1024
"""Uncompressed; the lists that we write have much less."""

COMPARED = 1000
"""Files that are compared at a time."""

_SHA256 = re.compile(CHECKSUM)

_UPLOAD = re.compile(STORED)


def as_uploads(row: Row | None) -> list[ObjectInfo]:
    """Return the uploads in a row of a table that `SharedInputs.find` has made."""
    return [ObjectInfo(*one) for one in row or ()]


@dataclass(frozen=True)
class SharedInputs:
    """The uploaded inputs that the runs below `base` share."""

    store: Store
    base: Location

    @property
    def place(self) -> Location:
        """The folder of the uploads."""
        return shared_inputs(self.base)

    @property
    def doomed(self) -> Location:
        """The folder of marks, one for each upload that a sweep may delete at any time."""
        return shared_by_runs(self.base).below("doomed")

    def new_key(self, sha256: str) -> str:
        """Return a key for an upload of a content; no other upload has it, or ever had it."""
        return self.place.key(sha256, secrets.token_hex(4))

    def find(self, wanted: Table) -> Table:
        """Return the existing uploads of these contents: by checksum, what `as_uploads` reads."""
        found = Table()
        for item in self._listed(wanted) if wanted else ():
            upload = self.place.relative(item.key)
            sha256 = upload[:64]
            if sha256 in wanted and _UPLOAD.fullmatch(upload):
                others = found.get(sha256) or ()
                found.put(sha256, (*others, (item.key, item.size, item.etag)))
        return found

    def hold(self, layout: RunLayout, named: Table, wanted: Table) -> Table:
        """Name contents; return the keys of uploads of those `wanted` that will stay."""
        self._name(layout, named)
        held = Table()
        if not wanted:
            return held
        # In this order: an upload disappears before its mark.
        doomed = {self.doomed.relative(item.key) for item in self.store.list(self.doomed.prefix)}
        for uploads in self.find(wanted).values():
            for key, _, _ in uploads:
                if self.place.relative(key) not in doomed:
                    held.add(key)
        return held

    def _name(self, layout: RunLayout, named: Table) -> None:
        for some in batches(named, LISTED_CONTENTS):
            body = "".join(f"{sha256}\n" for sha256 in some).encode()
            key = layout.named.key(f"{hashlib.sha256(body).hexdigest()}.gz")
            self.store.put(key, gzip.compress(body, mtime=0))

    def _listed(self, wanted: Table) -> Iterator[ObjectInfo]:
        """List the uploads of these contents, among others, in as few calls as possible."""
        digits = 64
        if len(wanted) > FEW:
            first = list(islice(self.store.list(self.place.prefix), PAGE))
            if len(first) < PAGE:
                yield from first
                return
            digits = _digits([self.place.relative(item.key) for item in first])
        prefixes = sorted({self.place.key(sha256[:digits]) for sha256 in wanted})
        yield from list_all(self.store, prefixes)


def _digits(first: Sequence[str]) -> int:
    """Return how many digits of a checksum select about a page; `first` is the first page.

    Checksums are spread evenly, so the last one on the first page tells how many there are.
    """
    uploads = list(filter(_UPLOAD.fullmatch, first))
    if not uploads:
        return 64  # somebody has put a thousand other objects there
    last = int(uploads[-1][:8], 16) + 1
    return math.ceil(math.log(16**8 / last, 16))


def read_names(body: bytes) -> list[str]:
    """Return the contents that a list names; raise DecodeError if it is not one."""
    if not body:
        raise _refused("it is empty")  # which gzip takes for empty content
    try:
        with gzip.open(io.BytesIO(body)) as file:
            content = file.read(MAX_LIST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _refused(str(error)) from None
    names = content.decode(errors="replace").splitlines()
    if len(content) > MAX_LIST_BYTES or not all(map(_SHA256.fullmatch, names)):
        raise _refused("it contains something other than checksums")
    return names


def _refused(why: str) -> DecodeError:
    return DecodeError("not a list of shared inputs", "", why)


class Borrowed(NamedTuple):
    """A file that some run has sent: the existing version, and what to send if that goes."""

    version: InputFile
    file: Outgoing


KnownFile = Callable[[str], InputFile | None]
"""Returns a file of a manifest by its key, None if there is none."""


class SharedFiles:
    """Files with their versions; `uploads` are those to be sent."""

    def __init__(self) -> None:
        self.versions = Spooled(_version_row, _version)
        self.borrowed = spooled_borrowed()
        self.uploads = spooled_uploads()


def spooled_borrowed(files: Iterable[Borrowed] = ()) -> Spooled[Borrowed]:
    """Return a list of borrowed files."""
    borrowed = Spooled(
        lambda one: (*_version_row(one.version), *outgoing_row(one.file)),
        lambda *row: Borrowed(_version(*row[:5]), Outgoing(*row[5:])),
    )
    borrowed.extend(files)
    return borrowed


def _version_row(file: InputFile) -> Row:
    return file.key, file.size, file.etag, file.stored, file.sha256


def _version(key: str, size: int, etag: str, stored: str, sha256: str) -> InputFile:
    return InputFile(key=key, size=size, etag=etag, stored=stored, sha256=sha256)


def shared_files(
    shared: SharedInputs, found: Inputs, known: KnownFile, *, etags: bool = False
) -> SharedFiles:
    """Compare local files with the shared ones; `known` are those of the manifest.

    Without `etags`, new contents get their ETags only when S3 has them.
    """
    contents: Spooled[Fingerprint] = Spooled(_content_row, Fingerprint)
    wanted = Table()
    with known_contents() as memory:
        for some in batches(found, COMPARED):
            read = read_contents(memory, some)
            contents.extend(read[item.key] for item in some)
            for content in read.values():
                wanted.add(content.sha256)
        comparison = _Comparison(shared, memory, known, shared.find(wanted), etags=etags)
        for pairs in batches(zip(found, contents, strict=True), COMPARED):
            comparison.add([item for item, _ in pairs], {item.key: one for item, one in pairs})
    return comparison.files


def _content_row(content: Fingerprint) -> Row:
    return content.size, content.etag, content.sha256, content.modified_ns


@dataclass(frozen=True)
class _Comparison:
    """Some files after the other, compared with the uploads that are `there`."""

    shared: SharedInputs
    memory: KnownContents
    known: KnownFile
    there: Table
    etags: bool = field(kw_only=True)
    files: SharedFiles = field(default_factory=SharedFiles)

    def add(self, found: Sequence[LocalInput], contents: Mapping[str, Fingerprint]) -> None:
        """Compare files, whose contents are given by their keys."""
        there = {one.sha256: as_uploads(self.there.get(one.sha256)) for one in contents.values()}
        known = {key: file for key in contents if (file := self.known(key))}
        kept = dict(_kept(self.shared, contents, known, there))
        judged = [
            item
            for item in found
            if item.key not in kept
            and (self.etags or item.key in known or there[contents[item.key].sha256])
        ]
        contents = {**contents, **read_contents(self.memory, judged, etags=True)}
        unkept = {key: content for key, content in contents.items() if key not in kept}
        same = _same(self.shared, unkept, there)
        for item in found:
            if version := kept.get(item.key):
                self.files.versions.append(version)
            else:
                content = contents[item.key]
                self._add_one(item, content, same.get(content.sha256))

    def _add_one(self, item: LocalInput, content: Fingerprint, same: ObjectInfo | None) -> None:
        file = Outgoing(item.key, item.path, "", content.size, content.sha256, content.modified_ns)
        if same:
            version = as_version(self.shared, item.key, same)
            self.files.borrowed.append(Borrowed(version, file))
            self.files.versions.append(version)
        else:
            self.files.uploads.append(file)
            self.files.versions.append_row(item.key, content.size, content.etag, "", content.sha256)


def as_version(shared: SharedInputs, name: str, upload: ObjectInfo) -> InputFile:
    """Return an upload as the input `name`."""
    stored = shared.place.relative(upload.key)
    return InputFile(key=name, size=upload.size, etag=upload.etag, stored=stored)


def read_contents(
    memory: KnownContents, asked: Sequence[LocalInput], *, etags: bool = False
) -> dict[str, Fingerprint]:
    """Describe the content of files, by their keys.

    Files that have not been written since they were last read are not read again.
    """
    found = {item.key: memory.find(item.path, etag=etags) for item in asked}
    unread = [item for item in asked if found[item.key] is None]

    with DiskThreads() as disk:

        def learn(some: Sequence[LocalInput]) -> list[tuple[str, Fingerprint]]:
            return [
                (item.key, memory.learn(item.path, etag=etags, stopping=disk.stopping))
                for item in some
            ]

        def submit(some: Sequence[LocalInput]) -> Future[list[tuple[str, Fingerprint]]]:
            return disk.submit(lambda: learn(some), sum(item.size for item in some))

        for group in in_order(submit, groups(unread, lambda item: item.size), THREADS):
            found |= group
    return {key: content for key, content in found.items() if content}


def _kept(
    shared: SharedInputs,
    contents: Mapping[str, Fingerprint],
    known: Mapping[str, InputFile],
    there: Mapping[str, Sequence[ObjectInfo]],
) -> Iterator[tuple[str, InputFile]]:
    """Go through the files whose content is the manifest's, and still in its place."""
    for key, content in contents.items():
        file = known.get(key)
        if file is None or not file.stored.startswith(content.sha256):
            continue
        place = shared.place.key(file.stored)
        if any(item.key == place for item in there.get(content.sha256, ())):
            yield key, file.model_copy(update={"column": ""})


def _same(
    shared: SharedInputs,
    contents: Mapping[str, Fingerprint],
    there: Mapping[str, Sequence[ObjectInfo]],
) -> dict[str, ObjectInfo]:
    """Return an upload for each content that has one, by checksum."""
    # A file that was written since it was first read may have a content that nobody looked up.
    wanted = {c.sha256: c for c in contents.values() if there.get(c.sha256)}

    def find(content: Fingerprint) -> tuple[str, ObjectInfo | None]:
        uploads = sorted(there[content.sha256], key=lambda item: item.key)
        return content.sha256, next((o for o in uploads if holds(shared.store, o, content)), None)

    found = in_parallel(find, wanted.values())
    return {sha256: upload for sha256, upload in found if upload}
