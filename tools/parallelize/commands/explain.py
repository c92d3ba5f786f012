"""`parallelize explain FILE`: is its result up to date, and if not, what differs."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from parallelize.completers import complete_file
from parallelize.console import answer, answer_json
from parallelize.options import NO_WORK, NOTHING, Common, Json, Work


def explain(
    file: Annotated[
        str,
        Parameter(name="FILE", help="An input, or the end of its key.", completer=complete_file),
    ],
    /,
    *,
    work: Work = NO_WORK,
    json: Json = False,
    common: Common = NOTHING,
) -> None:
    """Say whether a file's outputs are up to date, and if not, what has changed."""
    from parallelize.context import open_context
    from parallelize.operations.explain import explain_job

    found = explain_job(open_context(common, work.flags()), file)
    if json:
        answer_json({"schema": 1, **vars(found)})
        return
    for line in found.lines():
        answer(line)
