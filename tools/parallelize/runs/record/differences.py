"""What differs between how a result was made and what would be done now, in words."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from parallelize.console import escape, shown
from parallelize.runs.environment.recipe import Recipe
from parallelize.units import show_size
from parallelize_core.files import InputFile, files_of, is_same_content
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import Entry, decode_part, part_places
from parallelize_core.record import Contract
from parallelize_core.run import Run
from parallelize_core.store import Store

_SETTINGS = {
    "naming": "output naming",
    "setup": "run.setup",
    "dependencies": "dependencies",
    "serve": "run.serve",
    "columns": "the columns of the jobs",
    "environment": "the environment",
    "name": "the run's name",
}


def between_recipes(old: Recipe, new: Recipe) -> Iterator[str]:
    """Say what differs between two recipes."""
    names = [*dict.fromkeys([*old.settings, *new.settings])]
    for name in names:
        before, now = _setting(old, name), _setting(new, name)
        if before != now:
            yield from _of_setting(name, before, now)
    yield from _of_files(old.files, new.files)


def _setting(recipe: Recipe, name: str) -> Any:
    """Return a setting as it was, including defaults, which are not written down."""
    said = recipe.settings.get(name)
    field = Run.model_fields.get(name)
    default = field.get_default(call_default_factory=True) if field else None
    if isinstance(default, Contract):
        return {**default.model_dump(mode="json"), **(said if isinstance(said, dict) else {})}
    return default if said is None else said


def _of_setting(name: str, before: Any, now: Any) -> Iterator[str]:
    if name == "command":
        yield f"command changed from {_command(before)} to {_command(now)}"
        return
    told = _SETTINGS.get(name, name)
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*before, *now]):
            if before.get(key) != now.get(key):
                yield _changed(f"{told}: {key}", before.get(key), now.get(key))
    else:
        yield _changed(told, before, now)


def _changed(what: str, before: Any, now: Any) -> str:
    return f"{what} changed from {_told(before)} to {_told(now)}"


def _command(words: Any) -> str:
    return escape(shlex.join(map(str, words if isinstance(words, list | tuple) else ())))


def _told(value: Any) -> str:
    return "nothing" if value is None else escape(json.dumps(value, ensure_ascii=False))


def _of_files(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    for name in sorted({*old, *new}):
        before, now = old.get(name), new.get(name)
        if before == now:
            continue
        file = f"{'' if name.startswith('/') else 'environment '}file {shown(name)}"
        if before is None or now is None:
            yield f"{file} {'is new' if before is None else 'is gone'}"
            continue
        (mode, content), (new_mode, new_content) = before.split(), now.split()
        if content != new_content:
            yield f"{file} changed"
        if mode != new_mode:
            yield f"{file} has mode {new_mode}, and had {mode}"


def between_inputs(old: Entry | None, new: Entry) -> Iterator[str]:
    """Say what differs between the files of a job; `old` is None if they are no longer known."""
    if old is None:
        yield "an input changed"
        return
    before = {file.key: file for file in files_of(old)}
    now = {file.key: file for file in files_of(new)}
    for key in dict.fromkeys([*before, *now]):
        if key not in now or key not in before:
            yield f"input {shown(key)} {'was taken out' if key in before else 'was added'}"
        elif not is_same_content(before[key], now[key]):
            yield f"input {shown(key)} changed{_sizes(before[key], now[key])}"


def _sizes(before: InputFile, now: InputFile) -> str:
    if before.size == now.size:
        return f" (its size is {show_size(now.size)} as before)"
    return f" (from {show_size(before.size)} to {show_size(now.size)})"


def version_of(store: Store, layout: RunLayout, key: str, etag: str) -> Entry | None:
    """Return the job as the manifest had it with this ETag; None if it never did."""
    parts = [place for _, place in part_places(store, layout)]
    places = [*parts, *(item.key for item in store.list(layout.corrections.prefix))]
    for place in places:
        for entry in decode_part(store.get(place), place):
            if (entry.key, entry.etag) == (key, etag):
                return entry
    return None
