"""Files that the project's own commands made, or are made of: never inputs by themselves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from parallelize.context import Context
from parallelize.runs.files.download_record import is_download_folder
from parallelize.settings import FILE_NAME

FOLDERS = ("out", "check", "repro")
"""Folders beside parallelize.toml where commands put their output, unless told otherwise."""

REPORT_END = "-report.html"
_REPORT_TITLE = b"parallelize report</title>"
TRANSCRIPT_START, TRANSCRIPT_END = "doctor-", ".jsonl"
_TRANSCRIPT_HEAD = b'{"schema":1,"program":"parallelize '
_TABLE_HEAD = b"key,state,attempts,handed_back,bytes_in,bytes_out,worker,"
_HEAD_BYTES = 4096

Identity = tuple[int, int]


@dataclass(frozen=True)
class OwnFiles:
    """Recognizes such files and folders by what they are, whatever path leads to them."""

    identities: frozenset[Identity] = frozenset()
    home: Path | None = None
    """The project's folder: pages, tables and lists of jobs in it are known by their content."""
    _written: dict[str, frozenset[str]] = field(default_factory=dict, compare=False)

    def has(self, path: str, *, is_folder: bool) -> bool:
        """Whether a file or a folder is one of them."""
        if is_folder:
            return self.is_one(path) or is_download_folder(Path(path))
        folder, _, name = path.rpartition("/")
        if name.endswith(REPORT_END) and is_report(Path(path)):
            return True
        if name.startswith(TRANSCRIPT_START) and is_transcript(Path(path)):
            return True
        if self.is_one(path) or self._is_written(folder, name):
            return True
        return folder == str(self.home) and tells_of_a_run(Path(path))

    def is_one(self, path: Path | str) -> bool:
        """Whether it is one of those known by their place."""
        return bool(self.identities) and _identity(path) in self.identities

    def _is_written(self, folder: str, name: str) -> bool:
        """Whether a command wrote it; each folder is searched once."""
        # ruff: noqa: PLC0415 - a download asks only for the folders
        if folder not in self._written:
            from parallelize.runs.files.written import names_written

            self._written[folder] = names_written(Path(folder))
        if name not in self._written[folder]:
            return False
        from parallelize.runs.files.written import is_as_written

        return is_as_written(Path(folder, name))


NOTHING_OWN = OwnFiles()


def products(context: Context) -> OwnFiles:
    """Return what the project's runs have made."""
    return _own(own_folders(context.folder), context.folder)


def with_paths(own: OwnFiles, paths: list[Path]) -> OwnFiles:
    """Return the same with those of these paths that exist."""
    return replace(own, identities=own.identities | _own(paths).identities)


def never_inputs(context: Context) -> OwnFiles:
    """Return what the project's runs made or are made of."""
    settings = context.settings
    named = (settings.run.env, settings.workers.root_setup)
    made_of = [context.path(name) for name in named if name]
    files = [context.resolved.file or context.folder / FILE_NAME]
    return _own([*own_folders(context.folder), *made_of, *files], context.folder)


def own_folders(folder: Path) -> list[Path]:
    """Return the folders of a project that hold its runs' results."""
    return [folder / name for name in FOLDERS]


def is_report(path: Path) -> bool:
    """Whether a file is a page that `report` has written."""
    return _REPORT_TITLE in _head(path)


def is_transcript(path: Path) -> bool:
    """Whether a file is a transcript that `doctor --live` has written."""
    return path.suffix == TRANSCRIPT_END and _head(path).startswith(_TRANSCRIPT_HEAD)


def tells_of_a_run(path: Path) -> bool:
    """Whether a file of any name is what `report` or `run --joblog` has written, as text."""
    from parallelize.runs.files.joblog import HEADER

    head = _head(path)
    return head.startswith((HEADER.encode(), _TABLE_HEAD)) or _REPORT_TITLE in head


def _head(path: Path) -> bytes:
    """Return the first bytes of a file, none if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError:
        return b""


def _own(paths: list[Path], home: Path | None = None) -> OwnFiles:
    return OwnFiles(frozenset(_identities(paths)), home)


def _identities(paths: list[Path]) -> Iterator[Identity]:
    for path in paths:
        if identity := _identity(path):
            yield identity


def _identity(path: Path | str) -> Identity | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - making a Path takes longer than the call
    except OSError:
        return None
    return found.st_dev, found.st_ino
