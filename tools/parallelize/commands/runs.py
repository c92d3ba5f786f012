"""`parallelize runs`: which runs are in the bucket."""

from __future__ import annotations

import time

from parallelize.console import answer, answer_json, say
from parallelize.options import NOTHING, Common, Json


def runs(*, json: Json = False, common: Common = NOTHING) -> None:
    """List the runs in the bucket, newest first, and how many workers are active.

    Done and failed are what the workers report; `status` counts the results
    themselves.
    """
    from parallelize.context import open_context
    from parallelize.runs.state.catalog import Catalog, as_json, listing, remarks

    context = open_context(common)
    found = Catalog(context.store, context.base).runs()
    if json:
        answer_json(as_json(found))
        return
    if not found:
        say(f"there are no runs in {context.base.uri}")
        return
    for line in listing(found, time.time()):
        answer(line)
    for line in remarks(found):
        say(line)
