"""`parallelize status`: how the run is doing."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Annotated

from cyclopts import Parameter

from parallelize.console import answer, answer_json
from parallelize.context import Context, open_context
from parallelize.hints import repeat_flags
from parallelize.options import NOTHING, SWITCH, Common, Json
from parallelize.queues import find_queues
from parallelize.runs.snapshot import Reader
from parallelize.runs.status import RunStatus, status_of
from parallelize.runs.view import as_json, page
from parallelize.runs.watch import open_view, watch
from parallelize.runs.whereabouts import with_whereabouts
from parallelize_core.errors import MissingError
from parallelize_core.queue import QueueCounts


def status(
    *,
    watch_: Annotated[
        bool, SWITCH, Parameter(name="--watch", help="Go on until every file has a result.")
    ] = False,
    json: Json = False,
    common: Common = NOTHING,
) -> None:
    """Show how many files are done, running, waiting and failed, and what the workers do."""
    context = open_context(common)
    reader = make_reader(context)

    def look() -> RunStatus:
        snapshot = reader.snapshot()
        now = status_of(snapshot)
        if now.why and not snapshot.run.paused:
            now = with_whereabouts(context, now)
        return with_flags(context, now)

    if watch_:
        with open_view() as view:
            found = watch(look, view, lambda now: now.finished)
    else:
        found = look()
    if json:
        answer_json(as_json(found, context.settings.workers.max_cost))
    elif not watch_:
        for line in page(found):
            answer(line)


def with_flags(context: Context, status: RunStatus) -> RunStatus:
    """Let the commands that `why` proposes mean this very run."""
    return replace(status, why=status.why and repeat_flags(status.why, shlex.split(context.hint)))


def make_reader(context: Context) -> Reader:
    """Return a reader of the run's state, the counts of its queue included."""
    return Reader(context.store, context.layout, lambda: count_queue(context, context.run))


def count_queue(context: Context, run: str) -> QueueCounts | None:
    """Count the messages of a run, None before it has a queue."""
    try:
        return find_queues(context.clients.sqs, run).main.counts()
    except MissingError:
        return None
