"""An environment that is a list of files: those that this worker has are copied, others fetched.

What another environment of this worker has may have been changed by its set-up. So a copy is
compared with the checksum as well as what is fetched.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from parallelize_core import contents
from parallelize_core.errors import DecodeError, UsageError
from parallelize_core.file_list import FileList, Listed, read_list
from parallelize_core.run import Environment
from parallelize_core.store import Store

FETCHED_AT_ONCE = 8

_CHUNK_BYTES = 1024 * 1024
_ENDING = ".files"


@dataclass(frozen=True)
class FileSite:
    """Makes an environment's folder, below `root` beside those of others."""

    root: Path
    store: Store
    environment: Environment
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def provide(self, place: Path, max_bytes: int) -> int:
        """Make all in the folder `place`, which is not there; return how many bytes were fetched.

        Raises UsageError for a list that is refused, a content that is another, and more bytes than
        `max_bytes`.
        """
        body = self.store.get(self.environment.list_key or "")
        wanted = read_list(body, self.environment.identity)
        total = sum(file.size for file in wanted.files)
        if total > max_bytes:
            raise UsageError(
                "the environment is too large for this worker",
                f"it has {total:,} bytes, {max_bytes:,} are allowed", "increase workers.disk",
            )  # fmt: skip
        _make_folders(place, wanted)
        files = [file for file in wanted.files if not file.is_folder]
        with ThreadPoolExecutor(FETCHED_AT_ONCE, "environment") as pool:
            fetched = sum(pool.map(lambda file: self._provide(file, place / file.name), files))
        place.with_suffix(_ENDING).write_bytes(body)
        return fetched + len(body)

    def _provide(self, file: Listed, target: Path) -> int:
        fetched = 0 if self._copy(file, target) else self._fetch(file, target)
        target.chmod(file.mode & 0o755 | 0o600)
        return fetched

    def _fetch(self, file: Listed, target: Path) -> int:
        scratch = self.root / f"fetched-{next(self._numbers)}"
        there = self.environment.contents
        return contents.fetch(self.store, there, file, target, scratch)

    def _copy(self, file: Listed, target: Path) -> bool:
        """Copy a file from another environment; answer False if none has it as it was."""
        source = self._here.get(file.sha256)
        if source is None:
            return False
        try:
            if _copied(source, target, file.size) == file.sha256:
                return True
        except OSError:
            pass  # it is gone, or cannot be read; what the disk does not take the fetch will tell
        target.unlink(missing_ok=True)
        return False

    @cached_property
    def _here(self) -> dict[str, Path]:
        """Where this worker has which content, by the lists of its other environments."""
        found: dict[str, Path] = {}
        for listed in sorted(self.root.glob(f"*{_ENDING}")):
            try:
                files = read_list(listed.read_bytes()).contents
            except DecodeError:
                continue  # written by an agent that was ended at it
            found |= {sha256: listed.with_suffix("") / f.name for sha256, f in files.items()}
        return found


def _make_folders(place: Path, wanted: FileList) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for file in wanted.files:
        folder = place / file.name
        (folder if file.is_folder else folder.parent).mkdir(parents=True, exist_ok=True)


def _copied(source: Path, target: Path, size: int) -> str:
    """Copy a file of `size` bytes, and return its SHA-256; of another there is none."""
    digest = hashlib.sha256()
    # A set-up may have put anything there, and a link would lead anywhere.
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened, target.open("wb") as file:
        if os.fstat(descriptor).st_size != size:
            return ""
        while chunk := opened.read(_CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()
