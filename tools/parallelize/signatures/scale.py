"""The parameters of `parallelize scale`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from parallelize.options import NOTHING, Common, DryRun, Force


def scale(
    count: Annotated[int, Parameter(help="How many workers there shall be.")],
    *,
    dry_run: DryRun = False,
    force: Force = False,
    common: Common = NOTHING,
) -> int | None:
    """Start or end workers until the run has COUNT of them.

    Idle workers leave first. A worker that leaves hands its unfinished files
    back, uncharged.
    """
    from parallelize.operations import scale as command

    return command.scale(count, dry_run=dry_run, force=force, common=common)
