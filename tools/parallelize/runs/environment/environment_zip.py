"""The environment as one zip: made from a folder, or the user's own.

The same folder gives the same bytes, whenever and wherever it is zipped: entries in order, one
fixed time, the permission bits kept. So its SHA-256 names it, and it is sent once.

A link is stored as the file that it points to, as `zip -r` does: a worker has neither the rest of
this machine nor a reason to trust links.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import stat
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from parallelize.console import escape
from parallelize.project import PROJECT_FILE
from parallelize.runs.environment.stored_once import can_be_files
from parallelize.runs.files.download_record import RECORD
from parallelize.runs.files.own_files import NOTHING_OWN, OwnFiles
from parallelize.runs.files.written import WRITTEN
from parallelize.runs.inputs.input_rules import IGNORE_FILE, ignored_lines, read_patterns
from parallelize_core.archive import read_members
from parallelize_core.errors import UsageError

RESERVED = ".parallelize"
"""The worker's own folder inside the environment."""

LARGE_BYTES = 8 * 1024 * 1024
"""A larger folder is sent file by file, if possible; see `stored_once`."""

_NEVER = (IGNORE_FILE, f"{PROJECT_FILE}*", f"*{RECORD}", f"*{WRITTEN}")
"""What is ours at the top of the folder; the worker does not need it."""

_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can hold."""

_UNIX = 3


def zip_folder(folder: Path, target: Path, own: OwnFiles = NOTHING_OWN) -> None:
    """Write the zip of `folder` to `target`, without the project's `own` results.

    Raises UsageError for anything that cannot be zipped.
    """
    if not folder.is_dir():
        raise UsageError(
            f"the environment {escape(str(folder))} does not exist",
            fix="make the folder, or take run.env out of parallelize.toml",
        )
    if (folder / RESERVED).exists():
        raise UsageError(f'the environment cannot hold "{RESERVED}"', "workers use that name")
    ignored = _ignored(folder)
    entries = [entry for entry in _walk(folder, own) if not ignored(entry[0])]
    packed = _packed_by([path for _, path in entries])
    with zipfile.ZipFile(target, "w", packed, compresslevel=6) as archive:
        for name, path in entries:
            _add(archive, name, path)


def _packed_by(paths: Sequence[Path]) -> int:
    """Return the zip's compression: none if the files are sent one by one, compressed then."""
    sizes = [path.stat().st_size if path.is_file() else 0 for path in paths]
    # A lock may still be added.
    by_files = sum(sizes) >= LARGE_BYTES and can_be_files([*sizes, 0])
    return zipfile.ZIP_STORED if by_files else zipfile.ZIP_DEFLATED


def add_file(archive: Path, name: str, text: str) -> None:
    """Add a text to a zip; raise UsageError if the zip already has that name."""
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED, compresslevel=6) as opened:
        if name in opened.namelist():
            raise UsageError(
                f'the environment cannot hold "{escape(name)}"',
                "parallelize sends the lock under that name",
                "take it out of the environment",
            )  # fmt: skip
        info = zipfile.ZipInfo(name, _TIME)
        info.create_system = _UNIX
        info.external_attr = (stat.S_IFREG | 0o644) << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        opened.writestr(info, text)


def zip_files(folder: Path, names: Iterable[str], target: Path) -> None:
    """Write a zip of just these files of `folder`, under their names there."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in names:
            _add(archive, name, folder / name)


def _ignored(folder: Path) -> Callable[[str], bool]:
    lines = ignored_lines(folder)
    theirs = read_patterns(lines).match_file if lines else None
    return lambda name: _is_ours(name) or (theirs is not None and theirs(name))


def _is_ours(name: str) -> bool:
    top = name.partition("/")[0]
    return any(fnmatchcase(top, ours) for ours in _NEVER)


def _walk(root: Path, own: OwnFiles) -> Iterator[tuple[str, Path]]:
    """Yield the entries in order; a folder's name ends in a slash."""
    waiting: list[tuple[str, Path, tuple[tuple[int, int], ...]]] = [("", root, ())]
    while waiting:
        name, path, above = waiting.pop()
        if name:
            yield name, path
        if name and not name.endswith("/"):
            continue
        known = path.stat()
        identity = (known.st_dev, known.st_ino)
        if identity in above:
            raise UsageError(f"{escape(str(path))} links to a folder that contains it")
        entries = sorted(path.iterdir(), key=lambda path: os.fsencode(path.name), reverse=True)
        for entry in entries:
            is_folder = entry.is_dir()
            if not own.is_one(entry):
                ending = "/" if is_folder else ""
                waiting.append((f"{name}{entry.name}{ending}", entry, (*above, identity)))


