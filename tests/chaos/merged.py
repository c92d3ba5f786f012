"""The verdict over the merge of a chaos run: there is one, and it is over all results."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.checker import Evidence, Violation, Wrong

from parallelize_core.layout import RunLayout
from parallelize_core.merge import MERGE, digest_of, is_current, read_record
from parallelize_core.store import Store


def check_merge(store: Store, layout: RunLayout, evidence: Evidence) -> Iterator[Violation]:
    """Go through everything that is wrong with the merge."""
    result = evidence.results.get(layout.result(MERGE))
    if result is None:
        yield Violation(Wrong.LOST, "the merge has no result")
        return
    if result.status == "failed":
        yield Violation(Wrong.FALSE, f"the merge has failed: {result.message}")
        return
    listed = ((item.key, item.etag) for item in store.list(layout.results.prefix))
    if not is_current(result, read_record(store, layout), digest_of(layout, listed)):
        yield Violation(Wrong.FALSE, "the merge is over other results than there are")
    wanted = sorted(
        f"{output.sha256}  {output.key}"
        for place, one in evidence.results.items()
        for output in one.outputs
        if place != layout.result(MERGE)
    )
    [output] = result.outputs
    merged = sorted(evidence.contents[output.key].decode().splitlines())
    if merged != wanted:
        missing, more = len({*wanted} - {*merged}), len({*merged} - {*wanted})
        yield Violation(Wrong.LOST, f"the merge lacks {missing} outputs and has {more} too many")
