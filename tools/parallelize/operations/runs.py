"""`parallelize runs`: which runs lie in the bucket."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from parallelize.console import answer, answer_json, say, shown
from parallelize.context import open_context
from parallelize.options import NOTHING, Common
from parallelize.runs.catalog import Catalog, Listed, as_json
from parallelize.units import show_duration

OWNER_WIDTH = 9
"""What is left of 80 columns; all of it is in the JSON."""


def runs(*, json: bool = False, common: Common = NOTHING) -> None:
    """List the runs of the bucket, the newest first, and whether anybody works on them."""
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


def listing(found: Sequence[Listed], now: float) -> Iterator[str]:
    """Return a head, and a line for each run; `now` is seconds since 1970."""
    yield _row("run", "created", "state", "alive", "done", "failed", "seen", "owner")
    for one in found:
        created = one.created_at[:10]
        seen = "" if one.seen is None else show_duration(now - one.seen)
        # The user's ARN is for `--json`: a line has no room for it.
        who = one.owner.partition(" ")[0]
        counts = (f"{one.alive:,}", f"{one.done:,}", f"{one.failed:,}")
        yield _row(one.name, created, one.shown_state, *counts, seen, who)


def _row(*cells: str) -> str:
    widths = (20, 10, 10, 5, 7, 6, 6, OWNER_WIDTH)
    name, created, state, alive, done, failed, seen, owner = (
        shown(cell, width) for cell, width in zip(cells, widths, strict=True)
    )
    counts = f"{alive:>5} {done:>7} {failed:>6} {seen:>6}"
    return f"{name:<20} {created:<10} {state:<10} {counts} {owner}".rstrip()
