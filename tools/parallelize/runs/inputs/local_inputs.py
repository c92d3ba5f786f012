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
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from parallelize.console import escape, shown
from parallelize.runs.inputs.input_rules import NO_RULES, InputRules
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


@dataclass(frozen=True, slots=True)
class LocalInput:
    """A local file that will be the input `key`."""

    key: str
    path: Path
    size: int = 0
    """Bytes, when it was found."""


@dataclass(frozen=True)
class Refused:
    """Something that was found but cannot be an input."""

    name: str
    why: str


@dataclass(frozen=True)
class LeftOut:
    """Something that was found and is left out; a folder's name ends in a slash."""

    name: str


@dataclass(frozen=True)
class Found:
    """The inputs, and what was left out."""

    inputs: tuple[LocalInput, ...]
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


def find_inputs(spec: str, folder: Path, prefix: str, rules: InputRules = NO_RULES) -> Found:
    """Find the inputs that `spec` names, relative to `folder`; they will be below `prefix`.

    Raises UsageError if there are none, or if some cannot be inputs; it names all of these.
    """
    found = list(_find(spec, folder, rules))
    # A list may name a file twice: it is still one input, as in a list of S3 names.
    candidates = list(dict.fromkeys(item for item in found if isinstance(item, LocalInput)))
    refused = [item for item in found if isinstance(item, Refused)]
    left_out = [item.name for item in found if isinstance(item, LeftOut)]
    refused += _refused(candidates, prefix)
    if refused:
        raise refusal(refused)
    if not candidates:
        raise no_inputs(spec, left_out, f"looked in {escape(str(folder))}")
    return Found(tuple(sorted(candidates, key=lambda item: item.key)), tuple(sorted(left_out)))


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
        "put files there, or give another place with --inputs",
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
    verb = "cannot be an input" if len(refused) == 1 else "cannot be inputs"
    return UsageError(
        f"{plural(len(refused), 'file')} {verb}", "\n".join(lines),
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
        return look_at(root.name, root)
    if glob.has_magic(spec):
        return _from_glob(spec, folder, rules)
    raise UsageError(
        f"the inputs {escape(spec)} do not exist", f"looked in {escape(str(folder))}",
        PLACES,
    )  # fmt: skip


@dataclass(frozen=True)
class _Folder:
    """A folder to look through; `above` are the folders that contain it.

    If the folder is left out, so is everything in it.
    """

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
            entries = sorted(os.scandir(place.path), key=lambda entry: entry.name)
        except OSError as error:
            yield Refused(place.key.rstrip("/") or str(root), error.strerror or str(error))
            continue
        for entry in entries:
            key, path = place.key + entry.name, Path(entry.path)
            if _is_folder(entry):
                key += "/"
                left = place.left_out or _is_left_out(rules, key, path)
                if left and not rules.include:
                    yield LeftOut(key)
                elif len(os.fsencode(key)) >= keys.MAX_S3_KEY_BYTES:
                    yield Refused(key, "it is a folder nested so deeply that S3 takes no key in it")
                else:
                    waiting.append(_Folder(path, key, (*place.above, identity), left))
            elif (place.left_out or _is_left_out(rules, key, path)) and not rules.takes(key):
                yield LeftOut(key)
            else:
                yield from look_at(key, path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # it is checked again later, and refused with the reason


def _is_left_out(rules: InputRules, key: str, path: Path) -> bool:
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
            yield from look_at(key, path)


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
    parts = key.split("/")
    above = ["/".join(parts[:count]) + "/" for count in range(1, len(parts))]
    return any(_is_left_out(rules, name, root / name) for name in (*above, key))


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
            yield from look_at(key, folder / name)


def _key_of(name: str, folder: Path) -> str:
    path = PurePosixPath(name)  # removes "./" and doubled slashes, but keeps ".."
    if not path.is_absolute():
        return str(path)
    root = PurePosixPath(folder)
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name


def look_at(key: str, path: Path) -> Iterator[LocalInput | Refused]:
    """Yield the file at `path`, or the reason that it cannot be an input."""
    try:
        found = path.stat()
    except OSError as error:
        dangling = path.is_symlink() and isinstance(error, FileNotFoundError)
        yield Refused(key, "it is a broken link" if dangling else error.strerror or str(error))
        return
    why = _unusable(path, found.st_mode)
    yield Refused(key, why) if why else LocalInput(key, path, found.st_size)


def _unusable(path: Path, mode: int) -> str | None:
    if stat.S_ISDIR(mode):
        return "it is a folder; an input is a file"
    if not stat.S_ISREG(mode):
        return "it is not a regular file"
    return None if os.access(path, os.R_OK) else "it cannot be read (Permission denied)"


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
