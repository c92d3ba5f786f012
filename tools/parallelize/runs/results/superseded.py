"""Results set aside because their jobs are redone, kept until there are new ones.

They are written here before they are removed. Their outputs stay where they are: the new ones
replace them one by one, and what the new result does not name is removed once that result is there.
So wherever a redo is interrupted, no earlier output is lost before it is replaced.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from secrets import token_hex

from parallelize.bulk import get_if_there
from parallelize.context import Context
from parallelize.runs.results.results import list_results, read_listed
from parallelize.runs.results.silent import among
from parallelize.spool import Table
from parallelize_core.errors import DecodeError
from parallelize_core.layout import RunLayout
from parallelize_core.owner import OWNER, OWNER_RUN, owner_mark, run_mark
from parallelize_core.result import Result
from parallelize_core.run import Run
from parallelize_core.segment import encode_line, pack, read_segment
from parallelize_core.store import ObjectInfo, Store


def keep(store: Store, layout: RunLayout, results: Iterable[tuple[Result, str]]) -> None:
    """Save results, each with its ETag, that are about to be removed."""
    lines = [encode_line(result, etag) for result, etag in results]
    if lines:
        name = f"{time.time_ns() // 10**6}-{token_hex(4)}.jsonl.gz"
        store.put(layout.superseded.key(name), pack(lines))


def read_superseded(store: Store, layout: RunLayout) -> Iterator[tuple[str, list[Result]]]:
    """Return the objects of superseded results by their keys, the oldest first."""
    for item in store.list(layout.superseded.prefix):
        yield item.key, [result for _, result in read_segment(store.get(item.key))]


def sweep(context: Context, run: Run, kept: Iterable[ObjectInfo] | None = None) -> None:
    """Remove what is no longer needed: superseded results whose jobs have succeeded since.

    With each go those of its outputs that the new result does not name, if they are still as the
    job wrote them. `kept` are the objects of superseded results, if they were listed.
    """
    store, layout = context.store, context.layout
    kept = [*(store.list(layout.superseded.prefix) if kept is None else kept)]
    if not kept:
        return
    listed = list_results(store, layout)
    for item in kept:
        body = get_if_there(store, item.key)  # another client may have done the same
        lines = None if body is None else _lines(body)
        if lines is None:
            continue
        current = _current(store, layout, lines, listed)
        settled = [
            (etag, old)
            for etag, old in lines
            if (new := current.get(old.key)) and listed.get(layout.result(old.key)) != (etag,)
            and _replaces(run, new)
        ]  # fmt: skip
        for _, old in settled:
            _remove_excess(context, run, old, current[old.key])
        if len(settled) == len(lines):
            store.delete([item.key])


def _lines(body: bytes) -> list[tuple[str, Result]] | None:
    """Return results with their ETags; None if the content is anything else, which is ignored."""
    try:
        return list(read_segment(body))
    except DecodeError:
        return None


def _replaces(run: Run, new: Result) -> bool:
    """Whether there is something new: a success without output is doubtful, and does not count."""
    return new.status == "succeeded" and not among(run, [new]).count


def _current(
    store: Store, layout: RunLayout, lines: list[tuple[str, Result]], listed: Table
) -> dict[str, Result]:
    places = {layout.result(old.key) for _, old in lines}
    there = {place: row[0] for place in places if (row := listed.get(place))}
    return {result.key: result for result in read_listed(store, layout, there)}


def _remove_excess(context: Context, run: Run, old: Result, new: Result) -> None:
    named = {output.key for output in new.outputs}
    store = context.store_of(run.output.bucket)
    for output in old.outputs:
        if output.key in named:
            continue
        place = run.output.key(output.key)
        there = store.head(place)
        # Another job may have made the same bytes in the same place.
        mine = there and (there.metadata.get(OWNER), there.metadata.get(OWNER_RUN)) == (
            owner_mark(old.key), run_mark(context.layout),
        )  # fmt: skip
        if there and mine and there.etag == output.etag:
            store.delete_version(place, there.etag)
