"""Reads what jobs have left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice

from parallelize.bulk import get_each, head_each, list_each
from parallelize.runs.manifest import KnownJobs
from parallelize.spool import Table
from parallelize_core import keys
from parallelize_core.errors import DecodeError, MissingError
from parallelize_core.layout import Location, RunLayout
from parallelize_core.result import Cause, Output, Result
from parallelize_core.segment import read_segment
from parallelize_core.store import ObjectInfo, Store

Made = tuple[Output, str]
"""An output, and the input from which it was made."""

SPLIT_EVERY = 10_000
"""Results in a stretch of a listing: ten of S3's pages."""

SINGLE_READS = 2000
"""Up to this many results are read one by one if there are many segments: in about a second."""

READS_OF_A_SEGMENT = 50
"""How many results take as long to read one by one as a segment."""

SEGMENTS_AT_ONCE = 8
"""Segments that are read at a time; each may have a thousand results and more."""

SELECTED = 100_000
"""Of more results than this, all lines of segments are decoded, for most will be wanted."""


def read_result(store: Store, layout: RunLayout, key: str) -> Result | None:
    """Return the result of the input `key`, or None if there is none yet."""
    place = layout.result(key)
    try:
        return decode_result(layout, place, store.get(place))
    except MissingError:
        return None


def decode_result(layout: RunLayout, place: str, body: bytes) -> Result:
    """Read the result at the S3 key `place`; what is not one becomes a failure that says so.

    Anybody who can write there can write anything. That must not hide the run's other files, nor
    pass for another file's result.
    """
    try:
        result = Result.decode(body)
    except DecodeError as error:
        return _unreadable(layout, place, error.why or error.what)
    if layout.result(result.key) != place:
        return _unreadable(layout, place, "it is another file's")
    return result


def _unreadable(layout: RunLayout, place: str, why: str) -> Result:
    return Result(
        run=layout.run, key=layout.results.relative(place).removesuffix(".json"), attempt=1,
        worker="", started_at="", finished_at="", status="failed", cause=Cause.INFRASTRUCTURE,
        message=f"its result cannot be read: {why}",
    )  # fmt: skip


def read_results(store: Store, layout: RunLayout, inputs: Iterable[str]) -> Iterator[Result]:
    """Read the results of those inputs that have one, many at once, in order."""
    for place, body in get_each(store, map(layout.result, inputs)):
        if body is not None:
            yield decode_result(layout, place, body)


def list_results(store: Store, layout: RunLayout, inputs: Iterable[str] = ()) -> Table:
    """Return the S3 keys of all results with their ETags; giving `inputs` makes it faster."""
    return listed_table((item.key, item.etag) for item in _listed(store, layout, inputs))


def list_results_of(store: Store, layout: RunLayout, inputs: Iterable[str]) -> Table:
    """Return the S3 keys of the results of these inputs, in order, with their ETags."""
    places = Table(map(layout.result, inputs))
    listed = _listed(store, layout, inputs)
    return listed_table((item.key, item.etag) for item in listed if item.key in places)


def _listed(store: Store, layout: RunLayout, inputs: Iterable[str]) -> Iterator[ObjectInfo]:
    splits = map(layout.result, islice(inputs, SPLIT_EVERY, None, SPLIT_EVERY))
    return list_each(store, layout.results.prefix, splits)


def listed_table(listed: Iterable[tuple[str, str]]) -> Table:
    """Return the S3 keys of results and their ETags as a table, which may be on disk."""
    table = Table()
    for place, etag in listed:
        table.add(place, (etag,))
    return table


def read_listed(
    store: Store, layout: RunLayout, listed: Mapping[str, str] | Table
) -> Iterator[Result]:
    """Read results that a listing names by their S3 keys and ETags, without their logs.

    Many come from segments; the others are read one by one. A result that is gone meanwhile is left
    out; one that has changed is read as it was listed, or as it is now. A table is used up.
    """
    return (result for _, result in read_versions(store, layout, listed))


