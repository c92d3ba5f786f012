"""Files that commands write under a name that the user chose, never over anything but their own.

Beside each file is a record of its SHA-256. A file without a record, or with another content, is
the user's own, or was edited, and stays.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, ValidationError

from parallelize.console import escape
from parallelize.transfers import sha256_of
from parallelize_core.errors import UsageError

WRITTEN = ".parallelize-written.json"
"""The suffix of a record's name: beside `jobs.log` it is `.jobs.log` plus this."""


class _Record(BaseModel):
    """The content of a record; after an interrupted write, the file has one of two contents."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    written: tuple[str, ...]


@dataclass(frozen=True)
class Written:
    """A file that a command writes: `what` it is, in words, and what to do if it cannot."""

    path: Path
    what: str
    fix: str

    def check(self) -> None:
        """Raise UsageError if the file there was not written by a command, or was edited.

        Also if nothing can be written there at all.
        """
        try:
            target = self._target()
            self._check(target)
            if not _is_special(target):
                _check_place(target)
        except OSError as error:
            raise self._unwritable(error) from None

    def put(self, write: Callable[[Path], object]) -> None:
        """Have `write` make the file, which gets its name once it is complete.

        Raises UsageError as `check` does, or if it cannot be written.
        """
        try:
            target = self._target()
            self._check(target)
            if _is_special(target):
                write(target)
            else:
                self._replace(target, write)
        except OSError as error:
            raise self._unwritable(error) from None

    def _target(self) -> Path:
        """Return the target of a link, so that the link stays one."""
        return self.path.resolve() if self.path.is_symlink() else self.path

    def _check(self, target: Path) -> None:
        known = _read(_record_of(target))
        if not target.is_file() or not target.stat().st_size:
            return
        if known is None:
            raise self._refusal("no earlier command wrote it")
        if sha256_of(target) not in known.written:
            raise self._refusal("it was changed after it was written")

    def _replace(self, target: Path, write: Callable[[Path], object]) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".parallelize-{uuid4().hex}{target.suffix}")
        try:
            write(partial)
            before = [sha256_of(target)] if target.is_file() else []
            self._note(_record_of(target), _Record(written=(sha256_of(partial), *before)))
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def _note(self, file: Path, record: _Record) -> None:
        partial = file.with_name(f".parallelize-{uuid4().hex}")
        try:
            partial.write_text(record.model_dump_json() + "\n", "utf-8")
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)

    def _refusal(self, why: str) -> UsageError:
        return UsageError(
            f"{escape(str(self.path))} stays as it is", why, f"move it away, or {self.fix}"
        )

    def _unwritable(self, error: OSError) -> UsageError:
        return UsageError(
            f"{self.what} cannot be written to {escape(str(self.path))}", error.strerror, self.fix
        )


def is_as_written(file: Path) -> bool:
    """Whether a file is what a command wrote under this name."""
    try:
        known = _read(_record_of(file))
        return known is not None and sha256_of(file) in known.written
    except (OSError, UsageError):
        return False


def names_written(folder: Path) -> frozenset[str]:
    """Return the names in a folder that commands have written; none if it cannot be read."""
    # Path.glob would keep all entries of the folder, which may be a million.
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.endswith(WRITTEN)]
    except OSError:
        return frozenset()
    return frozenset(name[1:].removesuffix(WRITTEN) for name in names if name.startswith("."))


def _is_special(target: Path) -> bool:
    """Whether it is a file to write into, such as /dev/null or a pipe; folders fail later."""
    return target.exists() and not target.is_file()


def _check_place(target: Path) -> None:
    """Raise OSError if no file could be created where `target` would be; creates nothing."""
    nearest = next(folder for folder in target.absolute().parents if os.path.lexists(folder))
    if not nearest.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if not os.access(nearest, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _record_of(target: Path) -> Path:
    return target.with_name(f".{target.name}{WRITTEN}")


def _read(file: Path) -> _Record | None:
    """Return the content of a record, None if there is none; UsageError if it is not a record."""
    try:
        return _Record.model_validate_json(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValidationError):
        raise UsageError(
            f"{escape(str(file))} is not a record of a file", "that name is reserved for one",
            "move it away",
        ) from None  # fmt: skip
