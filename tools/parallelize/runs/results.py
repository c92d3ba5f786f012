"""Reading what jobs have left behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from parallelize.transfers import in_parallel
from parallelize_core import keys
from parallelize_core.errors import MissingError
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import read_parts
from parallelize_core.result import Result
from parallelize_core.store import Store


def read_result(store: Store, layout: RunLayout, key: str) -> Result | None:
    """Return the result of the input `key`, or None while there is none."""
    try:
        return Result.decode(store.get(layout.result(key)))
    except MissingError:
        return None


def read_results(store: Store, layout: RunLayout, inputs: Iterable[str]) -> Iterator[Result]:
    """Read the results of those of the inputs that have one, several at once, in order."""
    found = in_parallel(lambda key: read_result(store, layout, key), inputs)
    return (result for result in found if result is not None)


def marked_failed(store: Store, layout: RunLayout) -> list[str]:
    """Return the inputs whose job may have failed; only the result says whether it has."""
    marks = {item.key for item in store.list(layout.failures.prefix)}
    # A shortened mark does not name its input, so those are looked for in the manifest. It may
    # end a little early, so as not to cut a character in two.
    shortened = {mark for mark in marks if len(mark.encode()) >= keys.MAX_S3_KEY_BYTES - 3}
    found = [layout.failures.relative(mark) for mark in marks - shortened]
    if shortened:
        known = (entry.key for part in read_parts(store, layout) for entry in part.entries)
        found += [key for key in known if layout.failure(key) in shortened]
    return sorted(found)


def failed_results(store: Store, layout: RunLayout) -> list[Result]:
    """Read the results of the jobs that have failed, in the order of their keys."""
    results = read_results(store, layout, marked_failed(store, layout))
    return [result for result in results if result.status == "failed"]
