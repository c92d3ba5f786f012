"""Which local files are the inputs: a folder, a glob, one file, @list.txt or @-.

An input's key is its path below the folder (or below the glob's fixed part, or as the list writes
it), with slashes. Files that nobody means (see `input_rules`) are left out, and reported. Anything
else that cannot be an input is collected, and all of it is named before anything is sent.
"""

from __future__ import annotations

import codecs
import glob
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from parallelize.console import escape, shown
from parallelize.runs.files.twins import folders_of
from parallelize.runs.inputs.input_rules import NO_RULES, InputRules
from parallelize.spool import Spooled
from parallelize.units import plural
from parallelize_core import keys
from parallelize_core.errors import UsageError

_NAMED = 20
"""How many bad inputs are named in full; a thousand of them usually share one cause."""

_NAMED_LEFT_OUT = 3

S3 = "s3://"
STDIN = "@-"
RUN = "run:"
"""Prefix of the name of another run, whose outputs are the inputs."""

LINES = "lines:"
"""Prefix of the name of a file that has one argument a line."""

SHEETS = (".tsv", ".csv", ".jsonl", ".ndjson")
"""Suffixes of sheets, which have a header; other lists have one file a line."""

PLACES = (
    "give a folder, a glob, @list.txt, @- (stdin), s3://bucket/prefix/,\n"
    "@rows.tsv (.csv, .jsonl), lines:FILE or run:NAME"
)


class LocalInput(NamedTuple):
    """A local file that will be the input `key`."""

    key: str
    path: str
    size: int = 0
    """Bytes, when it was found."""


class Refused(NamedTuple):
    """Something that was found but cannot be an input."""

    name: str
    why: str


class LeftOut(NamedTuple):
    """Something that was found and is left out; a folder's name ends in a slash."""

    name: str


Inputs = Spooled[LocalInput] | Sequence[LocalInput]
"""Inputs in the order of their keys."""


class FoundInputs(NamedTuple):
    """The inputs, and what was left out."""

    inputs: Inputs
    left_out: tuple[str, ...] = ()


def is_sheet(spec: str) -> bool:
    """Whether `@NAME` is a sheet of jobs."""
    return spec.startswith("@") and spec.lower().endswith(SHEETS)


def places(spec: str, folder: Path) -> list[Path]:
    """Return the folders, or the single files, in which `spec` looks for local inputs."""
    if spec.startswith((S3, LINES, RUN)) or not spec.strip() or spec == STDIN or is_sheet(spec):
        return []
    if spec.startswith("@"):
        file = _list_file(spec, folder)
        names = listed_names(spec, folder) if file.is_file() else []
        return [folder / name for name in names if not name.startswith(S3)]
    root = folder / Path(spec).expanduser()
    if glob.has_magic(spec) and not root.exists():
        return [folder / _fixed_part(os.path.expanduser(spec))]  # noqa: PTH111 - a pattern
    return [root]


def find_inputs(spec: str, folder: Path, prefix: str, rules: InputRules = NO_RULES) -> FoundInputs:
    """Find the inputs that `spec` names, relative to `folder`; they will be below `prefix`.

    Raises UsageError if there are none, or if some cannot be inputs; it names all of these.
    """
    refused: list[Refused] = []
    left_out: list[str] = []

    def candidates() -> Iterator[LocalInput]:
        for item in _find(spec, folder, rules):
            if isinstance(item, LeftOut):
                left_out.append(item.name)
            elif isinstance(item, Refused):
                refused.append(item)
            elif why := keys.refusal(item.key) or _too_long(item.key, prefix):
                refused.append(Refused(item.key, why))
            else:
                yield item

    inputs = _distinct(candidates(), refused)
    left_out.sort()
    if refused:
        raise refusal(sorted(refused, key=lambda one: one.name))
    if not inputs:
        raise no_inputs(spec, left_out, f"looked in {escape(str(folder))}")
    return FoundInputs(inputs, tuple(left_out))


def _distinct(candidates: Iterable[LocalInput], refused: list[Refused]) -> Spooled[LocalInput]:
    """Return inputs in the order of their keys; add those that have another's key to `refused`."""
    found, inputs = spooled_inputs(), spooled_inputs()
    found.extend(candidates)
    before = None
    for item in found.in_order(lambda row: row[0]):
        if before is None or item.key != before.key:
            inputs.append(before := item)
        # A list may name a file twice: it is still one input, as in a list of S3 names.
        elif item.path != before.path:
            refused.append(Refused(item.path, f"{before.path} has the same key, {item.key}"))
    return inputs


