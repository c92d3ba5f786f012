"""Lists what is in a scratch folder, matches it with globs, and reads files that will be sent.

Any problem with a path below the scratch folder is the command's fault, and an error: an unreadable
file must not pass for a missing one. Paths are bytes, as in the kernel.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from io import FileIO
from operator import attrgetter

from parallelize_agent.job.furnishing import located
from parallelize_agent.job.scratch import PRIVATE
from parallelize_core import keys

CONTENT_BYTES = 256 * 1024
"""Files up to this size are read at once, and need not be reopened to be sent."""

MAX_SHOWN_CHARACTERS = 120

INPUTS = f"{PRIVATE}/input".encode()
_TOP = (INPUTS + b"/", f"{PRIVATE}/tmp/".encode())  # noqa: S108 - the folder is the job's
"""Outputs in these folders are named as if they were at the top of the scratch folder."""

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Entries = Callable[[bytes], list["os.DirEntry[bytes]"]]

_ANY_FOLDERS = b"**"


class OutputError(Exception):
    """The command named something that is not an output; the text is for the user."""


@dataclass(frozen=True)
class OutputFile:
    """A file to send, its name below the scratch folder, and its content if that is small."""

    path: str
    name: str
    size: int
    sha256: str
    content: bytes | None


def read(root: bytes, name: bytes, real: bytes, most: int) -> OutputFile:
    """Read the file `real`, which is `name` below `root`; keep a content of at most `most` bytes.

    Raises OSError if it cannot be read, and OutputError if its name cannot be part of a key.
    """
    with FileIO(os.open(real, _READ)) as file:
        content = _whole(file, min(CONTENT_BYTES, most))
        if content is not None:
            size, digest = len(content), hashlib.sha256(content).hexdigest()
        else:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    path = os.fsdecode(root + b"/" + name)
    return OutputFile(path, _stored_name(name), size, digest, content)


def _whole(file: FileIO, limit: int) -> bytes | None:
    """Read a file of at most `limit` bytes; return None without reading if it is larger."""
    size = os.fstat(file.fileno()).st_size
    if size > limit:
        return None
    content = file.read(size + 1)
    if len(content) == size:
        return content
    file.seek(0)
    return None


def _stored_name(name: bytes) -> str:
    top = next(filter(name.startswith, _TOP), b"")
    text = name.removeprefix(top).decode("utf-8", errors="surrogateescape")
    if reason := keys.refusal(text):
        raise OutputError(f"the output {quoted(name)} cannot be stored: {reason}")
    return text


def scan(folder: bytes, name: bytes) -> list[os.DirEntry[bytes]]:
    """Return what is in a folder, in order; `name` is what an error calls it."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=attrgetter("name"))
    except OSError as error:
        raise refused(name, f"cannot be read: {error.strerror}") from None


def files_below(name: bytes, real: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the names of all files below a folder, and their real paths."""
    pending = [(name, real)]
    while pending:
        here, its_real = pending.pop()
        folders = []
        for entry in scan(its_real, here):
            # A linked folder is not entered, and must not be skipped in silence.
            if entry.is_dir(follow_symlinks=False):
                folders.append((here + b"/" + entry.name, entry.path))
            else:
                yield here + b"/" + entry.name, entry.path
        pending += reversed(folders)


def located_inside(name: bytes, path: bytes) -> tuple[bytes, int]:
    """Return the real path of an entry of a printed folder, and its mode."""
    try:
        return located(path)
    except FileNotFoundError:
        raise refused(name, "is a broken link") from None
    except OSError as error:
        raise refused(name, f"cannot be read: {error.strerror}") from None


def matching(root: bytes, glob: str, entries: Entries) -> list[bytes]:
    """Return the paths of files and folders below `root` that match a glob of `output.collect`.

    The paths are sorted. `*`, `?` and `[a-z]` match within one name, `**` matches any number of
    folders. None of them matches a name that begins with a dot, or follows a link to a folder.
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


def refused(name: bytes, why: str) -> OutputError:
    """Return the error for an output that cannot be sent."""
    return OutputError(f"the output {quoted(name)} {why}")


def quoted(path: bytes) -> str:
    """Return a path for messages: `failures` groups those that differ only in it."""
    return f'"{shown(path)}"'


def is_below(path: bytes, folder: bytes) -> bool:
    """Whether a path lies in a folder, or in one below it."""
    return path.startswith(folder + b"/")


def shown(path: bytes) -> str:
    """Return a path in characters that any terminal can show; only its end if it is long."""
    text = ascii(path.decode("utf-8", errors="surrogateescape"))[1:-1]
    if len(text) > MAX_SHOWN_CHARACTERS:
        return f"...{text[3 - MAX_SHOWN_CHARACTERS :]}"
    return text
