"""The parameters of `parallelize run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

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
        Parameter(help="Process finished files once more: those named as WORDS, else all."),
    ] = False,
    work: Work = NO_WORK,
    finished: Finished = NOT_SAID,
    dry_run: DryRun = False,
    json: Json = False,
    common: Common = NOTHING,
) -> int:
    """Process all inputs, wait for the end, and fetch the outputs; --local needs no AWS.

    Exits with 0 when every file has succeeded, with 1 when some have not. One
    that produced no output, of several, counts as a success only with
    run.require_output = false.
    """
    from parallelize.operations import run as command

    return command.run(
        *words,
        out=out,
        workers=workers,
        joblog=joblog,
        again=again,
        work=work,
        finished=finished,
        dry_run=dry_run,
        json=json,
        common=common,
    )
