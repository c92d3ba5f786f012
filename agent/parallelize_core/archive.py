"""Untrusted zip files: the whole directory is checked before a single byte is written.

Refused are names and links that lead out of the folder (zip slip), encrypted entries, two entries
of one name, special files, and more bytes than the caller allows, whatever the zip's own directory
says (zip bombs).
"""

from __future__ import annotations

import posixpath
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from parallelize_core import keys
from parallelize_core.errors import UsageError

MAX_ENTRIES = 200_000
_ENCRYPTED = 0x1
_CHUNK_BYTES = 1024 * 1024
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


class Member(NamedTuple):
    """An entry that may be unpacked; `link` is where a symbolic link points, else None."""

    info: zipfile.ZipInfo
    name: str
    mode: int
    link: str | None

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.info.is_dir()


def read_members(path: Path, max_bytes: int) -> list[Member]:
    """Check a zip and list what is in it.

    Raises UsageError if it is not a zip file, is broken, would unpack to more than `max_bytes`, or
    has an entry that is refused.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [_checked(archive, info) for info in archive.infolist()]
    except (*_BROKEN, OSError) as error:
        raise _refused(path, str(error)) from None
    except ValueError as error:
        raise _refused(path, str(error)) from None
    _check_together(path, members, max_bytes)
    return members


def extract(path: Path, folder: Path, max_bytes: int) -> None:
    """Unpack a zip into `folder`, which must not exist yet or be empty.

    Raises UsageError as `read_members` does; the folder may then be partly filled.
    """
    members = read_members(path, max_bytes)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(path) as archive:
            # Links come last: until then no entry can be written through one.
            for member in sorted(members, key=lambda member: member.link is not None):
                _extract_one(archive, member, folder)
    except _BROKEN as error:
        raise _refused(path, str(error)) from None


def _checked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    name = info.filename.removesuffix("/")
    if reason := keys.refusal(name):
        raise ValueError(f'the name "{ascii(info.filename)[1:-1]}" is refused: {reason}')
    if info.header_offset < 0:
        raise ValueError("its directory is broken")
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise ValueError(f'"{name}" is packed by another method than deflate')
    if info.flag_bits & _ENCRYPTED:
        raise ValueError(f'"{name}" is encrypted')
    mode = info.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if kind == stat.S_IFLNK:
        return Member(info, name, mode, _link_target(archive, info, name))
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise ValueError(f'"{name}" is a special file')
    return Member(info, name, mode, None)


def _link_target(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> str:
    if info.file_size > keys.MAX_S3_KEY_BYTES:
        raise ValueError(f'the link "{name}" is too long')
    target = archive.read(info).decode("utf-8")
    if not target or "\0" in target or _leads_out(name, target):
        raise ValueError(f'the link "{name}" leads out of the folder')
    return target


def _leads_out(name: str, target: str) -> bool:
    # A target may go up only at its start, where it goes up from a real folder. After a part that
    # may itself be a link, ".." can lead anywhere.
    parts = target.split("/")
    ups = next((place for place, part in enumerate(parts) if part != ".."), len(parts))
    return target.startswith("/") or ".." in parts[ups:] or ups > name.count("/")


def _check_together(path: Path, members: list[Member], max_bytes: int) -> None:
    if len(members) > MAX_ENTRIES:
        raise _refused(path, f"it has more than {MAX_ENTRIES:,} entries")
    total = sum(member.info.file_size for member in members)
    if total > max_bytes:
        raise _refused(path, f"unpacked it has {total:,} bytes, {max_bytes:,} are allowed")
    names = {member.name: member for member in members}
    if len(names) < len(members):
        raise _refused(path, "two of its entries have the same name")
    for member in members:
        for parent in _parents(member.name):
            if parent in names and not names[parent].is_folder:
                raise _refused(path, f'"{parent}" is both a file and a folder')


def _parents(name: str) -> Iterator[str]:
    while name := posixpath.dirname(name):
        yield name


def _extract_one(archive: zipfile.ZipFile, member: Member, folder: Path) -> None:
    target = folder / member.name
    if member.is_folder:
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if member.link is not None:
        target.symlink_to(member.link)
        return
    with archive.open(member.info) as source, target.open("xb") as file:
        # zipfile stops at the size that the directory states, so `max_bytes` holds here too.
        shutil.copyfileobj(source, file, _CHUNK_BYTES)
    target.chmod(stat.S_IMODE(member.mode) & 0o755 | 0o600)


def _refused(path: Path, why: str) -> UsageError:
    return UsageError(
        f"{path.name} cannot be used as an environment", why, "make the zip again, or give a folder"
    )
