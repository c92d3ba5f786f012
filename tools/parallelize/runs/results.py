"""Reading what jobs have left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from parallelize.transfers import in_parallel
from parallelize_core import keys
from parallelize_core.errors import DecodeError, MissingError
from parallelize_core.layout import Location, RunLayout
from parallelize_core.manifest import read_parts
from parallelize_core.result import Cause, Result
from parallelize_core.store import Store


def read_result(store: Store, layout: RunLayout, key: str) -> Result | None:
    """Return the result of the input `key`, or None while there is none."""
    place = layout.result(key)
    try:
        return decode_result(layout, place, store.get(place))
    except MissingError:
        return None


def decode_result(layout: RunLayout, place: str, body: bytes) -> Result:
    """Read the result at the S3 key `place`; what is none is a failure that says so.

    Whoever may write there may write anything. It must not keep the run's other files from being
    told of, nor pass for another file's.
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
    """Read the results of those of the inputs that have one, several at once, in order."""
    found = in_parallel(lambda key: read_result(store, layout, key), inputs)
    return (result for result in found if result is not None)


def marked_failed(store: Store, layout: RunLayout) -> list[str]:
    """Return the inputs whose job may have failed; only the result says whether it has."""
    return _marked(store, layout, layout.failures, layout.failure)


def marked_silent(store: Store, layout: RunLayout) -> list[str]:
    """Return the inputs whose job may have succeeded without any output; as `marked_failed`."""
    return _marked(store, layout, layout.silences, layout.silence)


def _marked(
    store: Store, layout: RunLayout, folder: Location, mark_of: Callable[[str], str]
) -> list[str]:
    marks = {item.key for item in store.list(folder.prefix)}
    # A shortened mark does not name its input, so those are looked for in the manifest. It may
    # end a little early, so as not to cut a character in two.
    shortened = {mark for mark in marks if len(mark.encode()) >= keys.MAX_S3_KEY_BYTES - 3}
    found = [folder.relative(mark) for mark in marks - shortened]
    if shortened:
        known = (entry.key for part in read_parts(store, layout) for entry in part.entries)
        found += [key for key in known if mark_of(key) in shortened]
    return sorted(found)


def failed_results(store: Store, layout: RunLayout) -> list[Result]:
    """Read the results of the jobs that have failed, in the order of their keys."""
    results = read_results(store, layout, marked_failed(store, layout))
    return [result for result in results if result.status == "failed"]
