"""A job's folder as one archive, and back: complete, or an error.

The job may be running, and may be hostile: no link is followed, a file that changes while it is
read invalidates the whole snapshot, and only what belongs to the job's user is read.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

MAX_ENTRIES = 10_000
"""A checkpoint of more files is refused: each costs a few system calls at every look."""

RESERVE_BYTES = 64 * 1024**2
"""How much disk an archive leaves free: the jobs write there, too."""

_COPY_BYTES = 1024**2
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class SnapshotError(Exception):
    """There is no complete snapshot; the text says why."""


@dataclass(frozen=True)
class Snapshot:
    """An archive on this disk; `content` shows whether the folder has changed since."""

    path: Path
    size: int
    sha256: str
    content: str

    def remove(self) -> None:
        """Remove the archive."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Entry:
    """A file, folder or link below the top, as it was when it was looked at."""

    name: str
    status: os.stat_result
    target: str = ""


@dataclass(frozen=True)
class Content:
    """A folder's content: its size in bytes, and a digest that changes with any file."""

    size: int
    digest: str
    entries: tuple[_Entry, ...]


def look(folder: Path, owner: int) -> Content:
    """List a folder that belongs to the user `owner`; raises SnapshotError."""
    with _errors(), _opened(folder) as top:
        entries = tuple(_entries(top, owner))
    facts = hashlib.sha256()
    for entry in entries:
        s = entry.status
        facts.update(
            f"{entry.name}\0{entry.target}\0{s.st_size}\0{s.st_mtime_ns}\0{s.st_ino}\0".encode()
        )
    size = sum(entry.status.st_size for entry in entries if stat.S_ISREG(entry.status.st_mode))
    return Content(size, facts.hexdigest(), entries)


def pack(folder: Path, owner: int, archive: Path, limit: int) -> Snapshot | None:
    """Write a folder's content to a new file; return None if the folder is empty.

    Raises SnapshotError, and leaves nothing, if it is larger than `limit` bytes, or changes
    meanwhile.
    """
    content = look(folder, owner)
    if not any(not stat.S_ISDIR(entry.status.st_mode) for entry in content.entries):
        return None
    if content.size > limit:
        raise SnapshotError(f"it has {content.size:,} bytes, and {limit:,} are allowed")
    return write(content, folder, archive)


def write(content: Content, folder: Path, archive: Path) -> Snapshot:
    """Write a folder's listed content to a new file; raise SnapshotError if it has changed."""
    try:
        with _errors(), _opened(folder) as top, archive.open("xb") as file:
            if shutil.disk_usage(archive.parent).free < content.size + RESERVE_BYTES:
                raise SnapshotError(f"there is no room on the disk for its {content.size:,} bytes")
            with tarfile.open(mode="w", fileobj=file, format=tarfile.PAX_FORMAT) as tar:
                for entry in content.entries:
                    _add(tar, entry, top)
    except BaseException:
        archive.unlink(missing_ok=True)
        raise
    return Snapshot(archive, archive.stat().st_size, _sha256(archive), content.digest)


def unpack(archive: Path, sha256: str, folder: Path) -> None:
    """Extract an archive into a new folder; raises SnapshotError.

    Nothing is written before the whole archive matches its checksum.
    """
    with _errors():
        if _sha256(archive) != sha256:
            raise SnapshotError("the archive is not the one that was stored")
        folder.mkdir()
        with tarfile.open(archive, mode="r:") as tar:
            links = [member for member in tar if not _write(tar, member, folder)]
        # Links come last, so that nothing is ever written through one.
        for member in links:
            (folder / member.name).symlink_to(member.linkname)


def _sha256(archive: Path) -> str:
    with archive.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RecursionError, tarfile.TarError) as error:
        raise SnapshotError(str(error) or repr(error)) from error


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """Open a job's folder; it and the two above it may be links that the job has made."""
    here = os.open(folder.parent.parent, _FOLDER)
    try:
        for name in (folder.parent.name, folder.name):
            there = os.open(name, _FOLDER, dir_fd=here)
            os.close(here)
            here = there
        yield here
    finally:
        os.close(here)