def spooled_inputs() -> Spooled[LocalInput]:
    """Return an empty list of inputs."""
    return Spooled(lambda item: (item.key, item.path, item.size), LocalInput)


def local_inputs(
    spec: str, folder: Path, prefix: str, rules: InputRules = NO_RULES
) -> list[LocalInput]:
    """Return only the inputs; see `find_inputs`."""
    return list(find_inputs(spec, folder, prefix, rules).inputs)


def no_inputs(spec: str, left_out: Sequence[str], where: str) -> UsageError:
    """Return the error for inputs that do not exist, or are all left out."""
    return UsageError(
        f"there are no inputs in {escape(spec)}",
        told_left_out(left_out) or where,
        "put files there, or name another place with --inputs",
    )


def told_left_out(names: Sequence[str]) -> str:
    """Say what was left out, and how to include it; empty if nothing was."""
    if not names:
        return ""
    first = ", ".join(shown(name, 30) for name in names[:_NAMED_LEFT_OUT])
    more = f" and {len(names) - _NAMED_LEFT_OUT:,} more" if len(names) > _NAMED_LEFT_OUT else ""
    return f"left out: {first}{more} (run.include includes them anyway)"


def refusal(refused: list[Refused]) -> UsageError:
    """Return the error that names what cannot be an input, and why."""
    lines = [f"{shown(item.name, 40)}: {item.why}" for item in refused[:_NAMED]]
    if len(refused) > _NAMED:
        lines.append(f"and {len(refused) - _NAMED:,} more")
    what = "an input" if len(refused) == 1 else "inputs"
    return UsageError(
        f"{plural(len(refused), 'file')} cannot be {what}", "\n".join(lines),
        "rename or remove them, or name the others: --inputs @LIST; nothing was sent",
    )  # fmt: skip


Item = LocalInput | Refused | LeftOut


def _find(spec: str, folder: Path, rules: InputRules) -> Iterator[Item]:
    if not spec.strip():
        # Path("") is the folder itself: an unset variable would send the whole project.
        raise UsageError("no inputs are named", "run.inputs, or --inputs, is empty", PLACES)
    if spec.startswith("@"):
        return _from_list(spec, folder, rules)
    root = folder / Path(spec).expanduser()
    if root.is_dir():
        return _from_folder(root, rules)
    if root.is_file():
        return iter([look_at(root.name, str(root))])
    if glob.has_magic(spec):
        return _from_glob(spec, folder, rules)
    raise UsageError(
        f"the inputs {escape(spec)} do not exist", f"looked in {escape(str(folder))}",
        PLACES,
    )  # fmt: skip


class _Folder(NamedTuple):
    """A folder to look through, and the folders above; what is in one `left_out` is left out."""

    path: Path
    key: str = ""
    above: tuple[tuple[int, int], ...] = ()
    left_out: bool = False


def _from_folder(root: Path, rules: InputRules) -> Iterator[Item]:
    """Go through a folder and its subfolders, following links to folders, but not in circles."""
    waiting = [_Folder(root)]
    while waiting:
        place = waiting.pop()
        try:
            known = place.path.stat()
            identity = (known.st_dev, known.st_ino)
            if identity in place.above:
                yield Refused(place.key.rstrip("/"), "it links to a folder that contains it")
                continue
            with os.scandir(place.path) as entries:
                # A folder may have a million, so they are not sorted here.
                for entry in entries:
                    item = _in_folder(place, identity, entry, rules)
                    if isinstance(item, _Folder):
                        waiting.append(item)
                    else:
                        yield item
        except OSError as error:
            yield Refused(place.key.rstrip("/") or str(root), error.strerror or str(error))


def _in_folder(
    place: _Folder, identity: tuple[int, int], entry: os.DirEntry[str], rules: InputRules
) -> Item | _Folder:
    """Return what an entry of a folder is; a folder of its own if that is to be looked through."""
    key, path = place.key + entry.name, entry.path
    if not _is_folder(entry):
        is_left_out = place.left_out or _is_left_out(rules, key, path)
        return LeftOut(key) if is_left_out and not rules.takes(key) else look_at(key, path)
    key += "/"
    left = place.left_out or _is_left_out(rules, key, path)
    if left and not rules.include:
        return LeftOut(key)
    if len(os.fsencode(key)) >= keys.MAX_S3_KEY_BYTES:
        return Refused(key, "it is a folder nested too deeply: keys in it would be too long for S3")
    return _Folder(Path(path), key, (*place.above, identity), left)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):  # it is checked again later, and refused with the reason
        return entry.is_dir()
    return False


def _is_left_out(rules: InputRules, key: str, path: str) -> bool:
    return rules.excludes(key) or rules.own.has(path, is_folder=key.endswith("/"))


