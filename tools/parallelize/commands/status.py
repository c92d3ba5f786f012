"""`parallelize status`: how the run is doing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from parallelize.console import answer, answer_json, columns
from parallelize.options import NOTHING, SWITCH, Common, Json

if TYPE_CHECKING:
    from parallelize.runs.state.status import RunStatus


def status(
    *,
    watch_: Annotated[
        bool,
        SWITCH,
        Parameter(name="--watch", help="Update until every file that was enqueued has a result."),
    ] = False,
    json: Json = False,
    common: Common = NOTHING,
) -> None:
    """Show how many files are done, running, waiting and failed, and what the workers do.

    With --watch --json, each look is a line of JSON.
    """
    from parallelize.context import open_context
    from parallelize.operations.status import make_look
    from parallelize.runs.record.ownership import tell_whose
    from parallelize.runs.state.view import as_json, page

    context = open_context(common)
    tell_whose(context)
    look = make_look(context)
    limit = context.settings.workers.max_cost
    if watch_:
        _watch(look, limit, json=json)
    elif json:
        answer_json(as_json(look(), limit))
    else:
        for line in page(look(), columns()):
            answer(line)


def _watch(look: Callable[[], RunStatus], limit: float | None, *, json: bool) -> None:
    from parallelize.runs.state.view import as_json
    from parallelize.runs.state.watch import comes_to_rest, open_view, watch

    if json:
        watch(look, lambda now: answer_json(as_json(now, limit)), comes_to_rest)
        return
    with open_view() as view:
        watch(look, view, comes_to_rest)
