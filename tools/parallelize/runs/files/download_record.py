"""The record of a folder's downloads, so that no other file is ever overwritten.

The record is beside the folder, so that the folder holds nothing but outputs. It has a line of JSON
for each file, with its SHA-256, written just before the file takes its place. A file whose content
is in no line is the user's own, or was edited, and stays. Folders of unfinished downloads have a
line too, which tells a leftover from a folder that merely has such a name.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock

from parallelize.console import escape
from parallelize.transfers import sha256_of
from parallelize_core.errors import UsageError
from parallelize_core.keys import MAX_FILE_NAME_BYTES

RECORD = ".parallelize-downloads.jsonl"
"""The suffix of a record's name: for a folder `out` it is `.out` plus this."""

PARTIAL = ".parallelize-"
"""The prefix of the folder of unfinished downloads."""

DAY_SECONDS = 24 * 3600
"""A download that has written nothing for this long has ended."""

_HEAD = '{"parallelize": "downloads", "v": 1}'


@dataclass
class DownloadRecord:
    """The record of `folder`, which exists; raises UsageError if a file of its name is not ours."""

    folder: Path
    run: str = ""
    """The run whose outputs are downloaded there, if they are a run's."""
    _known: dict[str, dict[str, str]] | None = None
    """For each name, the contents that were written, and the run that each came from."""
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        for line in self._lines():
            if line != _HEAD:
                raise _not_ours(self.path)
            return

    @cached_property
    def path(self) -> Path:
        """Where it is."""
        return record_path(self.folder)

    def refusal(self, name: str) -> str | None:
        """Say why the existing file of this name must stay; None if it may be overwritten."""
        target = self.folder / name
        if not os.path.lexists(target):
            return None
        if not stat.S_ISREG(target.lstat().st_mode):
            return f"{_what(target)} of this name exists, which no download made; {_MOVE}"
        written = self._written(name)
        if not written:
            return f"a file of this name exists, which no download wrote; {_MOVE}"
        if sha256_of(target) not in written:
            return f"the file there was changed after its download; {_MOVE}"
        return None

    def of_another_run(self, name: str) -> str:
        """Return the run whose output was downloaded under this name; empty if none."""
        target = self.folder / name
        known = self._written(name) if target.is_file() else {}
        run = known.get(sha256_of(target), "") if known else ""
        return run if run != self.run else ""

    def put(self, file: Path, name: str) -> Path:
        """Give a complete file this name; return its path there.

        Raises UsageError if something that no download wrote already has the name.
        """
        target, content = self.folder / name, sha256_of(file)
        if target.is_symlink() or not target.is_file() or sha256_of(target) != content:
            if why := self.refusal(name):
                raise UsageError(f"{escape(str(target))} was not written", why)
            target.parent.mkdir(parents=True, exist_ok=True)
            self.note([(name, content)])
            file.replace(target)
        return target

    def note(self, contents: Sequence[tuple[str, str]]) -> None:
        """Record that these contents, given by SHA-256, are about to take their names."""
        run = {"run": self.run} if self.run else {}
        with self._lock:
            self._append(*({"name": name, "sha256": sha256} | run for name, sha256 in contents))
            if self._known is not None:
                for name, sha256 in contents:
                    self._known.setdefault(name, {})[sha256] = self.run

    @contextmanager
    def partial_folder(self) -> Iterator[Path]:
        """Make a temporary folder for unfinished files, and remove old ones."""
        self._sweep()
        with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=self.folder) as name:
            with self._lock:
                self._append({"partial": Path(name).name})
            yield Path(name)

    def _sweep(self) -> None:
        """Remove what killed downloads left; a download that goes on keeps writing there."""
        lines = (_document(line) for line in self._lines() if line.startswith('{"partial"'))
        for name in {str(line.get("partial")) for line in lines}:
            left = self.folder / name
            if name.startswith(PARTIAL) and "/" not in name and _is_old_folder(left):
                for file in left.iterdir():
                    file.unlink()
                left.rmdir()

    def _written(self, name: str) -> dict[str, str]:
        with self._lock:
            if self._known is None:
                self._known = {}
                for document in map(_document, self._lines()):
                    if "name" in document:
                        told, run = str(document.get("sha256")), str(document.get("run", ""))
                        self._known.setdefault(str(document["name"]), {})[told] = run
            return self._known.get(name, {})

    def _lines(self) -> Iterator[str]:
        try:
            with os.fdopen(os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
                for line in file:
                    if text := line.decode("utf-8", errors="replace").strip():
                        yield text
        except FileNotFoundError:
            return
        except OSError:
            raise _not_ours(self.path) from None

    def _append(self, *documents: dict[str, str]) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        descriptor = os.open(self.path, flags, 0o666)
        try:
            head = "" if os.fstat(descriptor).st_size else _HEAD
            # A line that a crash has cut off must not spoil the next one.
            lines = "".join(f"{json.dumps(document)}\n" for document in documents)
            os.write(descriptor, f"{head}\n{lines}".encode())
        finally:
            os.close(descriptor)


_MOVE = "move it away, then download again"


def record_path(folder: Path) -> Path:
    """Return the path of a folder's record: inside the folder only if it cannot be beside it."""
    # This runs for every folder of the inputs, so look at the parents only if necessary.
    is_plain = folder.name not in {"", ".."} and not folder.is_symlink()
    folder = folder.absolute() if is_plain else folder.resolve()
    inside, beside = folder / RECORD, folder.parent / f".{folder.name}{RECORD}"
    if os.path.lexists(inside) or not folder.name or not _fits(beside):
        return inside
    return beside if os.path.lexists(beside) or os.access(folder.parent, os.W_OK) else inside


def _fits(path: Path) -> bool:
    return len(os.fsencode(path.name)) <= MAX_FILE_NAME_BYTES


def is_download_folder(folder: Path) -> bool:
    """Whether downloads have written into this folder."""
    try:
        return next(DownloadRecord(folder)._lines(), "") == _HEAD
    except UsageError:
        return False


def _document(line: str) -> dict[str, object]:
    with suppress(ValueError, RecursionError):
        found = json.loads(line)
        return found if isinstance(found, dict) else {}
    return {}


def _is_old_folder(path: Path) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    inside = (
        [entry.is_file(follow_symlinks=False) for entry in os.scandir(path)]
        if stat.S_ISDIR(found.st_mode)
        else [False]
    )
    return all(inside) and time.time() - found.st_mtime > DAY_SECONDS


def _what(path: Path) -> str:
    if path.is_symlink():
        return "a link"
    return "a folder" if path.is_dir() else "something"


def _not_ours(path: Path) -> UsageError:
    return UsageError(
        f"{escape(str(path))} is not a record of downloads", "that name is reserved for one",
        "move it away, or give another folder",
    )  # fmt: skip