def _from_glob(pattern: str, folder: Path, rules: InputRules) -> Iterator[Item]:
    pattern = os.path.expanduser(pattern)  # noqa: PTH111 - a pattern is not a path
    fixed = _fixed_part(pattern)
    for name in _matching(pattern, folder):
        path, key = folder / name, name.removeprefix(fixed).rstrip("/")
        # `**` always finds folders; without it, a folder is a mistake worth reporting.
        if path.is_dir() and "**" in pattern:
            continue
        if _is_left_out_below(rules, key, folder / fixed) and not rules.takes(key):
            yield LeftOut(key)
        else:
            yield look_at(key, str(path))


def _matching(pattern: str, folder: Path) -> list[str]:
    try:
        # Not Path.glob, which accepts neither absolute patterns nor a home folder.
        return sorted(glob.iglob(pattern, root_dir=folder, recursive=True))  # noqa: PTH207
    except RecursionError:
        raise UsageError(
            f"the folders in {escape(pattern)} are nested too deeply for a pattern", None,
            "give the folder, or a list: find … -print0 | parallelize … --inputs @-",
        ) from None  # fmt: skip


def _is_left_out_below(rules: InputRules, key: str, root: Path) -> bool:
    """Whether a file, or a folder between it and `root`, is left out."""
    above = [f"{name}/" for name in folders_of(key)]
    return any(_is_left_out(rules, name, str(root / name)) for name in (*above, key))


def _fixed_part(pattern: str) -> str:
    parts = pattern.split("/")
    magic = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    return "".join(f"{part}/" for part in parts[:magic])


def listed_names(spec: str, folder: Path) -> list[str]:
    """Return the names in a list, `@FILE` or `@-` for stdin; UsageError if it cannot be read.

    NUL separates the names if there is one, otherwise the ends of lines do.
    """
    content = _stdin() if spec == STDIN else _read_list(_list_file(spec, folder))
    text = _decoded(content, spec)
    if "\0" in text:
        return [name for name in text.split("\0") if name]
    return [name for line in text.split("\n") if (name := line.strip())]


def _list_file(spec: str, folder: Path) -> Path:
    return folder / Path(spec[1:]).expanduser()


def _read_list(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(
            f"the list of inputs {escape(str(file))} cannot be read",
            f"{error.strerror}; run.inputs names it with @",
            "make it, one file a line, or name another: --inputs @LIST",
        ) from None


@cache
def _stdin() -> bytes:
    """Return all of stdin, which can be read only once."""
    return sys.stdin.buffer.read()


def _decoded(content: bytes, spec: str) -> str:
    # Some systems write text files with a byte order mark at the start.
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{escape(spec[1:])} is not a list in UTF-8") from None


def _from_list(spec: str, folder: Path, rules: InputRules) -> Iterator[Item]:
    for name in listed_names(spec, folder):
        if name.startswith(S3):
            raise UsageError(
                f"the list {escape(spec[1:])} has files of this machine and of S3", None,
                "make two lists, and a run of each",
            )  # fmt: skip
        key = _key_of(name, folder)
        if rules.leaves_out(key, named=True):
            yield LeftOut(key)
        else:
            yield look_at(key, str(folder / name))


def _key_of(name: str, folder: Path) -> str:
    path = PurePosixPath(name)  # removes "./" and doubled slashes, but keeps ".."
    if not path.is_absolute():
        return str(path)
    root = PurePosixPath(folder)
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name


def look_at(key: str, path: str) -> LocalInput | Refused:
    """Return the file at `path`, or the reason that it cannot be an input."""
    try:
        found = os.stat(path)  # noqa: PTH116 - making a Path takes longer than the call
    except OSError as error:
        dangling = Path(path).is_symlink() and isinstance(error, FileNotFoundError)
        return Refused(key, "it is a broken link" if dangling else error.strerror or str(error))
    why = _unusable(path, found.st_mode)
    return Refused(key, why) if why else LocalInput(key, path, found.st_size)


def _unusable(path: str, mode: int) -> str | None:
    if stat.S_ISDIR(mode):
        return "it is a folder; an input is a file"
    if not stat.S_ISREG(mode):
        return "it is not a regular file"
    return None if os.access(path, os.R_OK) else "it cannot be read (Permission denied)"


def _too_long(key: str, prefix: str) -> str | None:
    size = len((prefix + key).encode())
    if size <= keys.MAX_S3_KEY_BYTES:
        return None
    return f"with the run's prefix it has {size:,} bytes; S3 allows {keys.MAX_S3_KEY_BYTES:,}"
