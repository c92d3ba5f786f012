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
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from parallelize.runs.files.known_contents import known_contents
from parallelize.runs.files.uploads import Outgoing
from parallelize.runs.inputs.local_inputs import LocalInput
from parallelize.transfers import Fingerprint, groups, holds, in_parallel
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

LISTED_CONTENTS = 100_000
"""In one list of contents."""

MAX_LIST_BYTES = 64 * 1024 * 1024
"""Uncompressed; the lists that we write have a tenth of it."""

_SHA256 = re.compile(CHECKSUM)

_UPLOAD = re.compile(STORED)


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

    def find(self, wanted: Collection[str]) -> dict[str, list[ObjectInfo]]:
        """Return the existing uploads of these contents."""
        found: dict[str, list[ObjectInfo]] = {}
        chosen = set(wanted)
        for item in self._listed(chosen) if chosen else ():
            upload = self.place.relative(item.key)
            if upload[:64] in chosen and _UPLOAD.fullmatch(upload):
                found.setdefault(upload[:64], []).append(item)
        return found

    def hold(self, layout: RunLayout, named: Iterable[str], wanted: Collection[str]) -> set[str]:
        """Name contents; return the keys of uploads of those `wanted` that will stay."""
        self._name(layout, named)
        if not wanted:
            return set()
        # In this order: an upload disappears before its mark.
        doomed = {self.doomed.relative(item.key) for item in self.store.list(self.doomed.prefix)}
        found = self.find(wanted)
        keys = (item.key for items in found.values() for item in items)
        return {key for key in keys if self.place.relative(key) not in doomed}

    def _name(self, layout: RunLayout, named: Iterable[str]) -> None:
        every = sorted(set(named))
        for start in range(0, len(every), LISTED_CONTENTS):
            some = every[start : start + LISTED_CONTENTS]
            body = "".join(f"{sha256}\n" for sha256 in some).encode()
            key = layout.named.key(f"{hashlib.sha256(body).hexdigest()}.gz")
            self.store.put(key, gzip.compress(body, mtime=0))

    def _listed(self, wanted: Collection[str]) -> Iterator[ObjectInfo]:
        """List the uploads of these contents, among others, in as few calls as possible."""
        digits = 64
        if len(wanted) > FEW:
            first = list(islice(self.store.list(self.place.prefix), PAGE))
            if len(first) < PAGE:
                yield from first
                return
            digits = _digits([self.place.relative(item.key) for item in first])
        prefixes = sorted({self.place.key(sha256[:digits]) for sha256 in wanted})
        for found in in_parallel(lambda prefix: list(self.store.list(prefix)), prefixes):
            yield from found


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
        raise _refused("it has something else than checksums")
    return names


def _refused(why: str) -> DecodeError:
    return DecodeError("not a list of shared inputs", "", why)


@dataclass(frozen=True)
class Borrowed:
    """A file that some run has sent: the existing version, and what to send if that goes."""

    version: InputFile
    file: Outgoing


@dataclass(frozen=True)
class SharedFiles:
    """Files with their versions; `uploads` are those to be sent."""

    versions: tuple[InputFile, ...]
    borrowed: tuple[Borrowed, ...]
    uploads: tuple[Outgoing, ...]


def shared_files(
    shared: SharedInputs,
    found: Sequence[LocalInput],
    known: Mapping[str, InputFile],
    *,
    etags: bool = False,
) -> SharedFiles:
    """Compare local files with the shared ones; `known` are those of the manifest.

    Without `etags`, new contents get their ETags only when S3 has them.
    """
    contents = read_contents(found, {item.key for item in found})
    there = shared.find({content.sha256 for content in contents.values()})
    kept = dict(_kept(shared, contents, known, there))
    judged = {
        key
        for key, content in contents.items()
        if key not in kept and (etags or key in known or content.sha256 in there)
    }
    contents |= read_contents(found, judged, etags=True)
    same = _same(shared, {k: c for k, c in contents.items() if k not in kept}, there)
    versions, borrowed, uploads = [], [], []
    for item in found:
        content = contents[item.key]
        file = Outgoing(item.key, item.path, "", content.size, content.sha256)
        if version := kept.get(item.key):
            versions.append(version)
            continue
        if one := same.get(content.sha256):
            version = as_version(shared, item.key, one)
            borrowed.append(Borrowed(version, file))
        else:
            version = InputFile(
                key=item.key, size=content.size, etag=content.etag, sha256=content.sha256
            )
            uploads.append(file)
        versions.append(version)
    return SharedFiles(tuple(versions), tuple(borrowed), tuple(uploads))


def as_version(shared: SharedInputs, name: str, upload: ObjectInfo) -> InputFile:
    """Return an upload as the input `name`."""
    stored = shared.place.relative(upload.key)
    return InputFile(key=name, size=upload.size, etag=upload.etag, stored=stored)


def read_contents(
    local: Sequence[LocalInput], compared: Collection[str], *, etags: bool = False
) -> dict[str, Fingerprint]:
    """Describe the content of the files that are to be `compared`, by their keys.

    Files that have not been written since they were last read are not read again.
    """
    asked = [item for item in local if item.key in compared]
    with known_contents() as known:
        found = {item.key: known.find(item.path, etag=etags) for item in asked}
        unread = groups([i for i in asked if found[i.key] is None], lambda item: item.size)

        def learn(some: Sequence[LocalInput]) -> list[tuple[str, Fingerprint]]:
            return [(item.key, known.learn(item.path, etag=etags)) for item in some]

        for group in in_parallel(learn, unread):
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
    wanted = {c.sha256: c for c in contents.values() if c.sha256 in there}

    def find(content: Fingerprint) -> tuple[str, ObjectInfo | None]:
        uploads = sorted(there[content.sha256], key=lambda item: item.key)
        return content.sha256, next((o for o in uploads if holds(shared.store, o, content)), None)

    found = in_parallel(find, wanted.values())
    return {sha256: upload for sha256, upload in found if upload}
