"""Which input a person means: by its key, by the end of it, or by a path."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from parallelize.console import shown, some
from parallelize.context import Context
from parallelize.runs.jobs.spec import shown_name
from parallelize_core.errors import UsageError


def key_of_path(context: Context, file: str) -> str | None:
    """Return the key of the input whose path, as seen from here, is `file`, were it one."""
    root = context.path(context.settings.run.inputs).resolve()
    path = (Path.cwd() / file).resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else None


def find_key(known: Iterable[str], file: str, path_key: str | None = None) -> str:
    """Return the one key that `file` means, see `matches`; raise UsageError if it is not one."""
    found = matches(known, file, path_key)
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"{shown(file, 40)} may be {len(found):,} inputs", some(found), "give more of the key"
        )
    raise UsageError(f"no input of this run is called {shown(file, 40)}")


def matches(known: Iterable[str], file: str, path_key: str | None = None) -> list[str]:
    """Return the keys that `file` may mean.

    The key itself comes before the key of the path, that before the keys that end in `file`, or
    that a path ends in. Of the name of a row its first columns are enough, and no digest is needed.
    """
    name = file.removeprefix("./")
    near = []
    by_path = []
    for key in known:
        if key == name:
            return [key]
        if key == path_key:
            by_path = [key]
        if key.endswith(f"/{name}") or name.endswith(f"/{key}") or _begins(key, name):
            near.append(key)
    return by_path or near


def _begins(key: str, name: str) -> bool:
    """Whether `name` is the readable part of a job's name, or its first columns."""
    shown = shown_name(key)
    return key.startswith(name) and (shown == name or shown.startswith(f"{name},"))
