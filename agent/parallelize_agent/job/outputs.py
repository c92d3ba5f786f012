"""Finds a command's outputs: lines of its stdout that name files or folders, and globs.

A line that names nothing, or only what the environment brought along, is a remark and
stays in the log. A line that names something outside the scratch folder is an error: such a
file is never sent anywhere. Matches of a glob of `output.collect` count as if they had
been printed.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from parallelize_agent.job.furnishing import CameAlong, located
from parallelize_agent.job.output_files import (
    INPUTS,
    OutputError,
    OutputFile,
    files_below,
    is_below,
    located_inside,
    matching,
    quoted,
    read,
    refused,
    scan,
    shown,
)
from parallelize_agent.process.capture import Kept

CONTENTS_BYTES = 1024 * 1024
"""The most that is held in memory of one job's files, in total."""

MAX_LEFT_LOOKED_AT = 1000
"""The most entries of the scratch folder that are searched for files that no line names."""

MAX_SEEN = 100_000
"""The most lines that are remembered, so that repeated ones are not looked up again."""

MAX_NAMED = 5
"""How many paths a hint names."""

_COLOURS = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])"
)
"""Control sequences (CSI), those of the operating system (OSC: titles, links), and short ones.

https://www.ecma-international.org/publications-and-standards/standards/ecma-48/
"""

_BOM = b"\xef\xbb\xbf"
_QUOTES = (b"'", b'"')

_FILE_NAME = re.compile(
    rb"(?:[\w.+@%=,~\x80-\xff-]*/)*[\w+@%=,~\x80-\xff.-]*[\w\x80-\xff]\.[A-Za-z][A-Za-z0-9]{0,7}"
)
"""A path without blanks whose last part looks like a file: `a/b.csv`, `x.tar.gz`, not `3.14`."""

_ABSENT = {errno.ENOENT, errno.ENOTDIR}


@dataclass(frozen=True)
class Outputs:
    """What a command has named on stdout, and hints if an output seems to be missing.

    `leads_nowhere` are a few lines that look like paths and name nothing; `left` are a few files
    that the command made and did not name, of at least `left_count`. Both are safe to print.
    """

    files: tuple[OutputFile, ...]
    leads_nowhere: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    left_count: int = 0

    def __iter__(self) -> Iterator[OutputFile]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)


@dataclass(frozen=True)
class Unprinted:
    """Outputs although nobody prints their names.

    `globs` are relative to the scratch folder, or to the folder of the inputs, which are `given`
    and never outputs themselves. `names` are words of the command that may name a file.
    """

    globs: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    given: tuple[Path | str, ...] = ()


def find_outputs(
    stdout: Kept,
    scratch: Path | str,
    environment: Path | None,
    places: Mapping[str, Path] = MappingProxyType({}),
    unprinted: Unprinted = Unprinted(),
) -> Outputs:
    """Return the files that the lines of `stdout` name, each once, in the order of the lines.

    `places` maps folders that had another name for the command, such as its own /tmp, to their
    paths. `unprinted` outputs come last. Raises OutputError for a path outside
    the scratch folder, for anything that is not a regular file or cannot be read, and for a name
    that cannot be part of a key.
    """
    search = _Search(scratch, environment, places, unprinted.given)
    with BytesIO(stdout) if isinstance(stdout, bytes) else stdout.open("rb") as lines:
        for line in lines:
            for text in line.rstrip(b"\n").split(b"\0"):
                search.look_at(text)
    for name in unprinted.names:
        search.take_named(name)
    for glob in unprinted.globs:
        search.collect(glob)
    return search.outputs()


