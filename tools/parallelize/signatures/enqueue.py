"""The parameters of `parallelize enqueue`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from parallelize.options import NOTHING, Common, DryRun, Json


def enqueue(
    *,
    limit: Annotated[int | None, Parameter(help="Send at most N jobs.")] = None,
    dry_run: DryRun = False,
    json: Json = False,
    common: Common = NOTHING,
) -> None:
    """Put the jobs that have no result on the queue; nothing is put there twice."""
    from parallelize.operations import enqueue as command

    command.enqueue(limit=limit, dry_run=dry_run, json=json, common=common)
