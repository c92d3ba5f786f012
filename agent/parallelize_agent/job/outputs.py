"""Which files a command has left: the lines of its stdout that name files or folders.

A line that names nothing there, or only what the environment brought along, is a remark and
stays in the log. A line that names something outside the scratch folder is an error: such a
file is never sent anywhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from parallelize_agent.job.scratch import PRIVATE
from parallelize_core import keys

MAX_LINE_BYTES = 4096
"""No path is longer than Linux's PATH_MAX."""

_TOP = (Path(PRIVATE, "input"), Path(PRIVATE, "tmp"))
"""What lies here is named as if it lay at the top of the scratch folder."""


class OutputError(Exception):
    """The command's own fault in what it named; the text is for the user."""


@dataclass(frozen=True)
class OutputFile:
    """A file to be sent, and its name below the scratch folder."""

    path: Path
    name: str


def find_outputs(
    stdout: Path,
    scratch: Path,
    environment: Path | None,
    places: Mapping[str, Path] = MappingProxyType({}),
) -> list[OutputFile]:
    """Return the files that the lines of `stdout` name, each once, in the order of the lines.

    `places` says where folders lie that had another name for the command, such as its own /tmp.
    Raises OutputError for a path outside the scratch folder, for anything that is no regular
    file, and for a name that cannot be part of a key.
    """
    root = scratch.resolve()
    found: dict[Path, OutputFile] = {}
    for line in _lines(stdout):
        named = _existing(line, scratch, places)
        if named is None or _is_remark(named, root, environment):
            continue
        for path in _files(named, root):
            found.setdefault(path, OutputFile(path, _name(path, root)))
    return list(found.values())


def _lines(stdout: Path) -> Iterator[str]:
    with stdout.open("rb") as file:
        for line in file:
            if len(line) <= MAX_LINE_BYTES and b"\0" not in line:
                yield os.fsdecode(line.rstrip(b"\r\n"))


def _existing(line: str, scratch: Path, places: Mapping[str, Path]) -> Path | None:
    """Return what a line names, links followed; with the blanks at its ends, or without."""
    for text in (line, line.strip()):
        try:
            if text:
                return (scratch / _from_outside(text, places)).resolve(strict=True)
        except (OSError, RuntimeError):
            continue
    return None


def _from_outside(path: str, places: Mapping[str, Path]) -> str:
    for name, place in places.items():
        if path.startswith(f"{name}/"):
            return f"{place}{path.removeprefix(name)}"
    return path


def _is_remark(path: Path, root: Path, environment: Path | None) -> bool:
    # The scratch folder itself is no output either: a line "." is as good as none.
    if path == root or (environment and path.is_relative_to(environment.resolve())):
        return True
    if not path.is_relative_to(root):
        raise OutputError(
            f"stdout names a path outside the scratch folder: {ascii(str(path))[1:-1]}"
        )
    return False


def _files(path: Path, root: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield _regular(path, root)
        return
    for folder, folders, names in os.walk(path):
        folders.sort()
        # A linked folder is not walked into, and must not be passed over in silence either.
        linked = [name for name in folders if Path(folder, name).is_symlink()]
        for name in sorted(names) + linked:
            yield _regular(Path(folder, name), root)


def _regular(path: Path, root: Path) -> Path:
    shown = ascii(str(path.relative_to(root)))[1:-1]
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        raise OutputError(f"the output {shown} is a link to nothing") from None
    if not target.is_relative_to(root):
        raise OutputError(f"the output {shown} is a link that leads outside the scratch folder")
    if not stat.S_ISREG(target.stat().st_mode):
        raise OutputError(f"the output {shown} is no regular file")
    return path


def _name(path: Path, root: Path) -> str:
    relative = path.relative_to(root)
    for top in _TOP:
        if relative.is_relative_to(top):
            relative = relative.relative_to(top)
    name = os.fsencode(relative).decode("utf-8", errors="surrogateescape")
    if reason := keys.refusal(name):
        raise OutputError(f"the output {ascii(name)[1:-1]} cannot be stored: {reason}")
    return name