def _add(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    try:
        name.encode("utf-8")
        mode = path.stat().st_mode
        info = zipfile.ZipInfo(name, _TIME)
        info.create_system = _UNIX
        info.external_attr = (stat.S_IFMT(mode) | stat.S_IMODE(mode)) << 16
        info.compress_type = archive.compression
        if name.endswith("/"):
            info.external_attr |= 0x10  # the old flag of a folder, which some tools look at
            archive.writestr(info, b"")
        elif stat.S_ISREG(mode):
            info.file_size = path.stat().st_size
            with path.open("rb") as source, archive.open(info, "w") as sink:
                shutil.copyfileobj(source, sink, 1024 * 1024)
        else:
            raise UsageError(f"{escape(str(path))} is not a regular file")
    except UnicodeEncodeError:
        raise UsageError(f"the name {escape(name)} is not valid UTF-8") from None
    except OSError as error:
        raise UsageError(f"{escape(str(path))}: {error.strerror}", fix=_ignore_hint(name)) from None


def _ignore_hint(name: str) -> str:
    return f"fix it, or leave it out: echo '/{escape(name)}' >> {IGNORE_FILE}"


def _check_names(path: Path) -> None:
    """Raise UsageError for a zip whose paths have Windows' backslashes."""
    with suppress(zipfile.BadZipFile, OSError), zipfile.ZipFile(path) as archive:
        # On Linux a backslash may be part of a name; programs there say that they made the zip.
        odd = [i.filename for i in archive.infolist() if "\\" in i.filename]
        if odd and any(info.create_system != _UNIX for info in archive.infolist()):
            raise UsageError(
                f"{escape(str(path))} was made on Windows: its paths contain backslashes",
                f"on a worker, {escape(odd[0])} would be one file name, without a folder",
                "give the folder itself (run.env), or make the zip with another program",
            )


def zip_remarks(path: Path, command: str) -> list[str]:
    """Say which programs could not be started from a zip without modes, as Windows makes them.

    Workers make the program of `command` executable whatever the zip says.
    """
    with zipfile.ZipFile(path) as archive:
        files = [info for info in archive.infolist() if not info.is_dir()]
        if any(info.external_attr >> 16 & 0o111 for info in files):
            return []
        started = posixpath.normpath(command)
        programs = [
            info.filename for info in files
            if info.filename != started and archive.open(info).read(4).startswith(_PROGRAM)
        ]  # fmt: skip
    if not programs:
        return []
    name = escape(programs[0])
    more = f" and {len(programs) - 1:,} more" if len(programs) > 1 else ""
    made = f"{escape(str(path))} marks no file as executable, as if made on Windows: workers make "
    return [
        f"{made}{escape(command)} executable, but not {name}{more}",
        f"if the command starts these: give the folder itself (run.env), or call sh {name}",
    ]


_PROGRAM = (b"#!", b"\x7fELF")


def check_zip(path: Path) -> None:
    """Raise UsageError if a zip is broken, or if workers would refuse it."""
    if not path.is_file():
        raise UsageError(
            f"the environment {escape(str(path))} does not exist",
            fix="fix run.env in parallelize.toml",
        )
    _check_names(path)
    if any(PurePosixPath(m.name).parts[:1] == (RESERVED,) for m in read_members(path, sys.maxsize)):
        raise UsageError(f'the environment cannot hold "{RESERVED}"', "workers use that name")
    with zipfile.ZipFile(path) as archive:
        # A zip's directory can be sound although its entries are not.
        try:
            broken = archive.testzip()
        except zlib.error as error:
            broken = str(error)
    if broken:
        raise UsageError(f"{escape(str(path))} is corrupt", f"at {escape(broken)}")
