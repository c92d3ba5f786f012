"""How the environment appears in a job's scratch folder.

Files and large folders are links into the environment, which nobody may write to. A small folder
is the job's own copy: programs like to write their results into a folder that came with them,
and these must not reach other jobs.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from operator import attrgetter
from pathlib import Path

MAX_COPIED = 32
"""The most files and folders that are copied for each job; each takes about 10 us."""

MAX_COPIED_BYTES = 256 * 1024
"""The most bytes of those copies; they stay in memory."""

INSTALLED = {b".venv", b".conda", b".pixi", b".python"}
"""Made by the installers of dependencies: links however small, as no program writes there."""


@dataclass(frozen=True)
class _File:
    """A file to copy, and its name below the scratch folder."""

    name: bytes
    content: bytes
    mode: int
    modified_ns: int

    def write(self, folder: bytes) -> None:
        # The job may write to its own copy, whatever the original allows.
        mode = self.mode | stat.S_IRUSR | stat.S_IWUSR
        descriptor = os.open(folder + self.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with open(descriptor, "wb", buffering=0, closefd=False) as file:
                file.write(self.content)
            os.utime(descriptor, ns=(self.modified_ns, self.modified_ns))
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class Furnishing:
    """An environment's form in scratch folders; computed once, and used for each job."""

    folders: list[bytes] = field(default_factory=list)
    files: list[_File] = field(default_factory=list)
    links: list[tuple[bytes, bytes]] = field(default_factory=list)
    """The target of each link, and its name below the scratch folder."""

    @classmethod
    def of(cls, environment: Path) -> Furnishing:
        """Compute it from an environment that is ready."""
        made = cls()
        with os.scandir(os.fsencode(environment)) as entries:
            for entry in sorted(entries, key=attrgetter("name")):
                name = b"/" + entry.name
                own = entry.is_dir(follow_symlinks=False) and entry.name not in INSTALLED
                if not (own and made._copy(entry.path, name)):
                    made.links.append((entry.path, name))
        return made

    def put_into(self, scratch: Path | str) -> None:
        """Create all of it in a scratch folder."""
        root = os.fsencode(scratch)
        for name in self.folders:
            os.mkdir(root + name)  # noqa: PTH102 - paths are bytes here, as the kernel has them
        for file in self.files:
            file.write(root)
        for target, name in self.links:
            os.symlink(target, root + name)  # noqa: PTH211

    def _copy(self, folder: bytes, name: bytes) -> bool:
        """Add a folder to copy; return False, and leave it out, if it is too large."""
        tree = Furnishing()
        room = MAX_COPIED_BYTES - self._bytes
        for path, status in _walk(folder):
            below = name + path.removeprefix(folder)
            room -= status.st_size if stat.S_ISREG(status.st_mode) else 0
            if room < 0 or self._count + tree._count >= MAX_COPIED:
                return False
            tree._add(path, below, status)
        self.folders.extend(tree.folders)
        self.files.extend(tree.files)
        self.links.extend(tree.links)
        return True

    def _add(self, path: bytes, name: bytes, status: os.stat_result) -> None:
        if stat.S_ISDIR(status.st_mode):
            self.folders.append(name)
        elif stat.S_ISLNK(status.st_mode):
            self.links.append((os.readlink(path), name))  # noqa: PTH115
        else:
            content = Path(os.fsdecode(path)).read_bytes()
            mode = stat.S_IMODE(status.st_mode)
            self.files.append(_File(name, content, mode, status.st_mtime_ns))

    @property
    def _bytes(self) -> int:
        return sum(len(file.content) for file in self.files)

    @property
    def _count(self) -> int:
        return len(self.folders) + len(self.files) + len(self.links)


class CameAlong:
    """Tells the environment's entries in a scratch folder from what a job has made."""

    def __init__(self, scratch: bytes, environment: Path | None) -> None:
        self._scratch = scratch
        self._environment = _place_of(environment) if environment else None

    def is_inside(self, real: bytes) -> bool:
        """Whether a path without links is the environment or inside it."""
        return self._environment is not None and (real + b"/").startswith(self._environment + b"/")

    def unchanged(self, real: bytes, path: bytes | None = None) -> bool:
        """Whether what is at `real`, and was named as `path`, was there before the job.

        A copy counts as such if its size and time are the original's; a file inside the environment
        if it has not changed since the links to it were made.
        """
        if self._environment is None:
            return False
        if not self.is_inside(real):
            return self._is_copy(real.removeprefix(self._scratch))
        if path and path.startswith(self._scratch + b"/"):
            name = path.removeprefix(self._scratch)
            if os.path.normpath(self._environment + name) != real:
                return False  # the job's own link
        return os.lstat(real).st_ctime_ns <= self._linked_ns

    def _is_copy(self, name: bytes) -> bool:
        if self._environment is None or name.count(b"/") < 2:
            return False  # the top level has only links
        try:
            original, copy = os.lstat(self._environment + name), os.lstat(self._scratch + name)
        except OSError:
            return False
        return stat.S_ISREG(copy.st_mode) and _size_and_time(original) == _size_and_time(copy)

    @cached_property
    def _linked_ns(self) -> float:
        """When the links into the environment were made; no job can set that back."""
        with os.scandir(self._scratch) as entries:
            times = [
                entry.stat(follow_symlinks=False).st_ctime_ns
                for entry in entries
                if entry.is_symlink() and self.is_inside(os.readlink(entry.path))  # noqa: PTH115
            ]
        return min(times, default=math.inf)


def located(path: bytes) -> tuple[bytes, int]:
    """Return where a path leads, with all links followed, and the mode of what is there.

    Raises OSError if nothing is there. Takes a tenth of the time of os.path.realpath, which
    checks each part of a path.
    """
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        return os.readlink(b"/proc/self/fd/%d" % descriptor), mode  # noqa: PTH115
    finally:
        os.close(descriptor)


@cache
def _place_of(environment: Path) -> bytes:
    """Return where an environment really is; the agent's own folders stay there."""
    return located(os.fsencode(environment))[0]


def _size_and_time(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _walk(folder: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """Yield a folder and everything below it, each folder before its content."""
    status = os.lstat(folder)
    yield folder, status
    if stat.S_ISDIR(status.st_mode):
        for name in sorted(os.listdir(folder)):  # noqa: PTH208 - of bytes
            yield from _walk(folder + b"/" + name)
