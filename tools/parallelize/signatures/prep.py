"""The parameters of `parallelize prep`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from parallelize.options import NO_WORK, NOTHING, SWITCH, Common, DryRun, Json, Work


def prep(
    *,
    work: Work = NO_WORK,
    create_bucket: Annotated[
        bool, SWITCH, Parameter(help="Make the bucket if there is none.")
    ] = False,
    dry_run: DryRun = False,
    json: Json = False,
    common: Common = NOTHING,
) -> None:
    """Upload the inputs and the environment, and write the list of jobs."""
    from parallelize.commands import prep as command

    command.prep(work=work, create_bucket=create_bucket, dry_run=dry_run, json=json, common=common)
