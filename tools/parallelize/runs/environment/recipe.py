"""A run's recipe: what is the same for every input. Another recipe may give other outputs.

It consists of the command with its settings, the files in the environment, and the naming of
outputs. Settings that only say where, when, how long or how often are not part of it. The content
and the mode of each file in the environment count, but not the zip's bytes or the times in it. In
the local cloud, programs that the command names by absolute paths count, too.

Workers of the local cloud find such a program (`/data/job.py`) where it is: no environment has it,
but the outputs depend on it. The system's programs do not count, because the update of a shell
should not make outputs outdated. Other files do not count, because a command may write to them.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import stat
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from parallelize.context import Context
from parallelize.runs.files.known_contents import known_contents
from parallelize.together import Later, Together
from parallelize_core.errors import DecodeError, MissingError
from parallelize_core.layout import RunLayout
from parallelize_core.record import Record
from parallelize_core.run import Run
from parallelize_core.store import Store

NO_PART = {
    "v", "name", "created_at", "origin", "owner",  # which run it is
    "paused", "forgiven", "forgiven_silent", "resumed_at",  # what has happened to it
    "limits",  # whether a job ends well, and not what it then delivers
    "checkpoints",  # how often, and not what
    "input", "output",  # where: jobs name their files, and outputs have names of their own
    "then",  # done once, to all outputs; see content_key
    "recipe", "renewed",
}  # fmt: skip
"""Fields of a run that are not part of its recipe. New fields are, unless they are listed here."""

_NO_PART_INSIDE = {
    # The files identify it, however they are sent.
    "environment": {"bucket", "key", "identity", "list_key", "shared"},
    "image": {"name", "kind", "repository", "bucket", "key", "secret"},  # its digest does
    "dependencies": {"timeout_seconds"},
    "setup": {"timeout_seconds"},
    "serve": {"jobs", "growth_bytes"},
}

_CHUNK_BYTES = 1024 * 1024


class Recipe(Record):
    """What a recipe consists of: settings by their names in run.json, and files by their paths.

    `files` has the mode of each, in octal, and the SHA-256 of its content. An absolute path is a
    program outside the environment.
    """

    settings: dict[str, Any]
    files: dict[str, Annotated[str, Field(pattern=r"^[0-7]+ [0-9a-f]{64}$")]] = Field(default={})

    @property
    def digest(self) -> str:
        """The digest that results record."""
        told = json.dumps([self.v, self.settings, self.files], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()


def recipe_of(run: Run, archive: Path | None, beside: Mapping[str, str] | None = None) -> Recipe:
    """Return the recipe of a run with the environment of this zip, and programs `beside` it."""
    exclude: Any = {**dict.fromkeys(NO_PART, True), **_NO_PART_INSIDE}
    # Fields of later versions change no recipe until they are used.
    settings = run.model_dump(mode="json", exclude=exclude, exclude_defaults=True)
    if "{run" in run.naming.name:
        settings["name"] = run.name
    files = dict(_files(archive)) if archive else {}
    return Recipe(settings=settings, files={**files, **(beside or {})})


def _files(archive: Path) -> Iterator[tuple[str, str]]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            content = hashlib.sha256()
            with opened.open(info) as file:
                while chunk := file.read(_CHUNK_BYTES):
                    content.update(chunk)
            yield info.filename, f"{info.external_attr >> 16:o} {content.hexdigest()}"


def publish_recipe(calls: Together, layout: RunLayout, recipe: Recipe) -> Later[object]:
    """Store the content of a recipe, if it is not there yet; wait for it before a run names it."""
    return calls.put_new(layout.recipe(recipe.digest), recipe.encode())


def read_recipe(store: Store, layout: RunLayout, digest: str) -> Recipe | None:
    """Return the content of a recipe; None if it was not stored, or does not match its digest."""
    try:
        found = Recipe.decode(store.get(layout.recipe(digest))) if digest else None
    except (MissingError, DecodeError):
        return None
    return found if found and found.digest == digest else None


_SYSTEM = ("/bin/", "/dev/", "/etc/", "/lib", "/opt/", "/proc/", "/sbin/", "/sys/", "/usr/")

SCRIPTS = {".R", ".jl", ".js", ".lua", ".m", ".pl", ".py", ".r", ".rb", ".sh"}
"""Files that are passed to an interpreter need not be executable."""

_PATH = re.compile(r"(?<![^\s'\"=<>|;&(:,])/[^\s'\"<>|;&()`$\\]+")
"""In a shell line, or in a word such as --by=/data/score.py."""


def programs_beside(context: Context) -> dict[str, str]:
    """Return the programs that workers find where the command names them; see `named_programs`."""
    run = context.settings.run
    there = context.has_own_programs and not run.image
    return named_programs([run.command or "", run.setup or ""]) if there else {}


def named_programs(commands: Iterable[str]) -> dict[str, str]:
    """Return the mode, in octal, and the SHA-256 of each program that commands name, by its path.

    Leaves out what cannot be read: the command will report it.
    """
    paths = sorted({Path(name) for text in commands for name in _names(text)})
    found: dict[str, str] = {}
    if not paths:
        return found
    with known_contents() as known:
        for path in paths:
            with suppress(OSError, ValueError):
                mode = path.stat().st_mode
                if stat.S_ISREG(mode) and (mode & 0o111 or path.suffix in SCRIPTS):
                    found[str(path)] = f"{mode:o} {known.read(path).sha256}"
    return found


def _names(text: str) -> Iterator[str]:
    with suppress(ValueError):  # an unclosed quote means something to a shell
        words = (word for word in shlex.split(text) if word.startswith("/"))
        names = [*words, *_PATH.findall(text)]
        yield from (name for name in names if not name.startswith(_SYSTEM))
