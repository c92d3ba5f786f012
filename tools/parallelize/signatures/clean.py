"""The parameters of `parallelize clean`."""

from __future__ import annotations

from parallelize.options import NOTHING, WHAT, Common, DryRun, Json, What


def clean(
    *,
    what: What = WHAT,
    dry_run: DryRun = False,
    json: Json = False,
    common: Common = NOTHING,
) -> None:
    """End the run's workers, delete its queues and all it keeps in S3, outputs included."""
    from parallelize.operations import clean as command

    command.clean(what=what, dry_run=dry_run, json=json, common=common)
