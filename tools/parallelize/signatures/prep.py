"""The parameters of `parallelize prep`."""

from __future__ import annotations

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


def prep(
    *,
    work: Work = NO_WORK,
    create_bucket: Annotated[
        bool, SWITCH, Parameter(help="Make the bucket if there is none.")
    ] = False,
    finished: Finished = NOT_SAID,
    dry_run: DryRun = False,
    json: Json = False,
    common: Common = NOTHING,
) -> None:
    """Upload the inputs and the environment, and write the list of jobs."""
    from parallelize.operations import prep as command

    command.prep(
        work=work,
        create_bucket=create_bucket,
        finished=finished,
        dry_run=dry_run,
        json=json,
        common=common,
    )
