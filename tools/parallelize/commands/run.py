"""`parallelize run`: all of it. Prepare, enqueue, launch, watch, download."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from parallelize.console import conclude, show_plan
from parallelize.options import (
    NO_WORK,
    NOT_SAID,
    NOTHING,
    SWITCH,
    Common,
    DryRun,
    Finished,
    Json,
    Work,
)


def run(
    *words: Annotated[
        str,
        Parameter(name="WORDS", help="-- COMMAND ::: FILE..., as for GNU parallel; see --again."),
    ],
    out: Annotated[
        Path | None, Parameter(help="Where the outputs go. [default: out/ beside parallelize.toml]")
    ] = None,
    workers: Annotated[
        int | None, Parameter(help="How many machines. [default: workers.count]")
    ] = None,
    joblog: Annotated[
        Path | None, Parameter(help="Write a line per job there, in GNU parallel's columns.")
    ] = None,
    again: Annotated[
        bool,
        SWITCH,
        Parameter(help="Process finished files again: those named as WORDS, or all."),
    ] = False,
    work: Work = NO_WORK,
    finished: Finished = NOT_SAID,
    dry_run: DryRun = False,
    json: Json = False,
    common: Common = NOTHING,
) -> int:
    """Process all inputs, wait for the end, and fetch the outputs; --local needs no AWS.

    Exits with 0 when every file has succeeded, with 1 when some have not. A
    file without an output, among several, counts as a success only with
    run.require_output = false.
    """
    from parallelize.local import cloud

    # The local cloud starts while the rest is imported. A dry run starts it later: it stops the one
    # that it starts, and no other.
    ahead = common.local and not dry_run
    with cloud.starting_for_commands() if ahead else nullcontext() as started:
        from parallelize.operations import run as operation
        from parallelize.runs.files.joblog import joblog_at

        with operation.understood(words, work, common, again=again, dry_run=dry_run) as asked:
            flags = {**work.flags(), **finished.flags(), **asked.settings, "workers.count": workers}
            context = operation.open_run(asked.common, flags, started)
            operation.check_count(context)
            folder = out or context.folder / operation.OUT
            if joblog:
                joblog_at(joblog).check()
            if dry_run:
                show_plan(operation.planned(context, folder, asked.again), json=json)
                return 0
            ended = operation.run(
                context, folder, local=common.local, again=asked.again, log=joblog
            )
    conclude(ended.lines, [str(folder)], ended.as_json, json=json)
    return ended.exit_code
