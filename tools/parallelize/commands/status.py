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
        Parameter(name="--watch", help="Update until nothing more will happen by itself."),
    ] = False,
    json: Json = False,
    common: Common = NOTHING,
) -> int:
    """Show how many files are done, running, waiting and failed, and what the workers do.

    --watch ends when every file that was enqueued has a result, or, with exit
    code 1, when the run is paused and has no workers. With --watch --json, each
    update is a line of JSON.
    """
    from parallelize.context import open_context
    from parallelize.operations.status import make_look, make_rest
    from parallelize.runs.state.view import as_json, page

    context = open_context(common)
    look = make_look(context)
    limit = context.settings.workers.max_cost
    if watch_:
        return _watch(look, make_rest(context), limit, json=json)
    if json:
        answer_json(as_json(look(), limit))
    else:
        for line in page(look(), columns()):
            answer(line)
    return 0


def _watch(
    look: Callable[[], RunStatus],
    rests: Callable[[RunStatus], bool],
    limit: float | None,
    *,
    json: bool,
) -> int:
    from parallelize.operations.download import SOME_FAILED
    from parallelize.runs.state.view import as_json
    from parallelize.runs.state.watch import comes_to_rest, open_view, watch

    if json:
        end = watch(look, lambda now: answer_json(as_json(now, limit)), rests)
    else:
        with open_view() as view:
            end = watch(look, view, rests)
    return 0 if comes_to_rest(end) else SOME_FAILED
