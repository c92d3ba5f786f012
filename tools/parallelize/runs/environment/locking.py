"""Locking an environment's dependencies, so that each worker installs the same.

uv locks them for every architecture and every Python that workers may have. The lock stays beside
the list, as uv keeps it, and is renewed only when the list has changed. Workers get it in the form
that needs no index: the address and the hash of each file.
https://packaging.python.org/en/latest/specifications/pylock-toml/
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from parallelize.console import escape
from parallelize.runs.environment.dependency_files import UV_LOCK, Kind, Source
from parallelize_core.errors import UsageError
from parallelize_core.installers import find_installer

LOCK = "pylock.parallelize.toml"
"""The lock in an environment's zip, unless the environment brings one."""

OLDEST_PYTHON = "3.11"
"""Of the workers' Pythons (fleet.distributions): requirements are locked for it and all newer."""

_PINNED = ".python-version"
_OURS = "# parallelize: locked from "
_DIGEST = _OURS + "{}, sha256 "
_INCLUDED = re.compile(r"^\s*(?:-r|-c|--requirement|--constraint)[\s=]+(\S+)", re.MULTILINE)
_REASON_CHARACTERS = 800

INSTALLERS = {Kind.CONDA: "micromamba", Kind.PIXI: "pixi"}
"""The installers of locks in their own formats; uv installs all others."""


class Locked(NamedTuple):
    """A lock: its installer, its name in the environment, and its text if it has to be added."""

    installer: str
    name: str
    text: str = ""
    python: str = ""

    @property
    def packages(self) -> int | None:
        """How many packages it names, if that is known."""
        return len(tomllib.loads(self.text).get("packages", ())) if self.text else None


@contextmanager
def lock(folder: Path, source: Source, *, keep: bool = True) -> Iterator[Locked]:
    """Lock a list of dependencies in `folder`; without `keep`, restore the folder at the end.

    Raises UsageError if uv is missing, or cannot lock it.
    """
    written = folder / _written(source)
    before = written.read_bytes() if written.is_file() else None
    try:
        yield _locked(folder, source)
    finally:
        if not keep and before is None:
            written.unlink(missing_ok=True)
        elif not keep and before is not None:
            written.write_bytes(before)


def check_locked(folder: Path, source: Source, shown: str) -> None:
    """Raise UsageError for a list without a lock, in a zip that the user made."""
    is_lock = source.kind in {Kind.PYLOCK, Kind.CONDA, Kind.PIXI}
    if not is_lock and not (folder / _written(source)).is_file():
        raise UsageError(
            f"{shown} has {escape(source.file)}, but no lock for it",
            f"the lock would be {escape(_written(source))}, but nothing is written into your zip",
            'give the folder itself (run.env); or run.dependencies = "none" in parallelize.toml',
        )


def _written(source: Source) -> str:
    """Return the lock that belongs beside a list."""
    if source.kind is Kind.SCRIPT:
        return f"{source.file}.lock"
    if source.kind is Kind.PROJECT:
        return str(Path(source.file).with_name(UV_LOCK))
    if source.kind is Kind.REQUIREMENTS:
        path = Path(source.file)
        return str(path.with_name(f"pylock.{re.sub(r'[^A-Za-z0-9-]', '-', path.stem)}.toml"))
    return source.file


def _locked(folder: Path, source: Source) -> Locked:
    if source.kind in INSTALLERS:
        return Locked(INSTALLERS[source.kind], source.file)
    pinned = _pinned(folder)
    if source.kind is Kind.PYLOCK:
        text = (folder / source.file).read_text("utf-8")
        return Locked("uv", source.file, "", pinned or _needs_python(text, source.file))
    if source.kind is Kind.REQUIREMENTS:
        text = _requirements(folder, source, pinned)
    else:
        text = _exported(folder, source)
    beside = str(Path(source.file).with_name(LOCK))
    return Locked("uv", beside, text, pinned or _needs_python(text, source.file))


def _exported(folder: Path, source: Source) -> str:
    """Have uv update its own lock, and return it in the form for workers."""
    script = ["--script", source.file] if source.kind is Kind.SCRIPT else []
    place = folder / Path(source.file).parent if not script else folder
    _uv(["lock", *script], place, source)
    form = ["--format", "pylock.toml", "--frozen", "--no-dev", "--no-header", "--quiet"]
    return _uv(["export", *script, *form], place, source)


def _requirements(folder: Path, source: Source, pinned: str) -> str:
    """Return the lock of requirements: the existing one, if it is of these, or a new one."""
    written = folder / _written(source)
    python = pinned or OLDEST_PYTHON
    head = f"{_DIGEST.format(source.file)}{_digest(folder, source.file, python)}\n"
    if written.is_file():
        text = written.read_text("utf-8", errors="replace")
        if text.startswith(head):
            return text
        if text and not text.startswith(_OURS):
            raise _not_ours(source)
    words = ["pip", "compile", "--universal", "--python-version", python, "--format", "pylock.toml",
             "--no-header", "--quiet", source.file, "--output-file", _written(source)]  # fmt: skip
    _uv(words, folder, source)
    text = head + written.read_text("utf-8")
    written.write_text(text, "utf-8")
    return text


def _not_ours(source: Source) -> UsageError:
    own = escape(_written(source))
    return UsageError(
        f"{own} was not made by parallelize, so it is not overwritten",
        f"the lock of {escape(source.file)} has the same name",
        f'run.dependencies = "{own}" in parallelize.toml, to install what it names; '
        "or move it away, to have the list locked again",
    )


def _digest(folder: Path, name: str, python: str) -> str:
    digest = hashlib.sha256(python.encode())
    waiting, seen = [name], set()
    while waiting:
        path = folder / waiting.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        text = path.read_text("utf-8", errors="replace")
        digest.update(text.encode())
        waiting.extend(str(path.parent / found) for found in _INCLUDED.findall(text))
    return digest.hexdigest()


def _pinned(folder: Path) -> str:
    """Return the version of Python that `uv python pin` chose here, or nothing."""
    path = folder / _PINNED
    lines = path.read_text("utf-8").split() if path.is_file() else []
    return lines[0] if lines else ""


def _needs_python(lock: str, name: str) -> str:
    try:
        return str(tomllib.loads(lock).get("requires-python", ""))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{escape(name)} is not valid TOML", str(error)) from None


def _uv(words: list[str], folder: Path, source: Source) -> str:
    program = find_installer("uv")
    if program is None:
        raise UsageError(
            f"{escape(source.file)} lists dependencies, but uv is not installed here",
            "each worker installs what a lock names, so that all have the same versions",
            "pip install uv; or, to have nothing installed: "
            'run.dependencies = "none" in parallelize.toml',
        )
    done = subprocess.run(
        [program, *words], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UsageError(
            f"uv cannot lock the dependencies in {escape(source.file)}",
            done.stderr.strip()[-_REASON_CHARACTERS:],
            f"fix {escape(source.file)}, then try it: uv {' '.join(words)}",
        )
    return done.stdout


def is_installed(word: str) -> bool:
    """Whether a program exists only once an installer has run, such as .venv/bin/python."""
    return word.removeprefix("./").startswith((".venv/", ".conda/", ".pixi/"))


FOLDERS = (".venv", ".conda", ".pixi", ".python")
"""What installers make on this machine, for this machine only; workers make their own."""
