"""`parallelize estimate --sample N`: run N random files, and forecast the rest."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from parallelize.console import answer, answer_json, show_plan
from parallelize.options import NOTHING, Common, DryRun, Json
from parallelize_core.errors import UsageError


def estimate(
    *,
    sample: Annotated[int, Parameter(help="How many files to run.")] = 20,
    dry_run: DryRun = False,
    json: Json = False,
    common: Common = NOTHING,
) -> None:
    """Run a random sample on one worker, and forecast time, cost and memory of the rest."""
    from parallelize.context import open_context
    from parallelize.operations import estimate as operation

    if sample < 1:
        raise UsageError("--sample must be at least 1")
    context = open_context(common)
    chosen = operation.choose(context, sample)
    if dry_run:
        line = f"would run {chosen.files} on one worker, for real; {chosen.left:,} would be left"
        show_plan([line], json=json)
        return
    told = operation.estimate(context, chosen)
    if json:
        answer_json(operation.as_json(told))
        return
    for line in operation.sentences(told, context.settings.workers.count):
        answer(line)
