"""The environment as one zip: made from a folder, or the user's own.

The same folder gives the same bytes, whenever and wherever it is zipped: entries in order, one
fixed time, the permission bits kept. So its SHA-256 names it, and it is sent once.

A link is stored as what it points to, as `zip -r` does it: a worker has neither the rest of this
machine nor a reason to trust links.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pathspec

from parallelize.console import escape
from parallelize_core.archive import read_members
from parallelize_core.errors import UsageError

IGNORE_FILE = ".parallelizeignore"
RESERVED = ".parallelize"
"""The worker's own folder among the environment's entries."""

_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest that a zip can say."""

_UNIX = 3


def zip_folder(folder: Path, target: Path) -> None:
    """Write the zip of `folder` to `target`; raise UsageError for what cannot be zipped."""
    if not folder.is_dir():
        raise UsageError(
            f"the environment {escape(str(folder))} does not exist",
            fix="make the folder, or take run.env out of parallelize.toml",
        )
    if (folder / RESERVED).exists():
        raise UsageError(f'the environment cannot hold "{RESERVED}"', "workers use that name")
    ignored = _ignored(folder)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, path in _walk(folder, "", ()):
            if not ignored.match_file(name):
                _add(archive, name, path)


def _ignored(folder: Path) -> pathspec.GitIgnoreSpec:
    file = folder / IGNORE_FILE
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return pathspec.GitIgnoreSpec.from_lines([*lines, f"/{IGNORE_FILE}"])


def _walk(
    folder: Path, prefix: str, above: tuple[tuple[int, int], ...]
) -> Iterator[tuple[str, Path]]:
    """Give the entries in order; a folder's name ends in a slash."""
    known = folder.stat()
    identity = (known.st_dev, known.st_ino)
    if identity in above:
        raise UsageError(f"{escape(str(folder))} is a link to a folder that it lies in")
    for path in sorted(folder.iterdir(), key=lambda path: os.fsencode(path.name)):
        name = prefix + path.name
        if path.is_dir():
            yield f"{name}/", path
            yield from _walk(path, f"{name}/", (*above, identity))
        else:
            yield name, path


def _add(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    try:
        name.encode("utf-8")
        mode = path.stat().st_mode
        info = zipfile.ZipInfo(name, _TIME)
        info.create_system = _UNIX
        info.external_attr = (stat.S_IFMT(mode) | stat.S_IMODE(mode)) << 16
        info.compress_type = zipfile.ZIP_DEFLATED
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
    return f"mend it, or leave it out: echo '/{escape(name)}' >> {IGNORE_FILE}"


def check_zip(path: Path) -> None:
    """Raise UsageError if a zip is broken, or is one that workers would refuse."""
    if not path.is_file():
        raise UsageError(
            f"the environment {escape(str(path))} does not exist",
            fix="mend run.env in parallelize.toml",
        )
    if any(PurePosixPath(m.name).parts[:1] == (RESERVED,) for m in read_members(path, sys.maxsize)):
        raise UsageError(f'the environment cannot hold "{RESERVED}"', "workers use that name")
    with zipfile.ZipFile(path) as archive:
        # The directory of a zip can be sound while what it lists is not.
        try:
            broken = archive.testzip()
        except zlib.error as error:
            broken = str(error)
    if broken:
        raise UsageError(f"{escape(str(path))} is corrupt", f"at {escape(broken)}")
