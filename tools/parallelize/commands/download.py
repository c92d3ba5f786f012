"""`parallelize download DIR`: fetch the outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from parallelize.console import answer_json, say, show_plan
from parallelize.options import NOTHING, Common, DryRun, Json


def download(
    folder: Annotated[Path, Parameter(name="DIR", help="Where the outputs go.")],
    /,
    *,
    dry_run: DryRun = False,
    json: Json = False,
    common: Common = NOTHING,
) -> int:
    """Fetch the outputs of all finished jobs, keeping the input folder structure."""
    from parallelize.context import open_context
    from parallelize.operations import download as operation
    from parallelize.runs.inputs.apart import check_apart

    context = open_context(common)
    check_apart(context, folder)
    if dry_run:
        show_plan(operation.planned(operation.make_plan(context, folder), folder), json=json)
        return 0
    done = operation.fetch(context, folder)
    for line in operation.told(done, context.hint):
        say(line)
    if json:
        answer_json(done.as_json(context.run))
    return done.exit_code
