"""Finds the input that a person names: by its key, the end of it, or a path."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice
from pathlib import Path, PurePosixPath

from parallelize.console import shown, some
from parallelize.context import Context
from parallelize.runs.jobs.spec import shown_name
from parallelize_core.errors import UsageError

MOST_ALIKE = 3
ALIKE = 0.8
"""Similarity as `difflib` measures it, at most 1. Names that only share an ending reach 0.6."""

SLIPS = 3
"""By how many letters a mistyped name may be too long or too short."""

MOST_COMPARED = 20_000


def key_of_path(context: Context, file: str) -> str | None:
    """Return the key that an input would have if its path, from the current folder, were `file`."""
    root = context.path(context.settings.run.inputs).resolve()
    path = (Path.cwd() / file).resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else None


def find_key(known: Collection[str], file: str, path_key: str | None = None) -> str:
    """Return the one key that `file` means, see `matches`; raise UsageError unless there is one."""
    found = matches(known, file, path_key)
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"{shown(file, 40)} matches {len(found):,} inputs", some(found), "give more of the key"
        )
    raise no_such_file(file, known)


def no_such_file(file: str, known: Iterable[str], fix: str | None = None) -> UsageError:
    """Return the error for a file that is not an input of the run, with the most similar keys."""
    return UsageError(f"no input of this run is called {shown(file, 40)}", meant(file, known), fix)


def meant(file: str, known: Iterable[str]) -> str | None:
    """Return the question whether one of the keys most similar to `file` was meant, if any is."""
    near = nearest(file, known)
    if len(near) == 1:
        return f"did you mean {shown(near[0])}?"
    return f"did you mean one of these?\n{some(near)}" if near else None


def nearest(file: str, known: Iterable[str]) -> list[str]:
    """Return up to three keys that are, or end in, nearly `file` or the end of it."""
    parts = PurePosixPath(file).parts
    keys = list(known)
    tails = ("/".join(parts[skipped:]) for skipped in range(len(parts)))
    return next((near for tail in tails if (near := _alike(tail, keys))), [])


def _alike(name: str, known: Iterable[str]) -> list[str]:
    from difflib import get_close_matches  # noqa: PLC0415 - only a wrong name needs it

    level = name.count("/") + 1
    by_end: dict[str, str] = {}
    for key in known:
        by_end.setdefault("/".join(key.split("/")[-level:]), key)
    # Comparing is slow, and most names of a large run have another length.
    ends = islice((end for end in by_end if abs(len(end) - len(name)) <= SLIPS), MOST_COMPARED)
    return [by_end[end] for end in get_close_matches(name, ends, MOST_ALIKE, ALIKE)]


def matches(known: Iterable[str], file: str, path_key: str | None = None) -> list[str]:
    """Return the keys that `file` may mean.

    The key itself comes first, then the key of the path, then the keys that end in `file`, or that
    a path ends in. Of a row's name the first columns are enough, and the digest may be left out.
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