def read_versions(
    store: Store, layout: RunLayout, listed: Mapping[str, str] | Table
) -> Iterator[tuple[str, Result]]:
    """Read results as `read_listed` does, with their ETags, or "" for what may be newer."""
    missing = listed if isinstance(listed, Table) else listed_table(listed.items())
    for etag, result in _from_segments(store, layout, missing):
        place = layout.result(result.key)
        if missing.get(place) == (etag,):
            missing.remove(place)
            yield etag, result
    for place, body in get_each(store, missing):
        if body is not None:
            result = decode_result(layout, place, body)
            yield "", result.model_copy(update={"log": ""}) if result.log else result


def _from_segments(store: Store, layout: RunLayout, missing: Table) -> Iterator[tuple[str, Result]]:
    """Read versions from segments if that is quicker; a broken segment has none."""
    if len(missing) <= READS_OF_A_SEGMENT:
        return
    places = [item.key for item in store.list(layout.segments.prefix)]
    if len(missing) <= min(SINGLE_READS, READS_OF_A_SEGMENT * len(places)):
        return
    few = len(missing) <= SELECTED
    wanted = {etag for (etag,) in missing.values()} if few else None
    for _, body in get_each(store, places, SEGMENTS_AT_ONCE):
        with suppress(DecodeError):
            yield from read_segment(body or b"", wanted)


Marks = Iterable[ObjectInfo] | None
"""Marks that were listed, or None if that is still to be done."""


def marked_failed(store: Store, layout: RunLayout, marks: Marks = None) -> Table:
    """Return the inputs whose jobs may have failed; only the result says whether they have."""
    return _marked(store, layout, layout.failures, layout.failure, marks)


def marked_silent(store: Store, layout: RunLayout, marks: Marks = None) -> Table:
    """Return the inputs whose jobs may have succeeded without any output; as `marked_failed`."""
    return _marked(store, layout, layout.silences, layout.silence, marks)


def _marked(
    store: Store, layout: RunLayout, folder: Location, mark_of: Callable[[str], str], listed: Marks
) -> Table:
    found, shortened = Table(), Table()
    for mark in store.list(folder.prefix) if listed is None else listed:
        # A shortened mark does not name its input, so look for those in the manifest. It may end a
        # little early, to avoid cutting a character in two.
        if len(mark.key.encode()) >= keys.MAX_S3_KEY_BYTES - 3:
            shortened.add(mark.key)
        else:
            found.add(folder.relative(mark.key))
    for entry in KnownJobs(store, layout) if shortened else ():
        if mark_of(entry.key) in shortened:
            found.add(entry.key)
    return found


def failed_results(store: Store, layout: RunLayout, marks: Marks = None) -> list[Result]:
    """Return the results of the jobs that failed, in the order of their keys."""
    return sorted(read_failed(store, layout, marks), key=lambda result: result.key)


def read_failed(store: Store, layout: RunLayout, marks: Marks = None) -> Iterator[Result]:
    """Read the results of the jobs that failed, in any order; if they are many, without logs."""
    marked = marked_failed(store, layout, marks)
    if len(marked) > SINGLE_READS:
        results = read_listed(store, layout, list_results_of(store, layout, marked))
    else:
        results = read_results(store, layout, marked)
    return (result for result in results if result.status == "failed")


def still_stored(store: Store, location: Location, made: Iterable[Made]) -> Iterator[Made]:
    """Go through the outputs except those that another input's output of the same name replaced.

    `made` has each with its input, and is gone through several times. Where inputs may replace
    each other's outputs, only S3 knows which came last; it is asked about names that occur more
    than once.
    """
    names, clashing = Table(), Table()
    for output, _ in made:
        if not names.add(output.key):
            clashing.add(output.key)
    there = zip(clashing, head_each(store, map(location.key, clashing)), strict=True)
    last = Table()
    for name, found in there:
        last.put(name, (found.etag if found else None,))
    chosen = Table()
    for place, (output, _) in enumerate(made):
        is_last = last.get(output.key) == (output.etag,)
        if is_last or (output.key in clashing and output.key not in chosen):
            chosen.put(output.key, (place,))
    for place, (output, maker) in enumerate(made):
        if chosen.get(output.key) in {None, (place,)}:
            yield output, maker
