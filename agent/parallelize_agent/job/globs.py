"""Which entries of a folder match a glob of `output.collect`.

`*`, `?` and `[a-z]` match within one name, `**` matches any number of folders; none of them
matches a name that begins with a dot, and links to folders are not followed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase

Entries = Callable[[bytes], list["os.DirEntry[bytes]"]]

_ANY_FOLDERS = b"**"


def matching(root: bytes, glob: str, entries: Entries) -> list[bytes]:
    """Return the paths of files and folders below `root` that match a glob, in order.

    `entries` lists a folder, and decides what happens if it cannot be read.
    """
    parts = tuple(part for part in os.fsencode(glob).split(b"/") if part not in {b"", b"."})
    found: set[bytes] = set()
    # A list and no recursion: folders may be nested more deeply than calls may be.
    pending = [(root, parts)] if parts else []
    while pending:
        folder, (first, *rest) = pending.pop()
        for path, left in _step(entries(folder), first, tuple(rest)):
            if left:
                pending.append((path, left))
            else:
                found.add(path)
    return sorted(found)


def _step(
    entries: list[os.DirEntry[bytes]], first: bytes, rest: tuple[bytes, ...]
) -> Iterator[tuple[bytes, tuple[bytes, ...]]]:
    """Yield the matches in one folder, each path with the parts of the glob that remain."""
    if first == _ANY_FOLDERS:
        # No folder at all, and one more.
        yield from _step(entries, rest[0] if rest else b"*", rest[1:])
        for entry in entries:
            if _is_folder(entry) and _takes(b"*", entry.name):
                yield entry.path, (first, *rest)
        return
    for entry in entries:
        if _takes(first, entry.name) and (not rest or _is_folder(entry)):
            yield entry.path, rest


def _takes(part: bytes, name: bytes) -> bool:
    return (name[:1] != b"." or part[:1] == b".") and fnmatchcase(name, part)


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    return entry.is_dir(follow_symlinks=False)
