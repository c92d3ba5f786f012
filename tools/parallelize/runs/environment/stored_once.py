"""Sends an environment, except the files that any run has sent before.

The order of the writes protects the files from another run's `clean` (see `docs/protocol.md`): the
run first names its files, then checks which of them exist, and only then run.json names the
environment.
"""

from __future__ import annotations

import hashlib
import shutil
import stat
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from parallelize.bulk import head_each
from parallelize.console import say
from parallelize.together import Later, Together
from parallelize.transfers import SHA256, in_parallel
from parallelize.units import plural, show_size
from parallelize_core import archive, contents
from parallelize_core.errors import DecodeError, MissingError
from parallelize_core.file_list import FileList, Listed, read_list
from parallelize_core.layout import RunLayout, shared_by_runs
from parallelize_core.run import Environment
from parallelize_core.store import MAX_COPIED_BYTES, Store

MIN_ZIP_BYTES = 1024 * 1024
"""A smaller environment is one zip: a worker gets that sooner than a list and its files."""

MAX_FILES = 2000
"""An environment with more files is one zip, too: each file costs each worker a request."""

MAX_FILE_BYTES = MAX_COPIED_BYTES // 2
"""A sweep could not handle a larger file."""

_LOOKED_UP_ONE_BY_ONE = 20
"""If there are more contents than this, listing all of them is faster."""

_CHUNK_BYTES = 1024 * 1024


def listed(path: Path) -> FileList | None:
    """Return the list of the files in a zip; None if the zip is sent as it is."""
    return files_of(path) if path.stat().st_size >= MIN_ZIP_BYTES else None


def files_of(path: Path) -> FileList | None:
    """Return the list of the files in a zip of any size; None if they cannot be sent one by one."""
    members = archive.read_members(path, sys.maxsize)
    if any(m.link is not None for m in members):
        return None
    if not can_be_files([member.info.file_size for member in members]):
        return None
    with zipfile.ZipFile(path) as opened:
        return FileList.of(_listed(opened, member) for member in members)


def can_be_files(sizes: Sequence[int]) -> bool:
    """Whether an environment with entries of these sizes can be sent file by file."""
    return len(sizes) <= MAX_FILES and max(sizes, default=0) <= MAX_FILE_BYTES


def _listed(opened: zipfile.ZipFile, member: archive.Member) -> Listed:
    if member.is_folder:
        return Listed(name=member.name)
    with opened.open(member.info) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    mode = stat.S_IMODE(member.mode)
    return Listed(name=member.name, mode=mode, size=member.info.file_size, sha256=digest)


def environment_of(layout: RunLayout, files: FileList, prefix: str) -> Environment:
    """Return what run.json says about an environment that is sent by its files."""
    return Environment(
        bucket=layout.base.bucket,
        key=None,
        identity=files.identity,
        prefix=prefix,
        list_key=layout.file_list(files.identity),
        shared=shared_by_runs(layout.base).prefix,
    )


def send_environment(
    calls: Together, path: Path, wanted: Environment, before: Environment | None
) -> Later[object]:
    """Send what is missing of an environment; `before` is the one that the run has now.

    It is there once the answer is; a small zip is sent together with other calls.
    """
    if wanted.key is None:
        _send_files(calls.store, path, wanted, before)
    elif path.stat().st_size <= MIN_ZIP_BYTES:
        return calls.put_new(wanted.key, path.read_bytes(), {SHA256: wanted.identity})
    elif calls.store.head(wanted.key) is None:
        with path.open("rb") as file:
            calls.store.put_file(wanted.key, file, metadata={SHA256: wanted.identity})
    return lambda: None


def _send_files(store: Store, path: Path, wanted: Environment, before: Environment | None) -> None:
    files = files_of(path)
    assert files is not None  # noqa: S101 - else it would be a zip
    assert wanted.list_key is not None  # noqa: S101
    # Before looking which exist: from now on no `clean` deletes them for good.
    store.put(wanted.list_key, files.pack())
    known = _contents_of(store, before)
    missing = _missing(store, wanted.contents, files.contents.keys() - known)
    chosen = [file for file in files.contents.values() if file.sha256 in missing]
    with tempfile.TemporaryDirectory(prefix="parallelize-") as folder:
        sender = _Sender(store, wanted.contents, path, Path(folder))
        size = sum(in_parallel(sender.send, chosen, threads=4))
    say(f"environment: {len(chosen):,} of {plural(len(files.contents), 'file')} sent "
        f"({show_size(size)})")  # fmt: skip


def fetch_zip(store: Store, environment: Environment, target: Path) -> None:
    """Write the zip of an environment to `target`, however it was sent."""
    if environment.key is not None:
        store.get_file(environment.key, target)
        return
    files = read_list(store.get(environment.list_key or ""), environment.identity)
    with (
        tempfile.TemporaryDirectory(prefix="parallelize-") as folder,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as opened,
    ):
        content, scratch = Path(folder, "content"), Path(folder, "packed")
        for file in files.files:
            if file.is_folder:
                opened.writestr(_info(file), b"")
                continue
            contents.fetch(store, environment.contents, file, content, scratch)
            with content.open("rb") as source, opened.open(_info(file), "w") as entry:
                shutil.copyfileobj(source, entry, _CHUNK_BYTES)


def _info(file: Listed) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(f"{file.name}/" if file.is_folder else file.name)
    info.create_system = 3  # Unix, so that the mode counts
    info.external_attr = ((stat.S_IFDIR if file.is_folder else stat.S_IFREG) | file.mode) << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    info.file_size = file.size
    return info


def _contents_of(store: Store, environment: Environment | None) -> set[str]:
    """Return the contents that this run has already named and sent."""
    if environment is None or environment.list_key is None:
        return set()
    try:
        return set(read_list(store.get(environment.list_key), environment.identity).contents)
    except (MissingError, DecodeError):
        return set()


def _missing(store: Store, there: contents.Contents, wanted: Iterable[str]) -> set[str]:
    left = set(wanted)
    if len(left) > _LOOKED_UP_ONE_BY_ONE:
        held = {item.key for item in store.list(there.all.prefix)}
        return {sha256 for sha256 in left if there.key(sha256) not in held}
    asked = sorted(left)
    heads = head_each(store, map(there.key, asked))
    return {sha256 for sha256, head in zip(asked, heads, strict=True) if head is None}


@dataclass(frozen=True)
class _Sender:
    """Sends files from a zip, through a folder."""

    store: Store
    contents: contents.Contents
    archive: Path
    folder: Path

    def send(self, file: Listed) -> int:
        """Send one file; return how many bytes were sent."""
        content, packed = self.folder / file.sha256, self.folder / f"{file.sha256}.gz"
        with (
            zipfile.ZipFile(self.archive) as opened,
            opened.open(file.name) as source,
            content.open("wb") as target,
        ):
            shutil.copyfileobj(source, target, _CHUNK_BYTES)
        size = contents.send(self.store, self.contents.key(file.sha256), content, packed)
        content.unlink()
        packed.unlink()
        return size or 0
