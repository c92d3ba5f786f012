"""Which file in an environment's folder lists the packages that its jobs need."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from parallelize.console import escape
from parallelize_core.errors import UsageError

AUTO, NONE = "auto", "none"
"""The values of `run.dependencies` other than a file's name."""

PYLOCK, PYPROJECT, UV_LOCK = "pylock.toml", "pyproject.toml", "uv.lock"
CONDA_LOCK, PIXI_LOCK = "conda-lock.yml", "pixi.lock"
REQUIREMENTS = "requirements.txt"
CONDA_LISTS = ("environment.yml", "environment.yaml")

_METADATA = re.compile(r"(?m)^# /// script$\s(?P<content>(?:^#(?:| .*)$\s)+)^# ///$")
"""https://packaging.python.org/en/latest/specifications/inline-script-metadata/"""

_HEAD_CHARACTERS = 256 * 1024


class Kind(Enum):
    """The kinds of package lists."""

    SCRIPT = "a script with metadata"
    PROJECT = "a project of uv"
    REQUIREMENTS = "requirements"
    PYLOCK = "a pylock file"
    CONDA = "a lock file of conda-lock"
    PIXI = "a lock file of pixi"


class Source(NamedTuple):
    """A list of packages: a file in the environment's folder."""

    kind: Kind
    file: str


def find_source(folder: Path, command: str, wanted: str) -> Source | None:
    """Return the list that `run.dependencies` means; None if there is none, or none is wanted.

    Raises UsageError if it names no file, or if it could mean several.
    """
    if wanted == NONE:
        return None
    if wanted != AUTO:
        return _named(folder, wanted)
    scripts = list(_scripts(folder))
    if own := [script for script in scripts if script in _words(command)]:
        return Source(Kind.SCRIPT, own[0])
    found = [*_lists(folder), *(Source(Kind.SCRIPT, script) for script in scripts)]
    if len(found) > 1:
        files = " and ".join(escape(source.file) for source in found[:3])
        raise UsageError(
            "the environment has more than one list of dependencies", f"it has {files}",
            f'run.dependencies = "{escape(found[0].file)}" in parallelize.toml; '
            'or "none", to have nothing installed',
        )  # fmt: skip
    return found[0] if found else None


def metadata_of(text: str) -> dict[str, Any] | None:
    """Return a script's inline metadata; None if it has none that is readable."""
    found = _METADATA.search(text)
    if found is None:
        return None
    lines = (
        line[2:] if line.startswith("# ") else line[1:] for line in found["content"].splitlines()
    )
    try:
        return tomllib.loads("\n".join(lines))
    except tomllib.TOMLDecodeError:
        return None


def unlocked_conda(folder: Path) -> str | None:
    """Return the name of an unlocked list of a conda environment, if there is one."""
    if (folder / CONDA_LOCK).is_file() or (folder / PIXI_LOCK).is_file():
        return None
    return next((name for name in CONDA_LISTS if (folder / name).is_file()), None)


def _named(folder: Path, name: str) -> Source:
    path = PurePosixPath(name)
    if not (folder / name).is_file():
        raise UsageError(
            f"run.dependencies names {escape(name)}, which is not in the environment",
            'it is "auto", "none", or a file in the folder that run.env names',
            "fix run.dependencies in parallelize.toml",
        )
    if re.fullmatch(r"pylock(\.[^.]+)?\.toml", path.name):
        return Source(Kind.PYLOCK, name)
    if path.name in {PYPROJECT, UV_LOCK}:
        return Source(Kind.PROJECT, str(path.with_name(PYPROJECT)))
    if path.name == PIXI_LOCK:
        return Source(Kind.PIXI, name)
    if path.name.endswith(("-lock.yml", "-lock.yaml")):
        return Source(Kind.CONDA, name)
    return Source(Kind.SCRIPT if path.suffix == ".py" else Kind.REQUIREMENTS, name)


def _lists(folder: Path) -> Iterator[Source]:
    by_name = {CONDA_LOCK: Kind.CONDA, PIXI_LOCK: Kind.PIXI, PYLOCK: Kind.PYLOCK}
    for name, kind in by_name.items():
        if (folder / name).is_file():
            yield Source(kind, name)
    if _is_project(folder):
        yield Source(Kind.PROJECT, PYPROJECT)
    if (folder / REQUIREMENTS).is_file():
        yield Source(Kind.REQUIREMENTS, REQUIREMENTS)


def _is_project(folder: Path) -> bool:
    """Whether pyproject.toml names packages; many projects use it only to configure tools."""
    if not (folder / PYPROJECT).is_file():
        return False
    if (folder / UV_LOCK).is_file():
        return True
    try:
        document = tomllib.loads((folder / PYPROJECT).read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{PYPROJECT} in the environment is not valid TOML", str(error)) from None
    project = document.get("project", {})
    named = project.get("dependencies") or "dependencies" in project.get("dynamic", ())
    return bool(named) and "pixi" not in document.get("tool", {})


def _scripts(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("*.py")):
        if path.is_file() and dependencies_of(path):
            yield path.name


def dependencies_of(script: Path) -> Sequence[str]:
    """Return the dependencies that a script's metadata lists."""
    with script.open(encoding="utf-8", errors="replace") as file:
        found = metadata_of(file.read(_HEAD_CHARACTERS)) or {}
    named = found.get("dependencies")
    return named if isinstance(named, list) else ()


def _words(command: str) -> set[str]:
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    return {word.removeprefix("./") for word in words}
