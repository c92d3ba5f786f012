"""Uploaded inputs that runs share: each content is stored once, and found by its SHA-256.

Each upload has a key of its own, `<sha256>/<mark>`, so one that was deleted never comes back. A run
names contents first; then it looks which uploads are doomed, and then which are there: on what is
there and not doomed it may rely (see `docs/protocol.md`, and `sweep_inputs` for the other side).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import re
import secrets
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from parallelize.transfers import in_parallel
from parallelize_core.errors import DecodeError
from parallelize_core.files import CHECKSUM, STORED
from parallelize_core.layout import Location, RunLayout, shared_by_runs, shared_inputs
from parallelize_core.store import ObjectInfo, Store

PAGE = 1000
"""Keys that one call lists.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
"""

FEW = 20
"""Of no more contents it is asked for each alone."""

LISTED_CONTENTS = 100_000
"""In one list of names."""

MAX_LIST_BYTES = 64 * 1024 * 1024
"""Unpacked; a list that is made has a tenth of it."""

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
        """The folder of marks, each for an upload that a sweep may delete at any time."""
        return shared_by_runs(self.base).below("doomed")

    def new_key(self, sha256: str) -> str:
        """Return a key for an upload of a content, which no other upload has or had."""
        return self.place.key(sha256, secrets.token_hex(4))

    def find(self, wanted: Collection[str]) -> dict[str, list[ObjectInfo]]:
        """Return the uploads that are there of these contents."""
        found: dict[str, list[ObjectInfo]] = {}
        chosen = set(wanted)
        for item in self._listed(chosen) if chosen else ():
            upload = self.place.relative(item.key)
            if upload[:64] in chosen and _UPLOAD.fullmatch(upload):
                found.setdefault(upload[:64], []).append(item)
        return found

    def hold(self, layout: RunLayout, named: Iterable[str], wanted: Collection[str]) -> set[str]:
        """Name contents; return the keys of uploads of those `wanted` that stay from now on."""
        self._name(layout, named)
        if not wanted:
            return set()
        # In this order: an upload is gone before its mark is.
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
        """List the uploads of these contents, among others, in as few calls as that takes."""
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
    """Return how many digits of a checksum it takes for about a page; `first` is the first page.

    Checksums are spread evenly, so where the first page ends tells how many there are.
    """
    uploads = list(filter(_UPLOAD.fullmatch, first))
    if not uploads:
        return 64  # somebody has put a thousand other things there
    last = int(uploads[-1][:8], 16) + 1
    return math.ceil(math.log(16**8 / last, 16))


def read_names(body: bytes) -> list[str]:
    """Return the contents that a list names; raise DecodeError if it is not one."""
    if not body:
        raise _refused("it is empty")  # which gzip takes for no content
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
