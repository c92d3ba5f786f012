"""Files that succeeded but produced no output, although no setting says that they may.

A script that does not print the name of what it writes exits with 0 like any other, and what it
wrote is lost. Agents mark each such file, so reporting them costs only a listing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath

from parallelize.console import escape, shown
from parallelize.runs.results.results import Marks, marked_silent, read_results
from parallelize.units import plural
from parallelize_core.layout import RunLayout
from parallelize_core.result import Result
from parallelize_core.run import Run
from parallelize_core.store import Store

READ = 20
"""How many results are read to say which files their commands left."""

NAMED = 3
"""How many of the files left are named."""


@dataclass(frozen=True)
class Silent:
    """How many such files there are, and the results of some."""

    count: int = 0
    examples: tuple[Result, ...] = ()


NONE_SILENT = Silent()


def is_silent(result: Result) -> bool:
    """Whether a job succeeded without any output."""
    return result.status == "succeeded" and not result.outputs


def among(run: Run, results: Iterable[Result]) -> Silent:
    """Return those of some results that are silent; none if the run needs no outputs."""
    if not run.limits.halt_if_silent:
        return NONE_SILENT
    found = tuple(result for result in results if is_silent(result))
    return Silent(len(found), found[:READ])


def of_marks(keys: Collection[str], read: Callable[[Sequence[str]], Iterable[Result]]) -> Silent:
    """Count the marked inputs `keys`, and check the first few; `read` reads their results.

    A mark says only that a job may have ended silently, because of a crash or a retry; so those
    whose results say otherwise are left out.
    """
    first = [*islice(keys, READ)]
    found = tuple(result for result in read(first) if is_silent(result))
    return Silent(len(keys) - len(first) + len(found), found)


def find_silent(store: Store, layout: RunLayout, run: Run, marks: Marks = None) -> Silent:
    """Look for such files; a run that needs no outputs has none."""
    if not run.limits.halt_if_silent:
        return NONE_SILENT
    marked = marked_silent(store, layout, marks)
    return of_marks(marked, lambda keys: read_results(store, layout, keys))


def silent_results(store: Store, layout: RunLayout) -> Iterator[Result]:
    """Read the results of all such files, in the order of their keys."""
    return filter(is_silent, read_results(store, layout, marked_silent(store, layout)))


def told_silent(silent: Silent) -> list[str]:
    """Name these files, and what their commands may have meant; nothing if there are none.

    The first line says how many there are, the second why that may be.
    """
    if not silent.count:
        return []
    count = plural(silent.count, "file")
    return [f"{count} succeeded but produced no output{_names(silent)}", *_what_may_be(silent)]


def advice(silent: Silent) -> list[str]:
    """Say what to do about them; nothing if there are none."""
    if not silent.count:
        return []
    left = next((result.left_behind for result in silent.examples if result.left_behind), ())
    suffix = PurePosixPath(left[0]).suffix if left else ""
    glob = f' = "**/*{escape(suffix)}"' if suffix else ""
    return [
        f"  fix: print the name of each file that is made, or set output.collect{glob}",
        "  if no output is expected: run.require_output = false",
    ]


def _names(silent: Silent) -> str:
    if not silent.examples:
        return ""
    more = f" and {silent.count - 1:,} more" if silent.count > 1 else ""
    return f": {shown(silent.examples[0].key, 28)}{more}"


def _what_may_be(silent: Silent) -> list[str]:
    for result in silent.examples:
        if result.left_behind:
            return [f"  {not_delivered(result)}"]
    for result in silent.examples:
        if result.leads_nowhere:
            return [
                f"  {shown(result.leads_nowhere[0], 40)} was printed, but there is no such file"
            ]
    return ["  did the script print the file's name?"]


def not_delivered(result: Result) -> str:
    """Say which files a command made without naming them; empty if none."""
    if not result.left_behind:
        return ""
    names = ", ".join(shown(name, 24) for name in result.left_behind[:NAMED])
    others = max(0, result.left_behind_count - len(result.left_behind[:NAMED]))
    more = f" and {others:,} more" if others else ""
    verb = "was" if result.left_behind_count <= 1 else "were"
    return f"{names}{more} {verb} left in the scratch folder and not delivered"
