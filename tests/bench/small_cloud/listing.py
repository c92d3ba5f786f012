"""Listings as S3 makes them: keys in the order of their bytes, page by page, folders as one."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

PAGE_KEYS = 1000
LAST_CHARACTER = "\U0010ffff"


class KeyIndex:
    """Keys in order. What was added or removed is put in its place when somebody looks.

    Python sorts texts by code points, which is the order of their bytes in UTF-8. A sort of keys
    of which most are in order takes one pass.
    """

    def __init__(self) -> None:
        self._keys: list[str] = []
        self._added: list[str] = []
        self._removed: set[str] = set()

    def add(self, key: str) -> None:
        """Take a key in that is not there."""
        if key in self._removed:
            self._removed.discard(key)
        else:
            self._added.append(key)

    def remove(self, key: str) -> None:
        """Forget a key that is there."""
        self._removed.add(key)

    @property
    def keys(self) -> Sequence[str]:
        """All keys in order."""
        if self._added:
            self._keys += sorted(self._added)
            self._keys.sort()
            self._added.clear()
        if self._removed:
            self._keys = [key for key in self._keys if key not in self._removed]
            self._removed.clear()
        return self._keys


@dataclass
class Page:
    """A page of a listing; `token` is where the next one goes on, if there is `more`."""

    keys: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    token: str = ""
    more: bool = False

    @property
    def count(self) -> int:
        """How many entries it has."""
        return len(self.keys) + len(self.folders)


def read_page(keys: Sequence[str], query: Mapping[str, str]) -> Page:
    """Return the page that ListObjectsV2 asks for."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    limit = min(int(query.get("max-keys", PAGE_KEYS)), PAGE_KEYS)
    page, place = Page(), _start(keys, query, prefix)
    while place < len(keys) and keys[place].startswith(prefix):
        if page.count == limit:
            page.more = True
            return page
        place = _add(page, keys, place, len(prefix), delimiter)
        page.token = keys[place - 1]
    return page


def _start(keys: Sequence[str], query: Mapping[str, str], prefix: str) -> int:
    token = unquote(query.get("continuation-token", ""))
    after = max(token, query.get("start-after", ""))
    first = bisect_left(keys, prefix)
    return max(first, bisect_right(keys, after)) if after else first


def _add(page: Page, keys: Sequence[str], place: int, start: int, delimiter: str) -> int:
    """Put a key, or the folder that it is in, on the page; return the place of the next one."""
    key = keys[place]
    cut = key.find(delimiter, start) if delimiter else -1
    if cut < 0:
        page.keys.append(key)
        return place + 1
    folder = key[: cut + len(delimiter)]
    page.folders.append(folder)
    return bisect_left(keys, folder + LAST_CHARACTER)
