"""`parallelize runs`: which runs lie in the bucket."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from parallelize.console import answer, answer_json, say, shown
from parallelize.context import open_context
from parallelize.options import NOTHING, Common, Json
from parallelize.runs.catalog import Catalog, Listed, as_json


def runs(*, json: Json = False, common: Common = NOTHING) -> None:
    """List the runs of the bucket, the newest first, and whether anybody works on them.

    It reads no results: `done` is the workers' own account, `status` counts exactly.
    """
    context = open_context(common)
    found = Catalog(context.store, context.base).runs()
    if json:
        answer_json(as_json(found))
        return
    if not found:
        say(f"there are no runs in {context.base.uri}")
        return
    for line in listing(found):
        answer(line)


def listing(found: Sequence[Listed]) -> Iterator[str]:
    """Return a head, and a line for each run."""
    yield _row("run", "created", "state", "alive", "done", "last word")
    for one in found:
        created = one.created_at[:16].replace("T", " ")
        yield _row(one.name, created, one.state, f"{one.alive:,}", f"{one.done:,}", one.word)


def _row(*cells: str) -> str:
    widths = (20, 16, 10, 5, 7, 12)
    name, created, state, alive, done, word = (
        shown(cell, width) for cell, width in zip(cells, widths, strict=True)
    )
    return f"{name:<20}  {created:<16}  {state:<10} {alive:>5} {done:>7}  {word}".rstrip()
