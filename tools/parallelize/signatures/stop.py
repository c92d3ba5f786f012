"""The parameters of `parallelize stop`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from parallelize.options import NOTHING, SWITCH, Common, DryRun


def stop(
    *,
    wait: Annotated[bool, SWITCH, Parameter(help="Return when all workers have left.")] = False,
    dry_run: DryRun = False,
    common: Common = NOTHING,
) -> None:
    """Let the run's workers finish what they have begun, and leave; the queue stays as it is.

    `parallelize enqueue` lets the run go on.
    """
    from parallelize.operations import stop as command

    command.stop(wait=wait, dry_run=dry_run, common=common)
