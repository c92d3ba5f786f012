"""Which files are the inputs: a folder, a glob, @list.txt, or s3://bucket/prefix/.

An input's key is its path below the folder (or below the glob's fixed part, or as the list
writes it), with slashes. Whatever cannot be an input is collected, and all of it is named at once
before anything is sent.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from parallelize.console import escape, shown
from parallelize.units import plural
from parallelize_core import keys
from parallelize_core.errors import UsageError
from parallelize_core.layout import Location
from parallelize_core.manifest import Entry
from parallelize_core.store import Store

_NAMED = 20
"""How many bad inputs are named in full; a thousand of them have one cause."""

PLACES = "give a folder, a glob, @list.txt or s3://bucket/prefix/"


@dataclass(frozen=True)
class LocalInput:
    """A file here that will be the input `key`."""

    key: str
    path: Path


@dataclass(frozen=True)
class Refused:
    """Something that was found but cannot be an input."""

    name: str
    why: str


def is_remote(spec: str) -> bool:
    """Whether the inputs are in S3 already."""
    return spec.startswith("s3://")


OWN_FOLDERS = ("out", "check", "repro")
"""Where commands put what they make, beside parallelize.toml, unless another place is given."""


def own_folders(folder: Path) -> list[Path]:
    """Return the folders of a project that hold results of its runs."""
    return [folder / name for name in OWN_FOLDERS]


def places(spec: str, folder: Path) -> list[Path]:
    """Return the folders, or the single files, in which `spec` looks for inputs on this machine."""
    if is_remote(spec) or not spec.strip():
        return []
    if spec.startswith("@"):
        file = folder / Path(spec[1:]).expanduser()
        return [folder / name for name in _names(file)] if file.is_file() else []
    if glob.has_magic(spec):
        return [folder / _fixed_part(os.path.expanduser(spec))]  # noqa: PTH111 - a pattern
    return [folder / Path(spec).expanduser()]


def local_inputs(spec: str, folder: Path, prefix: str) -> list[LocalInput]:
    """Find the inputs that `spec` names, relative to `folder`; they will lie below `prefix`.

    Raises UsageError if there are none, or names all those that cannot be inputs.
    """
    found = list(_find(spec, folder))
    candidates = [item for item in found if isinstance(item, LocalInput)]
    refused = [item for item in found if isinstance(item, Refused)]
    refused += _refused(candidates, prefix)
    if refused:
        raise refusal(refused)
    if not candidates:
        raise UsageError(
            f"there are no inputs in {escape(spec)}", f"looked in {escape(str(folder))}",
            "put files there, or give another place with --inputs",
        )  # fmt: skip
    return sorted(candidates, key=lambda item: item.key)


def remote_inputs(store: Store, location: Location) -> list[Entry]:
    """List the user's own inputs below `location`, which are only read.

    Raises UsageError if there are none, or names all those that cannot be inputs.
    """
    # The S3 console makes empty objects that stand for folders.
    found = {location.relative(item.key): item for item in store.list(location.prefix)
             if not item.key.endswith("/")}  # fmt: skip
    if refused := [Refused(key, why) for key in found if (why := keys.refusal(key))]:
        raise refusal(refused)
    if not found:
        raise UsageError(f"there are no inputs in {escape(location.uri)}", fix="check the prefix")
    return [Entry(key=key, size=item.size, etag=item.etag) for key, item in found.items()]


def refusal(refused: list[Refused]) -> UsageError:
    """Return the error that names what cannot be an input, and why."""
    lines = [f"{shown(item.name, 40)}: {item.why}" for item in refused[:_NAMED]]
    if len(refused) > _NAMED:
        lines.append(f"and {len(refused) - _NAMED:,} more")
    verb = "cannot be an input" if len(refused) == 1 else "cannot be inputs"
    return UsageError(
        f"{plural(len(refused), 'file')} {verb}", "\n".join(lines),
        "rename or remove them, or name the others: --inputs @LIST; nothing was sent",
    )  # fmt: skip


def _find(spec: str, folder: Path) -> Iterator[LocalInput | Refused]:
    if not spec.strip():
        # Path("") is the folder itself: a variable that is not set would send all of a project.
        raise UsageError("no inputs are named", "run.inputs, or --inputs, is empty", PLACES)
    if spec.startswith("@"):
        return _from_list(folder / Path(spec[1:]).expanduser(), folder)
    if glob.has_magic(spec):
        return _from_glob(spec, folder)
    root = folder / Path(spec).expanduser()
    if root.is_dir():
        return _from_folder(root, "", ())
    if root.is_file():
        return _one(root.name, root)
    raise UsageError(
        f"the inputs {escape(spec)} do not exist", f"looked in {escape(str(folder))}",
        PLACES,
    )  # fmt: skip


def _from_folder(
    root: Path, key: str, above: tuple[tuple[int, int], ...]
) -> Iterator[LocalInput | Refused]:
    """Go through a folder and those below it; links to folders are followed, but not in circles."""
    known = root.stat()
    identity = (known.st_dev, known.st_ino)
    if identity in above:
        yield Refused(key.rstrip("/"), "it is a link to a folder that it lies in")
        return
    try:
        entries = sorted(os.scandir(root), key=lambda entry: entry.name)
    except OSError as error:
        yield Refused(key.rstrip("/") or str(root), error.strerror or str(error))
        return
    for entry in entries:
        if entry.is_dir():
            yield from _from_folder(Path(entry.path), f"{key}{entry.name}/", (*above, identity))
        else:
            yield from _one(key + entry.name, Path(entry.path))


def _from_glob(pattern: str, folder: Path) -> Iterator[LocalInput | Refused]:
    pattern = os.path.expanduser(pattern)  # noqa: PTH111 - a pattern is not a path
    fixed = _fixed_part(pattern)
    # Not Path.glob: it takes no absolute patterns, and no home folder.
    for name in sorted(glob.iglob(pattern, root_dir=folder, recursive=True)):  # noqa: PTH207
        path = folder / name
        # `**` finds folders whatever one wants; without it a folder is a slip worth telling.
        if not (path.is_dir() and "**" in pattern):
            yield from _one(name.removeprefix(fixed).rstrip("/"), path)


def _fixed_part(pattern: str) -> str:
    parts = pattern.split("/")
    magic = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    return "".join(f"{part}/" for part in parts[:magic])


def _names(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
        return [name for line in lines if (name := line.strip())]
    except OSError as error:
        raise UsageError(
            f"the list of inputs {escape(str(file))} cannot be read",
            f"{error.strerror}; run.inputs names it with @",
            "make it, one file a line, or name another: --inputs @LIST",
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"{escape(str(file))} is not a list in UTF-8") from None


def _from_list(file: Path, folder: Path) -> Iterator[LocalInput | Refused]:
    for name in _names(file):
        yield from _one(_key_of(name, folder), folder / name)


def _key_of(name: str, folder: Path) -> str:
    path = PurePosixPath(name)  # takes "./" and doubled slashes away, and leaves ".."
    if not path.is_absolute():
        return str(path)
    root = PurePosixPath(folder)
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name


def _one(key: str, path: Path) -> Iterator[LocalInput | Refused]:
    why = _unusable(path)
    yield Refused(key, why) if why else LocalInput(key, path)


def _unusable(path: Path) -> str | None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        dangling = path.is_symlink() and isinstance(error, FileNotFoundError)
        return "it is a link to nothing" if dangling else error.strerror or str(error)
    if stat.S_ISDIR(mode):
        return "it is a folder; an input is a file"
    if not stat.S_ISREG(mode):
        return "it is not a regular file"
    return None if os.access(path, os.R_OK) else "it may not be read (Permission denied)"


def _refused(candidates: Iterable[LocalInput], prefix: str) -> Iterator[Refused]:
    seen: dict[str, LocalInput] = {}
    for item in candidates:
        twin = seen.setdefault(item.key, item)
        if why := keys.refusal(item.key) or _too_long(item.key, prefix):
            yield Refused(item.key, why)
        elif twin is not item:
            yield Refused(str(item.path), f"{twin.path} has the same key, {item.key}")


def _too_long(key: str, prefix: str) -> str | None:
    size = len((prefix + key).encode())
    if size <= keys.MAX_S3_KEY_BYTES:
        return None
    return f"with the run's prefix it has {size:,} bytes; S3 allows {keys.MAX_S3_KEY_BYTES:,}"
