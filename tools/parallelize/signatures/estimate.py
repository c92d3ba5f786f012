"""The parameters of `parallelize estimate`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from parallelize.options import NOTHING, Common, DryRun, Json


def estimate(
    *,
    sample: Annotated[int, Parameter(help="How many files to run.")] = 20,
    dry_run: DryRun = False,
    json: Json = False,
    common: Common = NOTHING,
) -> None:
    """Run a random sample on one worker, and forecast time, cost and memory of the rest."""
    from parallelize.operations import estimate as command

    command.estimate(sample=sample, dry_run=dry_run, json=json, common=common)
