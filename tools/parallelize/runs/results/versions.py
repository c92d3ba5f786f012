"""The results of a run as a listing names them: their S3 keys, each with its ETag.

A dict of a million takes 250 MB. `CompactVersions` takes 40 MB, and cannot list its keys: it only
knows whether a key is in it, and its ETag.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping

COMPACT_ABOVE = 50_000
"""Results above which the compact form is used."""

_MD5 = re.compile("[0-9a-f]{32}")

_ETAG_BYTES = 16
"""Of an ETag that is an MD5; others are kept as they are."""


class _Shelf:
    """The versions of keys whose digests start with the same byte, sorted by digest."""

    def __init__(self) -> None:
        self._marks = array("Q")
        self._etags = bytearray()

    def __len__(self) -> int:
        return len(self._marks)

    def add(self, mark: int, etag: bytes) -> None:
        self._marks.append(mark)
        self._etags += etag

    def sort(self) -> None:
        order = sorted(range(len(self._marks)), key=self._marks.__getitem__)
        self._etags = bytearray().join([self._etag(place) for place in order])
        self._marks = array("Q", [self._marks[place] for place in order])

    def find(self, mark: int) -> bytes | None:
        place = bisect_left(self._marks, mark)
        there = place < len(self._marks) and self._marks[place] == mark
        return self._etag(place) if there else None

    def _etag(self, place: int) -> bytes:
        return bytes(self._etags[place * _ETAG_BYTES : (place + 1) * _ETAG_BYTES])


class CompactVersions:
    """ETags by 64 bits of the keys' SHA-256: of a million keys, two collide once in 10^7 runs."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._shelves = [_Shelf() for _ in range(256)]
        self._odd: dict[int, str] = {}
        for key, etag in pairs:
            mark, packed = _mark(key), _packed(etag)
            if packed is None:
                self._odd[mark] = etag
            self._shelves[mark >> 56].add(mark, packed or bytes(_ETAG_BYTES))
        # One after the other: sorting all at once would take more memory than they do.
        for shelf in self._shelves:
            shelf.sort()

    def add(self, key: str, etag: str) -> None:
        """Add one."""
        mark, packed = _mark(key), _packed(etag)
        if packed is None:
            self._odd[mark] = etag
        shelf = self._shelves[mark >> 56]
        shelf.add(mark, packed or bytes(_ETAG_BYTES))
        shelf.sort()

    def __len__(self) -> int:
        return sum(map(len, self._shelves))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._find(_mark(key)) is not None

    def __getitem__(self, key: str) -> str:
        if (etag := self.get(key)) is None:
            raise KeyError(key)
        return etag

    def get(self, key: str) -> str | None:
        """Return the ETag of a key, None if the key is not there."""
        mark = _mark(key)
        found = self._find(mark)
        return None if found is None else self._odd.get(mark, found.hex())

    def _find(self, mark: int) -> bytes | None:
        return self._shelves[mark >> 56].find(mark)


Versions = Mapping[str, str] | CompactVersions


def versions(pairs: Iterable[tuple[str, str]]) -> Versions:
    """Store keys and ETags, in compact form if there are many."""
    first: dict[str, str] = {}
    rest = iter(pairs)
    for key, etag in rest:
        first[key] = etag
        if len(first) > COMPACT_ABOVE:
            return CompactVersions(_chained(first, rest))
    return first


def with_one(some: Versions, key: str, etag: str) -> Versions:
    """Return the same with one more; takes over `some`, which must not be used afterwards."""
    if not isinstance(some, CompactVersions):
        return {**some, key: etag}
    some.add(key, etag)
    return some


def _chained(first: dict[str, str], rest: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    while first:
        yield first.popitem()
    yield from rest


def _mark(key: str) -> int:
    digest = hashlib.sha256(key.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")


def _packed(etag: str) -> bytes | None:
    return bytes.fromhex(etag) if _MD5.fullmatch(etag) else None