def _entries(top: int, owner: int) -> Iterator[_Entry]:
    count = 0
    for root, folders, files, here in os.fwalk(".", dir_fd=top, onerror=_raise):
        for name in sorted((*folders, *files)):
            status = os.stat(name, dir_fd=here, follow_symlinks=False)
            entry = _entry(posixpath.normpath(posixpath.join(root, name)), status, here)
            if entry is None:
                continue
            if status.st_uid != owner:
                raise SnapshotError(f"{entry.name} belongs to another user")
            count += 1
            if count > MAX_ENTRIES:
                raise SnapshotError(f"it has more than {MAX_ENTRIES:,} files")
            yield entry
        folders.sort()


def _entry(path: str, status: os.stat_result, here: int) -> _Entry | None:
    """Return what is kept of an entry: no device, no socket, and no link that leads out."""
    if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
        return _Entry(path, status)
    if not stat.S_ISLNK(status.st_mode):
        return None
    target = os.readlink(posixpath.basename(path), dir_fd=here)
    return _Entry(path, status, target) if _stays_inside(path, target) else None


def _stays_inside(path: str, target: str) -> bool:
    there = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return not (target.startswith("/") or there == ".." or there.startswith("../"))


def _add(tar: tarfile.TarFile, entry: _Entry, top: int) -> None:
    member = tarfile.TarInfo(entry.name)
    member.mode = stat.S_IMODE(entry.status.st_mode) & 0o777
    member.mtime = int(entry.status.st_mtime)
    if stat.S_ISDIR(entry.status.st_mode):
        member.type = tarfile.DIRTYPE
        tar.addfile(member)
    elif entry.target:
        member.type, member.linkname = tarfile.SYMTYPE, entry.target
        tar.addfile(member)
    else:
        _add_file(tar, member, entry, top)


def _add_file(tar: tarfile.TarFile, member: tarfile.TarInfo, entry: _Entry, top: int) -> None:
    parent, name = posixpath.split(entry.name)
    here = _descend(top, parent)
    try:
        descriptor = os.open(name, _FILE, dir_fd=here)
    finally:
        os.close(here)
    with FileIO(descriptor, "rb") as file:
        _check_same(entry, os.fstat(file.fileno()))
        member.size = entry.status.st_size
        tar.addfile(member, file)
        _check_same(entry, os.fstat(file.fileno()))


def _descend(top: int, path: str) -> int:
    """Open a folder below another, one step at a time; no step may be a link."""
    here = os.dup(top)
    for name in filter(None, path.split("/")):
        try:
            there = os.open(name, _FOLDER, dir_fd=here)
        finally:
            os.close(here)
        here = there
    return here


def _check_same(entry: _Entry, now: os.stat_result) -> None:
    facts: Callable[[os.stat_result], tuple[int, ...]] = lambda s: (  # noqa: E731
        s.st_ino, s.st_dev, s.st_size, s.st_mtime_ns,
    )  # fmt: skip
    if facts(entry.status) != facts(now):
        raise SnapshotError(f"{entry.name} was changed while it was read")


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> bool:
    """Write a file or a folder; return False for a link."""
    name = member.name
    if posixpath.normpath(name) != name or not _stays_inside("", name):
        raise SnapshotError(f"{name} leads out of its folder")
    if member.issym():
        if not _stays_inside(name, member.linkname):
            raise SnapshotError(f"{name} leads out of its folder")
        return False
    if member.isdir():
        (folder / name).mkdir()
        (folder / name).chmod(member.mode & 0o777 | stat.S_IRWXU)
    elif member.isreg() and (content := tar.extractfile(member)):
        mode = member.mode & 0o777 | stat.S_IRUSR | stat.S_IWUSR
        with FileIO(os.open(folder / name, _NEW, mode), "wb") as file:
            shutil.copyfileobj(content, file, _COPY_BYTES)
    else:
        raise SnapshotError(f"{name} is neither a file nor a folder")
    return True


def _raise(error: OSError) -> None:
    raise error