class _Search:
    """One pass over the lines of a command's stdout. Paths are bytes, as in the kernel."""

    def __init__(
        self,
        scratch: Path | str,
        environment: Path | None,
        places: Mapping[str, Path],
        given: tuple[Path | str, ...],
    ) -> None:
        self._root = _root(scratch)
        inside = len(os.fsencode(scratch))
        self._given = {self._root + os.fsencode(path)[inside:] for path in given}
        self._by = "stdout names"
        self._came_along = CameAlong(self._root, environment)
        self._places = {os.fsencode(name): os.fsencode(to) for name, to in places.items()}
        self._places[os.fsencode(scratch)] = self._root
        self._entries = scan(self._root, b".")
        # Only a line that begins with one of these can name anything.
        self._firsts = {*(entry.name for entry in self._entries), b"", b".", b".."}
        self._seen: set[bytes] = set()
        self._found: dict[bytes, OutputFile] = {}
        self._delivered: set[bytes] = set()
        self._nowhere: dict[str, None] = {}
        self._room = CONTENTS_BYTES

    def look_at(self, line: bytes) -> None:
        """Add what a line names; the line as printed is tried first."""
        text = b""
        for text in readings(line):
            # Most lines are remarks, and end here without a system call.
            if text.partition(b"/")[0] in self._firsts and text and self._take_once(text):
                return
        if len(self._nowhere) < MAX_NAMED and looks_like_a_path(text):
            self._nowhere[shown(text)] = None

    def take_named(self, name: str) -> None:
        """Add what a word of the command names in the scratch folder; most words name nothing."""
        self._by = "the command names"
        path = self._path(os.fsencode(name))
        if b".." in path.split(b"/"):
            return  # a variable may contain anything
        if is_below(path, self._root) and os.path.lexists(path):
            self._take_once(path)

    def collect(self, glob: str) -> None:
        """Add a glob's matches, also beside the input: many programs write their output there."""
        self._by = "output.collect matches"
        listed = {self._root: self._entries, self._root + b"/" + INPUTS: self._beside_input()}
        for root in listed:
            for path in matching(root, glob, lambda folder: self._listed(folder, listed)):
                if path not in self._given:
                    self._take_once(path)

    def _listed(
        self, folder: bytes, known: Mapping[bytes, list[os.DirEntry[bytes]]]
    ) -> list[os.DirEntry[bytes]]:
        if folder in known:
            return known[folder]
        return scan(folder, folder.removeprefix(self._root + b"/"))

    def _beside_input(self) -> list[os.DirEntry[bytes]]:
        """Return what is next to the inputs but is not an input."""
        folder = self._root + b"/" + INPUTS
        if not self._given or not os.path.isdir(folder):  # noqa: PTH112 - paths are bytes here
            return []  # the command may have deleted it
        entries = scan(folder, INPUTS)
        return [entry for entry in entries if folder + b"/" + entry.name not in self._given]

    def outputs(self) -> Outputs:
        """Return everything that was named, and hints about what was not."""
        left = sorted(self._unnamed())
        return Outputs(
            files=tuple(self._found.values()),
            leads_nowhere=tuple(self._nowhere),
            left=tuple(map(shown, left[:MAX_NAMED])),
            left_count=len(left),
        )

    def _take_once(self, text: bytes) -> bool:
        if text in self._seen:
            return True
        named = self._take(text)
        if named and len(self._seen) < MAX_SEEN:
            self._seen.add(text)
        return named

    def _take(self, text: bytes) -> bool:
        """Add what `text` names; return whether it names anything, even if only a remark."""
        path = self._path(text)
        try:
            real, mode = located(path)
        except OSError as error:
            return self._is_there(path, error)
        if self._is_remark(path, real):
            return True
        name = self._name(path, real)
        if not stat.S_ISDIR(mode):
            self._add(name, real, mode)
        for below, its_path in files_below(name, real) if stat.S_ISDIR(mode) else ():
            if its_path not in self._given and not self._came_along.unchanged(its_path):
                self._add(below, *located_inside(below, its_path))
        return True

    def _path(self, text: bytes) -> bytes:
        for name, place in self._places.items():
            if text.startswith(name + b"/"):
                return place + text.removeprefix(name)
        return text if text.startswith(b"/") else self._root + b"/" + text

    def _is_there(self, path: bytes, error: OSError) -> bool:
        """Return False if nothing is there; raise OutputError if something is, but unreachable."""
        absent = error.errno in _ABSENT
        if not is_below(path, self._root) or (absent and not _is_link(path)):
            return False
        raise OutputError(
            f"the output {self._shown(path)} "
            + ("is a broken link" if absent else f"cannot be read: {error.strerror}")
        )

    def _is_remark(self, path: bytes, real: bytes) -> bool:
        # The scratch folder itself is not an output either: a line "." counts as no output.
        if real == self._root or self._came_along.unchanged(real, path):
            return True
        if self._came_along.is_inside(real):
            raise OutputError(
                f"the output {self._shown(path)} lies in the environment, which all jobs share: "
                "write it to the current folder, or to a folder that the command makes there"
            )
        if not is_below(real, self._root):
            raise OutputError(f"{self._by} a path outside the scratch folder: {quoted(real)}")
        return False

    def _name(self, path: bytes, real: bytes) -> bytes:
        """Return the name as printed; a link has its own name, not its target's."""
        if b".." in path.split(b"/") or not is_below(path, self._root):
            path = real
        return os.path.normpath(path)[len(self._root) + 1 :]

    def _add(self, name: bytes, real: bytes, mode: int) -> None:
        """Add one file."""
        if name in self._found:
            return
        if not is_below(real, self._root):
            raise refused(name, "is a link that leads outside the scratch folder")
        if not stat.S_ISREG(mode):
            raise refused(name, "is not a regular file")
        try:
            file = read(self._root, name, real, self._room)
        except OSError as error:
            raise refused(name, f"cannot be read: {error.strerror}") from None
        self._found[name] = file
        self._room -= len(file.content or b"")
        self._delivered.add(real)

    def _unnamed(self) -> Iterator[bytes]:
        """Yield the files that the command has made in no hidden place, and that no line names."""
        # A command with outputs knows how to name them; what it puts beside its input is its own.
        beside = [] if self._found else self._beside_input()
        for entry in (*self._entries[:MAX_LEFT_LOOKED_AT], *beside[:MAX_LEFT_LOOKED_AT]):
            if entry.name.startswith((b".", b"__pycache__")) or entry.is_symlink():
                continue
            if not entry.is_dir(follow_symlinks=False):
                below = iter([(entry.name, entry.path)])
            else:
                below = islice(files_below(entry.name, entry.path), MAX_LEFT_LOOKED_AT)
            with suppress(OutputError):
                for name, real in below:
                    known = real in self._delivered or real in self._given
                    if not known and not self._came_along.unchanged(real):
                        yield name

    def _shown(self, path: bytes) -> str:
        return quoted(path.removeprefix(self._root + b"/"))


def _root(scratch: Path | str) -> bytes:
    try:
        return located(os.fsencode(scratch))[0]
    except OSError as error:
        raise OutputError(
            "its scratch folder is gone, so its outputs are unknown: the command has deleted or "
            f"moved it ({error.strerror})"
        ) from None


def _is_link(path: bytes) -> bool:
    return os.path.islink(path)  # noqa: PTH114 - paths are bytes here


def readings(line: bytes) -> Iterator[bytes]:
    """Yield what a line may mean: first as printed, then with more and more taken off."""
    line = line.rstrip(b"\r")
    yield line
    text = line
    if b"\r" in text:
        text = text[text.rfind(b"\r") + 1 :]
        yield text
    if b"\x1b" in text:
        text = _COLOURS.sub(b"", text)
        yield text
    stripped = text.removeprefix(_BOM).strip()
    if stripped != text:
        yield stripped
    if stripped[:1] in _QUOTES and stripped[-1:] == stripped[:1] and len(stripped) > 2:
        yield stripped[1:-1]


def looks_like_a_path(text: bytes) -> bool:
    """Whether somebody who prints this probably means a file; false alarms are rare."""
    return b" " not in text and len(text) > 2 and bool(_FILE_NAME.fullmatch(text))
